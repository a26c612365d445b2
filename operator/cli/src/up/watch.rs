//! Notices that a file behind `-f` was edited, added or removed: by looking, four times a second.
//!
//! Looking is what works everywhere (editors that write a new file and rename it, network file systems, mounted volumes),
//! and costs one look-up a file. Standard input is read once and never changes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it looks.
pub(super) const EVERY: Duration = Duration::from_millis(250);

/// What tells one state of the files from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen(Vec<Stamp>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    /// Device and inode, size, and the times of the last change of content and of the file itself; `None`: it is not there.
    state: Option<[i128; 4]>,
}

/// Looks at all files named, and at those in the folders named.
pub(super) fn look(paths: &[PathBuf]) -> Seen {
    let mut stamps = Vec::new();
    for path in paths.iter().filter(|path| *path != Path::new("-")) {
        stamps.push(stamp(path));
        if let Ok(entries) = path.read_dir() {
            let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            files.sort();
            stamps.extend(files.iter().map(|file| stamp(file)));
        }
    }
    Seen(stamps)
}

fn stamp(path: &Path) -> Stamp {
    let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let state = fs::metadata(path).ok().map(|file| {
        let identity = i128::from(file.dev()) << 64 | i128::from(file.ino());
        let (content, file_itself) = (time(file.mtime(), file.mtime_nsec()), time(file.ctime(), file.ctime_nsec()));
        [identity, i128::from(file.size()), content, file_itself]
    });
    Stamp { path: path.to_owned(), state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_edits_additions_and_removals() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned(), folder.path().join("missing.yaml"), "-".into()];
        let file = folder.path().join("a.yaml");
        let mut before = look(&paths);
        assert_eq!(look(&paths), before);
        type Change = fn(&Path);
        let changes: [Change; 4] = [
            |file| fs::write(file, "one").unwrap(),
            |file| fs::write(file, "two").unwrap(),
            |file| fs::rename(file, file.with_extension("yml")).unwrap(),
            |file| fs::remove_file(file.with_extension("yml")).unwrap(),
        ];
        for (step, change) in changes.iter().enumerate() {
            std::thread::sleep(Duration::from_millis(20)); // the clock of a file system is coarse
            change(&file);
            let now = look(&paths);
            assert_ne!(now, before, "change {step}");
            before = now;
        }
    }
}
