//! Files → settings, when all of them fit together; and nothing of them otherwise.

use std::io::{Cursor, Read};

use serde::Deserialize;

use super::pack::Index;
use super::{Invalid, PACKED_FILE, SETTINGS_FILE, SHARDS_MAX, SettingsFile, shard_file};
use crate::{Digest, SCHEMA};

/// A frame may ask for a window of this many octets, as a power of two: our own ask for 2 MiB, and whoever wrote another
/// one does not decide how much memory it takes to read it.
const WINDOW_LOG_MAX: u32 = 23;

/// What tells a whole from a list of pieces, whatever else is in it.
#[derive(Deserialize)]
struct Peek {
    schema: u32,
    #[serde(default)]
    shards: Vec<Digest>,
}

impl SettingsFile {
    /// Reads and checks settings, whichever files they are in. `file` answers for the content of a name, `None` when there
    /// is no such file; `plain_max` bounds their octets before they were compressed.
    ///
    /// # Errors
    /// [`Invalid`], naming what is wrong; nothing of such files may be used.
    pub fn read(
        mut file: impl FnMut(&str) -> Result<Option<Vec<u8>>, String>,
        plain_max: u64,
    ) -> Result<Self, Invalid> {
        let mut file = |name: &str| file(name).map_err(Invalid::Unreadable);
        let packed = match (file(SETTINGS_FILE)?, file(PACKED_FILE)?) {
            (None, None) => return Err(Invalid::Missing),
            (Some(_), Some(_)) => return Err(Invalid::Ambiguous),
            (Some(text), None) => return Self::from_json(&text),
            (None, Some(packed)) => packed,
        };
        let text = unpack(PACKED_FILE, &packed, plain_max)?;
        match serde_json::from_slice::<Peek>(&text) {
            Ok(Peek { schema, .. }) if schema > SCHEMA => Err(Invalid::TooNew { found: schema }),
            Ok(Peek { shards, .. }) if !shards.is_empty() => {
                let index: Index = serde_json::from_slice(&text)?;
                put_together(&index, file, plain_max)
            }
            _ => Self::from_json(&text),
        }
    }
}

fn put_together(
    index: &Index,
    mut file: impl FnMut(&str) -> Result<Option<Vec<u8>>, Invalid>,
    plain_max: u64,
) -> Result<SettingsFile, Invalid> {
    let Index { schema, digest, shards } = index;
    if shards.len() > SHARDS_MAX {
        return Err(Invalid::Sharded(shards.len()));
    }
    let mut packed = Vec::new();
    for (index, said) in shards.iter().enumerate() {
        let name = shard_file(index + 1);
        let piece = file(&name)?.ok_or_else(|| Invalid::ShardMissing(name.clone()))?;
        if Digest::of_bytes(&piece) != *said {
            return Err(Invalid::ShardDiffers(name));
        }
        packed.extend(piece);
    }
    let settings = SettingsFile::from_json(&unpack(&shard_file(1), &packed, plain_max)?)?;
    if settings.digest != *digest || settings.schema != *schema {
        return Err(Invalid::Digest { said: digest.clone(), found: settings.digest });
    }
    Ok(settings)
}

