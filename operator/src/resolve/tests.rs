use std::collections::BTreeSet;

use postern_wire::snapshot::{HostName, Way};
use serde_json::json;

use super::*;
use crate::fixture::{CERTIFICATE, dmz, model, object, told, with_ca};
use crate::inputs::Published;
use crate::render::render;

/// What the relays would have been told by these inputs.
fn published(inputs: &Inputs) -> Published {
    let model = model(inputs);
    let secrets = model.secrets.iter().map(|(file, content)| (file.0.clone(), content.clone())).collect();
    Published { snapshot: render(&model, postern_wire::SCHEMA).settings.snapshot, secrets }
}

fn ca_file(model: &Model) -> String {
    match &model.hosts[0].spec.tls {
        Way::Open(tls) => tls.ca.clone().expect("a CA").0,
        Way::Unresolved(why) => panic!("{why}"),
    }
}

#[test]
fn a_small_dmz_has_no_problems() {
    let (model, problems) = resolve(&dmz());
    assert_eq!(problems, []);
    assert_eq!((model.domains.len(), model.hosts.len(), model.policies.len()), (1, 1, 1));
    assert!(matches!(model.domains[0].spec.inbound, Way::Open(_)));
    assert_eq!(model.hold, None);
}

#[test]
fn a_bad_object_silences_no_other() {
    let mut inputs = dmz();
    inputs.domains.insert(0, object("broken", json!({"domains": 7})));
    inputs.hosts.insert(0, object("broken", json!({"endpoints": 7})));
    inputs.policies.insert(0, object("broken", json!({"limits": 7})));
    let (with, problems) = resolve(&inputs);
    let without = model(&dmz());
    assert_eq!((with.domains, with.hosts, with.policies), (without.domains, without.hosts, without.policies));
    assert_eq!(told(&problems, Effect::NotAccepted).len(), 3);
}

#[test]
fn a_changed_config_map_changes_the_section_and_no_generation() {
    let spec = json!({
        "domains": ["contoso.com"], "deliverTo": [{"name": "exchange"}],
        "recipients": {"mode": "Verify", "verify": [{"list": {"configMapRefs": [{"name": "people", "key": "all"}]}}]},
    });
    let section = |people: &str| {
        let mut inputs = dmz();
        inputs.domains = vec![object("contoso", spec.clone())];
        inputs.config_maps.insert("people".to_owned(), [("all".to_owned(), people.to_owned())].into());
        model(&inputs).domains.remove(0)
    };
    let (before, after) = (section("anna@contoso.com"), section("anna@contoso.com\nbob@contoso.com"));
    assert_eq!(before.generation, after.generation);
    assert_ne!(before.digest, after.digest);
    assert_eq!(before, section("# the same people\r\nAnna@Contoso.com\r\n"));
}

#[test]
fn the_name_of_a_secret_file_changes_with_its_version_and_does_not_digest_its_content() {
    let name = |version, content| ca_file(&model(&with_ca(dmz(), version, content)));
    let twice = CERTIFICATE.repeat(2);
    assert_ne!(name(Some("1"), CERTIFICATE), name(Some("2"), CERTIFICATE));
    assert_eq!(name(Some("1"), CERTIFICATE), name(Some("1"), &twice));
    assert_ne!(name(None, CERTIFICATE), name(None, &twice));
    assert!(name(None, CERTIFICATE).starts_with("corp-ca.ca.crt."));
}

#[test]
fn a_secret_file_has_a_name_that_a_secret_can_have() {
    let mut inputs = with_ca(dmz(), Some("1"), CERTIFICATE);
    let (name, key) = ("n".repeat(253), "k".repeat(253));
    let reference = json!({"name": name, "key": key});
    inputs.hosts = vec![object("exchange", json!({"tls": {"caSecretRef": reference}}))];
    let data = [(key, SecretBytes(CERTIFICATE.into()))].into();
    inputs.secrets = [(name, crate::inputs::Secret { version: None, data })].into();
    assert!(ca_file(&model(&inputs)).len() <= 253);
}

