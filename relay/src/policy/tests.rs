//! The decision order of the API, row by row.

use std::collections::{HashMap, HashSet};

use postern_wire::snapshot::HostName;

use super::client::{Networks, range};
use super::limits::Limits;
use super::names::Names;
use super::recipient::{Addresses, Known, Recipients};
use super::resolved::{Answers, Resolved};
use super::sender::{Patterns, Senders};
use super::*;
use crate::address::ForwardPath;
use crate::envelope::Origin;

const OUTSIDER: &str = "203.0.113.9";
const EXCHANGE: &str = "10.20.0.5";
const CRM: &str = "10.20.1.5";
const LOCAL: &str = "192.0.2.25";
const NAMED_APP: &str = "10.30.0.1";
const NAMED_SPAMMER: &str = "198.18.0.7";

fn policy(name: &str, message_size: u64, recipients: usize, blocked: &[&str]) -> Arc<Policy> {
    let senders =
        Senders { blocked: Patterns::new(blocked.iter().copied()), allowed: Patterns::new(["good@spam.example"]) };
    let limits = Limits { message_size, recipients, hops: 5 };
    Arc::new(Policy { name: name.into(), limits, senders })
}

fn listed(addresses: &[&str]) -> Recipients {
    let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
    Recipients::new(Known::Listed(vec![Addresses::new(&addresses).unwrap()]), Some('+'))
}

fn domain(name: &str, recipients: Recipients, policy: &str, outbound: Option<Outbound>) -> Arc<Domain> {
    let inbound = Ok(Inbound { tls_required: false, recipients, policy: policy.into() });
    Arc::new(Domain { name: name.into(), inbound, outbound: outbound.map(Ok) })
}

fn outbound(hosts: &[&str], hosted_only: bool) -> Outbound {
    Outbound { hosts: hosts.iter().map(|host| (*host).into()).collect(), hosted_only, policy: "default".into() }
}

/// contoso.com (list, outbound of exchange), fabrikam.com (strict policy, outbound of crm to hosted domains only),
/// *.lab.test (takes all, nothing leaves), broken.test (both directions unresolved), gone.test (its policy is missing).
fn rules() -> Rules {
    let contoso = domain("contoso", listed(&["bob@contoso.com"]), "default", Some(outbound(&["exchange"], false)));
    let fabrikam = domain("fabrikam", listed(&["al@fabrikam.com"]), "strict", Some(outbound(&["crm"], true)));
    let lab = domain("lab", Recipients::new(Known::All, None), "default", None);
    let missing: Arc<str> = "RelayHost mx1 does not exist".into();
    let broken =
        Arc::new(Domain { name: "broken".into(), inbound: Err(missing.clone()), outbound: Some(Err(missing)) });
    let gone = domain("gone", Recipients::new(Known::All, None), "nowhere", None);
    let mut sources = Networks::default();
    sources.insert(range("10.20.0.0/24").unwrap(), &[range("10.20.0.9/32").unwrap()], "exchange".into());
    sources.insert(range("10.20.1.0/24").unwrap(), &[], "crm".into());
    let mut blocked_clients = Networks::default();
    blocked_clients.insert(range("198.51.100.0/24").unwrap(), &[], ());
    Rules::new(Parts {
        source_names: HashMap::from([(HostName::A("app.test".to_owned()), vec!["crm".into()])]),
        blocked_names: HashSet::from([HostName::Mx("spam.test".to_owned())]),
        blocked_clients,
        sources,
        nodes: [range("10.20.0.64/31").unwrap()].into_iter().collect(),
        names: Arc::new(
            Names::new([
                ("contoso.com", 0),
                ("fabrikam.com", 1),
                ("*.lab.test", 2),
                ("broken.test", 3),
                ("gone.test", 4),
            ])
            .unwrap(),
        ),
        domains: vec![contoso, fabrikam, lab, broken, gone],
        policies: vec![policy("default", 1000, 3, &["*@spam.example"]), policy("strict", 500, 2, &["*@news.example"])],
    })
}

