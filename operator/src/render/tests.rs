use postern_wire::snapshot::Way;
use serde_json::json;

use super::*;
use crate::fixture::{CERTIFICATE, dmz, model, object};
use crate::inputs::{Inputs, Place, Published, Relay, Report, Secret, SecretBytes};

fn rendered(inputs: &Inputs) -> Rendered {
    render(&model(inputs), postern_wire::SCHEMA)
}

fn rendered_in(inputs: &Inputs, schema: u32) -> Rendered {
    render(&model(inputs), schema)
}

fn names(rendered: &Rendered) -> Vec<&str> {
    let policies = rendered.network_policies.as_ref().expect("policies");
    policies.iter().map(|policy| policy.metadata.name.as_deref().expect("a name")).collect()
}

fn taken(inputs: &mut Inputs, kind: WrittenKind, name: &str) {
    inputs.foreign.insert(Written { kind, name: name.to_owned() });
}

/// More addresses than one object can hold.
fn too_much() -> Inputs {
    let mut inputs = dmz();
    let lines: String = (0..60_000).map(|number| format!("recipient-{number}@contoso.com\n")).collect();
    inputs.config_maps.insert("people".to_owned(), [("all".to_owned(), lines)].into());
    inputs.domains = vec![object(
        "contoso",
        json!({
            "domains": ["contoso.com"], "deliverTo": [{"name": "exchange"}],
            "recipients": {"mode": "Verify", "verify": [{"list": {"configMapRefs": [{"name": "people", "key": "all"}]}}]},
        }),
    )];
    inputs
}

#[test]
fn renders_the_same_bytes_twice() {
    let (one, two) = (rendered(&dmz()), rendered(&dmz()));
    assert_eq!(one.settings.to_json(), two.settings.to_json());
    assert_eq!(json!(one.network_policies), json!(two.network_policies));
}

#[test]
fn the_isolation_comes_first_and_is_owned_by_the_anchor() {
    let rendered = rendered(&dmz());
    assert_eq!(names(&rendered), [DEFAULT_DENY, INGRESS, EGRESS, "postern-host-exchange"]);
    let owner = |index: usize| {
        let owners = rendered.network_policies.as_ref().expect("policies")[index].metadata.owner_references.as_ref();
        owners.expect("an owner")[0].uid.clone()
    };
    assert_eq!([0, 1, 2, 3].map(owner), ["uid-relay", "uid-relay", "uid-relay", "uid-exchange"]);
}

#[test]
fn default_deny_closes_both_directions_and_opens_nothing() {
    let rendered = rendered(&dmz());
    let spec = rendered.network_policies.expect("policies")[0].spec.clone().expect("a spec");
    assert_eq!(spec.policy_types, Some(vec!["Ingress".to_owned(), "Egress".to_owned()]));
    assert_eq!((spec.ingress, spec.egress), (None, None));
    assert_eq!(json!(spec.pod_selector), json!({"matchLabels": {"postern.io/relay": "true"}}));
}

/// With one for both, kube-router lets a relay out to what lets mail in: to the other relays' SMTP port.
#[test]
fn a_policy_that_opens_anything_governs_one_direction() {
    for policy in &rendered(&direct()).network_policies.expect("policies")[1..] {
        let spec = policy.spec.as_ref().expect("a spec");
        let directions = [spec.ingress.is_some(), spec.egress.is_some()];
        assert!(directions == [true, false] || directions == [false, true], "{:?}", policy.metadata.name);
        let types = [vec!["Ingress".to_owned()], vec!["Egress".to_owned()]];
        assert_eq!(
            spec.policy_types.as_ref(),
            types.iter().zip(directions).find(|(_, has)| *has).map(|(types, _)| types)
        );
    }
}

#[test]
fn every_object_has_the_label_by_which_it_is_found_again() {
    let Rendered { network_policies, secret, config_maps, .. } = rendered(&dmz());
    let policies = network_policies.expect("policies").into_iter().map(|policy| policy.metadata);
    let others = [secret.expect("a secret").metadata, config_maps.expect("settings")[0].metadata.clone()];
    for metadata in policies.chain(others) {
        let labels = metadata.labels.expect("labels");
        assert_eq!(labels.get("app.kubernetes.io/managed-by").map(String::as_str), Some("postern"));
    }
}