#[test]
fn a_ca_that_holds_no_certificate_closes_this_host_and_is_not_quoted() {
    for content in ["", "hunter2hunter2", "-----BEGIN CERTIFICATE-----\nhunter2"] {
        let (model, problems) = resolve(&with_ca(dmz(), Some("1"), content));
        let Way::Unresolved(why) = &model.hosts[0].spec.tls else { panic!("{content:?} is a CA") };
        assert!(why.contains("Secret corp-ca does not hold certificates in PEM form"), "{why}");
        assert_eq!(problems[0].reason, Reason::ContentInvalid);
        assert!(!format!("{problems:?}{model:?}").contains("hunter2"));
        assert!(model.secrets.is_empty());
    }
}

#[test]
fn only_secrets_that_are_referred_to_are_passed_on() {
    let mut inputs = with_ca(dmz(), Some("1"), CERTIFICATE);
    inputs.secrets.insert("other".to_owned(), inputs.secrets["corp-ca"].clone());
    assert_eq!(model(&inputs).secrets.len(), 1);
    assert_eq!(inputs.secrets_named(), BTreeSet::from(["corp-ca"]));
}

#[test]
fn an_undecodable_object_keeps_its_last_good_part_with_its_secret() {
    let before = with_ca(dmz(), Some("1"), CERTIFICATE);
    let mut inputs = dmz();
    inputs.published = Some(published(&before).into());
    inputs.hosts = vec![object("exchange", json!({"endpoints": 7}))];
    inputs.hosts[0].meta.generation = 2;
    let (after, _) = resolve(&inputs);
    assert_eq!(after.hosts, model(&before).hosts);
    assert_eq!(after.secrets, model(&before).secrets);
    assert_eq!(after.paths, model(&before).paths);
}

#[test]
fn a_last_good_part_without_its_secret_waits_and_lets_the_rest_pass() {
    let before = with_ca(dmz(), Some("1"), CERTIFICATE);
    let mut inputs = dmz();
    inputs.published = Some(Published { secrets: BTreeMap::new(), ..published(&before) }.into());
    inputs.hosts = vec![object("exchange", json!({"endpoints": 7}))];
    let after = model(&inputs);
    assert!(matches!(&after.hosts[0].spec.tls, Way::Unresolved(why) if why.contains("is gone")));
    assert!(after.secrets.is_empty());
}

#[test]
fn the_last_good_part_of_an_object_that_was_deleted_is_not_that_of_its_namesake() {
    let mut inputs = dmz();
    inputs.published = Some(published(&dmz()).into());
    inputs.hosts = vec![object("exchange", json!({"endpoints": 7}))];
    inputs.hosts[0].meta.uid = "another".to_owned();
    assert_eq!(model(&inputs).hosts, []);
}

#[test]
fn what_is_named_and_cannot_be_read_is_not_called_missing() {
    let mut inputs = dmz();
    inputs.hosts = vec![object("exchange", json!({"endpoints": 7}))];
    inputs.policies = vec![object("default", json!({"limits": 7}))];
    let (model, problems) = resolve(&inputs);
    assert_eq!(
        told(&problems, Effect::Unresolved),
        [
            "spec.deliverTo: the RelayHost exchange exists, and cannot be read (see its status)",
            "spec.filterPolicyRef (not set): the FilterPolicy default exists, and cannot be read (see its status); \
             mail to these domains gets 451 4.3.5",
        ]
    );
    assert!(problems.iter().filter(|it| it.effect == Effect::Unresolved).all(|it| it.reason == Reason::ContentInvalid));
    assert!(matches!(model.domains[0].spec.inbound, Way::Unresolved(_)));
}

