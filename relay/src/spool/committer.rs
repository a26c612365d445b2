//! The committer: the one thread that writes the log, and its helper for slow work on files.
//!
//! It takes all that waits, writes it at once, syncs once, tells the index and the scheduler, and then answers. Outcomes
//! wait up to 5 ms for a message to share a sync with: a lost outcome costs a duplicate, never a message. A session that
//! is gone when its answer comes leaves nothing unscheduled. When nothing more can be promised the process ends: the spool
//! on disk is the truth, and the next process reads it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::backlog::{Backlog, Settle};
use super::disk::Directory;
use super::index::{Arrived, Gone};
use super::intake::{Body, Sealed};
use super::log::{Disk, Entry, Fatal, Log, Rank, Slot, Trouble, Written};
use super::record::{Flags, Kind, Parts, crc_front};
use super::room::Room;
use super::survivors::Survivors;
use super::warm::{WARM_OCTETS, Warm, WarmBody, WarmQueue};
use super::{Refused, Shared};
use crate::envelope::Origin;

/// How long an outcome waits for company.
const OUTCOME_WAIT: Duration = Duration::from_millis(5);
/// How often the committer looks after room when nothing comes.
const IDLE: Duration = Duration::from_secs(1);
/// How long a full disk is left alone.
const DISK_FULL_WAIT: Duration = Duration::from_secs(5);
/// How long it waits when a segment could not be made for another reason: when that is over, mail is taken at once.
const FAILING_WAIT: Duration = Duration::from_millis(100);
/// What one write may hold.
const BATCH_OCTETS: u64 = 8 << 20;
const BATCH_JOBS: usize = 1024;

/// What the committer is asked.
#[derive(Debug)]
pub(super) enum Job {
    /// Store a message.
    Store(Box<Store>),
    /// Write down what became of recipients.
    Settle(Settle),
    /// A message was taken out of the index without an outcome, because it is damaged: only its place is free.
    Damaged(Gone),
    /// The helper has made a slot, or could not.
    Slot(std::io::Result<Slot>),
    /// Answer when all that came before is on stable storage.
    Close(oneshot::Sender<()>),
    /// As Close, and end.
    End,
}

/// See [`Job::Store`].
#[derive(Debug)]
pub(super) struct Store {
    pub(super) sealed: Sealed,
    pub(super) answer: oneshot::Sender<Result<(), Refused>>,
}

/// What the helper is asked.
#[derive(Debug)]
pub(super) enum Task {
    /// Make a slot.
    Make,
    /// Remove a slot.
    Remove(Slot),
    /// Remove a file.
    Unlink(PathBuf),
    /// End.
    End,
}

/// Runs the helper until it is told to end.
pub(super) fn help(directory: &Arc<Directory>, tasks: &Receiver<Task>, jobs: &Sender<Job>, ending: &AtomicBool) {
    while let Ok(task) = tasks.recv() {
        let failed = match task {
            // Whoever ends the spool waits for this thread.
            Task::Make if ending.load(Ordering::Relaxed) => Ok(()),
            Task::Make => {
                jobs.send(Job::Slot(directory.allocate())).ok();
                Ok(())
            }
            Task::Remove(slot) => directory.remove(slot),
            Task::Unlink(path) => std::fs::remove_file(&path),
            Task::End => return,
        };
        if let Err(error) = failed {
            tracing::warn!(%error, "a file of the spool cannot be removed; the next start will try again");
        }
    }
}

/// The committer's state.
#[derive(Debug)]
pub(super) struct Committer {
    log: Log<Arc<Directory>>,
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    stores: Vec<Store>,
    settles: Vec<Settle>,
    /// Outcomes that found no room.
    backlog: Backlog,
    /// When the first of the outcomes that wait came.
    settles_since: Option<Instant>,
    closing: Vec<oneshot::Sender<()>>,
    ending: bool,
    warm: WarmQueue,
    survivors: Survivors,
    /// When the disk refused a slot.
    refused_since: Option<Instant>,
}

/// The process ends when the thread panics: nobody else could answer what waits.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the spool's committer panicked; the process ends, and the next one reads the spool");
            std::process::abort();
        }
    }
}

/// Nothing that waits can be answered truthfully any more.
fn end_process(fatal: &Fatal) -> ! {
    tracing::error!(error = %fatal, "the process ends, and the next one reads the spool");
    std::process::abort();
}

#[expect(clippy::disallowed_methods, reason = "the committer is a driver: it waits")]
fn now() -> Instant {
    Instant::now()
}

