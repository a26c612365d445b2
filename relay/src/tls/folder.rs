//! The folder of certificates: whether it has changed, and what it holds. Blocking: never called on the runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postern_wire::Digest;
use rustls::crypto::CryptoProvider;
use tokio::time::Instant;

use super::Options;
use super::pair::{CERTIFICATE, KEY, Pair};
use crate::config;

/// What a look has found.
#[derive(Debug)]
pub(super) enum News {
    /// A pair is in force, in place of the one of its name.
    Taken(Arc<Pair>),
    /// A name is not there any more.
    Gone(Arc<str>),
    /// What was reported as bad is as it was before.
    Good(Arc<str>),
    /// What cannot be used, and a sentence about why. Said once.
    Bad(Arc<str>, String),
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Folder {
    options: Options,
    provider: Arc<CryptoProvider>,
    seen: Option<Fingerprint>,
    /// When it was last seen to change.
    changed: Option<Instant>,
    entries: BTreeMap<Arc<str>, Entry>,
    /// Of the folder itself.
    fault: Fault,
}

/// One NAME.
#[derive(Debug, Default)]
struct Entry {
    /// The last good one, and the digest of its files.
    pair: Option<(Arc<Pair>, Digest)>,
    fault: Fault,
}

/// Something that cannot be used.
#[derive(Debug, Default)]
struct Fault {
    /// Since when, and why.
    since: Option<(Instant, String)>,
    said: bool,
}

/// By what a change is known without reading the files: the folder's names, with inode, size and times of both files.
type Fingerprint = Vec<(PathBuf, [Option<Stamp>; 2])>;
type Stamp = (u64, u64, i64, i64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    let (modified, changed) = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    Some((metadata.ino(), metadata.size(), modified.0, modified.1, changed.0, changed.1))
}

impl Fault {
    /// The sentence, when it is to be said now: after it has lasted, and once.
    fn is(&mut self, why: String, patience: Duration, now: Instant) -> Option<String> {
        let since = match &self.since {
            Some((since, same)) if *same == why => *since,
            _ => {
                self.said = false;
                now
            }
        };
        self.since = Some((since, why.clone()));
        if self.said || now.duration_since(since) < patience {
            return None;
        }
        self.said = true;
        Some(why)
    }

    /// Whether it had been said.
    fn is_over(&mut self) -> bool {
        self.since = None;
        std::mem::take(&mut self.said)
    }
}

impl Folder {
    pub(super) fn new(options: Options) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { options, provider, seen: None, changed: None, entries: BTreeMap::new(), fault: Fault::default() }
    }

    #[cfg(test)]
    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn patience(&self) -> Duration {
        self.options.patience
    }

    /// Those in force, by name.
    pub(super) fn pairs(&self) -> Vec<Arc<Pair>> {
        self.entries.values().filter_map(|entry| entry.pair.as_ref()).map(|(pair, _)| pair.clone()).collect()
    }

    /// What was found bad and reported, and still is.
    pub(super) fn problems(&self) -> Vec<String> {
        let faults = self.entries.values().map(|entry| &entry.fault).chain([&self.fault]);
        faults.filter(|fault| fault.said).filter_map(|fault| fault.since.as_ref()).map(|(_, why)| why.clone()).collect()
    }

    /// Looks at the folder; `asked`: reads it even when nothing seems to have changed.
    pub(super) fn look(&mut self, asked: bool, patience: Duration, now: Instant) -> Vec<News> {
        let directory = self.options.directory.clone();
        let names = match names(&directory) {
            Ok(names) => names,
            Err(error) => {
                self.seen = None;
                let why = format!("{} cannot be read: {error}", directory.display());
                let said = self.fault.is(why, patience, now);
                return said.map(|why| News::Bad(directory.to_string_lossy().into(), why)).into_iter().collect();
            }
        };
        let mut news = Vec::new();
        if self.fault.is_over() {
            news.push(News::Good(directory.to_string_lossy().into()));
        }
        let files = |name: &Arc<str>| [CERTIFICATE, KEY].map(|file| stamp(&directory.join(&**name).join(file)));
        let fingerprint: Fingerprint = names.iter().map(|name| (PathBuf::from(&**name), files(name))).collect();
        if self.seen.as_ref() != Some(&fingerprint) {
            (self.seen, self.changed) = (Some(fingerprint), Some(now));
        }
        // Two writes within one tick of the file system's clock look like one: after a change the files are read until a
        // while has passed.
        let settled = self.changed.is_some_and(|changed| now.duration_since(changed) > self.options.patience);
        let undecided = self.entries.values().any(|entry| entry.fault.since.is_some() && !entry.fault.said);
        if settled && !undecided && !asked {
            return news;
        }
        let gone: Vec<_> = self.entries.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            self.entries.remove(&name);
            news.push(News::Gone(name));
        }
        for (place, name) in names.into_iter().enumerate() {
            news.extend(self.read(place, name, patience, now));
        }
        news
    }

    fn read(&mut self, place: usize, name: Arc<str>, patience: Duration, now: Instant) -> Option<News> {
        let read = self.pair(place, &name);
        let entry = self.entries.entry(name.clone()).or_default();
        match read {
            Ok((pair, digest)) => {
                let was_bad = entry.fault.is_over();
                match &entry.pair {
                    Some((_, same)) if *same == digest => was_bad.then(|| News::Good(name)),
                    _ => {
                        let pair = Arc::new(pair);
                        entry.pair = Some((pair.clone(), digest));
                        Some(News::Taken(pair))
                    }
                }
            }
            Err(why) => {
                let stays = if entry.pair.is_some() { "; the last good one stays" } else { "" };
                entry.fault.is(format!("{why}{stays}"), patience, now).map(|why| News::Bad(name, why))
            }
        }
    }

    fn pair(&self, place: usize, name: &str) -> Result<(Pair, Digest), String> {
        let Options { directory, file_size_max, pairs_max, patience: _ } = &self.options;
        let folder = directory.join(name);
        if place as u64 >= *pairs_max {
            return Err(format!("{} is one more than --certificates {pairs_max}", folder.display()));
        }
        let read =
            |file: &str| config::read_file(&folder.join(file), *file_size_max).map_err(|error| error.to_string());
        let (certificate, key) = (read(CERTIFICATE)?, read(KEY)?);
        let digest = Digest::of(&[Digest::of_bytes(&certificate).to_string(), Digest::of_bytes(&key).to_string()]);
        let pair = Pair::read(name, &certificate, &key, &self.provider);
        Ok((pair.map_err(|why| format!("{}/{why}", folder.display()))?, digest))
    }
}

/// The folders in a folder, but those that the kubelet keeps for itself.
fn names(directory: &Path) -> std::io::Result<BTreeSet<Arc<str>>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir()) {
            names.insert((&*name).into());
        }
    }
    Ok(names)
}
