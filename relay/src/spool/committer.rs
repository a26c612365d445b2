//! The committer: the one thread that writes the log.
//!
//! It takes all that waits, writes it at once, syncs once, tells the index and the scheduler, and then answers. Outcomes
//! wait up to 5 ms for a message to share a sync with: a lost outcome costs a duplicate, never a message. A session that
//! is gone when its answer comes leaves nothing unscheduled. When nothing more can be promised the process ends: the spool
//! on disk is the truth, and the next process reads it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::backlog::{Backlog, Settle};
use super::disk::Directory;
use super::index::{Arrived, Gone};
use super::intake::{Body, Sealed};
use super::job::{Job, Mark, Store, Task, mark, outcome};
use super::log::{Fatal, Log, Trouble, Written};
use super::room::Room;
use super::survivors::Survivors;
use super::warm::{WARM_OCTETS, Warm, WarmBody, WarmQueue};
use super::{Refused, Shared};

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

/// The committer's state.
#[derive(Debug)]
pub(super) struct Committer {
    log: Log<Arc<Directory>>,
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    stores: Vec<Store>,
    settles: Vec<Settle>,
    marks: Vec<Mark>,
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
            marks: Vec::new(),
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
            let nobody = self.stores.is_empty() && self.marks.is_empty() && self.closing.is_empty();
            let urgent = !nobody || self.ending;
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
            Job::Mark(mark) => self.marks.push(mark),
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
        let marks = self.take_marks();
        let settles = self.backlog.next(std::mem::take(&mut self.settles), &mut self.log);
        self.settles_since = None;
        let records: Vec<_> = settles.iter().map(Settle::json).collect();
        let mut entries: Vec<_> = stores.iter().map(Store::entry).collect();
        entries.extend(settles.iter().zip(&records).map(|(settle, record)| outcome(settle, record)));
        entries.extend(marks.iter().flat_map(|it| it.ids.iter().map(|id| mark(*id, it.held))));
        if entries.is_empty() && marks.is_empty() {
            return;
        }
        let written = match self.log.append(&entries) {
            Ok(written) => written,
            Err(fatal) => end_process(&fatal),
        };
        drop(entries);
        let (for_stores, written) = written.split_at(stores.len());
        let (for_settles, for_marks) = written.split_at(settles.len());
        for (store, written) in stores.into_iter().zip(for_stores) {
            self.stored(store, *written);
        }
        for (settle, written) in settles.into_iter().zip(for_settles) {
            self.settled(settle, *written);
        }
        self.marked(marks, for_marks);
    }

    /// Those of which it is new.
    fn take_marks(&mut self) -> Vec<Mark> {
        let mut marks = std::mem::take(&mut self.marks);
        let index = self.shared.index();
        for mark in &mut marks {
            mark.ids.retain(|id| index.is_held(*id) == Some(!mark.held));
        }
        marks
    }

    fn marked(&self, marks: Vec<Mark>, mut written: &[Written]) {
        for Mark { ids, held, answer } in marks {
            let (mine, others) = written.split_at(ids.len());
            written = others;
            let on_disk = ids.iter().zip(mine).filter(|(_, written)| matches!(written, Written::At(_)));
            let on_disk: Vec<_> = on_disk.map(|(id, _)| *id).collect();
            for id in &on_disk {
                let due = self.shared.index().hold(*id, held);
                due.into_iter().for_each(|due| self.shared.announce(*id, due));
            }
            let all = on_disk.len() == ids.len();
            answer.send(if all { Ok(on_disk.len()) } else { Err(self.without_segment()) }).ok();
        }
    }

    fn without_segment(&self) -> Refused {
        Room::without_segment(self.log.trouble() == Some(Trouble::Failing))
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
                answer.send(Err(self.without_segment())).ok();
                return;
            }
            Written::TooLarge => {
                answer.send(Err(Refused::Failing(format!("message {}: no segment is long enough", sealed.id)))).ok();
                return;
            }
        };
        let Sealed { id, size, flags, envelope, standing, head, body, body_size, crc_body, mut reserved, .. } = sealed;
        let due = (!flags.held).then_some(envelope.arrived);
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
        self.shared.index().insert(Arrived { id, place, flags, file, size, envelope, standing, warm });
        due.into_iter().for_each(|due| self.shared.announce(id, due));
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