#[test]
fn an_undecodable_domain_keeps_the_names_that_nobody_else_has_taken() {
    let mut inputs = dmz();
    inputs.published = Some(published(&dmz()).into());
    inputs.domains = vec![
        object("contoso", json!({"domains": 7})),
        object(
            "a-namesake",
            json!({"domains": ["contoso.com"], "deliverTo": [{"name": "exchange"}], "recipients": {"mode": "AcceptAll"}}),
        ),
    ];
    let holders = |inputs: &Inputs| model(inputs).domains.into_iter().map(|section| section.name).collect::<Vec<_>>();
    inputs.domains[1].meta.created += jiff::SignedDuration::from_secs(1);
    assert_eq!(holders(&inputs), ["contoso"]);
    inputs.domains[1].meta.created -= jiff::SignedDuration::from_secs(2);
    assert_eq!(holders(&inputs), ["a-namesake"]);
}

#[test]
fn local_targets_are_refused_in_a_cluster_and_taken_with_a_warning_elsewhere() {
    for address in ["127.0.0.1", "127.8.8.8", "::1", "169.254.1.1", "fe80::1", "::ffff:127.0.0.1"] {
        let mut inputs = dmz();
        inputs.hosts = vec![object("exchange", json!({"endpoints": [{"host": {"address": address}}]}))];
        let (refused, problems) = resolve(&inputs);
        assert_eq!(refused.hosts[0].spec.endpoints, [], "{address}");
        assert_eq!(told(&problems, Effect::Partial).len(), 1, "{address}");
        inputs.place = Place::Offline;
        let (taken, problems) = resolve(&inputs);
        assert_eq!(taken.hosts[0].spec.endpoints.len(), 1, "{address}");
        assert_eq!(told(&problems, Effect::Warning).len(), 1, "{address}");
    }
}

#[test]
fn the_api_server_is_no_target_in_any_spelling() {
    for address in ["10.96.0.1", "::ffff:10.96.0.1", "kubernetes.default.svc"] {
        let mut inputs = dmz();
        inputs.refused_targets.insert("10.96.0.1".parse().expect("an address"));
        inputs.names.insert(HostName::A("kubernetes.default.svc".to_owned()), inputs.refused_targets.clone());
        inputs.hosts = vec![object("exchange", json!({"endpoints": [{"host": {"address": address}}]}))];
        let (model, problems) = resolve(&inputs);
        assert_eq!(model.paths, [], "{address}");
        assert!(told(&problems, Effect::Partial)[0].contains("the API server"), "{problems:?}");
    }
}

#[test]
fn an_endpoint_keeps_its_name_and_only_the_path_has_its_answers() {
    let mut inputs = dmz();
    inputs.hosts = vec![object("exchange", json!({"endpoints": [{"host": {"address": "Mail.Example."}}]}))];
    assert_eq!(inputs.names_to_resolve(), BTreeSet::from([HostName::A("mail.example".to_owned())]));
    let (unknown, problems) = resolve(&inputs);
    assert_eq!((unknown.paths.len(), problems[0].reason), (0, Reason::AddressUnknown));
    assert_eq!(problems[0].effect, Effect::Unresolved, "there is no way to it at all");
    inputs.names.insert(HostName::A("mail.example".to_owned()), ["192.0.2.7".parse().expect("an address")].into());
    let (known, problems) = resolve(&inputs);
    assert_eq!((known.paths.len(), problems.len()), (1, 0));
    assert_eq!(known.hosts, unknown.hosts, "an answer that changes must not change the settings");
    let both = json!({"endpoints": [{"host": {"address": "mail.example"}}, {"host": {"address": "silent.example"}}]});
    inputs.hosts = vec![object("exchange", both)];
    let (_, problems) = resolve(&inputs);
    assert_eq!((problems.len(), problems[0].effect, problems[0].reason), (1, Effect::Partial, Reason::AddressUnknown));
}

#[test]
fn what_cannot_be_read_is_not_called_missing() {
    let mut inputs = dmz();
    inputs.domains.push(object(
        "fabrikam",
        json!({"domains": ["fabrikam.example"], "deliverTo": [{"name": "gone"}], "recipients": {"mode": "AcceptAll"}}),
    ));
    inputs.unreadable = Some("may not be read".to_owned());
    let (model, problems) = resolve(&inputs);
    assert_eq!(model.hold, Some(Hold::Unreadable));
    assert_eq!(told(&problems, Effect::Unresolved), [""; 0]);
    assert_eq!(told(&problems, Effect::Unreadable), ["may not be read"; 4]);
}