/// What the names stand for once they are known.
fn resolved() -> Resolved {
    let (app, spam) = (HostName::A("app.test".to_owned()), HostName::Mx("spam.test".to_owned()));
    let (apps, spammers) = ([NAMED_APP.parse().unwrap()], [NAMED_SPAMMER.parse().unwrap()]);
    Resolved::new([
        Answers { name: &app, sources: Some(&apps), blocked: &[], problem: None },
        Answers { name: &spam, sources: Some(&[]), blocked: &spammers, problem: None },
    ])
}

fn connected(client: &str) -> Client {
    Client::plain(client.parse().unwrap(), LOCAL.parse().unwrap())
}

fn mail(rules: &Rules, client: &str, sender: &str, size: Option<u64>) -> (Decision, Transaction) {
    let sender = if sender.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(sender.parse().unwrap()) };
    rules.mail(&connected(client), &resolved(), sender, size)
}

fn rcpt(rules: &Rules, transaction: &mut Transaction, to: &str) -> Decision {
    let to = match to {
        "postmaster" => ForwardPath::Postmaster,
        to => ForwardPath::Mailbox(to.parse().unwrap()),
    };
    rules.rcpt(transaction, &to)
}

/// `250`, or the reply as the client reads it.
fn said(decision: &Decision) -> String {
    match &decision.refusal {
        None => "250".to_owned(),
        Some(reply) => format!("{} {} {}", reply.code, reply.enhanced.unwrap(), reply.text),
    }
}

fn object(decision: &Decision) -> &str {
    decision.object.as_deref().unwrap_or("")
}

#[test]
fn a_blocked_client_is_told_so_at_connect() {
    let rules = rules();
    for client in ["198.51.100.7", "::ffff:198.51.100.7"] {
        let decision = rules.connect(&connected(client), &Resolved::default());
        assert_eq!(said(&decision), "554 5.7.1 198.51.100.7: this address is blocked here");
        assert_eq!(object(&decision), "FilterPolicy/default spec.connections.blockedClients");
    }
    assert!(rules.connect(&connected(OUTSIDER), &resolved()).is_accepted());
    assert!(!rules.connect(&connected(NAMED_SPAMMER), &resolved()).is_accepted());
    assert!(rules.connect(&connected(NAMED_SPAMMER), &Resolved::default()).is_accepted(), "not known yet, not blocked");
    assert!(rules.connect(&connected(NAMED_APP), &resolved()).is_accepted());
}

#[test]
fn a_name_of_a_source_is_as_good_as_its_addresses() {
    let rules = rules();
    let (decision, transaction) = mail(&rules, NAMED_APP, "x@fabrikam.com", None);
    assert_eq!((said(&decision), object(&decision)), ("250".to_owned(), "RelayDomain/fabrikam spec.outbound.hosts"));
    let Party::Source { hosts, domain } = transaction.party else { panic!("an outsider") };
    assert_eq!((hosts.len(), domain.as_deref()), (1, Some("fabrikam.com")));
    // Blocked clients and sources are two tables.
    let (_, transaction) = mail(&rules, NAMED_SPAMMER, "x@fabrikam.com", None);
    assert_eq!(transaction.party, Party::Outsider);
}

