//! `postern-peer`: what runs in the pods of the test cluster beside what is tested. One static program without a crate, so
//! that its image is built in seconds; it is the pause container of every pod, too.
//!
//! Nothing here judges: it says on stdout what it saw, a line at a time, and the test reads that.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

mod load;
mod sink;
mod socket;

use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const USAGE: &str = "\
postern-peer idle                        does nothing, for ever
postern-peer connect HOST:PORT SECONDS   says open, refused or silent
postern-peer listen PORT...              greets whoever connects with 220 and the address that it comes from
postern-peer sink PORT                   takes mail: a line `id=SUBJECT to=<A> from=<B>` for each message
postern-peer load HOST:PORT FROM TO SESSIONS MESSAGES RATE
                                         sends so many messages, RATE a second, each again until it is acknowledged.
                                         A line of counts a second; see load.rs for the words";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
        None => {
            println!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What to do, if these words say it.
fn run(words: &[&str]) -> Option<std::io::Result<()>> {
    Some(match words {
        ["idle"] => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        ["connect", to, seconds] => socket::connect(to, Duration::from_secs(seconds.parse().ok()?)),
        ["listen", ports @ ..] if !ports.is_empty() => {
            socket::listen(&ports.iter().map(|port| port.parse().ok()).collect::<Option<Vec<u16>>>()?)
        }
        ["sink", port] => sink::serve(port.parse().ok()?),
        ["load", to, from, recipient, sessions, messages, rate] => load::send(load::Plan {
            server: (*to).to_owned(),
            sender: (*from).to_owned(),
            recipient: (*recipient).to_owned(),
            sessions: sessions.parse().ok()?,
            messages: messages.parse().ok()?,
            rate: rate.parse().ok()?,
        }),
        _ => return None,
    })
}
