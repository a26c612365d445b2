//! What a process costs, from `/proc` (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The unit of `/proc/PID/stat`'s times: `USER_HZ`, 100 on every architecture that we build for.
const TICKS_PER_SECOND: u64 = 100;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory now, octets (`VmRSS`).
    pub resident: u64,
    /// The most that it ever was, octets (`VmHWM`).
    pub resident_peak: u64,
    /// Time on a processor, in user and in system mode, to a hundredth of a second.
    pub cpu: Duration,
}

/// Its share of the memory that it uses, octets (`Pss`): what several processes have in common is counted only once.
///
/// # Errors
/// When there is no such process.
pub fn proportional(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).with_context(|| format!("process {pid}"))?;
    kibibytes(&rollup, "Pss:")
}

/// What of its resident memory is files that it has mapped, such as its program, octets (`RssFile`).
///
/// # Errors
/// When there is no such process.
pub fn of_files(pid: u32) -> Result<u64> {
    kibibytes(&fs::read_to_string(format!("/proc/{pid}/status"))?, "RssFile:")
}

/// The processes that this one has started and that still run, from `/proc`.
///
/// # Errors
/// When there is no such process.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// The time on a processor of all those that this process has started and seen end, and of theirs.
///
/// # Errors
/// When there is no such process.
pub fn cpu_of_the_ended(pid: u32) -> Result<Duration> {
    times(&fs::read_to_string(format!("/proc/{pid}/stat"))?, 13)
}

/// Reads it.
///
/// # Errors
/// When there is no such process.
pub fn of(pid: u32) -> Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(Usage {
        resident: kibibytes(&status, "VmRSS:")?,
        resident_peak: kibibytes(&status, "VmHWM:")?,
        cpu: cpu(&stat)?,
    })
}

fn kibibytes(status: &str, field: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// `utime` and `stime`.
fn cpu(stat: &str) -> Result<Duration> {
    times(stat, 11)
}

/// Two fields that follow each other, counted behind the second field: that is a name that may hold spaces and parentheses.
fn times(stat: &str, first: usize) -> Result<Duration> {
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat has a name in parentheses")?;
    let mut times = rest.split_whitespace().skip(first).map(str::parse::<u64>);
    let user = times.next().context("/proc/PID/stat is too short")??;
    let system = times.next().context("/proc/PID/stat is too short")??;
    Ok(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::wait_until;

    #[test]
    fn reads_times_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1000 0 0 0 150 25 3 4 20 0 1 0 100 1 1";
        assert_eq!(cpu(stat).unwrap(), Duration::from_millis(1750));
        assert_eq!(times(stat, 13).unwrap(), Duration::from_millis(70));
    }

    #[test]
    fn sees_what_this_process_uses() {
        let before = of(std::process::id()).unwrap();
        let memory = std::hint::black_box(vec![1_u8; 32 << 20]);
        // A busy machine may leave us waiting: what counts is the time that we were given.
        let worked = || of(std::process::id()).unwrap().cpu - before.cpu >= Duration::from_millis(50);
        wait_until("the time on a processor counts", Duration::from_secs(30), || {
            (0..1_000_000_u32).for_each(|number| _ = std::hint::black_box(number));
            worked()
        })
        .unwrap();
        let after = of(std::process::id()).unwrap();
        assert!(after.resident >= before.resident + (24 << 20), "{before:?} {after:?}");
        drop(memory);
    }
}
