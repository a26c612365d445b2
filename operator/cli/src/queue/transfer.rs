//! Messages out of the queue and into it: a directory with two files for each, or one file with all of them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use postern_relay::control::{Answer, Client, ClientError, Command, Exported, Filter, Octets};
use postern_relay::queue_id::QueueId;
use serde::Serialize;

use super::{NONE, NOT_ALL, text};
use crate::format::{Format, structured};
use crate::relays::{Relay, Relays, complain, one, unexpected};
use crate::text::printable;

/// Octets of content in one line: with escapes it stays far below what the relay takes.
const PIECE: usize = 32 << 10;
/// A line with an envelope is not longer: a thousand recipients, each with a reply.
const LINE: u64 = 16 << 20;

/// Where messages go.
enum Target<'a> {
    Directory(&'a Path),
    Stream(BufWriter<Box<dyn Write + 'a>>),
}

/// A message that is being written.
struct Writing {
    message: Exported,
    octets: u64,
    /// Its content, in a directory. It gets its name when it is whole.
    file: Option<BufWriter<File>>,
    /// In a stream: kept back, so that half a message is never in it.
    gathered: Vec<u8>,
}

/// What came of an export.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    exported: usize,
    skipped: usize,
}

/// One relay after the other, into the same place.
pub(super) fn export(
    relays: &mut Relays,
    filter: &Filter,
    to: &Path,
    output: Format,
    out: &mut impl Write,
) -> Result<ExitCode> {
    let mut target = Target::open(to, out)?;
    let (mut count, mut failed) = (Count::default(), 0);
    let only = relays.all.len() == 1;
    for relay in &mut relays.all {
        match relay.with(|client| export_from(client, filter.clone(), &mut target, &mut count)) {
            Ok(()) => {}
            Err(error) if only => return Err(error),
            Err(error) => {
                complain(&relay.name, crate::cluster::sentence(&error));
                failed += 1;
            }
        }
    }
    target.close()?;
    ensure!(failed < relays.all.len(), "no relay answered");
    told(out, to, "exported", count.exported, output)?;
    Ok(match (count, failed) {
        (Count { skipped: 1.., .. }, _) | (_, 1..) => ExitCode::from(NOT_ALL),
        (Count { exported: 0, .. }, _) => ExitCode::from(NONE),
        _ => ExitCode::SUCCESS,
    })
}

fn export_from(client: &mut Client, filter: Filter, target: &mut Target<'_>, count: &mut Count) -> Result<()> {
    let mut writing: Option<Writing> = None;
    for answer in client.ask(Command::Export(filter))? {
        match answer? {
            Answer::Exported(message) => writing = Some(target.begin(*message)?),
            Answer::Content(Octets(octets)) => {
                let writing = writing.as_mut().context("the relay sent content of no message")?;
                writing.write(&octets)?;
            }
            Answer::Skipped { id, reason } => {
                eprintln!("{id} is left out: {}", printable(&reason));
                writing = None;
                count.skipped += 1;
                target.drop_half(id);
            }
            other => return Err(unexpected(other)),
        }
        if let Some(whole) = writing.take_if(|writing| writing.octets == writing.message.size) {
            target.end(whole)?;
            count.exported += 1;
        }
    }
    ensure!(writing.is_none(), "the relay sent half a message");
    Ok(())
}

/// What was done; on standard error when the messages themselves went to standard output.
fn told(out: &mut impl Write, to: &Path, done: &'static str, count: usize, output: Format) -> Result<()> {
    #[derive(Serialize)]
    struct Told {
        messages: usize,
    }
    match output {
        _ if to == Path::new("-") => eprintln!("{} {done}.", text::messages(count)),
        Format::Text => writeln!(out, "{} {done}.", text::messages(count))?,
        format => structured(out, format, &Told { messages: count })?,
    }
    Ok(())
}

impl<'a> Target<'a> {
    fn open(to: &'a Path, out: &'a mut impl Write) -> Result<Self> {
        if to == Path::new("-") {
            return Ok(Self::Stream(BufWriter::new(Box::new(out))));
        }
        if to.is_dir() || to.as_os_str().as_encoded_bytes().ends_with(b"/") {
            fs::create_dir_all(to).with_context(|| to.display().to_string())?;
            return Ok(Self::Directory(to));
        }
        let file = File::create_new(to).with_context(|| to.display().to_string())?;
        Ok(Self::Stream(BufWriter::new(Box::new(file))))
    }

    fn begin(&mut self, message: Exported) -> Result<Writing> {
        let file = match self {
            Self::Directory(directory) => {
                let path = half(directory, message.id);
                Some(BufWriter::new(File::create(&path).with_context(|| path.display().to_string())?))
            }
            Self::Stream(_) => None,
        };
        Ok(Writing { message, octets: 0, file, gathered: Vec::new() })
    }

    fn end(&mut self, Writing { message, octets: _, file, gathered }: Writing) -> Result<()> {
        match (self, file) {
            (Self::Directory(directory), Some(file)) => {
                file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
                let [json, content] = paths(directory, message.id);
                fs::rename(half(directory, message.id), &content).with_context(|| content.display().to_string())?;
                let mut text = serde_json::to_vec_pretty(&message)?;
                text.push(b'\n');
                fs::write(&json, text).with_context(|| json.display().to_string())
            }
            (Self::Stream(stream), _) => {
                serde_json::to_writer(&mut *stream, &message).map_err(io::Error::from)?;
                stream.write_all(b"\n")?;
                stream.write_all(&gathered)?;
                Ok(stream.write_all(b"\n")?)
            }
            (Self::Directory(_), None) => Ok(()),
        }
    }

