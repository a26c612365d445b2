//! What a `250` is worth, shown on the real program: the process is killed, the disk is full, the log is damaged, and
//! everything that was acknowledged still arrives. A kill cannot show that the data were on the disk and not only in the
//! kernel; for that the system calls are watched.

#![expect(clippy::unwrap_used, reason = "a test may fail with a panic")]

mod backlog;
mod damage;
mod descriptors;
mod disk;
mod full;
mod kill;
mod load;
mod queue;
mod sync;
mod trace;

use std::time::Duration;

use postern_tests::relay::Relay;
use postern_tests::settings::relaying;
use postern_tests::sink::Sink;

/// The domain that all mail is for.
const DOMAIN: &str = "durable.test";
/// Longer than a relay needs to deliver all that these tests queue, on a busy machine.
const DELIVERED_WITHIN: Duration = Duration::from_secs(180);

/// A relay that hands its mail to this sink and comes back to it soon; not started yet.
fn relay_to(sink: &Sink) -> Relay {
    let mut relay = Relay::prepare().unwrap();
    relay.volume.publish(&relaying(DOMAIN, sink.address()), &[]).unwrap();
    for (option, value) in [("--host-retry-first", "1"), ("--host-retry-max", "1"), ("--retry-first", "1")] {
        relay.option(option, value);
    }
    relay.option("--retry-max", "1");
    relay.option("--drain-accept-time", "0");
    relay
}
