use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;

use jiff::Timestamp;

use super::*;
use crate::address::ReversePath;
use crate::envelope::{Envelope, Outcome, Remote};
use crate::limits::Limits;
use crate::queue_id::QueueId;
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
        let destinations: Destinations = Arc::new(|_, recipient| Destination {
            hosts: vec![format!("host-of-{}", recipient.domain().as_str())],
            ..Destination::default()
        });
        let standing: Standings = Arc::new(|| Standing {
            status: postern_wire::Status {
                version: "1.2.3".to_owned(),
                schema: 1,
                settings: None,
                rejected: None,
                objects: Vec::new(),
                faults_only: false,
                names: Vec::new(),
                queue: Some(postern_wire::status::Queue { messages: 3, oldest: 60 }),
                draining: false,
                isolation: None,
            },
            not_ready: Some("no settings yet".to_owned()),
            octets: 4,
            corrupt: 0,
            full: false,
            unreachable: Vec::new(),
            certificates: Vec::new(),
        });
        let served = super::Serving { spool: spool.clone(), destinations, standing, limits };
        let task = tokio::spawn(serve(socket, served, shutdown));
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

fn deferred(reply: &str, seconds: u64) -> Outcome {
    let remote = Remote { server: "mx.one[192.0.2.1]:25".into(), reply: reply.into(), status: "4.0.0".into() };
    Outcome::Deferred { remote, until: Timestamp::now() + Duration::from_secs(seconds) }
}

fn ids(answers: &[Answer]) -> Vec<QueueId> {
    let id = |answer: &Answer| match answer {
        Answer::Message(message) => message.id,
        other => panic!("{other:?}"),
    };
    answers.iter().map(id).collect()
}

impl Serving {
    async fn list(&self, list: List) -> Vec<QueueId> {
        ids(&self.ask(Command::List(list)).await.unwrap())
    }

