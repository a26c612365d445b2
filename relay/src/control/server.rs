//! The relay's side of the control socket.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{Answer, Command, Detail, Message, Pending, Request, Response, Socket, VERSION, Which};
use crate::limits::Limits;
use crate::queue_id::QueueId;
use crate::shutdown::{Shutdown, Stage};
use crate::spool::{Shown, Spool};

/// Answers requests until the relay ends.
pub async fn serve(socket: Socket, spool: Spool, limits: &Limits, shutdown: Shutdown) {
    let count = usize::try_from(limits.control_connections).unwrap_or(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(count));
    let (request_max, time) = (limits.control_request, limits.control_time);
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
                let spool = spool.clone();
                clients.spawn(async move {
                    let _place = place;
                    if let Err(error) =
                        (Client { stream: BufReader::new(stream), spool, request_max, time }).serve().await
                    {
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
struct Client {
    stream: BufReader<UnixStream>,
    spool: Spool,
    request_max: u64,
    time: Duration,
}

impl Client {
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
                return self.say(Answer::Failed(reason)).await;
            }
            let last = match understand(&line) {
                Ok(command) => self.obey(command).await?,
                Err(reason) => Answer::Failed(reason),
            };
            self.say(last).await?;
        }
    }

    /// Answers all but the last line.
    async fn obey(&mut self, command: Command) -> std::io::Result<Answer> {
        match command {
            Command::List {} => {
                for queued in self.spool.queue() {
                    // It may have been settled since the queue was copied.
                    if let Some(shown) = self.spool.show(queued.id).await {
                        self.say(Answer::Message(Box::new(message(queued.id, &shown)))).await?;
                    }
                }
            }
            Command::Show { id } => match self.spool.show(id).await {
                Some(shown) => {
                    let header = String::from_utf8_lossy(&shown.header).into_owned();
                    self.say(Answer::Detail(Box::new(Detail { message: message(id, &shown), header }))).await?;
                }
                None => return Ok(Answer::Failed(format!("{id} is not in the queue: it is delivered, or never was"))),
            },
            Command::Retry(which) => {
                let ids = self.ids(which).await;
                let messages = self.spool.retry(&ids, Timestamp::now());
                info!(messages, "a person asks to try again");
                self.say(Answer::Retried { messages }).await?;
            }
        }
        Ok(Answer::Done {})
    }

    async fn ids(&self, which: Which) -> Vec<QueueId> {
        let all = || self.spool.queue().into_iter().map(|queued| queued.id);
        match which {
            Which::All {} => all().collect(),
            Which::Ids(ids) => ids,
            Which::To(domain) => {
                let domain = domain.to_ascii_lowercase();
                let mut ids = Vec::new();
                for id in all() {
                    let Some(shown) = self.spool.show(id).await else { continue };
                    let pending = message(id, &shown).pending;
                    if pending.iter().any(|pending| pending.recipient.domain().as_str() == domain) {
                        ids.push(id);
                    }
                }
                ids
            }
        }
    }

    async fn say(&mut self, answer: Answer) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(&Response { version: VERSION, answer })?;
        line.push(b'\n');
        timeout(self.time, self.stream.write_all(&line)).await?
    }
}

fn understand(line: &[u8]) -> Result<Command, String> {
    /// Only the version, so that a newer request is named so.
    #[derive(serde::Deserialize)]
    struct Peek {
        version: u32,
    }
    let malformed = |error: serde_json::Error| format!("not a request: {error}");
    let Peek { version } = serde_json::from_slice(line).map_err(malformed)?;
    if version != VERSION {
        return Err(format!("this relay speaks version {VERSION} of the control protocol, not {version}"));
    }
    let Request { version: _, command } = serde_json::from_slice(line).map_err(malformed)?;
    Ok(command)
}

fn message(id: QueueId, shown: &Shown) -> Message {
    let Shown { queued, envelope, recipients, header: _ } = shown;
    let pending = recipients.iter().filter_map(|recipient| {
        let pending = recipient.pending.as_ref()?;
        Some(Pending {
            recipient: envelope.recipients.get(usize::try_from(pending.index).ok()?)?.clone(),
            attempts: pending.attempts,
            due: pending.due,
            trying: recipient.claimed,
            last: pending.last.as_deref().cloned(),
        })
    });
    let pending: Vec<_> = pending.collect();
    Message {
        id,
        arrived: envelope.arrived,
        size: queued.size,
        sender: envelope.sender.clone(),
        origin: envelope.origin.clone(),
        settled: recipients.len() - pending.len(),
        pending,
    }
}
