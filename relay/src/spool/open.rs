//! Opening a spool: the directory, the log, the files beside it, and the two threads.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc as std_mpsc};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::committer::Committer;
use super::disk::Directory;
use super::index::Index;
use super::job::help;
use super::log::{Log, RESERVE, Rules};
use super::memory::Memory;
use super::progress::Recovering;
use super::room::Room;
use super::{Arrivals, Inner, OpenError, Options, Shared, Spool};

/// The longest record fits into it.
const SEGMENT_MIN: u64 = 4 << 20;
/// Segments are a multiple of this.
const SECTORS: u64 = 4096;

pub(super) fn open(options: Options, now: Timestamp) -> Result<(Spool, Arrivals), OpenError> {
    let failed = |source| OpenError::File { path: options.directory.clone(), source };
    let segment = options.segment_size.min((options.size_max / 16).max(SEGMENT_MIN)) / SECTORS * SECTORS;
    let segment = u32::try_from(segment).map_err(|_| OpenError::Length(options.directory.clone()))?;
    let directory = Arc::new(Directory::open(&options.directory, segment)?);
    let size_min = (RESERVE + 2) * u64::from(directory.segment());
    if options.size_max < size_min {
        return Err(OpenError::TooSmall { path: options.directory, size_max: options.size_max, size_min });
    }
    let seed = getrandom::u32().map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let rules = Rules { segment: directory.segment(), size_max: options.size_max, seed };
    let mut recovering = Recovering { index: Index::default(), progress: options.progress.clone() };
    let log = Log::open(Arc::clone(&directory), rules, &mut recovering).map_err(failed)?;
    let index = recovering.index;
    let room = Room::new(options.size_max);
    room.add_corrupt(log.corrupt() + directory.truncated());
    sort_files(&directory, &index, &room)?;
    if room.corrupt() > 0 {
        let directory = options.directory.join("corrupt");
        tracing::error!(pieces = room.corrupt(), directory = %directory.display(), "damage in the spool was set aside");
    }
    tracing::info!(
        directory = %options.directory.display(),
        messages = index.len(),
        octets = log.octets(),
        "the spool is open"
    );
    let (arrivals, since) = mpsc::unbounded_channel();
    let (helper, tasks) = std_mpsc::channel();
    let (jobs, queue) = std_mpsc::channel();
    let memory = Arc::new(Memory::new(options.memory_max));
    let due = index.due();
    let shared = Arc::new(Shared {
        options,
        directory: Arc::clone(&directory),
        index: Mutex::new(index),
        memory,
        room,
        arrivals,
        helper,
    });
    let committer = Committer::new(log, Arc::clone(&shared), queue);
    let for_helper = jobs.clone();
    let ending = Arc::new(AtomicBool::new(false));
    let for_ending = Arc::clone(&ending);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let failed = |source| OpenError::File { path: shared.options.directory.clone(), source };
    let helper =
        thread("spool-helper").spawn(move || help(&directory, &tasks, &for_helper, &for_ending)).map_err(failed)?;
    let committer = thread("spool-committer").spawn(move || committer.run()).map_err(failed)?;
    let inner = Inner { shared: Arc::clone(&shared), jobs, ending, committer: Some(committer), helper: Some(helper) };
    Ok((Spool(Arc::new(inner)), Arrivals { recovered: due.into_iter(), start: now, since }))
}

/// Counts the bodies in files. Those of no message are removed, but only when nothing is damaged: the record that names a
/// file may be the damaged one.
fn sort_files(directory: &Directory, index: &Index, room: &Room) -> Result<(), OpenError> {
    let mut wanted: HashSet<_> = index.with_file().collect();
    let undamaged = room.corrupt() == 0;
    for (path, id, octets) in directory.bodies()? {
        if id.is_some_and(|id| wanted.remove(&id)) || !undamaged {
            room.found(octets);
        } else if let Err(source) = std::fs::remove_file(&path) {
            return Err(OpenError::File { path, source });
        }
    }
    for id in wanted {
        tracing::error!(queue_id = %id, "the file of this message's body is missing");
        room.add_corrupt(1);
    }
    Ok(())
}