#[test]
fn nobody_is_sent_away_for_good_while_a_source_is_unknown() {
    let rules = rules();
    let unknown = "451 4.4.3 it is not known yet who may relay here, try again later";
    let sender = || ReversePath::Mailbox("x@fabrikam.com".parse().unwrap());
    let (decision, mut transaction) = rules.mail(&connected(NAMED_APP), &Resolved::default(), sender(), None);
    assert_eq!(said(&decision), "250");
    let decision = rcpt(&rules, &mut transaction, "someone@far.test");
    assert_eq!((said(&decision).as_str(), decision.rule), (unknown, "unknown-source"));
    assert_eq!(object(&decision), "RelayHost/crm spec.sources: the addresses of app.test are not known yet");
    // What does not depend on who it is stays final, and what anybody may do stays possible.
    assert_eq!(
        said(&rcpt(&rules, &mut transaction, "eve@contoso.com")),
        "550 5.1.1 <eve@contoso.com>: no such recipient"
    );
    assert_eq!(said(&rcpt(&rules, &mut transaction, "bob@contoso.com")), "250");
    // A source of another host may be this one too.
    let (decision, _) = rules.mail(&connected(EXCHANGE), &Resolved::default(), sender(), None);
    assert_eq!(said(&decision), unknown);
    let (decision, _) = rules.mail(&connected(EXCHANGE), &resolved(), sender(), None);
    assert_eq!(decision.rule, "not-our-sender");
}

/// client, sender, answer begins with, rule, object begins with
#[test]
fn mail_decides_who_the_client_is() {
    let rules = rules();
    for (client, sender, answer, rule, of) in [
        (OUTSIDER, "x@elsewhere.example", "250", "accepted", ""),
        (OUTSIDER, "bob@contoso.com", "250", "accepted", ""),
        (OUTSIDER, "", "250", "accepted", ""),
        (EXCHANGE, "bob@contoso.com", "250", "accepted", "RelayDomain/contoso spec.outbound.hosts"),
        ("::ffff:10.20.0.5", "bob@contoso.com", "250", "accepted", "RelayDomain/contoso spec.outbound.hosts"),
        (EXCHANGE, "", "250", "accepted", ""),
        (
            EXCHANGE,
            "x@elsewhere.example",
            "550 5.7.1 <x@elsewhere.example>: relaying denied: no RelayDomain has this domain with exchange in spec.outbound.hosts",
            "not-our-sender",
            "",
        ),
        (
            EXCHANGE,
            "al@fabrikam.com",
            "550 5.7.1 <al@fabrikam.com>: relaying denied: add exchange to spec.outbound.hosts of RelayDomain fabrikam",
            "not-our-sender",
            "RelayDomain/fabrikam spec.outbound.hosts",
        ),
        (
            EXCHANGE,
            "x@a.lab.test",
            "550 5.7.1 <x@a.lab.test>: mail from this domain does not leave here",
            "not-our-sender",
            "RelayDomain/lab spec.outbound",
        ),
        (
            EXCHANGE,
            "x@broken.test",
            "451 4.3.5 <x@broken.test>: the settings for this domain are incomplete",
            "unresolved",
            "RelayDomain/broken: RelayHost mx1 does not exist",
        ),
        ("10.20.0.9", "bob@contoso.com", "250", "accepted", ""),
    ] {
        let (decision, transaction) = mail(&rules, client, sender, None);
        assert!(said(&decision).starts_with(answer), "{client} {sender}: {}", said(&decision));
        assert_eq!((decision.rule, object(&decision)), (rule, of), "{client} {sender}");
        let source = matches!(transaction.party, Party::Source { .. });
        assert_eq!(source, client == EXCHANGE || client.starts_with("::ffff"), "{client} {sender}");
    }
}

#[test]
fn a_declared_size_over_every_policy_is_refused_at_mail() {
    let rules = rules();
    for client in [OUTSIDER, EXCHANGE] {
        assert!(mail(&rules, client, "bob@contoso.com", Some(1000)).0.is_accepted());
        let (decision, _) = mail(&rules, client, "bob@contoso.com", Some(1001));
        assert_eq!(said(&decision), "552 5.3.4 the message has 1001 octets, at most 1000 are taken");
    }
    assert_eq!(rules.message_size_max(None), 1000);
}

/// client, sender, recipient, answer begins with, rule, object
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str);