    async fn act(&self, act: Act, filter: Filter) -> (usize, usize) {
        match &self.ask(Command::Act { act, filter }).await.unwrap()[..] {
            [Answer::Changed { messages, busy }] => (*messages, *busy),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn lists_and_shows_the_queue() {
    let mut serving = Serving::start(|_| {});
    assert_eq!(serving.list(List::default()).await, []);
    let first = serving.store(&["b@one.example", "c@two.example"]).await;
    let claim = serving.spool.claim(first, &[0]).await.unwrap();
    serving.spool.settle(claim, vec![deferred("451 later", 3600)]).await;
    let answers = serving.ask(Command::List(List::default())).await.unwrap();
    let [Answer::Message(message)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((message.id, message.settled, message.pending.len(), message.size), (first, 0, 2, 24));
    assert_eq!((message.pending[0].recipient.to_string(), message.pending[0].attempts), ("b@one.example".into(), 1));
    assert_eq!(message.pending[0].last.as_ref().unwrap().reply, "451 later");
    assert_eq!((message.pending[1].attempts, &message.pending[1].last), (0, &None));
    assert_eq!(message.pending[1].destination.hosts, ["host-of-two.example"]);

    let answers = serving.ask(Command::Show { id: first }).await.unwrap();
    let [Answer::Detail(detail)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((detail.header.as_str(), &detail.message), ("Subject: hello\r\n", &**message));
    assert_eq!(detail.envelope.recipients.len(), 2);
}

#[tokio::test]
async fn tells_how_the_relay_stands() {
    let serving = Serving::start(|_| {});
    let answers = serving.ask(Command::Status {}).await.unwrap();
    let [Answer::Status(standing)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((&*standing.status.version, standing.status.queue.as_ref().unwrap().messages), ("1.2.3", 3));
    assert_eq!(standing.not_ready.as_deref(), Some("no settings yet"));
}

#[tokio::test]
async fn chooses_by_everything_that_is_known_of_a_message() {
    let mut serving = Serving::start(|_| {});
    let both = serving.store(&["b@one.example", "C@two.example"]).await;
    let two = serving.store(&["d@two.example"]).await;
    let gone = QueueId::new(1, 1);
    let claim = serving.spool.claim(both, &[0]).await.unwrap();
    serving.spool.settle(claim, vec![deferred("451 later", 3600)]).await;
    assert_eq!(serving.act(Act::Hold, Filter { ids: vec![two], ..Filter::default() }).await, (1, 0));
    let text = |text: &str| Some(text.to_owned());
    let all = Filter::default;
    for (filter, expected) in [
        (all(), vec![both, two]),
        (Filter { ids: vec![two, gone], ..all() }, vec![two]),
        (Filter { sender: text("A@Example.com"), ..all() }, vec![both, two]),
        (Filter { sender: text("<a@example.com>"), domain: text("one.example"), ..all() }, vec![both]),
        (Filter { sender: text("@example.com"), ..all() }, vec![both, two]),
        (Filter { sender: text("<>"), ..all() }, vec![]),
        (Filter { recipient: text("c@two.example"), ..all() }, vec![both]),
        (Filter { recipient: text("@two.example"), ..all() }, vec![both, two]),
        (Filter { recipient: text("d@one.example"), ..all() }, vec![]),
        (Filter { domain: text("ONE.example"), ..all() }, vec![both]),
        (Filter { host: text("host-of-one.example"), ..all() }, vec![both]),
        (Filter { host: text("mx.one"), ..all() }, vec![both]),
        (Filter { host: text("mx"), ..all() }, vec![]),
        (Filter { state: Some(State::Held), ..all() }, vec![two]),
        (Filter { state: Some(State::Waiting), ..all() }, vec![both]),
        (Filter { state: Some(State::Trying), ..all() }, vec![]),
        (Filter { older_than: Some(3600), ..all() }, vec![]),
        (Filter { younger_than: Some(3600), ..all() }, vec![both, two]),
        (Filter { younger_than: Some(3600), state: Some(State::Held), domain: text("one.example"), ..all() }, vec![]),
    ] {
        let mut listed = serving.list(List { filter: filter.clone(), ..List::default() }).await;
        listed.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(listed, expected, "{filter:?}");
        let counted = serving.ask(Command::Count(filter.clone())).await.unwrap();
        assert_eq!(counted, [Answer::Counted { messages: expected.len() }], "{filter:?}");
    }
    for (filter, said) in [
        (Filter { domain: text("a b"), ..all() }, r#"domain "a b": bad domain"#),
        (Filter { sender: text("someone"), ..all() }, r#"sender "someone": not of the form local-part@domain"#),
    ] {
        assert_eq!(serving.ask(Command::Count(filter)).await.unwrap_err(), said);
    }
}

#[tokio::test]
async fn lists_in_the_order_that_is_asked_for() {
    let mut serving = Serving::start(|_| {});
    let mut all = Vec::new();
    for (number, seconds) in [(1, 300), (3, 100), (2, 200)] {
        let id = serving.store(&["b@one.example"]).await;
        for _ in 0..number {
            let claim = serving.spool.claim(id, &[0]).await.unwrap();
            serving.spool.settle(claim, vec![deferred("451 later", seconds)]).await;
        }
        all.push(id);
    }
    let attempts = List { sort: Sort::Attempts, ..List::default() };
    assert_eq!(serving.list(attempts.clone()).await, [all[1], all[2], all[0]]);
    assert_eq!(serving.list(List { reverse: true, ..attempts.clone() }).await, [all[0], all[2], all[1]]);
    assert_eq!(serving.list(List { limit: Some(1), ..attempts }).await, [all[1]]);
    assert_eq!(serving.list(List { sort: Sort::Next, ..List::default() }).await, [all[1], all[2], all[0]]);
}

#[tokio::test]
async fn retries_holds_releases_and_deletes() {
    let mut serving = Serving::start(|_| {});
    let (first, second) = (serving.store(&["b@one.example"]).await, serving.store(&["d@two.example"]).await);
    let only = |id| Filter { ids: vec![id], ..Filter::default() };
    assert_eq!(serving.act(Act::Retry, Filter::default()).await, (2, 0));
    for _ in 0..2 {
        serving.arrivals.next().await.unwrap();
    }
    assert_eq!(serving.act(Act::Hold, only(first)).await, (1, 0));
    assert_eq!(serving.act(Act::Hold, only(first)).await, (0, 0), "it is held already");
    assert!(serving.spool.claim(first, &[0]).await.is_none() && serving.spool.envelope(first).await.is_none());
    assert_eq!(serving.act(Act::Retry, Filter::default()).await, (1, 0));
    assert_eq!(serving.arrivals.next().await.unwrap().id, second);
    assert_eq!(serving.act(Act::Release, Filter::default()).await, (1, 0));
    assert_eq!(serving.arrivals.next().await.unwrap().id, first);
    let claim = serving.spool.claim(first, &[0]).await.unwrap();
    assert_eq!(serving.act(Act::Delete, Filter::default()).await, (1, 1), "the first is in an attempt");
    assert_eq!(serving.list(List::default()).await, [first]);
    drop(claim);
    assert_eq!(serving.act(Act::Delete, only(QueueId::new(1, 1))).await, (0, 0));
    assert_eq!(serving.act(Act::Delete, only(first)).await, (1, 0));
    assert_eq!(serving.spool.usage().messages, 0);
}

#[tokio::test]
async fn a_summary_counts_recipients_by_destination_and_age() {
    let mut serving = Serving::start(|_| {});
    serving.store(&["b@one.example", "c@two.example"]).await;
    serving.store(&["d@two.example"]).await;
    let row = |name: &str, recipients| {
        let mut ages = [0; AGES.len() + 1];
        ages[0] = recipients;
        Answer::Row(Row { name: name.to_owned(), recipients, ages })
    };
    let ask = |by| Command::Summary { filter: Filter::default(), by };
    assert_eq!(serving.ask(ask(By::Domain)).await.unwrap(), [row("two.example", 2), row("one.example", 1)]);
    let hosts = [row("host-of-two.example", 2), row("host-of-one.example", 1)];
    assert_eq!(serving.ask(ask(By::Host)).await.unwrap(), hosts);
    assert_eq!(serving.ask(ask(By::Sender)).await.unwrap(), [row("example.com", 3)]);
}

#[tokio::test]
async fn what_is_exported_comes_in_again_as_it_was_and_held() {
    let mut serving = Serving::start(|_| {});
    let id = serving.store(&["b@one.example", "c@two.example"]).await;
    let claim = serving.spool.claim(id, &[0, 1]).await.unwrap();
    let Outcome::Deferred { remote, .. } = deferred("451", 1) else { unreachable!() };
    serving.spool.settle(claim, vec![Outcome::Delivered(remote), deferred("451 later", 3600)]).await;
    let answers = serving.ask(Command::Export(Filter::default())).await.unwrap();
    let Answer::Exported(message) = &answers[0] else { panic!("{answers:?}") };
    let pieces = answers[1..].iter().flat_map(|answer| match answer {
        Answer::Content(octets) => octets.0.clone(),
        other => panic!("{other:?}"),
    });
    let content: Vec<u8> = pieces.collect();
    assert_eq!(content, b"Subject: hello\r\n\r\nbody\r\n");
    assert_eq!((message.size, message.recipients[0].done, message.recipients[1].attempts), (24, true, 1));

    let import = async |serving: &Serving, content: &[u8], message: &Exported| {
        let (path, content, message) = (serving.path(), content.to_vec(), message.clone());
        let import = move || {
            let mut client = Client::connect(&path).unwrap();
            let mut ask = |command| {
                client.ask(command).unwrap().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
            };
            let answers = ask(Command::Import(Box::new(message)))?;
            if answers != [Answer::Ready {}] {
                return Ok(answers);
            }
            for piece in content.chunks(7) {
                assert_eq!(ask(Command::Piece(Octets(piece.to_vec())))?, []);
            }
            ask(Command::End {})
        };
        spawn_blocking(import).await.unwrap()
    };
    assert_eq!(import(&serving, &content, message).await.unwrap(), [Answer::Imported { id, new: false }]);
    assert_eq!(serving.act(Act::Delete, Filter::default()).await, (1, 0));
    for (spoiled, said) in [
        (&content[..23], "the last line of its content does not end with CR LF"),
        (&[&content[..], b"\r\n"].concat(), "its content is longer than it says"),
        (b"Subject: hello\n\nbody....\r\n", "line 1 of its content does not end with CR LF"),
        (&content[..16], "its content has 16 octets, not 24"),
    ] {
        assert_eq!(import(&serving, spoiled, message).await.unwrap_err(), format!("{id}: {said}"));
    }
    let done = Exported { recipients: vec![message.recipients[0].clone(); 2], ..message.as_ref().clone() };
    let refused = import(&serving, &content, &done).await.unwrap_err();
    assert_eq!(refused, format!("{id}: none of its recipients is waiting"));

    assert_eq!(import(&serving, &content, message).await.unwrap(), [Answer::Imported { id, new: true }]);
    assert!(serving.arrivals.try_next().is_none(), "it is held");
    // In other pieces, for it is read from disk or from memory.
    assert_eq!(serving.ask(Command::Export(Filter::default())).await.unwrap()[0], answers[0]);
    assert_eq!(
        serving
            .list(List { filter: Filter { state: Some(State::Held), ..Filter::default() }, ..List::default() })
            .await,
        [id]
    );
    assert_eq!(serving.act(Act::Release, Filter::default()).await, (1, 0));
    assert_eq!(serving.arrivals.next().await.unwrap().id, id);
    assert_eq!(serving.spool.claim(id, &[0, 1]).await.unwrap().recipients().len(), 1, "the other one has it already");
}

#[tokio::test]
async fn says_why_not() {
    let serving = Serving::start(|limits| limits.control_request = 200);
    let gone = serving.ask(Command::Show { id: QueueId::new(1, 1) }).await.unwrap_err();
    assert_eq!(gone, "0000000004000001 is not in the queue: it is delivered, deleted, or never was");
    let stray = serving.ask(Command::End {}).await.unwrap_err();
    assert_eq!(stray, "there is no message that this belongs to");
    for (said, answer) in [
        ("{}\n", r#"{"version":2,"answer":{"failed":"not a request: missing field `version`"#),
        ("nonsense\n", r#"{"version":2,"answer":{"failed":"not a request: expected ident"#),
        (
            "{\"version\":1,\"command\":{\"list\":{}}}\n",
            r#"{"version":2,"answer":{"failed":"this relay speaks version 2 of the control protocol, not 1"#,
        ),
        (
            "{\"version\":2,\"command\":{\"wipe\":{}}}\n",
            r#"{"version":2,"answer":{"failed":"not a request: unknown variant `wipe`"#,
        ),
        ("{\"version\":2", r#"{"version":2,"answer":{"failed":"a request is one line of at most 200 octets"#),
        (&"x".repeat(201), r#"{"version":2,"answer":{"failed":"a request is one line of at most 200 octets"#),
    ] {
        let heard = serving.say(said).await;
        assert!(heard.starts_with(answer) && heard.ends_with('\n'), "{said}: {heard}");
    }
    let one = "{\"version\":2,\"command\":{\"count\":{}}}\n";
    let counted =
        "{\"version\":2,\"answer\":{\"counted\":{\"messages\":0}}}\n{\"version\":2,\"answer\":{\"done\":{}}}\n";
    assert_eq!(serving.say(one.repeat(2)).await, counted.repeat(2));
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let serving = Serving::start(|limits| {
        limits.control_time = Duration::from_millis(100);
        limits.control_connections = 1;
    });
    let silent = UnixStream::connect(serving.path()).unwrap();
    let answers = serving.ask(Command::List(List::default())).await;
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