impl Committer {
    pub(super) fn new(log: Log<Arc<Directory>>, shared: Arc<Shared>, jobs: Receiver<Job>) -> Self {
        let mut committer = Self {
            log,
            shared,
            jobs,
            stores: Vec::new(),
            settles: Vec::new(),
            backlog: Backlog::default(),
            settles_since: None,
            closing: Vec::new(),
            ending: false,
            warm: WarmQueue::default(),
            survivors: Survivors::default(),
            refused_since: None,
        };
        committer.keep_house();
        committer
    }

    /// Runs until it is told to end.
    pub(super) fn run(mut self) {
        let _abort = AbortOnPanic;
        while !self.ending || !self.stores.is_empty() {
            self.gather();
            self.commit();
            self.keep_house();
            for waiting in self.closing.drain(..) {
                waiting.send(()).ok();
            }
        }
        if !self.backlog.is_empty() {
            tracing::warn!("the spool is full: some outcomes are not written, and their messages may be sent again");
        }
    }

    /// Waits for something that must be written now, and takes all that is there with it.
    fn gather(&mut self) {
        let mut octets = 0;
        loop {
            let urgent = !self.stores.is_empty() || !self.closing.is_empty() || self.ending;
            let full = octets > BATCH_OCTETS || self.stores.len() + self.settles.len() >= BATCH_JOBS;
            let wait = match self.settles_since {
                _ if full => return,
                _ if urgent || self.survivors.waiting() => Duration::ZERO,
                Some(since) => OUTCOME_WAIT.saturating_sub(now().duration_since(since)),
                None if self.log.trouble() == Some(Trouble::Failing) => FAILING_WAIT,
                None => IDLE,
            };
            let job = if wait.is_zero() {
                self.jobs.try_recv().map_err(|error| error == TryRecvError::Disconnected)
            } else {
                self.jobs.recv_timeout(wait).map_err(|error| error == RecvTimeoutError::Disconnected)
            };
            match job {
                Ok(job) => octets += self.take(job),
                Err(disconnected) => {
                    self.ending |= disconnected;
                    return;
                }
            }
        }
    }

    fn take(&mut self, job: Job) -> u64 {
        match job {
            Job::Store(store) => {
                let octets = store.entry().length();
                self.stores.push(*store);
                return octets;
            }
            Job::Settle(settle) => {
                self.settles_since.get_or_insert_with(now);
                self.settles.push(settle);
            }
            Job::Damaged(gone) => self.log.release(gone.place),
            Job::Slot(slot) => self.log.slot_came(slot),
            Job::Close(answer) => self.closing.push(answer),
            Job::End => self.ending = true,
        }
        0
    }

    /// Writes what was gathered, and answers.
    fn commit(&mut self) {
        let stores = self.take_stores();
        let settles = self.backlog.next(std::mem::take(&mut self.settles), &mut self.log);
        self.settles_since = None;
        let records: Vec<_> = settles.iter().map(Settle::json).collect();
        let mut entries: Vec<_> = stores.iter().map(Store::entry).collect();
        entries.extend(settles.iter().zip(&records).map(|(settle, record)| outcome(settle, record)));
        if entries.is_empty() {
            return;
        }
        let written = match self.log.append(&entries) {
            Ok(written) => written,
            Err(fatal) => end_process(&fatal),
        };
        drop(entries);
        let (for_stores, for_settles) = written.split_at(stores.len());
        for (store, written) in stores.into_iter().zip(for_stores) {
            self.stored(store, *written);
        }
        for (settle, written) in settles.into_iter().zip(for_settles) {
            self.settled(settle, *written);
        }
    }

    /// Those to be written now. One whose id is here already is answered; a second one of the same id waits for the first.
    fn take_stores(&mut self) -> Vec<Store> {
        let mut ids = HashSet::new();
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for store in std::mem::take(&mut self.stores) {
            if self.shared.index().knows(store.sealed.id) {
                store.answer.send(Ok(())).ok();
            } else if ids.insert(store.sealed.id) {
                now.push(store);
            } else {
                later.push(store);
            }
        }
        self.stores = later;
        now
    }