const RECIPIENTS: &str = "RelayDomain/contoso spec.recipients";

fn check_rcpt(rows: &[Row<'_>]) {
    let rules = rules();
    for (client, sender, to, answer, rule, of) in rows {
        let (decision, mut transaction) = mail(&rules, client, sender, None);
        assert!(decision.is_accepted(), "{}", said(&decision));
        let decision = rcpt(&rules, &mut transaction, to);
        assert!(said(&decision).starts_with(answer), "{client} {sender} {to}: {}", said(&decision));
        assert_eq!((decision.rule, object(&decision)), (*rule, *of), "{client} {sender} {to}");
        assert_eq!(transaction.recipients.len(), usize::from(decision.is_accepted()));
    }
}

#[test]
fn a_recipient_of_ours_must_exist_for_everyone() {
    check_rcpt(&[
        (OUTSIDER, "x@y.example", "bob@contoso.com", "250", "accepted", RECIPIENTS),
        (OUTSIDER, "x@y.example", "BOB@CONTOSO.COM", "250", "accepted", RECIPIENTS),
        (OUTSIDER, "x@y.example", "bob+news@contoso.com", "250", "accepted", RECIPIENTS),
        (OUTSIDER, "", "bob@contoso.com", "250", "accepted", RECIPIENTS),
        (
            OUTSIDER,
            "x@y.example",
            "eve@contoso.com",
            "550 5.1.1 <eve@contoso.com>: no such recipient",
            "unknown-recipient",
            RECIPIENTS,
        ),
        (EXCHANGE, "bob@contoso.com", "eve@contoso.com", "550 5.1.1", "unknown-recipient", RECIPIENTS),
        (OUTSIDER, "x@y.example", "postmaster@contoso.com", "250", "accepted", RECIPIENTS),
        (OUTSIDER, "x@y.example", "Abuse@contoso.com", "250", "accepted", RECIPIENTS),
        (OUTSIDER, "x@y.example", "postmaster", "250", "accepted", RECIPIENTS),
        (OUTSIDER, "x@y.example", "Postmaster@[192.0.2.25]", "250", "accepted", RECIPIENTS),
        (
            OUTSIDER,
            "x@y.example",
            "bob@[192.0.2.25]",
            "550 5.1.1 <bob@[192.0.2.25]>: no such recipient",
            "unknown-recipient",
            "",
        ),
        (OUTSIDER, "x@y.example", "postmaster@[192.0.2.26]", "550 5.7.1", "relaying-denied", ""),
        (EXCHANGE, "bob@contoso.com", "bob@[192.0.2.26]", "550 5.7.1", "relaying-denied", ""),
        (OUTSIDER, "x@y.example", "any@a.lab.test", "250", "accepted", "RelayDomain/lab spec.recipients"),
        (OUTSIDER, "x@y.example", "any@lab.test", "550 5.7.1 <any@lab.test>: relaying denied", "relaying-denied", ""),
        (
            OUTSIDER,
            "x@y.example",
            "any@broken.test",
            "451 4.3.5",
            "unresolved",
            "RelayDomain/broken: RelayHost mx1 does not exist",
        ),
        (
            OUTSIDER,
            "x@y.example",
            "any@gone.test",
            "451 4.3.5",
            "unresolved",
            "RelayDomain/gone: FilterPolicy nowhere is missing",
        ),
    ]);
}

#[test]
fn then_senders_are_refused_and_relaying_is_denied() {
    check_rcpt(&[
        (
            OUTSIDER,
            "a@spam.example",
            "bob@contoso.com",
            "550 5.7.1 <bob@contoso.com>: mail from <a@spam.example> is refused here",
            "blocked-sender",
            "FilterPolicy/default spec.senders.blocked",
        ),
        (OUTSIDER, "a@spam.example", "eve@contoso.com", "550 5.1.1", "unknown-recipient", RECIPIENTS),
        (OUTSIDER, "good@spam.example", "bob@contoso.com", "250", "accepted", RECIPIENTS),
        (OUTSIDER, "x@y.example", "v@evil.test", "550 5.7.1 <v@evil.test>: relaying denied", "relaying-denied", ""),
        (OUTSIDER, "bob@contoso.com", "v@evil.test", "550 5.7.1", "relaying-denied", ""),
        (OUTSIDER, "", "v@evil.test", "550 5.7.1", "relaying-denied", ""),
        (EXCHANGE, "bob@contoso.com", "v@evil.test", "250", "accepted", "RelayDomain/contoso spec.outbound"),
        (
            CRM,
            "al@fabrikam.com",
            "v@evil.test",
            "550 5.7.1 <v@evil.test>: relaying denied: mail from fabrikam.com goes only to domains served here",
            "hosted-only",
            "RelayDomain/fabrikam spec.outbound.recipients",
        ),
        (CRM, "al@fabrikam.com", "bob@contoso.com", "250", "accepted", RECIPIENTS),
    ]);
}

#[test]
fn postmaster_without_a_domain_travels_as_that_of_our_first_domain_that_works() {
    let rules = rules();
    let (_, mut transaction) = mail(&rules, OUTSIDER, "x@y.example", None);
    assert!(rcpt(&rules, &mut transaction, "postmaster").is_accepted());
    assert_eq!(transaction.recipients[0].to_string(), "postmaster@contoso.com");
}

#[test]
fn an_outsiders_first_accepted_recipient_fixes_the_policy() {
    let rules = rules();
    let (_, mut transaction) = mail(&rules, OUTSIDER, "x@news.example", Some(600));
    assert_eq!(rcpt(&rules, &mut transaction, "eve@fabrikam.com").rule, "unknown-recipient");
    assert_eq!(rcpt(&rules, &mut transaction, "al@fabrikam.com").rule, "blocked-sender");
    assert_eq!(rcpt(&rules, &mut transaction, "bob@contoso.com").rule, "accepted");
    assert_eq!(rcpt(&rules, &mut transaction, "any@a.lab.test").rule, "accepted");
    assert_eq!(rcpt(&rules, &mut transaction, "al@fabrikam.com").rule, "blocked-sender");
    assert_eq!(rules.message_size_max(Some(&transaction)), 1000);

    let (_, mut transaction) = mail(&rules, OUTSIDER, "x@y.example", Some(600));
    let decision = rcpt(&rules, &mut transaction, "al@fabrikam.com");
    assert_eq!(said(&decision), "552 5.3.4 the message has 600 octets, at most 500 are taken");
    assert_eq!(object(&decision), "FilterPolicy/strict spec.limits.messageSize");

    let (_, mut transaction) = mail(&rules, OUTSIDER, "x@y.example", None);
    assert_eq!(rcpt(&rules, &mut transaction, "al@fabrikam.com").rule, "accepted");
    let decision = rcpt(&rules, &mut transaction, "bob@contoso.com");
    assert!(said(&decision).starts_with("452 4.5.3 <bob@contoso.com>: has another policy"), "{}", said(&decision));
    assert_eq!((transaction.recipients.len(), rules.message_size_max(Some(&transaction))), (1, 500));
}

#[test]
fn recipients_over_the_limit_come_in_another_transaction() {
    let rules = rules();
    for (client, sender) in [(OUTSIDER, "x@y.example"), (EXCHANGE, "bob@contoso.com"), (EXCHANGE, "")] {
        let (_, mut transaction) = mail(&rules, client, sender, None);
        for _ in 0..3 {
            assert!(rcpt(&rules, &mut transaction, "bob@contoso.com").is_accepted());
        }
        let decision = rcpt(&rules, &mut transaction, "bob@contoso.com");
        assert!(said(&decision).starts_with("452 4.5.3 too many recipients: at most 3"), "{}", said(&decision));
        assert_eq!(transaction.recipients.len(), 3);
    }
}

fn facts(size: u64, hops: u32, from: &[&str]) -> ContentFacts {
    ContentFacts { size, hops, from_domains: from.iter().map(|domain| (*domain).to_owned()).collect() }
}

#[test]
fn content_is_held_to_the_policy_of_the_transaction() {
    let rules = rules();
    let (_, mut transaction) = mail(&rules, OUTSIDER, "x@y.example", None);
    assert!(rcpt(&rules, &mut transaction, "al@fabrikam.com").is_accepted());
    assert!(rules.content(&mut transaction, &facts(500, 5, &[])).is_accepted());
    let decision = rules.content(&mut transaction, &facts(501, 5, &[]));
    assert_eq!((decision.rule, object(&decision)), ("too-large", "FilterPolicy/strict spec.limits.messageSize"));
    let decision = rules.content(&mut transaction, &facts(500, 6, &[]));
    assert_eq!(said(&decision), "554 5.4.6 the message is looping: it has passed 6 relays, at most 5 are allowed");
    assert_eq!(rules.origin(&transaction), Origin::Outsider { client: OUTSIDER.parse().unwrap() });
}

#[test]
fn the_origin_of_a_source_names_host_and_domain() {
    let rules = rules();
    let (_, mut transaction) = mail(&rules, EXCHANGE, "bob@contoso.com", None);
    assert!(rcpt(&rules, &mut transaction, "v@evil.test").is_accepted());
    assert!(rules.content(&mut transaction, &facts(1, 0, &["else.example"])).is_accepted());
    let (host, domain) = ("exchange".to_owned(), "contoso.com".to_owned());
    assert_eq!(rules.origin(&transaction), Origin::Source { client: EXCHANGE.parse().unwrap(), host, domain });
}

/// client, header From's domains, recipient, answer begins with, the domain that it sends as
#[test]
fn header_from_selects_the_domain_of_a_sources_null_sender() {
    let rules = rules();
    for (client, from, to, answer, domain) in [
        (EXCHANGE, &["contoso.com"][..], "v@evil.test", "250", Some("contoso.com")),
        (EXCHANGE, &["contoso.com"], "al@fabrikam.com", "250", Some("contoso.com")),
        (EXCHANGE, &[], "v@evil.test", "550 5.7.1 a message from <> needs a From header field", None),
        (EXCHANGE, &["evil.test"], "v@evil.test", "550 5.7.1 header From, evil.test: relaying denied", None),
        (EXCHANGE, &["fabrikam.com"], "v@evil.test", "550 5.7.1 header From, fabrikam.com: relaying denied: add", None),
        (EXCHANGE, &["contoso.com", "evil.test"], "v@evil.test", "550 5.7.1 header From, evil.test", None),
        (EXCHANGE, &["evil.test", "contoso.com"], "v@evil.test", "550 5.7.1 header From, evil.test", None),
        (EXCHANGE, &["broken.test"], "v@evil.test", "451 4.3.5", None),
        (CRM, &["fabrikam.com"], "v@evil.test", "550 5.7.1 <v@evil.test>: relaying denied: mail from fabrikam", None),
        (CRM, &["fabrikam.com"], "bob@contoso.com", "250", Some("fabrikam.com")),
    ] {
        let (_, mut transaction) = mail(&rules, client, "", None);
        assert!(rcpt(&rules, &mut transaction, to).is_accepted());
        let decision = rules.content(&mut transaction, &facts(1, 0, from));
        assert!(said(&decision).starts_with(answer), "{client} {from:?} {to}: {}", said(&decision));
        let sends_as = match rules.origin(&transaction) {
            Origin::Source { domain, .. } => Some(domain),
            Origin::Outsider { .. } => None,
            Origin::Notification { .. } => panic!("a client is no notification"),
        };
        assert_eq!(sends_as.as_deref(), domain, "{client} {from:?} {to}");
    }
}

/// The addresses by which relays were fooled: an outsider reaches only what ends in a domain of ours, unquoted and unrouted.
#[test]
fn no_way_of_writing_an_address_opens_the_relay() {
    let rules = rules();
    for text in [
        "victim%evil.test@relay",
        "victim%evil.test@[127.0.0.1]",
        "victim@evil.test@relay",
        "\"victim@evil.test\"@relay",
        "\"victim%evil.test\"",
        "\"victim@evil.test\"",
        "@relay:victim@evil.test",
        "@[127.0.0.1]:victim@evil.test",
        "@a,@b:victim@evil.test",
        "@contoso.com:victim@evil.test",
        "evil.test!victim",
        "evil.test!victim@relay",
        "evil.test!victim@[192.0.2.25]",
        "victim@[192.0.2.1]",
        "victim@[192.0.2.25]",
        "victim@[IPv6:::1]",
        "victim@[IPv6:::ffff:192.0.2.25]",
        "victim@127.1",
        "victim@0x7f000001",
        "victim@2130706433",
        "victim@localhost",
        "victim@",
        "victim",
        "victim@evil.test.",
        "VICTIM@EVIL.TEST",
        "victim@contoso.com@evil.test",
        "\"bob@contoso.com\"@evil.test",
        "bob@contoso.com.evil.test",
        "bob@evilcontoso.com",
        "bob@.contoso.com",
        "any@lab.test",
        "any@evillab.test",
    ] {
        for sender in ["", "x@y.example", "bob@contoso.com", "postmaster@[127.0.0.1]"] {
            let Ok(mailbox) = text.parse() else { continue };
            let (_, mut transaction) = mail(&rules, OUTSIDER, sender, None);
            let decision = rules.rcpt(&mut transaction, &ForwardPath::Mailbox(mailbox));
            let code = decision.refusal.as_ref().map(|reply| reply.code);
            assert_eq!(code, Some(550), "{text} from {sender:?}");
            assert_eq!(transaction.recipients, []);
        }
    }
    // A percent sign or an exclamation mark is part of a local part like any other: there is no such recipient.
    for text in ["victim%evil.test@contoso.com", "evil.test!victim@contoso.com", "\"victim@evil.test\"@contoso.com"] {
        let (_, mut transaction) = mail(&rules, OUTSIDER, "x@y.example", None);
        assert_eq!(rcpt(&rules, &mut transaction, text).rule, "unknown-recipient", "{text}");
    }
}

#[test]
fn a_nodes_address_is_nobodys_source_and_the_answer_says_so() {
    let rules = rules();
    for (client, veiled) in [("10.20.0.64", true), ("::ffff:10.20.0.65", true), ("10.20.0.66", false)] {
        let (_, mut transaction) = mail(&rules, client, "bob@contoso.com", None);
        assert_eq!(transaction.party == Party::Outsider, veiled, "{client}");
        let decision = rcpt(&rules, &mut transaction, "v@evil.test");
        assert_eq!(decision.is_accepted(), !veiled, "{client}");
        if veiled {
            let why = "is the address of a node, behind which anybody may be";
            assert!(said(&decision).ends_with(why), "{}", said(&decision));
            assert!(object(&decision).starts_with("RelayHost/exchange spec.sources: 10.20.0.6"), "{decision:?}");
            // To a domain of ours it is as welcome as anybody.
            assert!(rcpt(&rules, &mut transaction, "bob@contoso.com").is_accepted());
        }
    }
    let certified = Client { certified: vec!["exchange".into()], ..connected("10.20.0.64") };
    let (_, mut transaction) =
        rules.mail(&certified, &resolved(), ReversePath::Mailbox("bob@contoso.com".parse().unwrap()), None);
    assert!(rcpt(&rules, &mut transaction, "v@evil.test").is_accepted(), "a certificate is no address");
}
