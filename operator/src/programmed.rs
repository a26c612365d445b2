//! Asks the relays of one namespace what they enforce.
//!
//! Quickly while one of them does not enforce the settings that were written last, slowly afterwards. A relay that enforces
//! them tells only what of them it does not: of thousands of objects that is next to nothing. All its objects are asked for
//! only while it enforces other settings, and once for each. Time and size of an answer are bounded: a relay pod is the most exposed one of all, and must not be able to hold up the operator.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use postern_wire::status::{FAULTS_ONLY, Object};
use postern_wire::{Digest, Section, SettingsFile, Status};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::debug;

use crate::inputs::{Kind, Relay, Report};

/// For one relay: connecting, asking and reading.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// About 250 octets for each object.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Until the next round: while a relay lags behind, and otherwise.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// A relay that lags behind for longer than this many rounds is asked more slowly.
const QUICK_ROUNDS: u32 = 120;
const AGAIN_LAGGING: Duration = Duration::from_secs(5);

/// Whom to ask, and what it should answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) relays: Vec<Pod>,
    /// The settings that were written last.
    pub(crate) settings: Option<Arc<Settings>>,
}

/// Settings as a relay tells them that enforces them whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    digest: Digest,
    objects: Vec<Object>,
}

impl From<&SettingsFile> for Settings {
    fn from(file: &SettingsFile) -> Self {
        let snapshot = &file.snapshot;
        let mut objects: Vec<Object> =
            snapshot.domains.iter().map(|section| object(Kind::RelayDomain, section)).collect();
        objects.extend(snapshot.hosts.iter().map(|section| object(Kind::RelayHost, section)));
        objects.extend(snapshot.policies.iter().map(|section| object(Kind::FilterPolicy, section)));
        Self { digest: file.digest.clone(), objects }
    }
}

fn object<T>(kind: Kind, section: &Section<T>) -> Object {
    let Section { name, uid, generation, digest, spec: _ } = section;
    let (kind, name, uid) = (kind.as_str().to_owned(), name.clone(), uid.clone());
    Object { kind, name, uid, generation: *generation, digest: digest.clone(), fault: None }
}

/// Whether a pod takes mail. Each is asked: one that is not ready may be waiting for settings of a schema that it can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// Its kubelet has called its containers ready, and somebody else the pod not: as whoever watches the nodes does when a
    /// kubelet could not reach the API server for a while. It is ready when it answers.
    Doubted,
    NotReady,
}

/// A relay pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) readiness: Readiness,
    /// The address of its status port, or why there is none.
    pub(crate) status: Result<SocketAddr, String>,
}

/// Asks, and keeps the answers.
pub(crate) struct Relays {
    question: watch::Sender<Question>,
    answers: watch::Receiver<BTreeMap<String, Report>>,
}

impl Relays {
    /// Starts asking; `changed` is woken when an answer is another one than before.
    pub(crate) fn start(changed: Arc<Notify>, tasks: &mut JoinSet<()>) -> Self {
        let (question, questions) = watch::channel(Question::default());
        let (answered, answers) = watch::channel(BTreeMap::new());
        tasks.spawn(keep_asking(questions, answered, changed));
        Self { question, answers }
    }

    /// Asks these relays about these settings from now on.
    pub(crate) fn ask(&self, relays: Vec<Pod>, settings: &SettingsFile) {
        self.question.send_if_modified(|asked| {
            let known = asked.settings.take().filter(|known| known.digest == settings.digest);
            let differs = known.is_none() || asked.relays != relays;
            let settings = known.unwrap_or_else(|| Arc::new(settings.into()));
            *asked = Question { relays, settings: Some(settings) };
            differs
        });
    }

    /// What is known of these pods: of one that was not asked yet, that it does not answer.
    pub(crate) fn reports(&self, pods: &[Pod]) -> Vec<Relay> {
        let answers = self.answers.borrow();
        let report = |pod: &Pod| match (pod.readiness, answers.get(&pod.name)) {
            (Readiness::Ready, Some(known @ (Report::Answered(_) | Report::Unreachable(_)))) => known.clone(),
            (Readiness::Ready, _) => unreachable("it was not asked yet"),
            (Readiness::Doubted, Some(known @ (Report::Answered(_) | Report::NotReady(_)))) => known.clone(),
            (Readiness::NotReady, Some(known @ Report::NotReady(_))) => known.clone(),
            (Readiness::Doubted | Readiness::NotReady, _) => Report::NotReady(None),
        };
        pods.iter().map(|pod| Relay { pod: pod.name.clone(), report: report(pod) }).collect()
    }

    /// Whether each of these that is ready was asked since it is. What is said of an object before would be taken back a
    /// moment later, whenever an operator or a relay starts.
    pub(crate) fn were_asked(&self, pods: &[Pod]) -> bool {
        let answers = self.answers.borrow();
        let asked = |pod: &Pod| matches!(answers.get(&pod.name), Some(Report::Answered(_) | Report::Unreachable(_)));
        pods.iter().all(|pod| match pod.readiness {
            Readiness::Ready => asked(pod),
            Readiness::Doubted => answers.contains_key(&pod.name),
            Readiness::NotReady => true,
        })
    }
}

