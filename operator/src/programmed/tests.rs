use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::fixture::{dmz, model};
use crate::render::render;

/// A relay that says `short` when asked for faults only and `full` else; an older one says `full` in any case.
struct Relay {
    address: SocketAddr,
    says: Arc<Mutex<(Status, Status)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    async fn start(short: Status, full: Status) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (says, asked) = (Arc::new(Mutex::new((short, full))), Arc::new(Mutex::new(Vec::new())));
        let relay = Self { address, says: says.clone(), asked: asked.clone() };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let octets = stream.read(&mut request).await.unwrap_or_default();
                let line = String::from_utf8_lossy(&request[..octets]).lines().next().unwrap_or_default().to_owned();
                let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                let body = {
                    let (short, full) = &*says.lock().expect("no panic");
                    serde_json::to_string(if path.contains('?') { short } else { full }).expect("JSON")
                };
                asked.lock().expect("no panic").push(path);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes()).await;
            }
        });
        relay
    }

    fn says(&self, short: Status, full: Status) {
        *self.says.lock().expect("no panic") = (short, full);
    }

    /// The paths asked for since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

const SHORT: &str = "/status?objects=faults";

fn settings() -> Settings {
    Settings::from(&render(&model(&dmz()), postern_wire::SCHEMA).settings)
}

fn status(digest: &Digest, objects: Vec<Object>, faults_only: bool) -> Status {
    let version = "0.1.0".to_owned();
    Status {
        version,
        schema: 3,
        settings: Some(digest.clone()),
        rejected: None,
        objects,
        faults_only,
        names: Vec::new(),
        queue: None,
        draining: false,
        isolation: None,
    }
}

async fn heard(relay: &Relay, settings: &Settings, before: Option<&Heard>) -> Heard {
    hear(relay.address, Some(settings), before).await.expect("an answer")
}

#[tokio::test]
async fn a_relay_that_enforces_what_was_written_is_asked_for_its_faults_only() {
    let settings = settings();
    let mut faulty = settings.objects[1].clone();
    faulty.fault = Some("no certificate".to_owned());
    let relay =
        Relay::start(status(&settings.digest, vec![faulty.clone()], true), status(&settings.digest, vec![], false))
            .await;
    let heard = heard(&relay, &settings, None).await;
    assert_eq!(relay.asked(), [SHORT]);
    assert!(settings.objects.len() > 2);
    let mut expected = settings.objects.clone();
    expected[1] = faulty;
    assert_eq!((&heard.full.objects, heard.full.faults_only), (&expected, false));
}

#[tokio::test]
async fn a_relay_that_lags_behind_is_asked_for_everything_once() {
    let (settings, older) = (settings(), Digest::of(&"older"));
    let objects = vec![settings.objects[0].clone()];
    let relay = Relay::start(status(&older, vec![], true), status(&older, objects.clone(), false)).await;
    let first = heard(&relay, &settings, None).await;
    assert_eq!(first.full.objects, objects);
    assert_eq!(relay.asked(), [SHORT, "/status"]);
    let second = heard(&relay, &settings, Some(&first)).await;
    assert!(Arc::ptr_eq(&first.full, &second.full));
    assert_eq!(relay.asked(), [SHORT]);
    relay.says(status(&settings.digest, vec![], true), status(&settings.digest, vec![], false));
    assert_eq!(heard(&relay, &settings, Some(&second)).await.full.objects, settings.objects);
    assert_eq!(relay.asked(), [SHORT]);
}

#[tokio::test]
async fn what_an_older_relay_says_is_taken_for_all() {
    let settings = settings();
    let all = status(&settings.digest, vec![settings.objects[0].clone()], false);
    let relay = Relay::start(all.clone(), all.clone()).await;
    assert_eq!(*heard(&relay, &settings, None).await.full, all);
    assert_eq!(relay.asked(), [SHORT]);
}

#[test]
fn a_pod_that_only_others_call_not_ready_is_taken_by_its_own_word() {
    let answered = || Report::Answered(status(&Digest::of(&"settings"), Vec::new(), false).into());
    let count = |answer: Report, readiness| match believed(answer, readiness) {
        Report::Answered(_) => "ready",
        Report::Unreachable(_) => "unreachable",
        Report::NotReady(Some(_)) => "asked",
        Report::NotReady(None) => "nothing",
    };
    for (readiness, said, silent) in [
        (Readiness::Ready, "ready", "unreachable"),
        (Readiness::Doubted, "ready", "nothing"),
        (Readiness::NotReady, "asked", "nothing"),
    ] {
        assert_eq!(
            (count(answered(), readiness), count(unreachable("no"), readiness)),
            (said, silent),
            "{readiness:?}"
        );
    }
}
