//! Recipients that somebody is attempting.

use std::sync::Arc;

use super::content::{Content, Unreadable};
use super::{Inner, PendingRecipient};
use crate::envelope::Envelope;
use crate::queue_id::QueueId;

/// Claimed recipients, which return to the queue when this is dropped unsettled.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) inner: Arc<Inner>,
    pub(super) id: QueueId,
    pub(super) recipients: Vec<PendingRecipient>,
    pub(super) settled: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.inner.shared.index().unclaim(self.id, &self.recipients);
        if let Some(due) = self.recipients.iter().map(|recipient| recipient.due).min() {
            self.inner.shared.announce(self.id, due);
        }
    }
}

/// Recipients of one message that nobody else may attempt. Dropped unsettled, they return to the queue with an `Arrival`.
#[derive(Debug)]
pub struct Claim {
    pub(super) held: Held,
    pub(super) envelope: Arc<Envelope>,
    pub(super) size: u64,
    pub(super) leading_dots: bool,
}

impl Claim {
    /// The message.
    pub fn id(&self) -> QueueId {
        self.held.id
    }

    /// Its envelope, whole.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Those claimed, in the order of the envelope.
    pub fn recipients(&self) -> &[PendingRecipient] {
        &self.held.recipients
    }

    /// Octets of the content.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether any line of the content begins with a dot, so that sending must stuff it (RFC 5321, section 4.5.2).
    pub fn leading_dots(&self) -> bool {
        self.leading_dots
    }

    /// The content from its beginning; may be asked again for another attempt.
    pub async fn content(&self) -> Result<Content, Unreadable> {
        Content::open(&self.held.inner.shared, self.held.id).await
    }
}