    fn stored(&mut self, store: Store, written: Written) {
        let Store { sealed, answer } = store;
        let place = match written {
            Written::At(place) => place,
            Written::Full => {
                answer.send(Err(Room::without_segment(self.log.trouble() == Some(Trouble::Failing)))).ok();
                return;
            }
            Written::TooLarge => {
                answer.send(Err(Refused::Failing(format!("message {}: no segment is long enough", sealed.id)))).ok();
                return;
            }
        };
        let Sealed { id, size, flags, envelope, head, body, body_size, crc_body, mut reserved, .. } = sealed;
        let due = envelope.arrived;
        let (body, file) = match body {
            Body::Memory(body) => (WarmBody::Memory(body), None),
            Body::File(file) => {
                file.keep();
                (WarmBody::File { crc: crc_body }, Some(u64::from(body_size)))
            }
        };
        let stays = self.shared.memory.is_ample() && reserved.0.grow(head.len() + WARM_OCTETS);
        let warm = Warm { envelope: Arc::clone(&envelope), head, body, _reserved: reserved };
        let warm = stays.then(|| Arc::new(warm));
        if warm.is_some() {
            self.warm.push(id, now());
        }
        self.shared.index().insert(Arrived { id, place, flags, file, size, envelope, warm });
        self.shared.announce(id, due);
        answer.send(Ok(())).ok();
    }

    fn settled(&mut self, settle: Settle, written: Written) {
        match written {
            Written::At(_) => {
                let gone = Backlog::written(settle, &mut self.log);
                gone.iter().for_each(|gone| self.bury(gone));
            }
            Written::Full => self.backlog.refused(settle, &mut self.log),
            Written::TooLarge => tracing::error!(queue_id = %settle.id, "an outcome is too large for the log"),
        }
    }

    fn bury(&self, gone: &Gone) {
        if let Some(octets) = gone.file {
            self.shared.room.give(octets);
            self.shared.helper.send(Task::Unlink(self.shared.directory.body_path(gone.id))).ok();
        }
    }

    /// Frees what does not matter any more, has segments made ahead of need, copies survivors forward, tells the room.
    fn keep_house(&mut self) {
        self.warm.cool(&mut self.shared.index(), now());
        self.log.set_files(self.shared.room.files());
        if let Err(error) = self.log.free() {
            tracing::error!(%error, "a segment of the spool cannot be freed; it is tried again");
        }
        for gone in self.backlog.buried(&self.log) {
            self.bury(&gone);
        }
        match self.survivors.copy_some(&mut self.log, &self.shared.index) {
            Ok(damaged) => self.shared.room.add_corrupt(damaged),
            Err(fatal) => end_process(&fatal),
        }
        while let Some(slot) = self.log.surplus() {
            self.shared.helper.send(Task::Remove(slot)).ok();
        }
        self.look_at_disk();
        while self.log.wants_slot() {
            self.shared.helper.send(Task::Make).ok();
        }
        let failing = self.log.trouble() == Some(Trouble::Failing);
        self.shared.room.publish(self.log.octets(), self.log.live_octets(), self.log.room(), failing);
    }

    /// After the disk refused a slot, asks for one again now and then: what is kept back may be needed.
    fn look_at_disk(&mut self) {
        let wait = match self.log.trouble() {
            None => {
                self.refused_since = None;
                return;
            }
            Some(Trouble::Full) => DISK_FULL_WAIT,
            Some(Trouble::Failing) => FAILING_WAIT,
        };
        let since = *self.refused_since.get_or_insert_with(now);
        if now().duration_since(since) >= wait && self.log.tries_slot() {
            self.refused_since = None;
            self.shared.helper.send(Task::Make).ok();
        }
    }
}

impl Store {
    fn entry(&self) -> Entry<'_> {
        let Sealed { id, flags, json, envelope, head, body, body_size, crc_front, crc_body, .. } = &self.sealed;
        let (kind, inside) = match body {
            Body::Memory(body) => (Kind::Put, &body[..]),
            Body::File(_) => (Kind::PutFile, &[][..]),
        };
        let ours = matches!(envelope.origin, Origin::Notification { .. });
        Entry {
            rank: if ours { Rank::Report } else { Rank::Mail },
            kind,
            flags: *flags,
            id: *id,
            parts: Parts { envelope: json, head, body: inside },
            body: *body_size,
            crc_front: *crc_front,
            crc_body: *crc_body,
        }
    }
}

pub(super) fn outcome<'a>(settle: &Settle, record: &'a [u8]) -> Entry<'a> {
    Entry {
        rank: Rank::Report,
        kind: Kind::Outcome,
        flags: Flags { settles: settle.settles(), ..Flags::default() },
        id: settle.id,
        parts: Parts { envelope: record, head: &[], body: &[] },
        body: 0,
        crc_front: crc_front(record, &[]),
        crc_body: 0,
    }
}