#[test]
fn everything_waits_without_an_anchor_in_a_cluster_only() {
    let mut inputs = dmz();
    inputs.anchor = None;
    assert_eq!(model(&inputs).hold, Some(Hold::NoAnchor));
    inputs.place = Place::Offline;
    assert_eq!(model(&inputs).hold, None);
}

#[test]
fn a_flood_of_bad_lines_is_counted_and_not_repeated() {
    let mut inputs = dmz();
    let lines = "nonsense\n".repeat(50_000);
    inputs.config_maps.insert("people".to_owned(), [("all".to_owned(), lines)].into());
    inputs.domains = vec![object(
        "contoso",
        json!({
            "domains": ["contoso.com"], "deliverTo": [{"name": "exchange"}],
            "recipients": {"mode": "Verify", "verify": [{"list": {"configMapRefs": [{"name": "people", "key": "all"}]}}]},
        }),
    )];
    let (_, problems) = resolve(&inputs);
    assert_eq!(problems.len(), 6);
    assert!(problems[5].message.contains("49995 more entries are left out"), "{:?}", problems[5]);
}

#[test]
fn text_of_users_is_quoted_without_control_characters_and_short() {
    let shown = quoted("a\n\u{1b}[31mb");
    assert_eq!(shown, "\"a\\n\\u{1b}[31mb\"");
    assert!(quoted(&"x".repeat(10_000)).chars().count() < 100);
}

/// A host with every kind of secret.
fn with_all_secrets(mut inputs: Inputs) -> Inputs {
    let ca = |name: &str| json!({"name": name, "key": "ca.crt"});
    let spec = json!({
        "endpoints": [{"host": {"address": "10.20.0.11"}}],
        "tls": {"verification": "Verified", "caSecretRef": ca("corp-ca"), "clientCertificateSecretRef": {"name": "pair"}},
        "auth": {"secretRef": {"name": "login"}},
        "sources": [{"clientCertificate": {"caSecretRef": ca("client-ca"), "dnsName": "app.example"}}],
    });
    inputs.hosts = vec![object("exchange", spec)];
    let pair = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).expect("a certificate");
    for (name, data) in [
        ("corp-ca", vec![("ca.crt", CERTIFICATE.to_owned())]),
        ("client-ca", vec![("ca.crt", CERTIFICATE.to_owned())]),
        ("pair", vec![("tls.crt", pair.cert.pem()), ("tls.key", pair.signing_key.serialize_pem())]),
        ("login", vec![("username", "contoso".to_owned()), ("password", "hunter2hunter2\n".to_owned())]),
    ] {
        let data = data.into_iter().map(|(key, text)| (key.to_owned(), SecretBytes(text.into_bytes()))).collect();
        inputs.secrets.insert(name.to_owned(), crate::inputs::Secret { version: None, data });
    }
    inputs
}

#[test]
fn every_secret_that_a_host_names_is_asked_for_and_passed_on() {
    let inputs = with_all_secrets(dmz());
    let (model, problems) = resolve(&inputs);
    assert_eq!(problems, []);
    assert_eq!(inputs.secrets_named(), BTreeSet::from(["client-ca", "corp-ca", "login", "pair"]));
    let files: Vec<_> = model.secrets.keys().map(|file| file.0.rsplit_once('.').expect("a version").0).collect();
    let expected =
        ["client-ca.ca.crt", "corp-ca.ca.crt", "login.password", "login.username", "pair.tls.crt", "pair.tls.key"];
    assert_eq!(files, expected);
}

