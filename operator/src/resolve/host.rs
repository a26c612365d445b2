//! A RelayHost → its section, and the secret files that it refers to.
//!
//! A source with something wrong in it is left out and named; the others hold. A certificate that is missing makes TLS to
//! this host [`Way::Unresolved`], and a login that is missing its login: its mail waits, and is never sent less protected
//! than was asked for.

use postern_crds::condition::Reason;
use postern_crds::{Duration, RelayHostSpec, host};
use postern_wire::Section;
use postern_wire::limits::Limit;
use postern_wire::snapshot::{
    Auth, ClientCertificate, Handshake, Host, HostLimits, KeyPair, Network, Queue, SecretFile, Tls, Verification, Way,
};

use super::host_list::{Hosts, sources};
use super::name::host_name;
use super::policy::bounded;
use super::secret::{Missing, SecretFiles};
use super::target::{Targets, targets};
use super::{defaults, node, secret};
use crate::inputs::Inputs;
use crate::problem::{Problems, quoted};

pub(super) fn host(
    inputs: &Inputs,
    spec: &RelayHostSpec,
    files: &mut SecretFiles,
    problems: &mut Problems<'_>,
) -> Host {
    let RelayHostSpec { endpoints, tls, auth, limits, queue, suspend, sources: written } = spec;
    let tls = tls.clone().unwrap_or_default();
    let Targets { endpoints, mx } = targets(inputs, endpoints, handshake_of(&tls), problems);
    let tls_way = tls_of(inputs, &tls, files, problems);
    let auth = auth.as_ref().map(|auth| auth_of(inputs, auth, &tls, files, problems));
    let Hosts { networks, names, certificates } = sources(inputs, written, files, problems);
    let nodes = inputs.nodes.iter().flat_map(|nodes| networks.iter().filter(|network| node::all_of(network, nodes)));
    for Network { range, .. } in nodes {
        let message =
            format!("spec.sources: `{range}` is nodes, behind which anybody may be: by it nobody is a source");
        problems.partial(Reason::NodeAddress, message);
    }
    Host {
        endpoints,
        mx,
        tls: tls_way,
        auth,
        limits: limits_of(limits.clone().unwrap_or_default(), problems),
        sources: networks,
        source_names: names,
        source_certificates: certificates,
        queue: queue_of(queue.clone().unwrap_or_default(), problems),
        suspend: suspend.unwrap_or_default(),
    }
}

/// The last good section of an object that cannot be decoded any more: with a secret file only if its content is still there.
pub(super) fn revive(inputs: &Inputs, section: &Section<Host>, files: &mut SecretFiles) -> Section<Host> {
    let mut spec = section.spec.clone();
    let mut keep = |file: &SecretFile| -> Result<(), String> {
        let content = inputs.published.as_ref().and_then(|published| published.secrets.get(&file.0));
        let content = content.ok_or_else(|| format!("the file {} of its last good part is gone", file.0))?;
        files.insert(file.clone(), content.clone());
        Ok(())
    };
    spec.tls = kept(spec.tls, |Tls { handshake: _, verification: _, server_name: _, ca, client_certificate }| {
        let pair = client_certificate.iter().flat_map(|KeyPair { certificate, key }| [certificate, key]);
        ca.iter().chain(pair).try_for_each(&mut keep)
    });
    spec.auth = spec
        .auth
        .map(|auth| kept(auth, |Auth { username, password }| [username, password].into_iter().try_for_each(&mut keep)));
    // Who cannot be recognised any more may not relay.
    spec.source_certificates.retain(|ClientCertificate { ca, dns_name: _ }| keep(ca).is_ok());
    Section::new(&section.name, &section.uid, section.generation, spec)
}

fn kept<T>(way: Way<T>, keep: impl FnOnce(&T) -> Result<(), String>) -> Way<T> {
    match way {
        Way::Open(open) => match keep(&open) {
            Ok(()) => Way::Open(open),
            Err(why) => Way::Unresolved(why),
        },
        Way::Unresolved(why) => Way::Unresolved(why),
    }
}

fn handshake_of(written: &host::Tls) -> Handshake {
    written.handshake.map_or(defaults::HANDSHAKE, |handshake| match handshake {
        host::Handshake::StartTls => Handshake::StartTls,
        host::Handshake::Implicit => Handshake::Implicit,
        host::Handshake::None => Handshake::None,
    })
}

fn verification_of(written: &host::Tls) -> Verification {
    written.verification.map_or(defaults::VERIFICATION, |verification| match verification {
        host::Verification::Opportunistic => Verification::Opportunistic,
        host::Verification::Required => Verification::Required,
        host::Verification::Verified => Verification::Verified,
    })
}

