//! The folder of settings: whether it has changed, and what it holds. Blocking: never called on the runtime.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use postern_wire::{Digest, PACKED_FILE, SETTINGS_FILE, SHARDS_MAX, SettingsFile, shard_file};
use tokio::time::Instant;

use super::Options;
use crate::config::{self, Config, Fault, Secrets, Unreadable};

/// What a look has found.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing to say: no change, or a bad one that may only be half written.
    Nothing,
    /// The settings in force are there again.
    Same,
    /// New settings.
    New(Box<Config>, Vec<Fault>),
    /// Settings that cannot be believed, and why. Said once.
    Bad(String),
}

/// A folder, and what was seen of it.
#[derive(Debug)]
pub(super) struct Folder {
    options: Options,
    seen: Option<Fingerprint>,
    /// When it was last seen to change.
    changed: Option<Instant>,
    /// Whether it was read since then, and could be believed.
    read: bool,
    /// The digest over the files of the settings in force.
    in_force: Option<Digest>,
    /// Since when what is there now is bad, and whether that was said.
    bad: Option<(Instant, bool)>,
    /// Whether the last word was a bad one.
    reported: bool,
}

/// By what a change is known without reading the files.
#[derive(Debug, PartialEq, Eq)]
enum Fingerprint {
    /// Where `..data` points to: the folder of a Kubernetes volume, which never changes once it is linked.
    Link(PathBuf),
    /// Names and times of the files.
    Files(Vec<(OsString, Stamp)>),
}

/// Inode, size, and times of last content and last status change in nanoseconds.
type Stamp = (u64, u64, i64, i64, i64, i64);

fn stamp(metadata: &Metadata) -> Stamp {
    let (modified, changed) = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    (metadata.ino(), metadata.size(), modified.0, modified.1, changed.0, changed.1)
}

impl Fingerprint {
    fn of(directory: &Path) -> Self {
        if let Ok(target) = std::fs::read_link(directory.join("..data")) {
            return Self::Link(target);
        }
        let mut files = Vec::new();
        let shards = (1..=SHARDS_MAX).map(shard_file);
        for name in [SETTINGS_FILE, PACKED_FILE].map(str::to_owned).into_iter().chain(shards) {
            if let Ok(metadata) = std::fs::metadata(directory.join(&name)) {
                files.push((OsString::from(name), stamp(&metadata)));
            }
        }
        for entry in std::fs::read_dir(directory.join("secrets")).into_iter().flatten().flatten() {
            if let Ok(metadata) = std::fs::metadata(entry.path()) {
                files.push((entry.file_name(), stamp(&metadata)));
            }
        }
        files.sort_unstable();
        Self::Files(files)
    }
}

impl Folder {
    pub(super) fn new(options: Options) -> Self {
        Self { options, seen: None, changed: None, read: false, in_force: None, bad: None, reported: false }
    }

    /// Looks at the folder; `asked`: reads it even when nothing seems to have changed.
    pub(super) fn look(&mut self, old: Option<&Config>, asked: bool, now: Instant) -> Found {
        let fingerprint = Fingerprint::of(&self.options.directory);
        if self.seen.as_ref() != Some(&fingerprint) {
            self.seen = Some(fingerprint);
            self.changed = Some(now);
            self.read = false;
            self.bad = None;
        }
        // Two writes within one tick of the file system's clock look like one: after a change the files are read until
        // a while has passed. Behind a link nothing is written any more.
        let patience = self.options.patience;
        let final_once_read = self.read && matches!(self.seen, Some(Fingerprint::Link(_)));
        let settled = final_once_read || self.changed.is_some_and(|changed| now.duration_since(changed) > patience);
        let undecided = matches!(self.bad, Some((_, false)));
        if settled && !undecided && !asked {
            return Found::Nothing;
        }
        match self.read(old) {
            Ok(built) => {
                self.bad = None;
                self.read = true;
                let reported = std::mem::take(&mut self.reported);
                match built {
                    Some((config, faults)) => Found::New(Box::new(config), faults),
                    None if reported => Found::Same,
                    None => Found::Nothing,
                }
            }
            Err(reason) => {
                let (since, said) = *self.bad.get_or_insert((now, false));
                if said || now.duration_since(since) < patience {
                    return Found::Nothing;
                }
                self.bad = Some((since, true));
                self.reported = true;
                Found::Bad(reason)
            }
        }
    }

    /// Reads the settings and compiles them; `None`: they are those in force.
    fn read(&mut self, old: Option<&Config>) -> Result<Option<(Config, Vec<Fault>)>, String> {
        let Options { directory, settings_size_max, secret_size_max, every: _, patience: _ } = &self.options;
        // Through the link once: all files are then of one generation, whatever happens to the link meanwhile.
        let root = match &self.seen {
            Some(Fingerprint::Link(target)) => directory.join(target),
            _ => directory.clone(),
        };
        let in_folder = |error: &dyn std::fmt::Display| format!("{}: {error}", directory.display());
        let mut digests = Vec::new();
        let file = |name: &str| match config::read_file(&root.join(name), *settings_size_max) {
            Ok(content) => {
                digests.push(Digest::of_bytes(&content));
                Ok(Some(content))
            }
            Err(Unreadable::Missing(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let file = SettingsFile::read(file, *settings_size_max).map_err(|error| in_folder(&error))?;
        let files = config::secret_files(&file.snapshot);
        let secrets = Secrets::read(&root, files, *secret_size_max).map_err(|error| error.to_string())?;
        let content = content(digests, &secrets);
        if self.in_force.as_ref() == Some(&content) {
            return Ok(None);
        }
        let built =
            config::build_known(file.digest, file.snapshot, &secrets, old).map_err(|error| in_folder(&error))?;
        self.in_force = Some(content);
        Ok(Some(built))
    }
}

/// A digest over all files that settings were made from.
fn content(settings: Vec<Digest>, secrets: &Secrets) -> Digest {
    let secrets: Vec<_> = secrets.iter().map(|(name, content)| (name, Digest::of_bytes(content))).collect();
    Digest::of(&(settings, secrets))
}
