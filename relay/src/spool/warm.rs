//! A stored message that is still in memory, so that its first delivery reads no disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::index::Index;
use super::memory::Reservation;
use crate::envelope::Envelope;
use crate::queue_id::QueueId;

/// How long a message may stay in memory when nobody takes it and others want its room.
const STALE: Duration = Duration::from_secs(30);

/// What a message in memory takes beside its content: its envelope and what holds it together. A guess.
pub(super) const WARM_OCTETS: usize = 1024;

/// The content of a stored message.
#[derive(Debug)]
pub(super) struct Warm {
    pub(super) envelope: Arc<Envelope>,
    pub(super) head: Bytes,
    pub(super) body: WarmBody,
    /// Held for as long as anyone reads it.
    pub(super) _reserved: (Reservation, Reservation),
}

/// Where the body of a warm message is.
#[derive(Debug)]
pub(super) enum WarmBody {
    /// Here.
    Memory(Bytes),
    /// In its file, with this CRC.
    File { crc: u32 },
}

/// Which messages are in memory, the oldest first.
#[derive(Debug, Default)]
pub(super) struct WarmQueue(VecDeque<(QueueId, Instant)>);

impl WarmQueue {
    pub(super) fn push(&mut self, id: QueueId, now: Instant) {
        self.0.push_back((id, now));
    }

    /// Forgets what has been in memory for too long. Messages that were tried meanwhile are only struck off.
    pub(super) fn cool(&mut self, index: &mut Index, now: Instant) {
        while let Some((id, since)) = self.0.front()
            && (now.duration_since(*since) > STALE || !index.is_warm(*id))
        {
            index.cool(*id);
            self.0.pop_front();
        }
    }
}
