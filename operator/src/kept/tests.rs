use serde_json::json;

use super::*;

fn anchor(first: u64, replicas: u64) -> Anchor {
    let workload = json!({
        "metadata": {"name": "postern-relay", "uid": "u"},
        "spec": {
            "serviceName": "", "selector": {}, "template": {}, "replicas": replicas, "ordinals": {"start": first},
            "volumeClaimTemplates": [{"metadata": {"name": "spool"}}],
        },
    });
    Anchor::of(&serde_json::from_value(workload).unwrap()).unwrap()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn kept(anchor: &Anchor, claims: &[&str], pods: &[&str]) -> Vec<String> {
    left(anchor, &names(claims), &names(pods)).into_iter().map(|left| left.relay).collect()
}

fn volume(number: u64) -> KeptVolume {
    let relay = format!("postern-relay-{number}");
    KeptVolume { claim: format!("spool-{relay}"), relay, messages: None }
}

#[test]
fn a_claim_is_kept_that_no_pod_has_or_will_have() {
    let claims = ["spool-postern-relay-0", "spool-postern-relay-1", "spool-postern-relay-10", "spool-postern-relay-9"];
    assert_eq!(kept(&anchor(0, 1), &claims, &[]), ["postern-relay-1", "postern-relay-9", "postern-relay-10"]);
    assert_eq!(kept(&anchor(0, 1), &claims, &["postern-relay-9"]), ["postern-relay-1", "postern-relay-10"]);
    assert_eq!(kept(&anchor(0, 11), &claims, &[]), [""; 0]);
    assert_eq!(kept(&anchor(1, 9), &claims, &[]), ["postern-relay-0", "postern-relay-10"]);
}

#[test]
fn other_claims_are_nobodys() {
    let claims = [
        "spool-postern-relay-01",
        "spool-postern-relay-+1",
        "spool-postern-relay-",
        "spool-postern-relay-1-x",
        "spool-postern-relay-99999999999999999999",
        "spool-other-1",
        "data-postern-relay-1",
        "spoolpostern-relay-1",
    ];
    assert_eq!(kept(&anchor(0, 0), &claims, &[]), [""; 0]);
}

#[test]
fn all_of_them_are_back_with_so_many_relays() {
    let said = |numbers: &[u64], anchor: Option<&Anchor>| {
        let volumes: Vec<_> = numbers.iter().map(|number| volume(*number)).collect();
        back(&volumes, anchor).map(|back| back.to_string()).unwrap_or_default()
    };
    let how = |replicas: u64| {
        format!(" (helm upgrade … --set replicas={replicas}; kubectl scale only where Helm did not install it)")
    };
    assert_eq!(
        said(&[1, 10, 9], Some(&anchor(0, 1))),
        format!("raise the replicas of the StatefulSet postern-relay to 11{}", how(11))
    );
    assert_eq!(said(&[2], None), format!("raise the replicas of the StatefulSet postern-relay to 3{}", how(3)));
    assert_eq!(
        said(&[7], Some(&anchor(5, 1))),
        format!("raise the replicas of the StatefulSet postern-relay to 3{}", how(3))
    );
    assert_eq!(
        said(&[3], Some(&anchor(5, 2))),
        format!("raise the replicas of the StatefulSet postern-relay to 4, and set its ordinals.start to 3{}", how(4))
    );
    assert_eq!(said(&[], Some(&anchor(0, 1))), "");
}
