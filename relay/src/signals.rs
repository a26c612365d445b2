//! What the system says to a process that runs a relay: SIGHUP looks at the settings, SIGTERM and SIGINT drain it, a second
//! one ends it. A relay itself knows no signal ([`crate::run`]); whoever runs one in a process of its own calls this.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use crate::Handle;

/// Takes the process's signals from now on; the future steers the relay by them, and never ends.
///
/// # Errors
/// When the system lets no handler be set. Must be called inside a runtime.
pub fn steer(handle: Handle) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hang_up: signal(SignalKind::hangup())?,
    };
    Ok(signals.steer(handle))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    async fn steer(mut self, handle: Handle) {
        let mut draining = false;
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => {
                    handle.reload();
                    continue;
                }
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            match draining {
                false => handle.drain(),
                true => handle.end(),
            }
            draining = true;
        }
    }
}

/// As many descriptors as the system lets us have: each connection needs one.
pub fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        warn!(%error, "the number of open files stays limited to {:?}", limit.current);
    }
}