async fn keep_asking(
    mut questions: watch::Receiver<Question>,
    answered: watch::Sender<BTreeMap<String, Report>>,
    changed: Arc<Notify>,
) {
    let mut rounds = 0;
    let mut heard: BTreeMap<String, Heard> = BTreeMap::new();
    loop {
        let question = questions.borrow_and_update().clone();
        let settings = question.settings.as_deref();
        let asked = question.relays.iter().map(async |pod| {
            let (report, heard) = report(pod, settings, heard.get(&pod.name)).await;
            (pod.name.clone(), report, heard)
        });
        let (mut answers, mut latest) = (BTreeMap::new(), BTreeMap::new());
        for (pod, report, heard) in join_all(asked).await {
            latest.extend(heard.map(|heard| (pod.clone(), heard)));
            answers.insert(pod, report);
        }
        heard = latest;
        let digest = settings.map(|settings| &settings.digest);
        let lagging = answers.values().any(|report| lags(report, digest));
        if answered.send_if_modified(|known| {
            let differs = !same(known, &answers);
            *known = answers;
            differs
        }) {
            changed.notify_one();
        }
        rounds = if lagging { rounds + 1 } else { 0 };
        let pause = match lagging {
            true if rounds <= QUICK_ROUNDS => AGAIN.0,
            true => AGAIN_LAGGING,
            false => AGAIN.1,
        };
        tokio::select! {
            closed = questions.changed() => match closed {
                Ok(()) => rounds = 0,
                Err(_) => return,
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn lags(report: &Report, settings: Option<&Digest>) -> bool {
    match report {
        Report::NotReady(_) => false,
        Report::Unreachable(_) => true,
        Report::Answered(status) => status.settings.as_ref() != settings,
    }
}

fn same(known: &BTreeMap<String, Report>, answers: &BTreeMap<String, Report>) -> bool {
    let equal = |one: &Report, other: &Report| match (one, other) {
        (Report::NotReady(one), Report::NotReady(other)) => one == other,
        (Report::Unreachable(one), Report::Unreachable(other)) => one == other,
        (Report::Answered(one), Report::Answered(other)) => Arc::ptr_eq(one, other) || is_same(one, other),
        _ => false,
    };
    known.len() == answers.len() && known.iter().zip(answers).all(|((a, one), (b, other))| a == b && equal(one, other))
}

/// What waits changes all the time, and no condition with it.
fn is_same(one: &Status, other: &Status) -> bool {
    let Status { version, schema, settings, rejected, objects, faults_only, names, queue: _, draining, isolation } =
        one;
    *version == other.version
        && *schema == other.schema
        && *settings == other.settings
        && *rejected == other.rejected
        && *objects == other.objects
        && *faults_only == other.faults_only
        && *names == other.names
        && *draining == other.draining
        && *isolation == other.isolation
}

fn unreachable(sentence: impl Into<String>) -> Report {
    Report::Unreachable(sentence.into())
}

/// What a relay said last, in short and in full: while the one stays the other does.
struct Heard {
    short: Status,
    full: Arc<Status>,
}

async fn report(pod: &Pod, settings: Option<&Settings>, before: Option<&Heard>) -> (Report, Option<Heard>) {
    let (answer, heard) = answer(&pod.status, settings, before).await;
    (believed(answer, pod.readiness), heard)
}

/// What an answer, or none, means of a pod of this readiness.
fn believed(answer: Report, readiness: Readiness) -> Report {
    match (answer, readiness) {
        (answer, Readiness::Ready) | (answer @ Report::Answered(_), Readiness::Doubted) => answer,
        (Report::Answered(status), Readiness::NotReady) => Report::NotReady(Some(status.schema)),
        (_, Readiness::Doubted | Readiness::NotReady) => Report::NotReady(None),
    }
}

async fn answer(
    target: &Result<SocketAddr, String>,
    settings: Option<&Settings>,
    before: Option<&Heard>,
) -> (Report, Option<Heard>) {
    let address = match target {
        Ok(address) => *address,
        Err(sentence) => return (unreachable(sentence), None),
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, hear(address, settings, before)).await;
    let report = match answer {
        Ok(Ok(heard)) => return (Report::Answered(heard.full.clone()), Some(heard)),
        Ok(Err(error)) => {
            debug!(%address, %error, "relay cannot be asked");
            unreachable(format!("http://{address}/status: {error}"))
        }
        Err(_) => unreachable(format!("http://{address}/status: no answer within {} s", ANSWER_WITHIN.as_secs())),
    };
    (report, None)
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Asks in short, and in full only when that leaves something open.
async fn hear(address: SocketAddr, settings: Option<&Settings>, before: Option<&Heard>) -> Result<Heard, Error> {
    let short = ask(address, &format!("/status?{FAULTS_ONLY}")).await?;
    let known = before.filter(|before| before.short == short).map(|before| before.full.clone());
    let full = match (known, settings) {
        (Some(full), _) => full,
        // An older relay, which knows no short answer.
        (None, _) if !short.faults_only => Arc::new(short.clone()),
        (None, Some(settings)) if short.settings.as_ref() == Some(&settings.digest) => {
            Arc::new(whole(&short, settings))
        }
        (None, _) => Arc::new(ask(address, "/status").await?),
    };
    Ok(Heard { short, full })
}

/// What the relay would say in full: these settings, but for the faults.
fn whole(short: &Status, settings: &Settings) -> Status {
    let faulty: HashMap<_, _> = short.objects.iter().map(|object| ((&object.kind, &object.name), object)).collect();
    let objects = settings.objects.iter();
    let objects = objects.map(|object| (*faulty.get(&(&object.kind, &object.name)).unwrap_or(&object)).clone());
    Status { objects: objects.collect(), faults_only: false, ..short.clone() }
}

/// One question, without a limit to the time of the answer.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> Result<Status, Error> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path).header(http::header::HOST, address.to_string());
    let request = request.body(Empty::<Bytes>::new())?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("HTTP status {status}").into());
        }
        Ok(serde_json::from_slice(&body)?)
    };
    // The connection makes progress only while it is polled, and ends with the answer.
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
