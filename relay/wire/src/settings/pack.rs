//! Settings → files. Equal settings give equal octets: one level, one thread, nothing of a clock.

use serde::{Deserialize, Serialize};

use super::{PACKED_FILE, PACKED_SINCE, SETTINGS_FILE, SettingsFile, shard_file};
use crate::Digest;

/// Much of the gain for little of the time: a higher level gains a few hundredths and takes several times as long.
const LEVEL: i32 = 6;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name in the volume, and its key in the ConfigMap.
    pub name: String,
    /// All of it.
    pub content: Vec<u8>,
}

/// The files of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// `settings.json` or `settings.json.zst`: whoever has this knows which others there must be.
    pub main: File,
    /// `settings-1.json.zst` and so on. How many there may be is for whoever writes them to see.
    pub shards: Vec<File>,
    /// Octets of the settings before they were compressed.
    pub plain_bytes: usize,
}

impl Files {
    /// All of them, in the order in which they are written: the one that names the others last.
    pub fn into_all(self) -> impl Iterator<Item = File> {
        self.shards.into_iter().chain([self.main])
    }
}

/// The content of `settings.json.zst` when it is the whole of several files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Index {
    pub(super) schema: u32,
    pub(super) digest: Digest,
    pub(super) shards: Vec<Digest>,
}

impl SettingsFile {
    /// Lays the settings out in files of at most `size_max` octets each: as they are where that is enough, and for readers
    /// of a schema that knows nothing else.
    pub fn files(&self, size_max: usize) -> Files {
        let text = self.to_json().into_bytes();
        let plain_bytes = text.len();
        let main = |name: &str, content| File { name: name.to_owned(), content };
        let alone = |name: &str, content| Files { main: main(name, content), shards: Vec::new(), plain_bytes };
        if text.len() <= size_max || self.schema < PACKED_SINCE {
            return alone(SETTINGS_FILE, text);
        }
        let packed = pack(&text);
        drop(text);
        if packed.len() <= size_max {
            return alone(PACKED_FILE, packed);
        }
        let piece = |(index, piece): (usize, &[u8])| File { name: shard_file(index + 1), content: piece.to_vec() };
        let shards: Vec<File> = packed.chunks(size_max.max(1)).enumerate().map(piece).collect();
        let digests = shards.iter().map(|shard| Digest::of_bytes(&shard.content)).collect();
        let index = Index { schema: self.schema, digest: self.digest.clone(), shards: digests };
        Files { main: main(PACKED_FILE, pack(&json(&index))), shards, plain_bytes }
    }
}

#[expect(clippy::expect_used, reason = "serialising a plain struct into memory has no way to fail")]
fn json(index: &Index) -> Vec<u8> {
    serde_json::to_vec(index).expect("an index serialises")
}

#[expect(clippy::expect_used, reason = "compressing from memory into memory has no way to fail")]
fn pack(text: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(text, LEVEL).expect("octets can be compressed")
}
