//! The files behind `-f`: a file, a folder (its own .yaml, .yml and .json files, not those of folders below), or `-`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The most that one file may hold. The API server takes objects up to about 1.5 MiB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a file is called in messages, and its text or why it cannot be read.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: Result<String, String>,
}

/// All files, each once, in the order named; those of a folder sorted by name.
pub(crate) fn read(paths: &[PathBuf]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for path in paths {
        for source in read_one(path) {
            if !sources.iter().any(|known| known.name == source.name) {
                sources.push(source);
            }
        }
    }
    sources
}

fn read_one(path: &Path) -> Vec<Source> {
    let name = path.display().to_string();
    if path == Path::new("-") {
        // It can be read only once, and `postern up` reads the other files again at each edit.
        static STDIN: OnceLock<Result<String, String>> = OnceLock::new();
        let text = STDIN.get_or_init(|| limited(io::stdin().lock())).clone();
        return vec![Source { name: "<stdin>".to_owned(), text }];
    }
    if !path.is_dir() {
        return vec![Source { name, text: open(path) }];
    }
    match manifests_in(path) {
        Err(error) => vec![Source { name, text: Err(format!("cannot read this folder: {error}")) }],
        Ok(files) if files.is_empty() => {
            let why = "no .yaml, .yml or .json file in this folder (folders below it are not read)".to_owned();
            vec![Source { name, text: Err(why) }]
        }
        Ok(files) => files.iter().map(|file| Source { name: file.display().to_string(), text: open(file) }).collect(),
    }
}

fn manifests_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let file = entry?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn open(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("cannot open this file: {error}"))?;
    limited(file)
}

fn limited(reader: impl Read) -> Result<String, String> {
    let mut text = String::new();
    let read = reader.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    match read {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => Err(format!("is larger than {} MiB", FILE_BYTES_MAX >> 20)),
        Ok(_) => Ok(text),
    }
}