#[test]
fn the_settings_carry_their_own_digest() {
    let Rendered { settings, config_maps, .. } = rendered(&dmz());
    let config_map = config_maps.expect("settings").remove(0);
    assert_eq!(config_map.metadata.annotations.expect("annotations")[DIGEST_ANNOTATION], settings.digest.to_string());
    let read = SettingsFile::from_json(config_map.data.expect("data")["settings.json"].as_bytes());
    assert_eq!(read.expect("settings"), settings);
}

#[test]
fn a_path_closes_when_its_object_is_gone() {
    let mut inputs = dmz();
    inputs.hosts.clear();
    assert_eq!(names(&rendered(&inputs)), [DEFAULT_DENY, INGRESS, EGRESS]);
}

#[test]
fn long_names_are_cut_and_stay_apart() {
    let hosts = [
        "h".repeat(253),
        format!("{}x", "h".repeat(252)),
        "h".repeat(240),
        format!("{}.{}", "h".repeat(199), "h".repeat(53)),
    ];
    let mut inputs = dmz();
    inputs.hosts.clear();
    for host in &hosts {
        inputs.hosts.push(object(host, json!({"endpoints": [{"host": {"address": "10.20.0.11"}}]})));
    }
    let rendered = rendered(&inputs);
    let names: std::collections::BTreeSet<_> = names(&rendered).into_iter().collect();
    assert_eq!(names.len(), ISOLATION.len() + hosts.len());
    for name in names {
        assert!(name.len() <= 253, "{name}");
        assert!(
            name.split('.')
                .all(|label| label.starts_with(char::is_alphanumeric) && label.ends_with(char::is_alphanumeric)),
            "{name}"
        );
        assert!(is_reserved(WrittenKind::NetworkPolicy, name), "{name}");
    }
}

#[test]
fn who_writes_their_own_policies_gets_none_and_the_settings_all_the_same() {
    let mut inputs = dmz();
    inputs.anchor.as_mut().expect("an anchor").network_policies = false;
    taken(&mut inputs, WrittenKind::NetworkPolicy, DEFAULT_DENY);
    let rendered = rendered(&inputs);
    assert_eq!(names(&rendered), [""; 0]);
    assert!(rendered.config_maps.is_some() && rendered.problems.is_empty());
}

#[test]
fn nothing_is_published_until_the_isolation_can_stand() {
    for (kind, name) in [
        (WrittenKind::NetworkPolicy, DEFAULT_DENY),
        (WrittenKind::NetworkPolicy, INGRESS),
        (WrittenKind::NetworkPolicy, EGRESS),
        (WrittenKind::Secret, SECRETS),
        (WrittenKind::ConfigMap, SETTINGS),
    ] {
        let mut inputs = dmz();
        taken(&mut inputs, kind, name);
        let rendered = rendered(&inputs);
        assert_eq!(rendered.hold, Some(Hold::NameTaken), "{name}");
        assert!(rendered.config_maps.is_none() && rendered.secret.is_none(), "{name}");
        assert!(!names(&rendered).contains(&name), "{name}");
        assert!(rendered.problems[0].message.contains(name), "{name}");
    }
}

#[test]
fn a_taken_path_costs_one_host() {
    let mut inputs = dmz();
    taken(&mut inputs, WrittenKind::NetworkPolicy, "postern-host-exchange");
    let rendered = rendered(&inputs);
    assert_eq!(names(&rendered), [DEFAULT_DENY, INGRESS, EGRESS]);
    assert!(rendered.config_maps.is_some());
    assert_eq!(rendered.problems[0].object.to_string(), "RelayHost/exchange");
}

#[test]
fn settings_that_are_too_large_for_older_relays_leave_the_published_ones_alone() {
    let mut inputs = too_much();
    let rendered = rendered_in(&inputs, 2);
    assert_eq!(rendered.hold, Some(Hold::Full));
    assert!(rendered.config_maps.is_none() && rendered.secret.is_none() && rendered.network_policies.is_some());
    assert_eq!(rendered.problems[0].reason, Reason::SettingsFull);
    assert_eq!(rendered.problems[0].object.to_string(), "FilterPolicy/default");
    inputs.place = Place::Offline;
    inputs.anchor = None;
    let offline = render(&model(&inputs), 1);
    assert!(offline.config_maps.is_some());
    assert_eq!(offline.problems[0].effect, Effect::Warning);
}

