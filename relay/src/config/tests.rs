//! One fixture, one mutation, one named error.

use postern_wire::SCHEMA;
use postern_wire::limits::QUEUE_LIFETIME;
use postern_wire::snapshot as wire;
use postern_wire::snapshot::{SecretFile, Section, Snapshot, Way};

use super::*;
use crate::address::ReversePath;
use crate::policy::{Client, Party};
use crate::route::Destination;

fn hop(preference: u16, host: &str) -> wire::NextHop {
    wire::NextHop { preference, host: host.to_owned() }
}

fn host(address: &str) -> wire::Host {
    wire::Host {
        auth: None,
        limits: HostLimits::default(),
        mx: Vec::new(),
        source_names: Vec::new(),
        source_certificates: Vec::new(),
        endpoints: vec![wire::Endpoint { address: address.to_owned(), port: 25 }],
        tls: Way::Open(wire::Tls {
            client_certificate: None,
            handshake: wire::Handshake::StartTls,
            verification: wire::Verification::Opportunistic,
            server_name: None,
            ca: None,
        }),
        sources: vec![wire::Network { range: "10.0.0.0/28".to_owned(), except: vec!["10.0.0.3/32".to_owned()] }],
        queue: wire::Queue { null_sender_lifetime: None, warn_after: None, lifetime: 7200 },
        suspend: false,
    }
}

fn inbound() -> wire::Inbound {
    wire::Inbound {
        tls: wire::InboundTls::default(),
        deliver_to: vec![hop(20, "backup"), hop(10, "one"), hop(10, "other")],
        recipients: wire::Recipients {
            mode: wire::RecipientMode::Verify(vec![wire::Verifier::List(vec!["bob@contoso.com".to_owned()])]),
            subaddress_delimiter: None,
        },
        policy: "default".to_owned(),
    }
}

fn outbound() -> wire::Outbound {
    wire::Outbound {
        hosts: vec!["one".to_owned()],
        recipients: wire::OutboundRecipients::Any,
        via: vec![hop(10, "other")],
        policy: "default".to_owned(),
    }
}

fn policy() -> wire::Policy {
    wire::Policy {
        blocked_names: Vec::new(),
        limits: wire::MessageLimits { message_size: 1 << 20, recipients_per_message: 100, hops: 50 },
        blocked_clients: vec![wire::Network { range: "192.0.2.0/24".to_owned(), except: Vec::new() }],
        senders: wire::Senders { blocked: vec!["*@spam.example".to_owned()], allowed: Vec::new() },
    }
}

