//! A mail server that takes everything and says what it took.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;

use crate::socket::any;

/// Serves for ever.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let listener = any(port)?;
    println!("listening");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || {
            // A connection that breaks is the relay's business: it shows there, and in what is missing here.
            drop(session(&stream));
        });
    }
    Ok(())
}

fn session(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let say = |line: &str| write!(&*stream, "{line}\r\n");
    let (mut from, mut recipients) = (String::new(), Vec::new());
    say("220 sink.test ESMTP")?;
    while let Some(line) = next(&mut reader)? {
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("EHLO") {
            say("250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES")?;
        } else if upper.starts_with("MAIL FROM:") {
            from = path(&line);
            recipients.clear();
            say("250 2.1.0 ok")?;
        } else if upper.starts_with("RCPT TO:") {
            recipients.push(path(&line));
            say("250 2.1.5 ok")?;
        } else if upper == "DATA" {
            say("354 go on")?;
            let id = content(&mut reader)?;
            for recipient in &recipients {
                println!("id={id} to={recipient} from={from}");
            }
            say("250 2.0.0 taken")?;
        } else if upper == "QUIT" {
            return say("221 2.0.0 bye");
        } else {
            say("250 2.0.0 ok")?;
        }
    }
    Ok(())
}

/// A line without its end; nothing at the end of the connection.
fn next(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut octets = Vec::new();
    let read = reader.read_until(b'\n', &mut octets)?;
    Ok((read > 0).then(|| String::from_utf8_lossy(&octets).trim_end().to_owned()))
}

/// `<a@b.test>` of `MAIL FROM:<a@b.test> SIZE=10`.
fn path(line: &str) -> String {
    let (_, rest) = line.split_once(':').unwrap_or_default();
    rest.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Reads the content to its end; the text of its first Subject, or a dash.
fn content(reader: &mut impl BufRead) -> io::Result<String> {
    let mut id = None;
    loop {
        let line = next(reader)?.ok_or_else(|| io::Error::other("ended within a message"))?;
        if line == "." {
            return Ok(id.unwrap_or_else(|| "-".to_owned()));
        }
        if let (None, Some(subject)) = (&id, line.strip_prefix("Subject: ")) {
            id = Some(subject.replace(' ', "_"));
        }
    }
}
