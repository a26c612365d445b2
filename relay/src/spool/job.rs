//! What the committer and its helper are asked, and what is written for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use tokio::sync::oneshot;

use super::Refused;
use super::backlog::Settle;
use super::disk::Directory;
use super::index::Gone;
use super::intake::{Body, Sealed};
use super::log::{Disk, Entry, Rank, Slot};
use super::record::{Flags, Kind, Parts, crc_front};
use crate::envelope::Origin;
use crate::queue_id::QueueId;

/// What the committer is asked.
#[derive(Debug)]
pub(super) enum Job {
    /// Store a message.
    Store(Box<Store>),
    /// Write down what became of recipients.
    Settle(Settle),
    /// Write down that a person keeps messages, or does no longer.
    Mark(Mark),
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

/// See [`Job::Mark`].
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) ids: Vec<QueueId>,
    pub(super) held: bool,
    /// For how many of them it is new.
    pub(super) answer: oneshot::Sender<Result<usize, Refused>>,
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

impl Store {
    pub(super) fn entry(&self) -> Entry<'_> {
        let Sealed { id, flags, json, envelope, standing, head, body, body_size, crc_front, crc_body, .. } =
            &self.sealed;
        let (kind, inside) = match body {
            Body::Memory(body) => (Kind::Put, &body[..]),
            Body::File(_) => (Kind::PutFile, &[][..]),
        };
        // What comes with the state of its recipients is written as what was copied forward is.
        let kind = if standing.is_some() { Kind::Copy } else { kind };
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

pub(super) fn mark(id: QueueId, held: bool) -> Entry<'static> {
    Entry {
        rank: Rank::Report,
        kind: Kind::Mark,
        flags: Flags { held, ..Flags::default() },
        id,
        parts: Parts { envelope: &[], head: &[], body: &[] },
        body: 0,
        crc_front: crc_front(&[], &[]),
        crc_body: 0,
    }
}
