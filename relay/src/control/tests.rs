use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::*;
use crate::envelope::{Envelope, Outcome};
use crate::limits::Limits;
use crate::shutdown::{Trigger, channel};
use crate::spool::{Arrivals, Options, Spool};

struct Serving {
    folder: tempfile::TempDir,
    spool: Spool,
    arrivals: Arrivals,
    trigger: Trigger,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    fn start(change: impl FnOnce(&mut Limits)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut limits = Limits::default();
        change(&mut limits);
        let (spool, arrivals) =
            Spool::open(Options { size_max: 64 << 20, ..Options::new(folder.path().join("spool")) }, Timestamp::now())
                .unwrap();
        let (trigger, shutdown) = channel();
        let socket = Socket::bind(&folder.path().join("control.sock")).unwrap();
        let task = tokio::spawn({
            let spool = spool.clone();
            async move { serve(socket, spool, &limits, shutdown).await }
        });
        Self { folder, spool, arrivals, trigger, task }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    async fn store(&mut self, recipients: &[&str]) -> QueueId {
        let mut intake = self.spool.admit(None).unwrap();
        intake.write(b"Subject: hello\r\n\r\nbody\r\n").await.unwrap();
        let draft = intake.end().await.unwrap();
        let envelope = Envelope {
            arrived: Timestamp::now(),
            sender: ReversePath::Mailbox("a@example.com".parse().unwrap()),
            recipients: recipients.iter().map(|recipient| recipient.parse().unwrap()).collect(),
            origin: Origin::Outsider { client: [192, 0, 2, 1].into() },
            eight_bit: false,
            binary: false,
            utf8: false,
            dsn: None,
        };
        let id = self.spool.commit(draft, envelope).await.unwrap().id();
        assert_eq!(self.arrivals.next().await.unwrap().id, id);
        id
    }

    /// Asks as a person would.
    async fn ask(&self, command: Command) -> Result<Vec<Answer>, String> {
        let path = self.path();
        let ask = move || {
            let mut client = Client::connect(&path).map_err(|error| error.to_string())?;
            let answers = client.ask(command).map_err(|error| error.to_string())?;
            answers.map(|answer| answer.map_err(|error| error.to_string())).collect()
        };
        spawn_blocking(ask).await.unwrap()
    }

    /// Says this and reads what comes until the relay closes, or says nothing more.
    async fn say(&self, text: impl Into<Vec<u8>>) -> String {
        let (path, text) = (self.path(), text.into());
        let say = move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(&text).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        spawn_blocking(say).await.unwrap()
    }
}

#[tokio::test]
async fn lists_shows_and_retries_the_queue() {
    let mut serving = Serving::start(|_| {});
    assert_eq!(serving.ask(Command::List {}).await.unwrap(), []);
    let first = serving.store(&["b@one.example", "c@two.example"]).await;
    let second = serving.store(&["d@two.example"]).await;
    let claim = serving.spool.claim(first, &[0]).await.unwrap();
    let until = Timestamp::now() + Duration::from_secs(3600);
    let remote = Remote { server: "mx[192.0.2.1]:25".into(), reply: "451 later".into(), status: "4.0.0".into() };
    serving.spool.settle(claim, vec![Outcome::Deferred { remote: remote.clone(), until }]).await;

    let answers = serving.ask(Command::List {}).await.unwrap();
    let [Answer::Message(one), Answer::Message(two)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((one.id, two.id), (first.min(second), first.max(second)));
    let message = if one.id == first { one } else { two };
    assert_eq!((message.settled, message.pending.len(), message.size), (0, 2, 24));
    assert_eq!(message.pending[0].recipient.to_string(), "b@one.example");
    assert_eq!((message.pending[0].attempts, &message.pending[0].last), (1, &Some(remote)));
    assert_eq!((message.pending[1].attempts, &message.pending[1].last), (0, &None));

    let answers = serving.ask(Command::Show { id: first }).await.unwrap();
    let [Answer::Detail(detail)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((detail.header.as_str(), &detail.message), ("Subject: hello\r\n", &**message));

    for (which, messages) in [
        (Which::To("ONE.example".to_owned()), 1),
        (Which::To("two.example".to_owned()), 2),
        (Which::To("three.example".to_owned()), 0),
        (Which::Ids(vec![second]), 1),
        (Which::Ids(vec![QueueId::new(1, 1)]), 0),
        (Which::All {}, 2),
    ] {
        let answers = serving.ask(Command::Retry(which.clone())).await.unwrap();
        assert_eq!(answers, [Answer::Retried { messages }], "{which:?}");
        for _ in 0..messages {
            serving.arrivals.next().await.unwrap();
        }
    }
}

#[tokio::test]
async fn says_why_not() {
    let serving = Serving::start(|limits| limits.control_request = 200);
    let gone = serving.ask(Command::Show { id: QueueId::new(1, 1) }).await.unwrap_err();
    assert_eq!(gone, "0000000004000001 is not in the queue: it is delivered, or never was");
    for (said, answer) in [
        ("{}\n", r#"{"version":1,"answer":{"failed":"not a request: missing field `version`"#),
        ("nonsense\n", r#"{"version":1,"answer":{"failed":"not a request: expected ident"#),
        (
            "{\"version\":2,\"wipe\":{}}\n",
            r#"{"version":1,"answer":{"failed":"this relay speaks version 1 of the control protocol, not 2"#,
        ),
        (
            "{\"version\":1,\"command\":{\"delete\":{}}}\n",
            r#"{"version":1,"answer":{"failed":"not a request: unknown variant `delete`"#,
        ),
        ("{\"version\":1", r#"{"version":1,"answer":{"failed":"a request is one line of at most 200 octets"#),
        (&"x".repeat(201), r#"{"version":1,"answer":{"failed":"a request is one line of at most 200 octets"#),
    ] {
        let heard = serving.say(said).await;
        assert!(heard.starts_with(answer) && heard.ends_with('\n'), "{said}: {heard}");
    }
    let two =
        serving.say("{\"version\":1,\"command\":{\"list\":{}}}\n{\"version\":1,\"command\":{\"list\":{}}}\n").await;
    assert_eq!(two, "{\"version\":1,\"answer\":{\"done\":{}}}\n".repeat(2));
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let serving = Serving::start(|limits| {
        limits.control_time = Duration::from_millis(100);
        limits.control_connections = 1;
    });
    let silent = UnixStream::connect(serving.path()).unwrap();
    let answers = serving.ask(Command::List {}).await;
    assert_eq!(answers, Ok(vec![]));
    drop(silent);
}

#[tokio::test]
async fn the_socket_is_private_and_goes_with_the_relay() {
    let serving = Serving::start(|_| {});
    let path = serving.path();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        Socket::bind(&path).unwrap_err().to_string(),
        format!("control socket {}: another relay is listening there", path.display())
    );
    let Serving { trigger, task, folder, .. } = serving;
    drop(trigger);
    task.await.unwrap();
    assert!(!path.exists());
    assert!(Client::connect(&path).unwrap_err().to_string().contains("is one running"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["spool"]);
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Socket::bind(&path).unwrap());
    std::fs::write(&path, "mine").unwrap();
    assert!(Socket::bind(&path).unwrap_err().to_string().ends_with("there is a file of another kind"));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}
