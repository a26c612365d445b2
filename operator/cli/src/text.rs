//! What goes to a terminal.

use jiff::Timestamp;

/// What a stranger wrote must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() && char != '\t' {
            true => printable.extend(char.escape_default()),
            false => printable.push(char),
        }
    }
    printable
}

/// `1 message`, `2 messages`
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The time between, in its largest unit: `5s`, `12m`, `3h`, `2d`.
pub(crate) fn ago(now: Timestamp, then: Timestamp) -> String {
    age(u64::try_from(now.duration_since(then).as_secs()).unwrap_or_default())
}

/// So many seconds, in the same way.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

pub(crate) fn size(octets: u64) -> String {
    match octets {
        0..10_240 => octets.to_string(),
        10_240..10_485_760 => format!("{}Ki", octets >> 10),
        _ => format!("{}Mi", octets >> 20),
    }
}
