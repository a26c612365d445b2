//! How the index learns the records of the log again after a start. Pure.

use super::{Copied, Index, Message, Recipient, Settled, State};
use crate::envelope::Envelope;
use crate::spool::log::{Place, Replay, Replayed};
use crate::spool::record::{Header, Kind, Parts};

impl Replay for Index {
    fn replay(&mut self, header: &Header, parts: &Parts<'_>, place: Place) -> Replayed {
        let id = header.id;
        let (arrived, recipients) = match header.kind {
            Kind::Outcome => {
                let Ok(all) = serde_json::from_slice::<Vec<Settled>>(parts.envelope) else {
                    return Replayed::NotUnderstood;
                };
                for settled in &all {
                    self.apply(id, settled);
                }
                let gone = if header.flags.settles { self.remove(id) } else { self.remove_settled(id) };
                return gone.map_or(Replayed::Kept, |gone| Replayed::Freed(gone.place));
            }
            Kind::Put | Kind::PutFile => {
                let Ok(envelope) = serde_json::from_slice::<Envelope>(parts.envelope) else {
                    return Replayed::NotUnderstood;
                };
                (envelope.arrived, vec![Recipient::fresh(envelope.arrived); envelope.recipients.len()])
            }
            Kind::Copy => {
                let Ok(copied) = serde_json::from_slice::<Copied>(parts.envelope) else {
                    return Replayed::NotUnderstood;
                };
                let recipients = copied.recipients.into_iter().map(|it| Recipient {
                    state: if it.done { State::Done } else { State::Pending },
                    attempts: it.attempts,
                    due: it.due,
                    last: it.last.map(|remote| self.share(&remote)),
                });
                (copied.envelope.arrived, recipients.collect())
            }
        };
        let size = u64::from(header.head) + u64::from(header.body);
        let file = header.in_file().then_some(u64::from(header.body));
        let (flags, recipients) = (header.flags, recipients.into());
        let message = Message { place, flags, file, size, arrived, recipients, warm: None };
        self.messages.insert(id, message).map_or(Replayed::Kept, |old| Replayed::Freed(old.place))
    }
}