fn in_parts(inputs: &Inputs, room: &Room) -> Rendered {
    render_within(room, &model(inputs), postern_wire::SCHEMA)
}

#[test]
fn what_one_object_does_not_hold_is_compressed_and_divided_and_the_part_that_names_the_others_is_last() {
    let inputs = too_much();
    assert_eq!(parts(&in_parts(&inputs, &Room::default())), [("postern-settings", "settings.json.zst")]);
    let room = Room { object_bytes: packed_bytes(&inputs) / 2 + 1, ..Room::default() };
    let divided = in_parts(&inputs, &room);
    assert_eq!(
        parts(&divided),
        [
            ("postern-settings-1", "settings-1.json.zst"),
            ("postern-settings-2", "settings-2.json.zst"),
            ("postern-settings", "settings.json.zst")
        ]
    );
    let maps = divided.config_maps.clone().expect("settings");
    let file = |name: &str| {
        let map = maps.iter().find(|map| map.metadata.name.as_deref() == Some(&config_map_of(name)));
        Ok(map.and_then(|map| Some(map.binary_data.as_ref()?.get(name)?.0.clone())))
    };
    assert_eq!(SettingsFile::read(file, PLAIN_BYTES_MAX).expect("settings"), divided.settings);
    assert_eq!(json!(in_parts(&inputs, &room).config_maps), json!(maps), "the same bytes again");
}

/// Octets of its settings when compressed.
fn packed_bytes(inputs: &Inputs) -> usize {
    let maps = in_parts(inputs, &Room::default()).config_maps.expect("settings");
    maps[0].binary_data.as_ref().expect("data")["settings.json.zst"].0.len()
}

/// Name and key of each ConfigMap.
fn parts(rendered: &Rendered) -> Vec<(&str, &str)> {
    let maps = rendered.config_maps.as_deref().expect("settings").iter();
    maps.map(|map| {
        let text = map.data.iter().flatten().map(|(key, _)| key);
        let key = text.chain(map.binary_data.iter().flatten().map(|(key, _)| key)).next();
        (map.metadata.name.as_deref().expect("a name"), key.expect("a key").as_str())
    })
    .collect()
}

#[test]
fn what_no_number_of_parts_holds_is_not_published_and_the_sizes_are_told() {
    let third = packed_bytes(&too_much()) / 3;
    let room = Room { object_bytes: third, shards: 2, ..Room::default() };
    let rendered = in_parts(&too_much(), &room);
    assert_eq!(rendered.hold, Some(Hold::Full));
    let message = &rendered.problems[0].message;
    let expected = format!("when compressed, more than the {} that 2 objects hold", third * 2);
    assert!(message.contains(&expected), "{message}");
    let room = Room { plain_bytes: 1000, ..Room::default() };
    let message = &in_parts(&too_much(), &room).problems[0].message;
    assert!(message.contains("more than the 1000 that a relay takes"), "{message}");
}

#[test]
fn a_part_whose_name_is_taken_holds_the_settings_back_while_it_is_needed() {
    let mut inputs = too_much();
    taken(&mut inputs, WrittenKind::ConfigMap, "postern-settings-2");
    assert!(in_parts(&inputs, &Room::default()).hold.is_none());
    let room = Room { object_bytes: packed_bytes(&inputs) / 2 + 1, ..Room::default() };
    assert_eq!(in_parts(&inputs, &room).hold, Some(Hold::NameTaken));
}

#[test]
fn while_paused_nothing_is_written_or_deleted() {
    let mut inputs = dmz();
    inputs.anchor.as_mut().expect("an anchor").paused = true;
    let rendered = rendered(&inputs);
    assert!(rendered.network_policies.is_none() && rendered.secret.is_none() && rendered.config_maps.is_none());
}

#[test]
fn from_files_nobody_owns_anything() {
    let mut inputs = dmz();
    inputs.place = Place::Offline;
    inputs.anchor = None;
    let Rendered { network_policies, secret, config_maps, settings, .. } = rendered(&inputs);
    let policies = network_policies.expect("policies");
    assert!(policies.iter().all(|policy| policy.metadata.owner_references.is_none()));
    assert!(secret.expect("a secret").metadata.owner_references.is_none());
    assert!(config_maps.expect("settings")[0].metadata.owner_references.is_none());
    assert_eq!(settings, rendered(&dmz()).settings, "the settings are those of a cluster");
}