/// The octets before they were compressed, and never more than `max` of them in memory.
fn unpack(file: &str, packed: &[u8], max: u64) -> Result<Vec<u8>, Invalid> {
    let failed = |source| Invalid::Packed { file: file.to_owned(), source };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(Cursor::new(packed)).map_err(failed)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
    let mut plain = Vec::new();
    decoder.take(max.saturating_add(1)).read_to_end(&mut plain).map_err(failed)?;
    if plain.len() as u64 > max {
        return Err(Invalid::TooLarge { file: file.to_owned(), max });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use super::*;
    use crate::settings::Files;
    use crate::snapshot::{MessageLimits, Policy, Section, Senders, Snapshot};

    const PLAIN_MAX: u64 = 1 << 20;

    /// Settings whose text no compression makes much smaller: digests of what `seed` begins.
    fn settings(seed: &str, blocked: usize) -> SettingsFile {
        let address = |number: usize| format!("{}@spam.example", Digest::of(&(seed, number)).short());
        let policy = Policy {
            limits: MessageLimits { message_size: 1 << 20, recipients_per_message: 100, hops: 50 },
            blocked_clients: Vec::new(),
            blocked_names: Vec::new(),
            senders: Senders { blocked: (0..blocked).map(address).collect(), allowed: Vec::new() },
        };
        let policies = vec![Section::new("default", "uid", 1, policy)];
        SettingsFile::new(Snapshot {
            schema: SCHEMA,
            domains: Vec::new(),
            hosts: Vec::new(),
            policies,
            nodes: Vec::new(),
        })
    }

    /// As they lie in a folder.
    fn folder(files: Files) -> BTreeMap<String, Vec<u8>> {
        files.into_all().map(|file| (file.name, file.content)).collect()
    }

    fn read(folder: &BTreeMap<String, Vec<u8>>) -> Result<SettingsFile, Invalid> {
        SettingsFile::read(|name| Ok(folder.get(name).cloned()), PLAIN_MAX)
    }

    fn names(folder: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
        folder.keys().map(String::as_str).collect()
    }

    /// Settings in three pieces.
    fn in_pieces(seed: &str) -> BTreeMap<String, Vec<u8>> {
        let all = settings(seed, 1000);
        let whole = all.files(20_000).main.content.len();
        let folder = folder(all.files(whole / 3 + 1));
        assert_eq!(names(&folder)[1..], ["settings-2.json.zst", "settings-3.json.zst", PACKED_FILE]);
        folder
    }

    #[test]
    fn settings_take_as_few_files_as_hold_them_and_are_read_from_any() {
        let all = settings("a", 1000);
        let plain = folder(all.files(1 << 20));
        assert_eq!(names(&plain), [SETTINGS_FILE]);
        let packed = folder(all.files(plain[SETTINGS_FILE].len() - 1));
        assert_eq!(names(&packed), [PACKED_FILE]);
        let pieces = in_pieces("a");
        assert!(pieces.values().all(|content| content.len() <= packed[PACKED_FILE].len() / 3 + 1));
        for folder in [plain, packed, pieces] {
            assert_eq!(read(&folder).unwrap(), all);
        }
    }

    #[test]
    fn readers_of_an_older_schema_get_the_text_whatever_its_size() {
        let mut snapshot = settings("a", 1000).snapshot;
        snapshot.schema = 2;
        assert_eq!(names(&folder(SettingsFile::new(snapshot).files(100))), [SETTINGS_FILE]);
    }

    #[test]
    fn equal_settings_give_equal_octets() {
        assert_eq!(in_pieces("a"), in_pieces("a"));
    }

    #[test]
    fn pieces_of_two_generations_are_never_believed() {
        let (old, new) = (in_pieces("old"), in_pieces("new"));
        let all: Vec<&String> = new.keys().collect();
        // Every way in which some of the files can be new and some still old.
        for new_ones in 1..(1 << all.len()) - 1 {
            let mut mixed = old.clone();
            for (_, name) in all.iter().enumerate().filter(|(bit, _)| new_ones >> bit & 1 == 1) {
                mixed.insert((*name).clone(), new[*name].clone());
            }
            let error = read(&mixed).unwrap_err();
            assert!(matches!(error, Invalid::ShardDiffers(_)), "{new_ones:b}: {error}");
        }
    }

    #[test]
    fn a_piece_that_is_missing_cut_or_changed_is_named() {
        let whole = in_pieces("a");
        let name = shard_file(2);
        let mut gone = whole.clone();
        gone.remove(&name);
        let error = read(&gone).unwrap_err().to_string();
        assert_eq!(error, "settings-2.json.zst is missing, which settings.json.zst names");
        for change in [|piece: &mut Vec<u8>| piece.truncate(9), |piece: &mut Vec<u8>| piece[7] ^= 1] {
            let mut changed = whole.clone();
            change(changed.get_mut(&name).unwrap());
            let error = read(&changed).unwrap_err().to_string();
            assert!(error.starts_with("settings-2.json.zst is not the one"), "{error}");
        }
    }

    #[test]
    fn a_piece_that_is_no_longer_named_is_not_looked_at() {
        let mut folder = folder(settings("a", 1).files(1 << 20));
        folder.insert(shard_file(1), b"left over".to_vec());
        assert_eq!(read(&folder).unwrap(), settings("a", 1));
    }

    #[test]
    fn neither_file_and_both_files_are_no_settings() {
        assert!(matches!(read(&BTreeMap::new()), Err(Invalid::Missing)));
        let mut both = folder(settings("a", 1).files(1 << 20));
        both.extend(in_pieces("a"));
        assert!(matches!(read(&both), Err(Invalid::Ambiguous)));
    }

    #[test]
    fn what_is_small_and_becomes_too_large_is_not_held_in_memory() {
        let bomb = zstd::bulk::compress(&vec![b' '; 64 << 20], 19).unwrap();
        assert!(bomb.len() < 10_000);
        let folder = BTreeMap::from([(PACKED_FILE.to_owned(), bomb)]);
        assert!(matches!(read(&folder), Err(Invalid::TooLarge { max: PLAIN_MAX, .. })));
        let settings = settings("a", 1000);
        let exact = settings.to_json().len() as u64;
        let packed = self::folder(settings.files(20_000));
        let with = |max| SettingsFile::read(|name| Ok(packed.get(name).cloned()), max);
        assert!(with(exact).is_ok());
        assert!(matches!(with(exact - 1), Err(Invalid::TooLarge { .. })));
    }

    #[test]
    fn a_frame_that_asks_for_a_large_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(WINDOW_LOG_MAX + 1).unwrap();
        encoder.write_all(settings("a", 1).to_json().as_bytes()).unwrap();
        let folder = BTreeMap::from([(PACKED_FILE.to_owned(), encoder.finish().unwrap())]);
        assert!(matches!(read(&folder), Err(Invalid::Packed { .. })));
    }

    #[test]
    fn more_pieces_than_there_may_be_are_refused_before_any_is_read() {
        let index = Index { schema: SCHEMA, digest: Digest::of(&1), shards: vec![Digest::of(&1); SHARDS_MAX + 1] };
        let packed = zstd::bulk::compress(&serde_json::to_vec(&index).unwrap(), 3).unwrap();
        let folder = BTreeMap::from([(PACKED_FILE.to_owned(), packed)]);
        assert!(matches!(read(&folder), Err(Invalid::Sharded(8))));
    }

    #[test]
    fn settings_for_a_newer_relay_say_so_compressed_too() {
        let text = format!("{{\"schema\":{},\"shards\":[\"a\"],\"else\":1}}", SCHEMA + 1);
        let folder = BTreeMap::from([(PACKED_FILE.to_owned(), zstd::bulk::compress(text.as_bytes(), 3).unwrap())]);
        assert!(matches!(read(&folder), Err(Invalid::TooNew { .. })));
    }
}