#[test]
fn a_last_good_part_keeps_every_secret_and_without_one_loses_only_what_needs_it() {
    let before = with_all_secrets(dmz());
    let whole = model(&before);
    let mut inputs = dmz();
    inputs.hosts = vec![object("exchange", json!({"endpoints": 7}))];
    inputs.published = Some(published(&before).into());
    let kept = model(&inputs);
    assert_eq!((&kept.hosts, &kept.secrets), (&whole.hosts, &whole.secrets));
    for (prefix, tls, auth, sources) in [
        ("corp-ca.", false, true, 1),
        ("pair.tls.crt.", false, true, 1),
        ("pair.tls.key.", false, true, 1),
        ("login.username.", true, false, 1),
        ("login.password.", true, false, 1),
        ("client-ca.", true, true, 0),
    ] {
        let mut published = published(&before);
        published.secrets.retain(|file, _| !file.starts_with(prefix));
        inputs.published = Some(published.into());
        let host = model(&inputs).hosts.remove(0).spec;
        assert_eq!(matches!(host.tls, Way::Open(_)), tls, "{prefix}");
        assert_eq!(matches!(host.auth, Some(Way::Open(_))), auth, "{prefix}");
        assert_eq!(host.source_certificates.len(), sources, "{prefix}");
    }
}

#[test]
fn a_password_is_never_published_for_a_server_that_need_not_prove_itself() {
    for verification in ["Opportunistic", "Required"] {
        let mut inputs = with_all_secrets(dmz());
        let spec = json!({
            "endpoints": [{"host": {"address": "10.20.0.11"}}],
            "tls": {"verification": verification},
            "auth": {"secretRef": {"name": "login"}},
        });
        inputs.hosts = vec![object("exchange", spec)];
        let (model, problems) = resolve(&inputs);
        assert!(matches!(&model.hosts[0].spec.auth, Some(Way::Unresolved(why)) if why.contains("must be Verified")));
        assert_eq!(told(&problems, Effect::NotAccepted).len(), 1);
        assert!(model.secrets.is_empty());
    }
}

#[test]
fn a_source_whose_ca_is_missing_may_not_relay_and_the_others_may() {
    let mut inputs = with_all_secrets(dmz());
    inputs.secrets.remove("client-ca");
    let spec = json!({"sources": [
        {"clientCertificate": {"caSecretRef": {"name": "client-ca", "key": "ca.crt"}, "dnsName": "app.example"}},
        {"a": {"name": "App.Example."}}, {"mx": {"domain": "a_b.example"}}, {}, {"a": {"name": "x.example"}, "mx": {"domain": "x.example"}},
    ]});
    inputs.hosts = vec![object("exchange", spec)];
    let (model, problems) = resolve(&inputs);
    let host = &model.hosts[0].spec;
    assert_eq!(
        (host.source_certificates.len(), &*host.source_names),
        (0, &[HostName::A("app.example".to_owned())][..])
    );
    assert!(told(&problems, Effect::Unresolved)[0].contains("spec.sources[0]") && host.sources.is_empty());
    let partial = told(&problems, Effect::Partial);
    for (told, says) in partial.iter().zip(["spec.sources[2].mx.domain: ", "spec.sources[3]: ", "spec.sources[4]: "]) {
        assert!(told.starts_with(says), "{told}");
    }
    assert_eq!(partial.len(), 3);
}

#[test]
fn an_mx_endpoint_stays_a_name_in_the_settings_and_opens_port_25_of_its_servers() {
    let mut inputs = dmz();
    inputs.hosts = vec![object("exchange", json!({"endpoints": [{"mx": {"domain": "Mail.Example."}}]}))];
    let mx = HostName::Mx("mail.example".to_owned());
    assert_eq!(inputs.names_to_resolve(), BTreeSet::from([mx.clone()]));
    let (unknown, problems) = resolve(&inputs);
    assert_eq!((unknown.paths.len(), problems[0].reason), (0, Reason::AddressUnknown));
    inputs.names.insert(mx.clone(), ["192.0.2.7".parse().expect("an address")].into());
    let (known, problems) = resolve(&inputs);
    assert_eq!(problems, []);
    assert_eq!(known.paths[0].ports.keys().copied().collect::<Vec<_>>(), [25]);
    assert_eq!((&known.hosts, &*known.hosts[0].spec.mx), (&unknown.hosts, &["mail.example".to_owned()][..]));
    assert!(matches!(known.domains[0].spec.inbound, Way::Open(_)), "an MX is an endpoint like any other");
    inputs.published = Some(published(&inputs).into());
    inputs.hosts = vec![object("exchange", json!({"endpoints": 7}))];
    assert_eq!(inputs.names_to_resolve(), BTreeSet::from([mx]), "also of a last good part");
}