#[test]
fn the_schema_is_the_lowest_that_a_relay_reads() {
    let relay = |schema: u32| {
        let said = json!({"version": "0.1.0", "schema": schema, "objects": []});
        let status = serde_json::from_value(said).expect("a status");
        Relay { pod: "relay-0".to_owned(), report: Report::Answered(std::sync::Arc::new(status)) }
    };
    let silent = |report| Relay { pod: "relay-1".to_owned(), report };
    let published =
        |schema| Published { snapshot: rendered_in(&dmz(), schema).settings.snapshot, secrets: BTreeMap::new() };
    let unreachable = || silent(Report::Unreachable("no answer".to_owned()));
    assert_eq!(schema_for(&[], None), postern_wire::SCHEMA);
    assert_eq!(schema_for(&[relay(99)], None), postern_wire::SCHEMA);
    assert_eq!(schema_for(&[relay(0), relay(99)], None), 1);
    // Who does not answer, and who starts anew, must find what could be read before.
    assert_eq!(schema_for(&[relay(2), unreachable()], Some(&published(1))), 1);
    assert_eq!(schema_for(&[relay(2), unreachable()], Some(&published(2))), 2);
    assert_eq!(schema_for(&[silent(Report::NotReady(None))], Some(&published(1))), 1);
    assert_eq!(schema_for(&[relay(2), silent(Report::NotReady(None))], Some(&published(1))), 2);
    // One that went back to an older version waits for settings that it can read.
    assert_eq!(schema_for(&[relay(2), silent(Report::NotReady(Some(1)))], Some(&published(2))), 1);
}

/// Mail of the domain `contoso` leaves by the recipients' MX.
fn direct() -> Inputs {
    let mut inputs = dmz();
    inputs.hosts.push(object("app", json!({"sources": [{"cidr": {"range": "10.20.0.0/28"}}]})));
    inputs.domains = vec![object(
        "contoso",
        json!({
            "domains": ["contoso.com"], "deliverTo": [{"name": "exchange"}], "recipients": {"mode": "AcceptAll"},
            "outbound": {"hosts": [{"name": "app"}]},
        }),
    )];
    inputs
}

/// Whether the policy of `contoso` lets a packet to port 25 of this address through, as network plugins understand it.
fn lets_through(inputs: &Inputs, address: &str) -> bool {
    let policies = rendered(inputs).network_policies.expect("policies");
    let ours = policies.iter().find(|policy| policy.metadata.name.as_deref() == Some("postern-domain-contoso"));
    let rules = ours.expect("a policy").spec.clone().expect("a spec").egress.expect("egress");
    assert_eq!(json!(rules[0].ports), json!([{"port": 25, "protocol": "TCP"}]));
    assert_eq!(rules.len(), 1);
    let address: std::net::IpAddr = address.parse().expect("an address");
    let within = |range: &str| range.parse::<ipnet::IpNet>().expect("a range").contains(&address);
    rules[0].to.iter().flatten().any(|peer| {
        let block = peer.ip_block.as_ref().expect("a block");
        within(&block.cidr) && !block.except.iter().flatten().any(|range| within(range))
    })
}

#[test]
fn mail_that_leaves_directly_reaches_the_internet_and_nobodys_own_network() {
    let mut inputs = direct();
    for own in ["198.51.100.0/24", "10.244.0.0/16", "2001:db8:c::/48"] {
        inputs.cluster_ranges.insert(own.parse().expect("a range"));
    }
    inputs.refused_targets.insert("203.0.113.9".parse().expect("an address"));
    for address in
        ["203.0.113.8", "8.8.8.8", "198.51.101.1", "100.63.255.255", "172.32.0.1", "2001:db8:d::1", "2606:4700::1"]
    {
        assert!(lets_through(&inputs, address), "{address}");
    }
    for address in [
        "0.0.0.1",
        "10.0.0.1",
        "10.244.1.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "2001:db8:c::1",
        "fc00::1",
        "fd00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!lets_through(&inputs, address), "{address}");
    }
}

