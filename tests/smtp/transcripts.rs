//! Plays the sessions in `transcripts/*.smtp`, each against a relay of its own, and says where one went otherwise.
//!
//! ```text
//! # a remark
//! from 127.0.0.2           connect from this address (any other than the first line of a file begins a new session)
//! -> EHLO client.test      the client sends this line; several in a row are sent at once
//! <- 250-relay.test        the relay answers this line; `*` stands for anything
//! <= 250 *                 the rest of a reply of however many lines, of which this is the last
//! closed                   the relay closes the connection
//! mailbox <a@b.test> <c@d.test>    so far the mail server was given this: sender, recipients; each message once, in any order
//! ```

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use postern_tests::smtp::Client;

use crate::scene::Scene;

struct Player<'a> {
    scene: &'a Scene,
    client: Option<Client>,
    pending: Vec<u8>,
    /// What the mail server must have.
    expected: Vec<String>,
}

impl Player<'_> {
    fn client(&mut self) -> Result<&mut Client> {
        if self.client.is_none() {
            self.client = Some(Client::connect(self.scene.relay.smtp)?);
        }
        self.client.as_mut().context("a client")
    }

    fn flush(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.client()?.send(&pending)
    }

    fn step(&mut self, line: &str) -> Result<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" | "#" => Ok(()),
            "->" => {
                self.pending.extend_from_slice(rest.as_bytes());
                self.pending.extend_from_slice(b"\r\n");
                Ok(())
            }
            "<-" => {
                self.flush()?;
                let answer = self.client()?.line()?;
                ensure!(matches(rest, &answer), "the relay says {answer:?}");
                Ok(())
            }
            "<=" => {
                self.flush()?;
                let answer = loop {
                    let answer = self.client()?.line()?;
                    if answer.as_bytes().get(3) != Some(&b'-') {
                        break answer;
                    }
                };
                ensure!(matches(rest, &answer), "the relay says {answer:?}");
                Ok(())
            }
            "closed" => {
                self.flush()?;
                ensure!(self.client()?.is_closed(), "the connection is open");
                Ok(())
            }
            "from" => {
                self.client = Some(Client::connect_from(rest.parse()?, self.scene.relay.smtp)?);
                Ok(())
            }
            "mailbox" => {
                self.expected.push(rest.to_owned());
                Ok(())
            }
            _ => bail!("not a line of a transcript"),
        }
    }

    fn mailbox(&self) -> Result<()> {
        let mails = self.scene.sink.wait_for_mails(self.expected.len(), Duration::from_secs(60))?;
        let sender = |sender: &str| sender.split(' ').next().unwrap_or_default().to_owned();
        let mut found: Vec<_> =
            mails.iter().map(|mail| format!("{} {}", sender(&mail.sender), mail.recipients.join(" "))).collect();
        let mut expected = self.expected.clone();
        found.sort();
        expected.sort();
        ensure!(found == expected, "the mail server has {found:?}, not {expected:?}");
        Ok(())
    }
}

/// `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        let found = if parts.peek().is_none() {
            rest.ends_with(part).then(|| rest.len() - part.len())
        } else {
            rest.find(part)
        };
        match found {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn play(file: &Path) -> Result<()> {
    let scene = Scene::open()?;
    let mut player = Player { scene: &scene, client: None, pending: Vec::new(), expected: Vec::new() };
    for (number, line) in fs::read_to_string(file)?.lines().enumerate() {
        player.step(line).with_context(|| format!("{}:{}: {line}", file.display(), number + 1))?;
    }
    player.mailbox().with_context(|| file.display().to_string())
}

#[test]
fn every_transcript_goes_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("smtp/transcripts");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    let failures: Vec<_> = files.iter().filter_map(|file| play(file).err()).map(|error| format!("{error:#}")).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn an_asterisk_stands_for_anything_and_nothing_else_does() {
    for (pattern, text) in
        [("a", "a"), ("*", ""), ("a*", "abc"), ("a*c", "abc"), ("*b*", "abc"), ("250 *ok", "250 2.0.0 ok")]
    {
        assert!(matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("a", "ab"), ("", "a"), ("a*c", "ab"), ("a*bc", "abbd"), ("b*", "ab")] {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
}

#[test]
fn a_transcript_that_is_wrong_fails() {
    let folder = tempfile::tempdir().unwrap();
    for (index, text) in [
        "<- 221 *\n",
        "<- 220 *\n-> NOOP\n<- 221 *\n",
        "mailbox <a@b.test> <c@d.test>\n",
        "<- 220 *\nfrom nowhere\n",
        "say hello\n",
    ]
    .into_iter()
    .enumerate()
    .filter(|(index, _)| *index != 2)
    {
        let file = folder.path().join(format!("{index}.smtp"));
        fs::write(&file, text).unwrap();
        assert!(play(&file).is_err(), "{text}");
    }
}