fn tls_of(inputs: &Inputs, written: &host::Tls, files: &mut SecretFiles, problems: &mut Problems<'_>) -> Way<Tls> {
    let host::Tls { handshake: _, verification: _, server_name, ca_secret_ref, client_certificate_secret_ref } =
        written;
    let (handshake, verification) = (handshake_of(written), verification_of(written));
    if handshake == Handshake::None && verification != Verification::Opportunistic {
        return closed("spec.tls: verification needs TLS, but handshake is None", problems);
    }
    let server_name = match server_name.as_deref().map(|name| (name, host_name(name))) {
        None => None,
        Some((_, Ok(name))) => Some(name),
        Some((text, Err(why))) => return closed(&format!("spec.tls.serverName: {} {why}", quoted(text)), problems),
    };
    let ca = ca_secret_ref.as_ref().map(|reference| secret::certificates(inputs, reference, files)).transpose();
    let ca = match ca {
        Ok(ca) => ca,
        Err(missing) => return waits("spec.tls.caSecretRef", missing, problems),
    };
    let pair = client_certificate_secret_ref.as_ref().map(|reference| secret::key_pair(inputs, reference, files));
    match pair.transpose() {
        Ok(client_certificate) => Way::Open(Tls { handshake, verification, server_name, ca, client_certificate }),
        Err(missing) => waits("spec.tls.clientCertificateSecretRef", missing, problems),
    }
}

fn auth_of(
    inputs: &Inputs,
    written: &host::Auth,
    tls: &host::Tls,
    files: &mut SecretFiles,
    problems: &mut Problems<'_>,
) -> Way<Auth> {
    let host::Auth { secret_ref } = written;
    if verification_of(tls) != Verification::Verified {
        return closed(
            "spec.auth: a password is only given to a server that has proved who it is: verification must be Verified",
            problems,
        );
    }
    let Some(reference) = secret_ref else {
        return closed("spec.auth: names no login: write `secretRef`", problems);
    };
    match secret::login(inputs, reference, files) {
        Ok(auth) => Way::Open(auth),
        Err(missing) => waits("spec.auth.secretRef", missing, problems),
    }
}

/// What is written contradicts itself.
fn closed<T>(message: &str, problems: &mut Problems<'_>) -> Way<T> {
    problems.invalid(format!("{message}; mail for this host waits"));
    Way::Unresolved(message.to_owned())
}

/// What is named is missing.
fn waits<T>(field: &str, (reason, why): Missing, problems: &mut Problems<'_>) -> Way<T> {
    let message = format!("{field}: {why}");
    problems.unresolved(reason, format!("{message}; mail for this host waits"));
    Way::Unresolved(message)
}

fn limits_of(written: host::HostLimits, problems: &mut Problems<'_>) -> HostLimits {
    let host::HostLimits { connections, messages_per_connection, messages_per_minute } = written;
    let mut said = |limit: &Limit, value: Option<u32>| {
        let value = value.map(|value| Some(u64::from(value)));
        value.and_then(|value| u32::try_from(within(limit, value, problems)?).ok())
    };
    HostLimits {
        connections: said(&defaults::HOST_CONNECTIONS, connections),
        messages_per_connection: said(&defaults::HOST_CONNECTION_MESSAGES, messages_per_connection),
        messages_per_minute: said(&defaults::HOST_MESSAGES, messages_per_minute),
    }
}

/// What is not said stays unsaid, for a relay that knows no such field has the same default.
fn queue_of(written: host::Queue, problems: &mut Problems<'_>) -> Queue {
    let host::Queue { lifetime, null_sender_lifetime, warn_after } = written;
    let seconds = |text: Option<Duration>| text.map(|text| text.as_secs());
    let lifetime = bounded(&defaults::QUEUE_LIFETIME, seconds(lifetime), problems);
    let mut said = |limit: &Limit, text: Option<Duration>| within(limit, seconds(text)?, problems);
    let null_sender_lifetime = said(&defaults::QUEUE_NULL_SENDER_LIFETIME, null_sender_lifetime);
    let warn_after = said(&defaults::QUEUE_WARN_AFTER, warn_after);
    if null_sender_lifetime.is_some_and(|null_sender| null_sender > lifetime) {
        let message = format!(
            "spec.queue.nullSenderLifetime: is longer than the lifetime of all mail, {lifetime} seconds, which holds"
        );
        problems.partial(Reason::Invalid, message);
    }
    Queue { lifetime, null_sender_lifetime: null_sender_lifetime.map(|it| it.min(lifetime)), warn_after }
}

/// A value that was said, if it is within its limit.
fn within(limit: &Limit, said: Option<u64>, problems: &mut Problems<'_>) -> Option<u64> {
    let held = bounded(limit, Some(said), problems);
    (said == Some(held)).then_some(held)
}
