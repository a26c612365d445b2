//! `postern control`: connects standard input and output with the control socket of the relay beside it. `kubectl postern`
//! runs it in each relay pod, and speaks the socket's protocol through it.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;

/// Connect standard input and output with a relay's control socket
///
/// This is how `kubectl postern` speaks with a relay, through `kubectl exec`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The control socket
    #[arg(long, env = "POSTERN_CONTROL", hide_env_values = true, value_name = "SOCKET", default_value = crate::relays::SOCKET)]
    control: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let path = args.control.display();
    let connect = || UnixStream::connect(&args.control);
    let mut stream = connect().with_context(|| format!("no relay answers at its control socket {path} yet"))?;
    let mut answers = stream.try_clone()?;
    // What was asked goes in beside the answers, which may be long; it ends with its input, or with the process.
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut piece = vec![0; 64 << 10];
        while let Ok(read @ 1..) = input.read(&mut piece) {
            if stream.write_all(&piece[..read]).is_err() {
                return;
            }
        }
        stream.shutdown(Shutdown::Write).ok();
    });
    let mut out = io::stdout().lock();
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = answers.read(&mut piece).with_context(|| format!("control socket {path}"))?;
        if read == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        out.write_all(&piece[..read])?;
        out.flush()?;
    }
}
