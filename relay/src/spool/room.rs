//! How much the spool may still take, as far as sessions must know it without asking the committer. Pure counting.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::Refused;

/// What a message needs in the log beside its body: header record, envelope, head. A guess; commit decides.
const OVERHEAD: u64 = 64 << 10;

/// The room.
#[derive(Debug)]
pub(super) struct Room {
    size_max: u64,
    /// Octets in body files, written or about to be.
    files: AtomicU64,
    /// What the committer said last: octets of segments, octets of live records, octets that mail may still take.
    segments: AtomicU64,
    live: AtomicU64,
    log: AtomicU64,
    /// Damaged pieces set aside.
    corrupt: AtomicU64,
    /// The file system itself said that it is full.
    disk_full: AtomicBool,
    /// A segment cannot be made, for another reason than a full disk.
    failing: AtomicBool,
}

impl Room {
    pub(super) fn new(size_max: u64) -> Self {
        Self {
            size_max,
            files: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            live: AtomicU64::new(0),
            log: AtomicU64::new(u64::MAX),
            corrupt: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            failing: AtomicBool::new(false),
        }
    }

    /// What the log knows.
    pub(super) fn publish(&self, segments: u64, live: u64, log: u64, failing: bool) {
        self.segments.store(segments, Relaxed);
        self.live.store(live, Relaxed);
        self.log.store(log, Relaxed);
        self.failing.store(failing, Relaxed);
    }

    /// Whether a message of this size may come; unknown sizes are taken for small.
    pub(super) fn admits(&self, declared: u64, inline_max: u64) -> bool {
        let (inside, in_file) = if declared > inline_max { (0, declared) } else { (declared, 0) };
        let free = self.size_max.saturating_sub(self.segments.load(Relaxed) + self.files.load(Relaxed));
        !self.disk_full.load(Relaxed) && self.log.load(Relaxed) >= inside + OVERHEAD && free >= in_file
    }

    /// Why a message may not come that [`Room::admits`] does not admit.
    pub(super) fn refused(&self) -> Refused {
        Self::without_segment(self.failing.load(Relaxed))
    }

    /// Why a message is not taken for which there is no segment.
    pub(super) fn without_segment(failing: bool) -> Refused {
        if failing { Refused::Failing("no further segment can be made".into()) } else { Refused::Full }
    }

    /// Takes room for octets of a body file; `false` when there is none.
    pub(super) fn take(&self, octets: u64) -> bool {
        let free = self.size_max.saturating_sub(self.segments.load(Relaxed));
        let added = |files: u64| files.checked_add(octets).filter(|files| *files <= free);
        self.files.fetch_update(Relaxed, Relaxed, added).is_ok()
    }

    /// Octets of files that were there before.
    pub(super) fn found(&self, octets: u64) {
        self.files.fetch_add(octets, Relaxed);
    }

    /// Octets of a body file that is gone.
    pub(super) fn give(&self, octets: u64) {
        self.files.fetch_sub(octets, Relaxed);
        self.disk_full.store(false, Relaxed);
    }

    pub(super) fn files(&self) -> u64 {
        self.files.load(Relaxed)
    }

    /// Octets of segments and files.
    pub(super) fn octets(&self) -> u64 {
        self.segments.load(Relaxed) + self.files()
    }

    /// Octets that messages need.
    pub(super) fn live(&self) -> u64 {
        self.live.load(Relaxed) + self.files()
    }

    pub(super) fn corrupt(&self) -> u64 {
        self.corrupt.load(Relaxed)
    }

    pub(super) fn add_corrupt(&self, pieces: u64) {
        self.corrupt.fetch_add(pieces, Relaxed);
    }

    pub(super) fn set_disk_full(&self, full: bool) {
        self.disk_full.store(full, Relaxed);
    }

    /// What a failed write of a body file means for its message.
    pub(super) fn refusal(&self, what: &str, error: &io::Error) -> Refused {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            self.set_disk_full(true);
            return Refused::Full;
        }
        Refused::Failing(format!("{what}: {error}"))
    }
}
