//! The system calls of a running process, by strace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use postern_tests::clock::wait_until;
use postern_tests::program::Program;
use rustix::process::Signal;

const CALLS: &str = "trace=fdatasync,fsync,sync_file_range,pwritev,pwritev2,pwrite64,write,writev,sendto,sendmsg,rename,renameat,renameat2";

/// One system call, from its entry to its return, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Its arguments as strace shows them, each file descriptor with its path.
    pub(crate) args: String,
    pub(crate) result: i64,
    pub(crate) entry: f64,
    pub(crate) exit: f64,
}

impl Call {
    /// Whether it makes a file durable whose path ends so.
    pub(crate) fn syncs(&self, path: &str) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync")
            && self.result == 0
            && self.args.ends_with(&format!("{path}>"))
    }
}

/// A strace that is attached to a process.
#[derive(Debug)]
pub(crate) struct Trace {
    strace: Program,
    output: PathBuf,
}

impl Trace {
    /// Attaches to this process and all its threads.
    pub(crate) fn attach(pid: u32, folder: &Path) -> Result<Self> {
        Self::attach_and(pid, folder, &[])
    }

    /// As [`Trace::attach`]; strace does this to its calls: `inject=fdatasync:error=EIO:when=1`.
    pub(crate) fn attach_and(pid: u32, folder: &Path, injected: &[&str]) -> Result<Self> {
        let output = folder.join("strace.out");
        let mut command = Command::new("strace");
        // Times of entry and duration; paths of descriptors; whole strings and whole lists.
        command.args(["-f", "-ttt", "-T", "-y", "-s", "8192", "-e", "abbrev=none", "-e", CALLS]);
        for one in injected {
            command.args(["-e", one]);
        }
        command.arg("-o").arg(&output).arg("-p").arg(pid.to_string());
        let mut strace = Program::start(&mut command, &folder.join("strace.log"))?;
        let log = folder.join("strace.log");
        strace.until("strace is attached", Duration::from_secs(20), || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("attached"))
        })?;
        Ok(Self { strace, output })
    }

    /// Detaches, and gives all that was called meanwhile.
    pub(crate) fn end(mut self) -> Result<Vec<Call>> {
        self.strace.signal(Signal::INT)?;
        wait_until("strace ends", Duration::from_secs(20), || matches!(self.strace.ended(), Ok(Some(_))))?;
        let text = fs::read(&self.output).context("strace wrote nothing")?;
        Ok(calls(&String::from_utf8_lossy(&text)))
    }
}

/// Reads strace's lines. A call that another thread's line interrupts is told in two lines, which are joined.
fn calls(text: &str) -> Vec<Call> {
    let mut open: Vec<(String, f64, String)> = Vec::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        // strace fills a short process id up with spaces.
        let Some((pid, rest)) = line.trim_start().split_once(' ') else { continue };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(time) = time.parse::<f64>() else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            open.push((pid.to_owned(), time, begun.to_owned()));
        } else if rest.starts_with("<... ") {
            let Some(index) = open.iter().position(|(other, ..)| other == pid) else { continue };
            let (_, entry, begun) = open.remove(index);
            let ended = rest.split_once(" resumed>").map_or("", |(_, ended)| ended);
            calls.extend(call(&format!("{begun}{ended}"), entry));
        } else {
            calls.extend(call(rest, time));
        }
    }
    calls
}

/// `fdatasync(7</spool/segment-1>) = 0 <0.000123>`
fn call(text: &str, entry: f64) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (args, end) = rest.rsplit_once(" = ")?;
    let args = args.trim_end().strip_suffix(')')?;
    let result = end.split_whitespace().next()?.parse().ok()?;
    let duration: f64 = end.rsplit_once('<')?.1.strip_suffix('>')?.parse().ok()?;
    Some(Call { name: name.to_owned(), args: args.to_owned(), result, entry, exit: entry + duration })
}

#[test]
fn calls_are_read_whole_or_in_two_halves() {
    let text = "10 100.5 fdatasync(7</s/segment-1> <unfinished ...>\n\
                11 100.6 write(9<socket:[1]>, \"250 2.0.0 = ok\\r\\n\", 15) = 15 <0.000100>\n\
                10 100.8 <... fdatasync resumed>)        = 0 <0.300000>\n\
                9     100.9 fsync(8</s>) = -1 EIO (Input/output error) <0.1>\n10 101.0 +++ exited with 0 +++\n";
    let calls = calls(text);
    assert_eq!(calls.len(), 3);
    assert_eq!((calls[0].name.as_str(), calls[0].result), ("write", 15));
    assert!(calls[1].syncs("/segment-1") && calls[1].entry == 100.5 && calls[1].exit > 100.79, "{calls:?}");
    assert!(!calls[2].syncs("/s"), "{calls:?}");
}
