//! Messages on their way from one spool to another. What comes in is held, and checked as what comes from a client is: a
//! content with a bare CR or LF would be another message behind the next hop.

use postern_wire::limits::RECIPIENTS_PER_MESSAGE;
use tracing::info;

use super::answer::{Answer, Exported, FORMAT};
use super::octets::Octets;
use super::server::Client;
use crate::queue_id::QueueId;
use crate::spool::Intake;

/// Octets of content in one line.
const PIECE: usize = 32 << 10;

/// A message that comes in.
pub(super) struct Importing {
    message: Exported,
    intake: Intake,
    lines: Lines,
}

impl Client {
    pub(super) async fn export(&mut self, ids: Vec<QueueId>) -> std::io::Result<()> {
        for id in ids {
            if let Err(reason) = self.export_one(id).await? {
                self.say(Answer::Skipped { id, reason }).await?;
            }
        }
        Ok(())
    }

    async fn export_one(&mut self, id: QueueId) -> std::io::Result<Result<(), String>> {
        let (Some(shown), Some(recipients)) = (self.spool.show(id).await, self.spool.standing(id)) else {
            return Ok(Err("it is no longer in the queue, or cannot be read".to_owned()));
        };
        let mut content = match self.spool.content(id).await {
            Ok(content) => content,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let envelope = shown.envelope.as_ref().clone();
        let message = Exported { format: FORMAT, id, size: shown.queued.size, envelope, recipients };
        self.say(Answer::Exported(Box::new(message))).await?;
        loop {
            match content.next().await {
                Ok(Some(octets)) => {
                    for piece in octets.chunks(PIECE) {
                        self.say(Answer::Content(Octets(piece.to_vec()))).await?;
                    }
                }
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
    }

    pub(super) async fn import(&mut self, message: Exported) -> std::io::Result<Result<(), String>> {
        let id = message.id;
        if let Err(reason) = check(&message) {
            return Ok(Err(format!("{id}: {reason}")));
        }
        if self.spool.contains(id) {
            return self.say(Answer::Imported { id, new: false }).await.map(Ok);
        }
        match self.spool.admit_again(id, message.size) {
            Ok(intake) => {
                let lines = Lines { any_octet: message.envelope.binary, ..Lines::default() };
                self.importing = Some(Importing { message, intake, lines });
                self.say(Answer::Ready {}).await.map(Ok)
            }
            Err(refused) => Ok(Err(format!("{id}: {refused}"))),
        }
    }

    pub(super) async fn piece(&mut self, octets: &[u8]) -> Result<(), String> {
        let Some(Importing { message, intake, lines }) = &mut self.importing else {
            return Err("there is no message that this belongs to".to_owned());
        };
        let id = message.id;
        let taken = match lines.check(octets) {
            Ok(()) if intake.size() + octets.len() as u64 > message.size => {
                Err("its content is longer than it says".into())
            }
            Ok(()) => intake.write(octets).await.map_err(|refused| refused.to_string()),
            Err(reason) => Err(reason),
        };
        taken.map_err(|reason| {
            self.importing = None;
            format!("{id}: {reason}")
        })
    }

    pub(super) async fn end(&mut self) -> std::io::Result<Result<(), String>> {
        let Some(Importing { message, intake, lines }) = self.importing.take() else {
            return Ok(Err("there is no message that this belongs to".to_owned()));
        };
        let Exported { format: _, id, size, envelope, recipients } = message;
        let stored = async {
            lines.end()?;
            if intake.size() != size {
                return Err(format!("its content has {} octets, not {size}", intake.size()));
            }
            let draft = intake.end().await.map_err(|refused| refused.to_string())?;
            self.spool.commit_held(draft, envelope, recipients).await.map_err(|refused| refused.to_string())
        };
        match stored.await {
            Ok(receipt) => {
                info!(queue_id = %receipt.id(), size, "imported, and held");
                self.say(Answer::Imported { id: receipt.id(), new: true }).await.map(Ok)
            }
            Err(reason) => Ok(Err(format!("{id}: {reason}"))),
        }
    }
}

fn check(message: &Exported) -> Result<(), String> {
    let Exported { format, id: _, size: _, envelope, recipients } = message;
    if *format != FORMAT {
        return Err(format!("it is in format {format}, and this relay reads format {FORMAT}"));
    }
    if envelope.recipients.len() as u64 > RECIPIENTS_PER_MESSAGE.max {
        return Err(format!("it has more than {} recipients", RECIPIENTS_PER_MESSAGE.max));
    }
    if envelope.recipients.len() != recipients.len() {
        return Err(format!(
            "{} recipients stand in its envelope, {} beside",
            envelope.recipients.len(),
            recipients.len()
        ));
    }
    if recipients.iter().all(|recipient| recipient.done) {
        return Err("none of its recipients is waiting".to_owned());
    }
    Ok(())
}

/// Whether content is whole lines, each of which ends with CR and LF, which stand nowhere else.
#[derive(Debug, Default)]
struct Lines {
    /// BINARYMIME (RFC 3030): it is none.
    any_octet: bool,
    after_cr: bool,
    in_line: bool,
    number: u64,
}

impl Lines {
    fn check(&mut self, octets: &[u8]) -> Result<(), String> {
        if self.any_octet {
            return Ok(());
        }
        for octet in octets {
            let ends = *octet == b'\n';
            if ends != self.after_cr {
                return Err(format!("line {} of its content does not end with CR LF", self.number + 1));
            }
            (self.after_cr, self.in_line) = (*octet == b'\r', !ends);
            self.number += u64::from(ends);
        }
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        if self.in_line { Err("the last line of its content does not end with CR LF".to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pieces: &[&str]) -> Result<(), String> {
        let mut lines = Lines::default();
        pieces.iter().try_for_each(|piece| lines.check(piece.as_bytes()))?;
        lines.end()
    }

    #[test]
    fn only_whole_lines_are_taken() {
        for whole in [&["a\r\n\r\nb\r\n"][..], &["a\r", "\nb\r\n"], &[], &["\r\n"]] {
            assert_eq!(checked(whole), Ok(()), "{whole:?}");
        }
        for (broken, line) in [(&["a\r\nb\nc\r\n"][..], 2), (&["a\rb\r\n"], 1), (&["a\r", "b"], 1), (&["\r\r\n"], 1)] {
            assert_eq!(
                checked(broken),
                Err(format!("line {line} of its content does not end with CR LF")),
                "{broken:?}"
            );
        }
        assert!(checked(&["a"]).is_err() && checked(&["a\r"]).is_err());
        let mut binary = Lines { any_octet: true, ..Lines::default() };
        assert!(binary.check(b"a\nb\rc").is_ok() && binary.end().is_ok());
    }
}
