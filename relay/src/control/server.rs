//! The relay's side of the control socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::answer::{AGES, Answer, Detail, Message, Pending, Response, Row};
use super::ask::{Act, By, Command, Filter, List, Request, Sort};
use super::select::{Selection, key, state};
use super::transfer::Importing;
use super::{Destinations, Socket, Standings, VERSION};
use crate::address::ReversePath;
use crate::limits::Limits;
use crate::queue_id::QueueId;
use crate::shutdown::{Shutdown, Stage};
use crate::spool::{Shown, Spool};

/// Messages that are read from disk at once for one client.
const READING: usize = 8;
/// Messages that something is done to at once.
const ACTING: usize = 1000;
/// How often a long search says that it goes on.
const PROGRESS: usize = 10_000;
/// Answers are gathered up to so many octets.
const GATHERED: usize = 64 << 10;
/// Why a request is not obeyed.
type Failed = String;

/// What is served.
#[derive(Clone)]
pub struct Serving {
    /// The queue.
    pub spool: Spool,
    /// Where mail goes.
    pub destinations: Destinations,
    /// How the relay stands.
    pub standing: Standings,
    /// How large, how many, how long.
    pub limits: Limits,
}

/// Answers requests until the relay ends.
pub async fn serve(socket: Socket, serving: Serving, shutdown: Shutdown) {
    let count = usize::try_from(serving.limits.control_connections).unwrap_or(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(count));
    let mut clients = JoinSet::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (socket.listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            Some(_) = clients.join_next() => continue,
            () = shutdown.reached(Stage::Ended) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let client = Client::new(stream, serving.clone());
                clients.spawn(async move {
                    let _place = place;
                    if let Err(error) = client.serve().await {
                        info!(%error, "a client of the control socket is gone");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "control socket");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One client.
pub(super) struct Client {
    stream: BufReader<UnixStream>,
    pub(super) spool: Spool,
    destinations: Destinations,
    standing: Standings,
    request_max: u64,
    time: Duration,
    /// Answers that are not on their way yet.
    gathered: Vec<u8>,
    pub(super) importing: Option<Importing>,
}

impl Client {
    fn new(stream: UnixStream, serving: Serving) -> Self {
        let Serving { spool, destinations, standing, limits } = serving;
        Self {
            stream: BufReader::new(stream),
            spool,
            destinations,
            standing,
            request_max: limits.control_request,
            time: limits.control_time,
            gathered: Vec::new(),
            importing: None,
        }
    }

    /// Request after request, until the client is gone, or too slow.
    async fn serve(mut self) -> std::io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut bounded = (&mut self.stream).take(self.request_max);
            let read = timeout(self.time, bounded.read_until(b'\n', &mut line)).await??;
            if read == 0 {
                return Ok(());
            }
            if !line.ends_with(b"\n") {
                let reason = format!("a request is one line of at most {} octets", self.request_max);
                self.say(Answer::Failed(reason)).await?;
                return self.flush().await;
            }
            let last = match Request::read(&line) {
                Ok(command) => self.obey(command).await?,
                Err(reason) => Err(reason),
            };
            self.say(last.map_or_else(Answer::Failed, |()| Answer::Done {})).await?;
            self.flush().await?;
        }
    }

    /// Answers all but the last line.
    async fn obey(&mut self, command: Command) -> std::io::Result<Result<(), Failed>> {
        let is_import = matches!(command, Command::Piece(_) | Command::End {});
        if !is_import {
            self.importing = None;
        }
        match command {
            Command::List(List { filter, sort, reverse, limit }) => {
                let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
                self.list(&filter, (sort, reverse), limit).await
            }
            Command::Count(filter) => self.count(&filter).await,
            Command::Show { id } => self.show(id).await,
            Command::Summary { filter, by } => self.summary(&filter, by).await,
            Command::Act { act, filter } => self.act(act, &filter).await,
            Command::Export(filter) => match self.find(&filter, (Sort::Age, false), usize::MAX).await? {
                Ok(ids) => self.export(ids).await.map(Ok),
                Err(reason) => Ok(Err(reason)),
            },
            Command::Import(message) => self.import(*message).await,
            Command::Piece(octets) => Ok(self.piece(&octets.0).await),
            Command::End {} => self.end().await,
            Command::Status {} => {
                let standing = (self.standing)();
                self.say(Answer::Status(Box::new(standing))).await.map(Ok)
            }
        }
    }

    async fn list(
        &mut self,
        filter: &Filter,
        order: (Sort, bool),
        limit: usize,
    ) -> std::io::Result<Result<(), Failed>> {
        let (selection, ids) = match self.choose(filter, order).await {
            Ok(chosen) => chosen,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut left = limit;
        let spool = self.spool.clone();
        let mut shown = std::pin::pin!(shown(&spool, ids));
        let mut looked = 0;
        while left > 0
            && let Some((id, shown)) = shown.next().await
        {
            self.progress(&mut looked).await?;
            // It may have been settled meanwhile.
            let Some(shown) = shown else { continue };
            let message = self.message(id, &shown);
            if selection.means(&message) {
                left -= 1;
                self.say(Answer::Message(Box::new(message))).await?;
            }
        }
        Ok(Ok(()))
    }

    async fn count(&mut self, filter: &Filter) -> std::io::Result<Result<(), Failed>> {
        let found = self.find(filter, (Sort::Age, false), usize::MAX).await?;
        match found {
            Ok(ids) => self.say(Answer::Counted { messages: ids.len() }).await.map(Ok),
            Err(reason) => Ok(Err(reason)),
        }
    }

    async fn show(&mut self, id: QueueId) -> std::io::Result<Result<(), Failed>> {
        let Some(shown) = self.spool.show(id).await else {
            return Ok(Err(format!("{id} is not in the queue: it is delivered, deleted, or never was")));
        };
        let header = String::from_utf8_lossy(&shown.header).into_owned();
        let envelope = shown.envelope.as_ref().clone();
        let detail = Detail { message: self.message(id, &shown), envelope, header };
        self.say(Answer::Detail(Box::new(detail))).await.map(Ok)
    }

    async fn summary(&mut self, filter: &Filter, by: By) -> std::io::Result<Result<(), Failed>> {
        let (selection, ids) = match self.choose(filter, (Sort::Age, false)).await {
            Ok(chosen) => chosen,
            Err(reason) => return Ok(Err(reason)),
        };
        let now = Timestamp::now();
        let mut rows = BTreeMap::<String, Row>::new();
        let spool = self.spool.clone();
        let mut shown = std::pin::pin!(shown(&spool, ids));
        let mut looked = 0;
        while let Some((id, shown)) = shown.next().await {
            self.progress(&mut looked).await?;
            let Some(shown) = shown else { continue };
            let message = self.message(id, &shown);
            if selection.means(&message) {
                add(&mut rows, &message, by, now);
            }
        }
        let mut rows: Vec<_> = rows.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.recipients));
        for row in rows {
            self.say(Answer::Row(row)).await?;
        }
        Ok(Ok(()))
    }

    async fn act(&mut self, act: Act, filter: &Filter) -> std::io::Result<Result<(), Failed>> {
        let ids = match self.find(filter, (Sort::Age, false), usize::MAX).await? {
            Ok(ids) => ids,
            Err(reason) => return Ok(Err(reason)),
        };
        let (mut messages, mut busy, mut looked) = (0, 0, 0);
        for ids in ids.chunks(ACTING) {
            match act {
                Act::Retry => messages += self.spool.retry(ids, Timestamp::now()),
                Act::Hold | Act::Release => match self.spool.hold(ids, act == Act::Hold).await {
                    Ok(changed) => messages += changed,
                    Err(refused) => return Ok(Err(format!("after {messages} messages: {refused}"))),
                },
                Act::Delete => {
                    let deleted = self.spool.delete(ids).await;
                    (messages, busy) = (messages + deleted.deleted, busy + deleted.busy);
                }
            }
            self.note(act, ids);
            looked += ids.len();
            self.say(Answer::Progress { messages: looked }).await?;
        }
        info!(messages, busy, ?act, "a person acts on the queue");
        self.say(Answer::Changed { messages, busy }).await.map(Ok)
    }

    /// One line for each message, so that whoever follows it learns of this too.
    fn note(&self, act: Act, ids: &[QueueId]) {
        let decision = act.done();
        for id in ids.iter().filter(|id| self.spool.contains(**id) == (act != Act::Delete)) {
            info!(queue_id = %id, decision, "a person acts on the message");
        }
    }

    /// What a filter may mean, as far as the index knows, in order.
    async fn choose(&self, filter: &Filter, order: (Sort, bool)) -> Result<(Selection, Vec<QueueId>), Failed> {
        let selection = Selection::new(filter, Timestamp::now())?;
        let (spool, wanted) = (self.spool.clone(), selection.clone());
        let look = move || {
            let mut found = Vec::new();
            spool.visit(|queued| {
                if wanted.may_mean(&queued) {
                    found.push((key(order.0, &queued), queued.id));
                }
            });
            found.sort_unstable();
            if order.1 {
                found.reverse();
            }
            found.into_iter().map(|(_, id)| id).collect()
        };
        let ids = spawn_blocking(look).await.map_err(|_| "the relay is ending".to_owned())?;
        Ok((selection, ids))
    }

    /// What a filter means.
    async fn find(
        &mut self,
        filter: &Filter,
        order: (Sort, bool),
        limit: usize,
    ) -> std::io::Result<Result<Vec<QueueId>, Failed>> {
        let (selection, mut ids) = match self.choose(filter, order).await {
            Ok(chosen) => chosen,
            Err(reason) => return Ok(Err(reason)),
        };
        if !selection.needs_envelope() {
            ids.truncate(limit);
            return Ok(Ok(ids));
        }
        let mut meant = Vec::new();
        let spool = self.spool.clone();
        let mut shown = std::pin::pin!(shown(&spool, ids));
        let mut looked = 0;
        while let Some((id, shown)) = shown.next().await {
            self.progress(&mut looked).await?;
            if shown.is_some_and(|shown| selection.means(&self.message(id, &shown))) {
                meant.push(id);
            }
        }
        Ok(Ok(meant))
    }

    fn message(&self, id: QueueId, shown: &Shown) -> Message {
        let Shown { queued, envelope, recipients, header: _ } = shown;
        let pending = recipients.iter().filter_map(|recipient| {
            let pending = recipient.pending.as_ref()?;
            let mailbox = envelope.recipients.get(usize::try_from(pending.index).ok()?)?;
            Some(Pending {
                recipient: mailbox.clone(),
                attempts: pending.attempts,
                due: pending.due,
                trying: recipient.claimed,
                last: pending.last.as_deref().cloned(),
                destination: (self.destinations)(&envelope.origin, mailbox),
            })
        });
        let pending: Vec<_> = pending.collect();
        Message {
            id,
            arrived: envelope.arrived,
            size: queued.size,
            state: state(queued),
            sender: envelope.sender.clone(),
            origin: envelope.origin.clone(),
            settled: recipients.len() - pending.len(),
            pending,
        }
    }

    async fn progress(&mut self, looked: &mut usize) -> std::io::Result<()> {
        *looked += 1;
        if looked.is_multiple_of(PROGRESS) {
            self.say(Answer::Progress { messages: *looked }).await?;
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn say(&mut self, answer: Answer) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.gathered, &Response { version: VERSION, answer })?;
        self.gathered.push(b'\n');
        if self.gathered.len() < GATHERED { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        timeout(self.time, self.stream.write_all(&self.gathered)).await??;
        self.gathered.clear();
        Ok(())
    }
}

/// Reads messages, a few at a time, and gives them in their order. `None`: it was settled meanwhile, or cannot be read.
fn shown(spool: &Spool, ids: Vec<QueueId>) -> impl stream::Stream<Item = (QueueId, Option<Shown>)> {
    stream::iter(ids).map(async |id| (id, spool.show(id).await)).buffered(READING)
}

fn add(rows: &mut BTreeMap<String, Row>, message: &Message, by: By, now: Timestamp) {
    let minutes = now.duration_since(message.arrived).as_mins().max(0).unsigned_abs();
    let age = AGES.iter().position(|bound| minutes < *bound).unwrap_or(AGES.len());
    for pending in &message.pending {
        let name = match by {
            By::Domain => pending.recipient.domain().as_str().to_owned(),
            By::Host => pending.destination.hosts.join(","),
            By::Sender => match &message.sender {
                ReversePath::Null => "<>".to_owned(),
                ReversePath::Mailbox(mailbox) => mailbox.domain().as_str().to_owned(),
            },
        };
        let row = rows.entry(name).or_insert_with_key(|name| Row {
            name: name.clone(),
            recipients: 0,
            ages: [0; AGES.len() + 1],
        });
        row.recipients += 1;
        row.ages[age] += 1;
    }
}
