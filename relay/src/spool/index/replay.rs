//! How the index learns the records of the log again after a start. Pure.

use super::entry::{Entry, Recipient};
use super::{Copied, Index, Settled};
use crate::envelope::{Envelope, Origin};
use crate::spool::log::{Place, Replay, Replayed};
use crate::spool::record::{Header, Kind, Parts};

impl Replay for Index {
    fn replay(&mut self, header: &Header, parts: &Parts<'_>, place: Place) -> Replayed {
        let id = header.id;
        let (envelope, recipients) = match header.kind {
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
            Kind::Mark => {
                self.hold(id, header.flags.held);
                return Replayed::Kept;
            }
            Kind::Put | Kind::PutFile => {
                let Ok(envelope) = serde_json::from_slice::<Envelope>(parts.envelope) else {
                    return Replayed::NotUnderstood;
                };
                let recipients = vec![Recipient::fresh(envelope.arrived); envelope.recipients.len()];
                (envelope, recipients)
            }
            Kind::Copy => {
                let Ok(Copied { envelope, recipients }) = serde_json::from_slice(parts.envelope) else {
                    return Replayed::NotUnderstood;
                };
                let recipients = self.stand(recipients);
                (envelope, recipients)
            }
        };
        if let Origin::Notification { about, .. } = &envelope.origin {
            self.notifications.insert(id, *about);
        }
        let size = u64::from(header.head) + u64::from(header.body);
        let file = header.in_file().then_some(u64::from(header.body));
        let entry = Entry::new(id, envelope.arrived);
        self.enter(entry, place, header.flags, (file, size), &recipients).map_or(Replayed::Kept, Replayed::Freed)
    }

    fn looked(&mut self, _: usize, _: usize) {}

    /// A notification that is gone was sent. When its cause is still here, that cause's outcome was lost in a crash, and
    /// the notification is about to be made again, under the same id.
    fn end(&mut self) {
        let all = std::mem::take(&mut self.notifications);
        let sent = all.into_iter().filter(|(id, about)| !self.contains(*id) && self.contains(*about));
        self.sent = sent.map(|(id, _)| id).collect();
    }
}