/// One domain, three hosts, one policy: before it is mutated, all of it is good.
struct Fixture {
    domain: wire::Domain,
    one: wire::Host,
    other: wire::Host,
    policy: wire::Policy,
    /// What else is there.
    domains: Vec<(&'static str, wire::Domain)>,
    policies: Vec<(&'static str, wire::Policy)>,
    nodes: Vec<String>,
    secrets: Vec<(String, Vec<u8>)>,
}

impl Fixture {
    fn new() -> Self {
        let domain = wire::Domain {
            names: vec!["*.contoso.com".to_owned(), "contoso.com".to_owned()],
            inbound: Way::Open(inbound()),
            bounces: None,
            outbound: Some(Way::Open(outbound())),
        };
        let (one, other) = (host("10.0.0.1"), host("mail.example.com"));
        Self { domain, one, other, policy: policy(), domains: vec![], policies: vec![], nodes: vec![], secrets: vec![] }
    }

    fn snapshot(&self) -> Snapshot {
        let domains = [("contoso", self.domain.clone())].into_iter().chain(self.domains.iter().cloned());
        let hosts = [("backup", host("10.0.0.9")), ("one", self.one.clone()), ("other", self.other.clone())];
        let policies = [("default", self.policy.clone())].into_iter().chain(self.policies.iter().cloned());
        Snapshot {
            schema: SCHEMA,
            domains: domains.map(|(name, spec)| Section::new(name, "uid", 1, spec)).collect(),
            hosts: hosts.into_iter().map(|(name, spec)| Section::new(name, "uid", 1, spec)).collect(),
            policies: policies.map(|(name, spec)| Section::new(name, "uid", 1, spec)).collect(),
            nodes: self.nodes.clone(),
        }
    }

    fn build(&self, old: Option<&Config>) -> Result<(Config, Vec<Fault>), Invalid> {
        build(self.snapshot(), &self.secrets.iter().cloned().collect(), old)
    }

    fn verified(&mut self, ca: Option<&str>) -> &mut Self {
        self.one.tls = Way::Open(wire::Tls {
            client_certificate: None,
            handshake: wire::Handshake::StartTls,
            verification: wire::Verification::Verified,
            server_name: Some("mail.contoso.com".to_owned()),
            ca: ca.map(|name| SecretFile(name.to_owned())),
        });
        self
    }
}

fn certificate() -> Vec<u8> {
    rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem().into_bytes()
}

fn connected(address: [u8; 4]) -> Client {
    Client::plain(address.into(), [127, 0, 0, 1].into())
}

#[test]
fn without_smarthosts_mail_leaves_directly_by_the_defaults_of_the_table() {
    let mut fixture = Fixture::new();
    fixture.domain.outbound = Some(Way::Open(wire::Outbound { via: Vec::new(), ..outbound() }));
    let (config, faults) = fixture.build(None).unwrap();
    assert_eq!(faults, []);
    let source =
        Origin::Source { client: [10, 0, 0, 1].into(), host: "one".to_owned(), domain: "contoso.com".to_owned() };
    let Route::To(destination) = config.route(&source, &"x@far.test".parse().unwrap()) else { panic!("is held") };
    assert_eq!(destination.to_string(), "mx:far.test");
    let direct = config.direct();
    assert_eq!(direct.lifetime, Duration::from_secs(QUEUE_LIFETIME.default));
    assert!(matches!(direct.tls, Ok(TlsPlan::Opportunistic(_))) && !direct.suspend);
}

#[test]
fn the_fixture_is_enforced_as_written() {
    let (config, faults) = Fixture::new().build(None).unwrap();
    assert_eq!(faults, []);
    assert_eq!((config.count("RelayDomain"), config.count("RelayHost"), config.count("FilterPolicy")), (1, 3, 1));
    assert_eq!(config.lifetime(), Duration::from_secs(7200));
    let outsider = Origin::Outsider { client: [203, 0, 113, 1].into() };
    let route = config.route(&outsider, &"bob@contoso.com".parse().unwrap());
    let Route::To(Destination::Hosts(tiers)) = route else { panic!("{route:?}") };
    let tiers: Vec<Vec<&str>> = tiers.iter().map(|tier| tier.hosts.iter().map(|host| &**host).collect()).collect();
    assert_eq!(tiers, [vec!["one", "other"], vec!["backup"]]);
    assert_eq!(config.host("one").unwrap().endpoints[0].address.as_ref(), "10.0.0.1");
    assert!(config.host("nobody").is_none());
    assert!(!config.rules.connect(&connected([192, 0, 2, 1]), &Resolved::default()).is_accepted());
    let mail = |client: [u8; 4]| {
        let sender = ReversePath::Mailbox("bob@contoso.com".parse().unwrap());
        config.rules.mail(&connected(client), &Resolved::default(), sender, None)
    };
    let (decision, transaction) = mail([10, 0, 0, 1]);
    let party = Party::Source { hosts: vec!["one".into()], domain: Some("contoso.com".into()) };
    assert_eq!((decision.is_accepted(), transaction.party), (true, party));
    assert_eq!(mail([10, 0, 0, 3]).1.party, Party::Outsider);
}

type Mutation = fn(&mut Fixture);

fn check_refused(cases: &[(Mutation, &str)]) {
    for (mutate, said) in cases {
        let mut fixture = Fixture::new();
        mutate(&mut fixture);
        assert_eq!(fixture.build(None).map(|_| ()).unwrap_err().to_string(), *said);
    }
}

#[test]
fn what_lies_outside_its_bounds_is_named_and_nothing_of_it_is_taken() {
    check_refused(&[
        (
            |f| f.policy.limits.message_size = 1,
            "FilterPolicy default: FilterPolicy.spec.limits.messageSize is 1, must be between 65536 and 1073741824 octets",
        ),
        (
            |f| f.policy.limits.recipients_per_message = 1001,
            "FilterPolicy default: FilterPolicy.spec.limits.recipientsPerMessage is 1001, must be between 1 and 1000 recipients",
        ),
        (
            |f| f.policy.limits.hops = 0,
            "FilterPolicy default: FilterPolicy.spec.limits.hops is 0, must be between 5 and 200 Received header fields",
        ),
        (
            |f| f.one.queue.lifetime = 1,
            "RelayHost one: RelayHost.spec.queue.lifetime is 1, must be between 60 and 2592000 seconds",
        ),
        (|f| f.one.endpoints[0].port = 0, "RelayHost one: endpoints: 10.0.0.1: port 0 cannot be dialled"),
        (
            |f| f.one.endpoints[0].address.clear(),
            "RelayHost one: endpoints: \"\" is neither an IP address nor a DNS name",
        ),
        (|f| f.one.endpoints.clear(), "RelayDomain contoso: deliverTo: RelayHost one has no endpoint"),
        (
            |f| f.one.sources[0].range = "0.0.0.0/0".to_owned(),
            "RelayHost one: sources: \"0.0.0.0/0\" is everyone: a range that wide is never taken",
        ),
        (
            |f| f.one.sources[0].except[0] = "all".to_owned(),
            "RelayHost one: sources: \"all\" is not a range in CIDR notation, such as 192.0.2.0/24",
        ),
        (
            |f| f.policy.blocked_clients[0].range = "192.0.2.1/24".to_owned(),
            "FilterPolicy default: blockedClients: \"192.0.2.1/24\" has bits set beyond its prefix length: write 192.0.2.0/24",
        ),
    ]);
}

#[test]
fn what_contradicts_itself_is_named_and_nothing_of_it_is_taken() {
    check_refused(&[
        (
            |f| f.domain.names[1] = "Contoso.com".to_owned(),
            "RelayDomain contoso: names: \"Contoso.com\" is not a lower-case domain name",
        ),
        (
            |f| f.domain.names[1] = "[10.0.0.1]".to_owned(),
            "RelayDomain contoso: names: \"[10.0.0.1]\" is not a lower-case domain name",
        ),
        (|f| f.domain.names[0] = "*.".to_owned(), "RelayDomain contoso: names: \"*.\" is not a lower-case domain name"),
        (
            |f| f.domain.bounces = Some(Way::Open(vec![hop(1, "smart")])),
            "RelayDomain contoso: bounces: there is no RelayHost smart",
        ),
        (|f| f.domain.bounces = Some(Way::Open(vec![])), "RelayDomain contoso: bounces: names no host"),
        (
            |f| f.domain.outbound = Some(Way::Open(wire::Outbound { hosts: vec!["crm".to_owned()], ..outbound() })),
            "RelayDomain contoso: outbound.hosts: there is no RelayHost crm",
        ),
        (
            |f| f.domain.inbound = Way::Open(wire::Inbound { policy: "strict".to_owned(), ..inbound() }),
            "RelayDomain contoso: policy: there is no FilterPolicy strict",
        ),
        (
            |f| f.domains = vec![("fabrikam", f.domain.clone())],
            "domain name *.contoso.com of RelayDomain contoso and RelayDomain fabrikam: is there twice",
        ),
        (
            |f| f.policies = vec![("strict", policy())],
            "FilterPolicy strict: blockedClients: only the policy named default holds before a domain is known",
        ),
    ]);
}

#[test]
fn two_sections_of_one_name_are_not_taken() {
    let mut fixture = Fixture::new();
    fixture.policy.blocked_clients.clear();
    fixture.policies = vec![("default", fixture.policy.clone())];
    let error = fixture.build(None).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "FilterPolicy default: is there twice");
}

#[test]
fn a_missing_reference_stops_its_own_direction_only() {
    let mut fixture = Fixture::new();
    fixture.domain.outbound = Some(Way::Unresolved("RelayHost smart does not exist".to_owned()));
    let (config, faults) = fixture.build(None).unwrap();
    assert_eq!(faults, []);
    let source = Origin::Source { client: [10, 0, 0, 1].into(), host: "one".into(), domain: "contoso.com".into() };
    assert!(matches!(config.route(&source, &"bob@contoso.com".parse().unwrap()), Route::To(_)));
    let held = Route::Held("RelayHost smart does not exist".into());
    assert_eq!(config.route(&source, &"a@else.example".parse().unwrap()), held);
}

#[test]
fn the_protection_asked_for_or_none_at_all() {
    use wire::{Handshake, Verification};
    let plan = |handshake, verification| {
        let mut fixture = Fixture::new();
        fixture.one.tls =
            Way::Open(wire::Tls { client_certificate: None, handshake, verification, server_name: None, ca: None });
        fixture.build(None).unwrap().0.host("one").unwrap().tls.clone()
    };
    assert!(matches!(plan(Handshake::None, Verification::Opportunistic), Ok(TlsPlan::None)));
    assert!(matches!(plan(Handshake::StartTls, Verification::Opportunistic), Ok(TlsPlan::Opportunistic(_))));
    assert!(matches!(plan(Handshake::StartTls, Verification::Required), Ok(TlsPlan::Mandatory(_))));
    assert!(matches!(plan(Handshake::StartTls, Verification::Verified), Ok(TlsPlan::Mandatory(_))));
    assert!(plan(Handshake::None, Verification::Required).is_err());
    assert!(plan(Handshake::None, Verification::Verified).is_err());
}

#[test]
fn a_bad_ca_spoils_its_own_host_and_is_a_fault() {
    for (content, said) in [
        (b"".to_vec(), "secrets/ca: holds no certificate in PEM form"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(),
            "secrets/ca: certificate 1 cannot be trusted",
        ),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n".to_vec(), "secrets/ca: not PEM from certificate 1 on"),
    ] {
        let mut fixture = Fixture::new();
        fixture.verified(Some("ca")).secrets = vec![("ca".to_owned(), content)];
        let (config, faults) = fixture.build(None).unwrap();
        assert_eq!(faults.len(), 1);
        assert_eq!((faults[0].kind, &*faults[0].name), ("RelayHost", "one"));
        assert!(faults[0].problem.starts_with(said), "{}", faults[0].problem);
        assert!(config.host("one").unwrap().tls.is_err());
        assert!(config.host("other").unwrap().tls.is_ok());
        let faulty: Vec<_> = config.objects().iter().filter(|object| object.fault.is_some()).collect();
        assert_eq!(faulty.len(), 1);
        assert_eq!((faulty[0].kind.as_str(), faulty[0].name.as_str()), ("RelayHost", "one"));
    }
}

#[test]
fn a_repaired_ca_counts_although_its_section_is_the_same() {
    let mut fixture = Fixture::new();
    fixture.verified(Some("ca")).secrets = vec![("ca".to_owned(), b"nothing".to_vec())];
    let (bad, faults) = fixture.build(None).unwrap();
    assert_eq!(faults.len(), 1);
    fixture.secrets = vec![("ca".to_owned(), certificate())];
    let (good, faults) = fixture.build(Some(&bad)).unwrap();
    assert_eq!(faults, []);
    assert!(matches!(good.host("one").unwrap().tls, Ok(TlsPlan::Mandatory(_))));
}

#[test]
fn sections_that_are_the_same_are_taken_over() {
    let mut fixture = Fixture::new();
    let (old, _) = fixture.build(None).unwrap();
    fixture.one.suspend = true;
    let (new, _) = fixture.build(Some(&old)).unwrap();
    assert!(!Arc::ptr_eq(&old.host("one").unwrap(), &new.host("one").unwrap()));
    assert!(new.host("one").unwrap().suspend);
    assert!(Arc::ptr_eq(&old.host("other").unwrap(), &new.host("other").unwrap()));
    assert_ne!(old.digest, new.digest);
}

#[test]
fn secrets_are_read_from_their_folder_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    std::fs::write(folder.path().join("secrets/ca"), "very secret").unwrap();
    std::fs::write(folder.path().join("outside"), "very secret").unwrap();
    let read = |name: &str, max| {
        let file = SecretFile(name.to_owned());
        Secrets::read(folder.path(), [&file].into(), max)
    };
    let secrets = read("ca", 11).unwrap();
    assert_eq!(secrets.get(&SecretFile("ca".to_owned())), Some(&b"very secret"[..]));
    assert!(!format!("{secrets:?}").contains("very"));
    for (name, max, said) in [
        ("../outside", 99, "\"../outside\" is not the name of a file under secrets/"),
        ("..", 99, "\"..\" is not the name of a file under secrets/"),
        ("", 99, "\"\" is not the name of a file under secrets/"),
        ("gone", 99, "/secrets/gone is missing"),
        ("ca", 10, "/secrets/ca is larger than 10 octets"),
    ] {
        let error = read(name, max).unwrap_err().to_string();
        assert!(error.ends_with(said), "{error}");
    }
}

#[test]
fn secrets_beside_the_settings_are_read_where_the_folder_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = SecretFile("ca".to_owned());
    let read = |max| Secrets::read(folder.path(), [&file].into(), max);
    std::fs::write(folder.path().join("ca"), "projected").unwrap();
    assert_eq!(read(99).unwrap().get(&file), Some(&b"projected"[..]));
    let error = read(3).unwrap_err().to_string();
    assert!(error.ends_with("/ca is larger than 3 octets"), "{error}");
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    std::fs::write(folder.path().join("secrets/ca"), "in the folder").unwrap();
    assert_eq!(read(99).unwrap().get(&file), Some(&b"in the folder"[..]));
}

#[test]
fn only_the_files_that_the_snapshot_names_are_read() {
    let mut fixture = Fixture::new();
    assert!(secret_files(&fixture.snapshot()).is_empty());
    fixture.verified(Some("ca"));
    assert_eq!(secret_files(&fixture.snapshot()), [&SecretFile("ca".to_owned())].into());
}
