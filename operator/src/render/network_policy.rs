//! The isolation of the relay pods, and the paths through it.
//!
//! `postern-default-deny` closes both directions. Then what every relay needs: `postern-ingress` opens SMTP from anywhere, with
//! TLS from the first octet too where a relay takes that, and the status port for the operator's pods and for namespaces
//! labelled [`MONITORING_LABEL`]; `postern-egress` opens DNS. No policy has rules for both directions: kube-router would let a
//! relay out to what lets others in, and so to the other relays' SMTP port.
//!
//! Then one policy for each RelayHost with endpoints opens exactly their addresses, or the pods behind their Services, and
//! ports; and one for each RelayDomain whose mail goes directly to the recipients' MX opens port 25 of the Internet
//! ([`super::internet`]). Each is owned by its object, so that the path closes with it. The kubelet's own probes pass in any
//! case: that is the network plugins' contract.

use std::collections::BTreeMap;
use std::iter;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use postern_crds::condition::Reason;
use postern_crds::{GROUP, VERSION};
use postern_wire::Digest;

use super::internet::internet;
use super::{anchor_owner, is_foreign, metadata, taken_message};
use crate::history::{ANNOTATION, to_annotation};
use crate::inputs::{Kind, WrittenKind};
use crate::problem::{Effect, Problem, Problems};
use crate::resolve::defaults::PORT;
use crate::resolve::{Direct, Model, Path, Pods, target};

/// Nothing in, nothing out.
pub const DEFAULT_DENY: &str = "postern-default-deny";
/// What every relay lets in.
pub const INGRESS: &str = "postern-ingress";
/// Where every relay may go.
pub const EGRESS: &str = "postern-egress";
/// The policies that concern every relay, without which no settings are published. None of them can be an object's.
pub const ISOLATION: [&str; 3] = [DEFAULT_DENY, INGRESS, EGRESS];
/// The label, `true`, of relay pods and of their workload.
pub const RELAY_LABEL: &str = "postern.io/relay";
/// The label, `true`, of the operator's pods, which may ask the status port (in the operator's namespace only).
pub const OPERATOR_LABEL: &str = "postern.io/operator";
/// The label, `true`, of namespaces whose pods may read the relays' metrics.
pub const MONITORING_LABEL: &str = "postern.io/monitoring";
/// The label that Kubernetes itself gives to each namespace.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// DNS (RFC 1035, section 4.2).
const DNS_PORT: i32 = 53;
/// The longest name of an object.
const NAME_MAX: usize = 253;

/// All that there shall be, the isolation first. Those whose name is taken are left out, and told.
pub(super) fn network_policies(model: &Model, problems: &mut Vec<Problem>) -> Vec<NetworkPolicy> {
    if model.anchor.as_ref().is_some_and(|anchor| !anchor.network_policies) {
        return Vec::new();
    }
    // A taken name of these is told with the settings, which it holds back.
    let isolation = [default_deny(model), ingress(model), egress(model)];
    let is_ours = |policy: &NetworkPolicy| {
        !is_foreign(model, WrittenKind::NetworkPolicy, policy.metadata.name.as_deref().unwrap_or_default())
    };
    let mut policies: Vec<_> = isolation.into_iter().filter(is_ours).collect();
    for path in &model.paths {
        let Path { host, uid, ports, pods } = path;
        let owner = Owner { kind: Kind::RelayHost, name: host, uid };
        let addresses = ports.iter().map(|(number, addresses)| to([*number], addresses.iter().map(one_address)));
        let pods = pods.iter().map(|(pods, numbers)| to(numbers.iter().copied(), iter::once(peer(pods))));
        let rules = || addresses.chain(pods).collect();
        let policy = of_object(model, &owner, "host", "to this host", rules, problems);
        policies.extend(policy.map(|policy| with_answers(policy, model, host)));
    }
    for Direct { domain, uid } in &model.direct {
        let owner = Owner { kind: Kind::RelayDomain, name: domain, uid };
        let rules = || vec![to([PORT], internet(model).into_iter().map(block))];
        policies.extend(of_object(model, &owner, "domain", "to the recipients' MX", rules, problems));
    }
    policies
}

/// The object for which a path is open.
struct Owner<'a> {
    kind: Kind,
    name: &'a str,
    uid: &'a str,
}

/// The policy that opens an object's paths, unless its name is taken.
fn of_object(
    model: &Model,
    owner: &Owner<'_>,
    prefix: &str,
    whereto: &str,
    rules: impl FnOnce() -> Vec<NetworkPolicyEgressRule>,
    problems: &mut Vec<Problem>,
) -> Option<NetworkPolicy> {
    let Owner { kind, name: object, uid } = owner;
    let name = policy_name(prefix, object);
    if is_foreign(model, WrittenKind::NetworkPolicy, &name) {
        let taken = taken_message(WrittenKind::NetworkPolicy, &name);
        let message = format!("{taken}; until then no path {whereto} is open");
        Problems::of(*kind, object, problems).add(Effect::NotProgrammed, Reason::NameTaken, message);
        return None;
    }
    // Without an API server there are no uids to own anything by.
    let owner = model.anchor.as_ref().map(|_| OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.as_str().to_owned(),
        name: (*object).to_owned(),
        uid: (*uid).to_owned(),
        ..OwnerReference::default()
    });
    Some(policy(model, &name, owner, None, Some(rules())))
}