#[test]
fn what_is_left_out_of_the_internet_is_what_an_api_server_takes() {
    let mut inputs = direct();
    inputs.cluster_ranges.insert("0.0.0.0/0".parse().expect("a range"));
    inputs.cluster_ranges.insert("10.0.0.0/7".parse().expect("a range"));
    let policies = json!(rendered(&inputs).network_policies);
    let blocks = &policies[4]["spec"]["egress"][0]["to"];
    let except = blocks[0]["ipBlock"]["except"].as_array().expect("a list");
    assert!(!except.contains(&json!("0.0.0.0/0")), "not a strict part of the block");
    assert!(except.contains(&json!("10.0.0.0/7")) && !except.contains(&json!("10.0.0.0/8")), "each once: {except:?}");
    assert!(lets_through(&inputs, "8.8.8.8") && !lets_through(&inputs, "11.0.0.1"));
}

#[test]
fn the_way_to_the_internet_closes_with_its_domain_and_its_name_can_be_taken() {
    let mut inputs = direct();
    assert_eq!(names(&rendered(&inputs))[4..], ["postern-domain-contoso"]);
    taken(&mut inputs, WrittenKind::NetworkPolicy, "postern-domain-contoso");
    let told = rendered(&inputs).problems;
    assert_eq!((told[0].object.to_string().as_str(), told[0].reason), ("RelayDomain/contoso", Reason::NameTaken));
    assert!(told[0].message.ends_with("until then no path to the recipients' MX is open"), "{}", told[0].message);
    inputs.domains.clear();
    assert_eq!(names(&rendered(&inputs)), [DEFAULT_DENY, INGRESS, EGRESS, "postern-host-exchange"]);
}

/// Every field that schema 1 does not have, and a domain for each way to need one.
fn full_strength() -> Inputs {
    let mut inputs = direct();
    let login = [("username", "contoso"), ("password", "hunter2")];
    let data = login.map(|(key, text)| (key.to_owned(), SecretBytes(text.into()))).into();
    inputs.secrets.insert("login".to_owned(), Secret { version: None, data });
    let data = [("ca.crt".to_owned(), SecretBytes(CERTIFICATE.into()))].into();
    inputs.secrets.insert("ca".to_owned(), Secret { version: None, data });
    let address = json!([{"host": {"address": "10.20.0.12"}}]);
    for (name, spec) in [
        ("mx", json!({"endpoints": [{"mx": {"domain": "mx.example"}}]})),
        ("implicit", json!({"endpoints": address, "tls": {"handshake": "Implicit"}})),
        (
            "login",
            json!({"endpoints": address, "tls": {"verification": "Verified"}, "auth": {"secretRef": {"name": "login"}}}),
        ),
        ("limits", json!({"endpoints": address, "limits": {"connections": 1}})),
        ("queue", json!({"endpoints": address, "queue": {"nullSenderLifetime": "1h", "warnAfter": "0s"}})),
        (
            "sources",
            json!({"endpoints": address, "sources": [
                {"a": {"name": "a.example"}}, {"clientCertificate": {"caSecretRef": {"name": "ca", "key": "ca.crt"}, "dnsName": "a.example"}},
            ]}),
        ),
    ] {
        inputs.hosts.push(object(name, spec));
        inputs.domains.push(object(
            &format!("to-{name}"),
            json!({"domains": [format!("{name}.example")], "deliverTo": [{"name": name}], "recipients": {"mode": "AcceptAll"}}),
        ));
    }
    inputs.domains.push(object(
        "encrypted",
        json!({"domains": ["encrypted.example"], "deliverTo": [{"name": "exchange"}], "recipients": {"mode": "AcceptAll"}, "inboundTLS": "Required"}),
    ));
    inputs
}

fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().map(|members| members.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// That a relay of schema 1, which refuses what it does not know, reads this.
fn assert_schema_1(rendered: &Rendered) {
    let snapshot = json!(rendered.settings.snapshot);
    assert_eq!(snapshot["schema"], 1);
    let specs = |kind: &str| {
        snapshot[kind].as_array().expect("a list").iter().map(|section| &section["spec"]).collect::<Vec<_>>()
    };
    let only = |value: &serde_json::Value, known: &[&str]| {
        assert!(keys(value).iter().all(|key| known.contains(key)), "{value}");
    };
    for host in specs("hosts") {
        only(host, &["endpoints", "tls", "sources", "queue", "suspend"]);
        only(&host["queue"], &["lifetime"]);
        only(&host["tls"]["open"], &["handshake", "verification", "serverName", "ca"]);
        assert_ne!(host["tls"]["open"]["handshake"], "implicit");
    }
    for domain in specs("domains") {
        only(domain, &["names", "inbound", "bounces", "outbound"]);
        only(&domain["inbound"]["open"], &["deliverTo", "recipients", "policy"]);
        assert_ne!(domain["outbound"]["open"]["via"], json!([]));
        for hop in domain["inbound"]["open"]["deliverTo"].as_array().into_iter().flatten() {
            let host = snapshot["hosts"].as_array().expect("a list").iter().find(|host| host["name"] == hop["host"]);
            assert_ne!(host.expect("a host")["spec"]["endpoints"], json!([]), "{hop}");
        }
    }
    for policy in specs("policies") {
        only(policy, &["limits", "blockedClients", "senders"]);
    }
    let files = rendered.secret.as_ref().expect("a secret").data.as_ref().expect("data");
    assert!(files.keys().all(|file| snapshot.to_string().contains(file)), "{:?}", files.keys());
}

#[test]
fn an_older_relay_is_told_nothing_that_it_does_not_know_and_who_says_so_is_told() {
    let inputs = full_strength();
    let (newer, older) = (rendered(&inputs), rendered_in(&inputs, 1));
    assert_eq!((newer.settings.schema, newer.problems.len()), (postern_wire::SCHEMA, 0));
    assert_schema_1(&older);
    let told: std::collections::BTreeSet<_> = older.problems.iter().map(|problem| problem.object.to_string()).collect();
    let expected = [
        "RelayDomain/contoso",
        "RelayDomain/encrypted",
        "RelayDomain/to-implicit",
        "RelayDomain/to-limits",
        "RelayDomain/to-login",
        "RelayDomain/to-mx",
        "RelayDomain/to-queue",
        "RelayHost/implicit",
        "RelayHost/limits",
        "RelayHost/login",
        "RelayHost/mx",
        "RelayHost/queue",
        "RelayHost/sources",
    ];
    assert_eq!(told.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!(older.problems.iter().all(|problem| problem.reason == Reason::RelayTooOld), "{:?}", older.problems);
    let exchange =
        |rendered: &Rendered| rendered.settings.snapshot.hosts.iter().find(|host| host.name == "exchange").cloned();
    assert_eq!(exchange(&newer), exchange(&older), "what says nothing new keeps its bytes");
    let to_sources =
        older.settings.snapshot.domains.iter().find(|domain| domain.name == "to-sources").expect("a domain");
    assert!(matches!(to_sources.spec.inbound, Way::Open(_)), "a source that is not known costs nothing else");
}

#[test]
fn what_nobody_wrote_needs_no_newer_relay() {
    let inputs = dmz();
    let older = rendered_in(&inputs, 1);
    assert_eq!(older.problems, []);
    assert_schema_1(&older);
    let digests = |rendered: &Rendered| {
        rendered.settings.snapshot.hosts.iter().map(|host| host.digest.clone()).collect::<Vec<_>>()
    };
    assert_eq!(digests(&older), digests(&rendered(&inputs)));
}

#[test]
fn while_older_relays_could_not_keep_somebody_out_nobody_is_let_in() {
    let mut inputs = direct();
    inputs.policies = vec![
        object("default", json!({"connections": {"blockedClients": [{"a": {"name": "spammer.example"}}]}})),
        object("other", json!({})),
    ];
    let inbound = json!({"domains": ["other.example"], "deliverTo": [{"name": "exchange"}], "recipients": {"mode": "AcceptAll"}, "filterPolicyRef": {"name": "other"}});
    inputs.domains.push(object("other", inbound));
    let older = rendered_in(&inputs, 1);
    assert_schema_1(&older);
    for domain in &older.settings.snapshot.domains {
        assert!(
            matches!(&domain.spec.inbound, Way::Unresolved(why) if why.contains("blockedClients")),
            "{}",
            domain.name
        );
        assert!(!matches!(domain.spec.outbound, Some(Way::Open(_))), "{}", domain.name);
    }
    let told: Vec<_> = older.problems.iter().map(|problem| problem.object.to_string()).collect();
    assert_eq!(told, ["FilterPolicy/default", "RelayDomain/contoso", "RelayDomain/contoso", "RelayDomain/other"]);
}
