//! Lays settings and secrets out as the kubelet does in the relay pod's one mounted volume, and swaps them as it does:
//! whoever reads through `..data` sees the old files or the new ones, never some of each.
//!
//! ```text
//! DIR/..data -> ..3f2a91ab…      the link that is swapped
//! DIR/..3f2a91ab…/settings.json      or settings.json.zst, settings-1.json.zst, … when they are large
//! DIR/..3f2a91ab…/secrets/NAME
//! DIR/settings.json -> ..data/settings.json
//! DIR/secrets -> ..data/secrets
//! ```
//! The folder is the program's own: what else is in it is left alone, but for folders of earlier settings.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::Context as _;
use postern_wire::settings::{File, Files};
use postern_wire::{PACKED_FILE, SETTINGS_FILE, SHARDS_MAX, shard_file};
use sha2::{Digest as _, Sha256};

const DATA: &str = "..data";
const SECRETS: &str = "secrets";

/// Writes one generation of files and makes it the current one. Writing the same again changes nothing.
///
/// # Errors
/// The file or folder that could not be written; the current generation stays then.
pub(crate) fn publish(directory: &Path, settings: &Files, secrets: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    let generation = generation(settings, secrets);
    fs::create_dir_all(directory).with_context(|| format!("cannot make the folder {}", directory.display()))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("cannot close the folder {} to others", directory.display()))?;
    let current = fs::read_link(directory.join(DATA)).ok();
    if current.as_deref() == Some(Path::new(&generation)) {
        return Ok(());
    }
    let folder = directory.join(&generation);
    write_files(&folder, settings, secrets)?;
    swap(directory, DATA, &generation)?;
    link(directory, settings)?;
    swap(directory, SECRETS, &format!("{DATA}/{SECRETS}"))?;
    forget(directory, &generation)
}

/// Each file of the settings under its name, and none that is not there any more.
fn link(directory: &Path, settings: &Files) -> anyhow::Result<()> {
    let shards = (1..=SHARDS_MAX).map(shard_file);
    for name in [SETTINGS_FILE, PACKED_FILE].map(str::to_owned).into_iter().chain(shards) {
        if all(settings).any(|file| file.name == name) {
            swap(directory, &name, &format!("{DATA}/{name}"))?;
            continue;
        }
        match fs::remove_file(directory.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", directory.join(&name).display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn all(settings: &Files) -> impl Iterator<Item = &File> {
    std::iter::once(&settings.main).chain(&settings.shards)
}

/// A name that only this content has. It never leaves the folder, which is closed to others.
fn generation(settings: &Files, secrets: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    for (name, content) in all(settings)
        .map(|file| (file.name.as_str(), file.content.as_slice()))
        .chain(secrets.iter().map(|(name, content)| (name.as_str(), content.as_slice())))
    {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }
    let digest = hash.finalize();
    format!("..{}", digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn write_files(folder: &Path, settings: &Files, secrets: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    let secrets_folder = folder.join(SECRETS);
    fs::create_dir_all(&secrets_folder)
        .with_context(|| format!("cannot make the folder {}", secrets_folder.display()))?;
    for File { name, content } in all(settings) {
        write(&folder.join(name), content)?;
    }
    for (name, content) in secrets {
        write(&secrets_folder.join(name), content)?;
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, content));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Makes `name` a link to `target` in one step.
fn swap(directory: &Path, name: &str, target: &str) -> anyhow::Result<()> {
    let link = directory.join(name);
    if fs::read_link(&link).is_ok_and(|now| now == Path::new(target)) {
        return Ok(());
    }
    let next = directory.join(format!("{name}.next"));
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(target, &next).and_then(|()| fs::rename(&next, &link)),
    }
    .with_context(|| format!("cannot point {} to {target}", link.display()))
}

/// Removes the folders of earlier generations.
fn forget(directory: &Path, generation: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours =
            name.strip_prefix("..").is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()));
        if ours && name != generation && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Files {
        let main = File { name: SETTINGS_FILE.to_owned(), content: text.as_bytes().to_vec() };
        Files { main, shards: Vec::new(), plain_bytes: text.len() }
    }

    fn packed(shards: usize) -> Files {
        let file = |name: String| File { content: name.clone().into_bytes(), name };
        Files {
            main: file(PACKED_FILE.to_owned()),
            shards: (1..=shards).map(shard_file).map(file).collect(),
            plain_bytes: 9,
        }
    }

    #[test]
    fn swaps_all_files_at_once_and_keeps_only_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("volume");
        let secrets = BTreeMap::from([("ca.1".to_owned(), b"first".to_vec())]);
        publish(&volume, &plain("{1}"), &secrets).unwrap();
        let before = fs::read_link(volume.join(DATA)).unwrap();
        publish(&volume, &plain("{1}"), &secrets).unwrap();
        assert_eq!(fs::read_link(volume.join(DATA)).unwrap(), before, "nothing changed");

        publish(&volume, &plain("{2}"), &BTreeMap::from([("ca.2".to_owned(), b"second".to_vec())])).unwrap();
        assert_eq!(fs::read_to_string(volume.join(SETTINGS_FILE)).unwrap(), "{2}");
        assert_eq!(fs::read_to_string(volume.join("secrets/ca.2")).unwrap(), "second");
        assert!(!volume.join("secrets/ca.1").exists());
        assert!(!volume.join(before).exists());
        assert_eq!(fs::metadata(volume.join("secrets/ca.2")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn shows_the_files_that_there_are_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let shown = || {
            let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let names = names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("settings"));
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        for (files, names) in [
            (packed(2), vec!["settings-1.json.zst", "settings-2.json.zst", PACKED_FILE]),
            (packed(1), vec!["settings-1.json.zst", PACKED_FILE]),
            (plain("{}"), vec![SETTINGS_FILE]),
        ] {
            publish(directory.path(), &files, &BTreeMap::new()).unwrap();
            assert_eq!(shown(), names);
        }
    }
}