    /// A message that stays half is not kept.
    fn drop_half(&self, id: QueueId) {
        if let Self::Directory(directory) = self {
            fs::remove_file(half(directory, id)).ok();
        }
    }

    fn close(self) -> Result<()> {
        match self {
            Self::Directory(directory) => Ok(File::open(directory)?.sync_all()?),
            Self::Stream(mut stream) => Ok(stream.flush()?),
        }
    }
}

impl Writing {
    fn write(&mut self, octets: &[u8]) -> Result<()> {
        self.octets += octets.len() as u64;
        ensure!(self.octets <= self.message.size, "{}: more content than it has", self.message.id);
        match &mut self.file {
            Some(file) => Ok(file.write_all(octets)?),
            None => {
                self.gathered.extend_from_slice(octets);
                Ok(())
            }
        }
    }
}

fn paths(directory: &Path, id: QueueId) -> [PathBuf; 2] {
    [directory.join(format!("{id}.json")), directory.join(format!("{id}.eml"))]
}

fn half(directory: &Path, id: QueueId) -> PathBuf {
    directory.join(format!("{id}.eml.part"))
}

/// What became of messages that were brought in.
#[derive(Debug, Default, Serialize)]
struct Imported {
    imported: usize,
    known: usize,
    failed: usize,
}

pub(super) fn import(relay: &mut Relay, from: &Path, output: Format, out: &mut impl Write) -> Result<ExitCode> {
    let mut all = Imported::default();
    relay.with(|client| import_into(client, from, &mut all))?;
    match output {
        Format::Text => {
            writeln!(out, "{} imported, and held; {} in the queue already.", text::messages(all.imported), all.known)?;
        }
        format => structured(out, format, &all)?,
    }
    Ok(match all {
        Imported { failed: 1.., .. } => ExitCode::from(NOT_ALL),
        Imported { imported: 0, .. } => ExitCode::from(NONE),
        Imported { .. } => ExitCode::SUCCESS,
    })
}

fn import_into(client: &mut Client, from: &Path, all: &mut Imported) -> Result<()> {
    if from.is_dir() {
        for path in jsons(from)? {
            let name = path.display().to_string();
            let message = parse(&fs::read(&path).with_context(|| name.clone())?, &name)?;
            let content = path.with_extension("eml");
            let mut file = File::open(&content).with_context(|| content.display().to_string())?;
            let (octets, size) = (file.metadata()?.len(), message.size);
            ensure!(octets == size, "{}: {octets} octets, and its JSON says {size}", content.display());
            all.note(bring(client, message, &mut file), &name)?;
        }
    } else if from == Path::new("-") {
        stream(client, io::stdin().lock(), "standard input", all)?;
    } else {
        let file = File::open(from).with_context(|| from.display().to_string())?;
        stream(client, BufReader::new(file), &from.display().to_string(), all)?;
    }
    Ok(())
}

impl Imported {
    /// A message that the relay refuses does not stop the others; a connection that breaks does.
    fn note(&mut self, brought: Result<bool>, name: &str) -> Result<()> {
        match brought {
            Ok(true) => self.imported += 1,
            Ok(false) => self.known += 1,
            Err(error) => match error.downcast_ref() {
                Some(ClientError::Refused(reason)) => {
                    eprintln!("{name}: {}", printable(reason));
                    self.failed += 1;
                }
                _ => return Err(error.context(name.to_owned())),
            },
        }
        Ok(())
    }
}

fn jsons(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut jsons: Vec<_> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    jsons.sort();
    Ok(jsons)
}

fn stream(client: &mut Client, mut input: impl BufRead, name: &str, all: &mut Imported) -> Result<()> {
    for number in 1.. {
        let mut line = Vec::new();
        if input.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let which = format!("{name}, message {number}");
        let message = parse(&line, &which)?;
        let mut content = input.by_ref().take(message.size);
        let brought = bring(client, message, &mut content);
        all.note(brought, &which)?;
        // What was not asked for is passed over.
        io::copy(&mut content, &mut io::sink())?;
        let mut end = [0];
        input.read_exact(&mut end).with_context(|| which.clone())?;
        ensure!(end == *b"\n", "{which}: its content is not as long as its JSON says");
    }
    Ok(())
}

fn parse(json: &[u8], name: &str) -> Result<Exported> {
    serde_json::from_slice(json).with_context(|| format!("{name}: not an exported message"))
}

/// Hands one message to the relay; whether it is new there.
fn bring(client: &mut Client, message: Exported, content: &mut impl Read) -> Result<bool> {
    let size = message.size;
    match one(client, Command::Import(Box::new(message)))? {
        Answer::Imported { new, .. } => return Ok(new),
        Answer::Ready {} => {}
        other => return Err(unexpected(other)),
    }
    let mut left = size;
    while left > 0 {
        let mut piece = Vec::with_capacity(PIECE);
        let read = content.by_ref().take(left.min(PIECE as u64)).read_to_end(&mut piece)? as u64;
        ensure!(read > 0, "the content ends {left} octets too early");
        left -= read;
        client.ask(Command::Piece(Octets(piece)))?.try_for_each(|answer| answer.map(drop))?;
    }
    match one(client, Command::End {})? {
        Answer::Imported { new, .. } => Ok(new),
        other => Err(unexpected(other)),
    }
}