/// The policy with what DNS has answered of the names that it is made of.
fn with_answers(mut policy: NetworkPolicy, model: &Model, host: &str) -> NetworkPolicy {
    let found = model.hosts.binary_search_by(|section| section.name.as_str().cmp(host)).ok();
    let section = found.and_then(|at| model.hosts.get(at));
    let answers = section.and_then(|section| to_annotation(&model.history, target::names(&section.spec)));
    policy.metadata.annotations = answers.map(|answers| BTreeMap::from([(ANNOTATION.to_owned(), answers)]));
    policy
}

/// These ports of these peers.
fn to(
    numbers: impl IntoIterator<Item = u16>,
    peers: impl Iterator<Item = NetworkPolicyPeer>,
) -> NetworkPolicyEgressRule {
    let ports = numbers.into_iter().map(|number| port("TCP", IntOrString::Int(i32::from(number))));
    NetworkPolicyEgressRule { ports: Some(ports.collect()), to: Some(peers.collect()) }
}

/// The pods behind a Service, for the traffic is seen behind its translation.
fn peer(pods: &Pods) -> NetworkPolicyPeer {
    let Pods { namespace, selector } = pods;
    NetworkPolicyPeer {
        namespace_selector: Some(labels(NAMESPACE_NAME_LABEL, namespace)),
        pod_selector: Some(LabelSelector { match_labels: Some(selector.clone()), match_expressions: None }),
        ip_block: None,
    }
}

fn default_deny(model: &Model) -> NetworkPolicy {
    policy(model, DEFAULT_DENY, anchor_owner(model), None, None)
}

fn egress(model: &Model) -> NetworkPolicy {
    let dns = NetworkPolicyEgressRule {
        ports: Some(["UDP", "TCP"].map(|protocol| port(protocol, IntOrString::Int(DNS_PORT))).into()),
        to: None,
    };
    policy(model, EGRESS, anchor_owner(model), None, Some(vec![dns]))
}

fn ingress(model: &Model) -> NetworkPolicy {
    let smtp = NetworkPolicyIngressRule { ports: Some(["smtp", "submissions"].map(named_port).into()), from: None };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labels(NAMESPACE_NAME_LABEL, &model.operator_namespace)),
        pod_selector: Some(labels(OPERATOR_LABEL, "true")),
        ip_block: None,
    };
    let monitoring = NetworkPolicyPeer {
        namespace_selector: Some(labels(MONITORING_LABEL, "true")),
        ..NetworkPolicyPeer::default()
    };
    let status =
        NetworkPolicyIngressRule { ports: Some(vec![named_port("http")]), from: Some(vec![operator, monitoring]) };
    policy(model, INGRESS, anchor_owner(model), Some(vec![smtp, status]), None)
}

/// A policy on the relay pods. It governs a direction by having rules for it; with none at all it closes both.
fn policy(
    model: &Model,
    name: &str,
    owner: Option<OwnerReference>,
    ingress: Option<Vec<NetworkPolicyIngressRule>>,
    egress: Option<Vec<NetworkPolicyEgressRule>>,
) -> NetworkPolicy {
    let mut policy_types = Vec::with_capacity(2);
    if ingress.is_some() || egress.is_none() {
        policy_types.push("Ingress".to_owned());
    }
    if egress.is_some() || ingress.is_none() {
        policy_types.push("Egress".to_owned());
    }
    NetworkPolicy {
        metadata: metadata(model, name, owner),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels(RELAY_LABEL, "true")),
            policy_types: Some(policy_types),
            ingress,
            egress,
        }),
    }
}

/// `postern-host-NAME`, `postern-domain-NAME`; a name that would be too long is cut, and a digest keeps it apart from the
/// others. The dot keeps cut names apart from whole ones.
fn policy_name(prefix: &str, object: &str) -> String {
    let whole = format!("postern-{prefix}-{object}");
    if whole.len() <= NAME_MAX {
        return whole;
    }
    let digest: String = Digest::of_bytes(object.as_bytes()).as_str().chars().take(16).collect();
    let cut: String = object.chars().take(200).collect();
    format!("postern-{prefix}.{}-{digest}", cut.trim_end_matches(['-', '.']))
}

fn one_address(address: &IpAddr) -> NetworkPolicyPeer {
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    block(IPBlock { cidr: format!("{address}/{prefix}"), except: None })
}

fn block(ip_block: IPBlock) -> NetworkPolicyPeer {
    NetworkPolicyPeer { ip_block: Some(ip_block), ..NetworkPolicyPeer::default() }
}

fn port(protocol: &str, port: IntOrString) -> NetworkPolicyPort {
    NetworkPolicyPort { protocol: Some(protocol.to_owned()), port: Some(port), end_port: None }
}

/// A container port by its name, whatever its number is.
fn named_port(name: &str) -> NetworkPolicyPort {
    port("TCP", IntOrString::String(name.to_owned()))
}

fn labels(key: &str, value: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])), match_expressions: None }
}
