//! The spool's directory: the only place that knows file names.
//!
//! | name | what |
//! |---|---|
//! | `lock` | locked by the one process that uses the directory; holds its process id |
//! | `segments/segment-N` | the log, see `log` and `segment`; `.new` while it is being made |
//! | `files/XX/ID` | a body above 256 KiB |
//! | `corrupt/…` | what could not be understood, kept for a person |

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, IoSlice, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::FlockOperation;

use super::OpenError;
use super::log::{Disk, Slot};
use super::segment::{START, Stamped, stamped};
use crate::queue_id::QueueId;

/// How many pieces one call may write (IOV_MAX on Linux).
const PIECES: usize = 1024;
/// How many octets are written at once while a segment is made.
const ZEROS: usize = 1 << 20;

/// The directory, locked.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    segment: u32,
    next: AtomicU32,
    open: RwLock<HashMap<Slot, Arc<File>>>,
    truncated: u64,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Directory {
    /// Makes what is missing and takes the lock. Segments that exist decide how long segments are.
    pub(super) fn open(path: &Path, segment: u32) -> Result<Self, OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::File { path, source }
        };
        fs::create_dir_all(path).map_err(at(path))?;
        let lock = take_lock(path)?;
        for name in ["segments", "files", "corrupt"] {
            let path = path.join(name);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        for shard in 0..=u8::MAX {
            let path = path.join("files").join(format!("{shard:02x}"));
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        for name in ["files", ""] {
            sync_directory(&path.join(name)).map_err(at(&path.join(name)))?;
        }
        let (mut open, mut lengths, mut next) = (HashMap::new(), Vec::new(), 0);
        let segments = path.join("segments");
        for entry in fs::read_dir(&segments).map_err(at(&segments))? {
            let path = entry.map_err(at(&segments))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(number) = name.strip_prefix("segment-") else { continue };
            if number.ends_with(".new") {
                // A crash left it half-made: nothing was ever written to it.
                fs::remove_file(&path).map_err(at(&path))?;
            }
            let Ok(number) = number.parse::<u32>() else { continue };
            let file = File::options().read(true).write(true).open(&path).map_err(at(&path))?;
            let length = file.metadata().map_err(at(&path))?.len();
            lengths.push(made_with(&file).unwrap_or(length));
            open.insert(Slot(number), (Arc::new(file), length));
            next = next.max(number + 1);
        }
        let segment = match common(&lengths) {
            Some(length) => u32::try_from(length).map_err(|_| OpenError::Length(segments))?,
            None => segment,
        };
        let mut directory = Self {
            path: path.into(),
            segment,
            next: AtomicU32::new(next),
            open: RwLock::default(),
            truncated: 0,
            _lock: lock,
        };
        for (slot, (file, length)) in &open {
            directory.lengthen(*slot, file, *length)?;
        }
        directory.open = RwLock::new(open.into_iter().map(|(slot, (file, _))| (slot, file)).collect());
        Ok(directory)
    }

    /// A segment that was cut off is as long as the others again: what it had is read, what it lost is found missing.
    fn lengthen(&mut self, slot: Slot, mut file: &File, length: u64) -> Result<(), OpenError> {
        let missing = u64::from(self.segment).saturating_sub(length);
        if missing == 0 {
            return Ok(());
        }
        let path = self.segment_path(slot);
        tracing::error!(segment = %path.display(), length, missing, "a segment of the spool was cut off");
        self.truncated += 1;
        let mut write = || {
            file.seek(SeekFrom::Start(length))?;
            io::copy(&mut io::repeat(0).take(missing), &mut file)?;
            file.sync_all()
        };
        write().map_err(|source| OpenError::File { path, source })
    }

    /// Segments that were cut off.
    pub(super) fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Octets of each segment.
    pub(super) fn segment(&self) -> u32 {
        self.segment
    }

    /// Octets that the file system still has for us.
    pub(super) fn available(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn segment_path(&self, slot: Slot) -> PathBuf {
        self.path.join("segments").join(format!("segment-{:08}", slot.0))
    }

    fn file(&self, slot: Slot) -> io::Result<Arc<File>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&slot)
            .cloned()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no segment {}", slot.0)))
    }

    fn forget(&self, slot: Slot) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }

    /// Where the body of a message is, if it is in a file.
    pub(super) fn body_path(&self, id: QueueId) -> PathBuf {
        let shard = id.to_bytes()[9];
        self.path.join("files").join(format!("{shard:02x}")).join(id.to_string())
    }

    /// Keeps a copy of a damaged body for a person.
    pub(super) fn set_body_aside(&self, id: QueueId) -> io::Result<()> {
        fs::copy(self.body_path(id), self.path.join("corrupt").join(format!("{id}.body")))?;
        Ok(())
    }

    /// The bodies that are in files, with their lengths.
    pub(super) fn bodies(&self) -> Result<Vec<(PathBuf, Option<QueueId>, u64)>, OpenError> {
        let mut found = Vec::new();
        for shard in 0..=u8::MAX {
            let shard = self.path.join("files").join(format!("{shard:02x}"));
            let mut look = || -> io::Result<()> {
                for entry in fs::read_dir(&shard)? {
                    let entry = entry?;
                    let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
                    found.push((entry.path(), id, entry.metadata()?.len()));
                }
                Ok(())
            };
            look().map_err(|source| OpenError::File { path: shard.clone(), source })?;
        }
        Ok(found)
    }
}