#[test]
fn implicit_tls_has_its_own_port_and_no_mx() {
    let mut inputs = dmz();
    let spec = json!({
        "endpoints": [{"host": {"address": "10.20.0.11"}}, {"host": {"address": "10.20.0.12", "port": 25}}, {"mx": {"domain": "mail.example"}}],
        "tls": {"handshake": "Implicit"},
    });
    inputs.hosts = vec![object("exchange", spec)];
    let (model, problems) = resolve(&inputs);
    let host = &model.hosts[0].spec;
    assert_eq!(host.endpoints.iter().map(|endpoint| endpoint.port).collect::<Vec<_>>(), [465, 25]);
    assert_eq!((host.mx.len(), told(&problems, Effect::Partial).len()), (0, 1));
}

#[test]
fn what_a_queue_does_not_say_stays_unsaid() {
    let queue = |written: serde_json::Value| {
        let mut inputs = dmz();
        inputs.hosts =
            vec![object("exchange", json!({"endpoints": [{"host": {"address": "10.20.0.11"}}], "queue": written}))];
        let (mut model, problems) = resolve(&inputs);
        let queue = model.hosts.remove(0).spec.queue;
        (queue.lifetime, queue.null_sender_lifetime, queue.warn_after, problems.len())
    };
    assert_eq!(queue(json!({})), (432_000, None, None, 0));
    assert_eq!(queue(json!({"lifetime": "1h"})), (3600, None, None, 0));
    assert_eq!(queue(json!({"nullSenderLifetime": "48h", "warnAfter": "0s"})), (432_000, Some(172_800), Some(0), 0));
    assert_eq!(queue(json!({"nullSenderLifetime": "200h"})), (432_000, Some(432_000), None, 1));
    assert_eq!(queue(json!({"nullSenderLifetime": "1s", "warnAfter": "721h"})), (432_000, None, None, 2));
}

#[test]
fn smarthosts_that_are_gone_never_turn_into_the_recipients_mx() {
    let spec = |via: serde_json::Value| {
        let mut outbound = json!({"hosts": [{"name": "exchange"}]});
        if !via.is_null() {
            outbound["via"] = via;
        }
        json!({
            "domains": ["contoso.com"], "deliverTo": [{"name": "exchange"}], "recipients": {"mode": "AcceptAll"},
            "outbound": outbound,
        })
    };
    let mut inputs = dmz();
    let host =
        json!({"endpoints": [{"host": {"address": "10.20.0.11"}}], "sources": [{"cidr": {"range": "10.20.0.0/28"}}]});
    inputs.hosts =
        vec![object("exchange", host), object("smarthost", json!({"endpoints": [{"host": {"address": "10.9.9.9"}}]}))];
    inputs.domains = vec![object("contoso", spec(serde_json::Value::Null))];
    assert_eq!(model(&inputs).direct.len(), 1);
    let direct = published(&inputs);
    inputs.domains = vec![object("contoso", spec(json!([{"name": "smarthost"}])))];
    let relayed = published(&inputs);
    assert_eq!(model(&inputs).direct, []);
    inputs.hosts.pop();
    let closed = |inputs: &Inputs| matches!(model(inputs).domains[0].spec.outbound, Some(Way::Unresolved(_)));
    assert!(closed(&inputs) && model(&inputs).direct.is_empty());

    inputs.domains = vec![object("contoso", json!({"domains": 7}))];
    inputs.published = Some(relayed.into());
    assert!(closed(&inputs) && model(&inputs).direct.is_empty(), "its last good part neither");
    inputs.published = Some(direct.into());
    assert!(!closed(&inputs) && model(&inputs).direct.len() == 1, "what was direct stays so");
}