/// The length that a segment says it was made with; `None`: it was never used, or cannot be read.
fn made_with(file: &File) -> Option<u64> {
    let mut first = vec![0; START as usize];
    let octets = file.read_at(&mut first, 0).ok()?;
    match stamped(&first[..octets]) {
        Stamped::As(stamp) => Some(stamp.length.into()),
        Stamped::Blank | Stamped::Unreadable => None,
    }
}

/// The length that most have; of two that are as common, the greater one.
fn common(lengths: &[u64]) -> Option<u64> {
    let mut counts = BTreeMap::new();
    lengths.iter().for_each(|length| *counts.entry(*length).or_insert(0) += 1);
    counts.into_iter().max_by_key(|(length, count)| (*count, *length)).map(|(length, _)| length)
}

fn take_lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let fail = |source| OpenError::File { path: path.clone(), source };
    let mut lock = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(OpenError::Locked { path: directory.into(), holder });
        }
        Err(error) => return Err(fail(error.into())),
    }
    lock.set_len(0).map_err(fail)?;
    writeln!(lock, "{}", std::process::id()).map_err(fail)?;
    Ok(lock)
}

/// Names in a directory are on stable storage.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Disk for Arc<Directory> {
    fn slots(&self) -> io::Result<Vec<Slot>> {
        Ok(self.open.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect())
    }

    fn allocate(&self) -> io::Result<Slot> {
        let slot = Slot(self.next.fetch_add(1, Ordering::Relaxed));
        let (path, unfinished) = (self.segment_path(slot), self.segment_path(slot).with_extension("new"));
        let make = || -> io::Result<File> {
            let mut file = File::options().read(true).write(true).create_new(true).open(&unfinished)?;
            let zeros = vec![0; ZEROS];
            let mut left = self.segment as usize;
            while left > 0 {
                let octets = left.min(ZEROS);
                file.write_all(&zeros[..octets])?;
                left -= octets;
            }
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            sync_directory(&self.path.join("segments"))?;
            Ok(file)
        };
        let file = make().inspect_err(|_| {
            fs::remove_file(&unfinished).ok();
        })?;
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(slot, Arc::new(file));
        Ok(slot)
    }

    fn remove(&self, slot: Slot) -> io::Result<()> {
        fs::remove_file(self.segment_path(slot))?;
        self.forget(slot);
        sync_directory(&self.path.join("segments"))
    }

    fn read(&self, slot: Slot, offset: u32, into: &mut [u8]) -> io::Result<()> {
        self.file(slot)?.read_exact_at(into, u64::from(offset))
    }

    fn write(&self, slot: Slot, offset: u32, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        let file = self.file(slot)?;
        let mut offset = u64::from(offset);
        while !pieces.is_empty() {
            let some = pieces.len().min(PIECES);
            match rustix::io::pwritev(&file, &pieces[..some], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(octets) => {
                    offset += octets as u64;
                    IoSlice::advance_slices(&mut pieces, octets);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self, slot: Slot) -> io::Result<()> {
        self.file(slot)?.sync_data()
    }

    fn set_aside(&self, name: &str, octets: &[u8]) -> io::Result<()> {
        let directory = self.path.join("corrupt");
        let path = directory.join(name);
        if fs::metadata(&path).is_ok_and(|there| there.len() == octets.len() as u64) {
            return Ok(());
        }
        let mut file = File::create(&path)?;
        file.write_all(octets)?;
        file.sync_all()?;
        sync_directory(&directory)
    }

    fn set_aside_slot(&self, slot: Slot, name: &str) -> io::Result<()> {
        let directory = self.path.join("corrupt");
        let names = (0..).map(|number| directory.join(format!("{name}.{number}")));
        let free = names.into_iter().find(|path| !path.exists());
        fs::rename(self.segment_path(slot), free.ok_or(io::ErrorKind::AlreadyExists)?)?;
        self.forget(slot);
        sync_directory(&directory)?;
        sync_directory(&self.path.join("segments"))
    }
}
