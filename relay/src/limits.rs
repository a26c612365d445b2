//! Every limit of the relay process: one table, and the flags that set it. What users limit in a custom resource stands in
//! [`postern_wire::limits`].
//!
//! A value outside of its bounds is refused before anything is bound, by a sentence that names flag, value and bounds.
//! Octets may be written `64Ki`, `16Mi`, `10Gi`; times `90s`, `5m`, `2h`.

mod page;

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
pub use page::page;
use postern_wire::limits::Limit;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name is the flag's, without the dashes.
    pub limit: Limit,
    /// The environment variable that is read when the flag is not given.
    pub env: &'static str,
}

/// What a field of [`Limits`] is made from: the table counts everything in `u64`, times in seconds.
trait Measure: Sized {
    fn from_table(value: u64) -> Self;
}

impl Measure for u64 {
    fn from_table(value: u64) -> Self {
        value
    }
}

impl Measure for Duration {
    fn from_table(value: u64) -> Self {
        Self::from_secs(value)
    }
}

macro_rules! limits {
    ($($field:ident: $kind:ty = $name:literal, $env:literal, $unit:literal, $default:expr, $min:expr, $max:expr, $meaning:literal;)*) => {
        /// The limits of one relay process, each within its bounds.
        #[derive(Clone, Debug)]
        pub struct Limits {
            $(#[doc = concat!("`--", $name, "`, in ", $unit, ": ", $meaning, ".")] pub $field: $kind,)*
        }

        /// The whole table, in the order of the help text.
        pub const TABLE: &[Flag] = &[
            $(Flag {
                limit: Limit { name: $name, unit: $unit, default: $default, min: $min, max: $max, meaning: $meaning },
                env: $env,
            },)*
        ];

        impl Limits {
            /// `value` answers for each name of the table.
            fn from_values(value: impl Fn(&str) -> u64) -> Self {
                Self { $($field: <$kind>::from_table(value($name)),)* }
            }

            fn set(&mut self, name: &str, value: u64) {
                match name {
                    $($name => self.$field = <$kind>::from_table(value),)*
                    _ => {}
                }
            }
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: <$kind>::from_table($default),)* }
            }
        }
    };
}

limits! {
    // SMTP, as a server
    connections: u64 = "connections", "POSTERN_CONNECTIONS", "connections", 10_000, 1, 100_000,
        "a further SMTP client is answered 421 4.3.2 and closed";
    command_line: u64 = "command-line", "POSTERN_COMMAND_LINE", "octets", 2048, 512, 16 << 10,
        "a longer command, with its CRLF, is answered 500 5.5.2";
    command_line_discard: u64 = "command-line-discard", "POSTERN_COMMAND_LINE_DISCARD", "octets", 64 << 10, 16 << 10, 1 << 20,
        "a command line that is still not over after so much is answered 521 5.5.2 and closed";
    body_line: u64 = "body-line", "POSTERN_BODY_LINE", "octets", 64 << 10, 1000, 1 << 20,
        "a message with a longer line, with its CRLF, is refused with 554 5.6.0";
    chunk: u64 = "chunk", "POSTERN_CHUNK", "octets", 1 << 30, 1 << 20, 1 << 40,
        "a BDAT of more is answered 501 5.5.4 and closed: nobody would read it to its end";
    errors: u64 = "errors", "POSTERN_ERRORS", "replies", 20, 1, 1000,
        "a client that sent more bad commands since its last accepted message gets 421 4.7.0 and is closed";
    refusals: u64 = "refusals", "POSTERN_REFUSALS", "replies", 1000, 1, 100_000,
        "a client that had more senders, recipients and messages refused since its last accepted one gets 421 4.7.0";
    idle_commands: u64 = "idle-commands", "POSTERN_IDLE_COMMANDS", "commands", 100, 10, 10_000,
        "after so many NOOP, RSET, VRFY, HELP, EHLO, HELO and BDAT below 1 KiB since the last accepted message each is an error";
    command_time: Duration = "command-time", "POSTERN_COMMAND_TIME", "seconds", 300, 1, 3600,
        "a client that has not sent a whole command by then gets 421 4.4.2 and is closed";
    reply_time: Duration = "reply-time", "POSTERN_REPLY_TIME", "seconds", 60, 1, 3600,
        "a client that does not read our replies for so long is closed";
    handshake_time: Duration = "handshake-time", "POSTERN_HANDSHAKE_TIME", "seconds", 10, 1, 60,
        "a client whose TLS handshake is not over by then is closed";
    proxy_header_time: Duration = "proxy-header-time", "POSTERN_PROXY_HEADER_TIME", "seconds", 3, 1, 60,
        "a trusted proxy that has not said by then for whom it connects is served as itself, and is no source";
    body_time: Duration = "body-time", "POSTERN_BODY_TIME", "seconds", 300, 1, 3600,
        "a client that sends nothing of its message for so long gets 421 4.4.2 and is closed";
    body_rate: u64 = "body-rate", "POSTERN_BODY_RATE", "octets a second", 500, 1, 1 << 20,
        "a message that comes more slowly, measured from DATA or the first BDAT and after the first body-time, gets 421 4.4.2";
    message_time: Duration = "message-time", "POSTERN_MESSAGE_TIME", "seconds", 3600, 60, 24 * 3600,
        "a message that is not over by then, however fast it comes, gets 421 4.4.2 and its connection is closed";
    // The spool
    spool_size: u64 = "spool-size", "POSTERN_SPOOL_SIZE", "octets", 10 << 30, 256 << 20, 16 << 40,
        "when the spool takes more, new mail is answered 452 4.3.1 at MAIL";
    body_memory: u64 = "body-memory", "POSTERN_BODY_MEMORY", "octets", 16 << 20, 1 << 20, 4 << 30,
        "bodies beyond it are written to their files while they arrive, and read back when they are sent";
    // SMTP, as a client
    delivery_connections: u64 = "delivery-connections", "POSTERN_DELIVERY_CONNECTIONS", "connections", 200, 1, 10_000,
        "further messages wait for a free one; one next hop takes at most half of them";
    host_connections: u64 = "host-connections", "POSTERN_HOST_CONNECTIONS", "connections", 20, 1, 1000,
        "further messages to the same next hop wait for a free one";
    connect_time: Duration = "connect-time", "POSTERN_CONNECT_TIME", "seconds", 30, 1, 600,
        "an address that does not take the connection by then is left for the next one";
    delivery_reply_time: Duration = "delivery-reply-time", "POSTERN_DELIVERY_REPLY_TIME", "seconds", 300, 1, 3600,
        "a next hop that does not answer a command by then is left; its message is deferred";
    delivery_final_time: Duration = "delivery-final-time", "POSTERN_DELIVERY_FINAL_TIME", "seconds", 600, 1, 3600,
        "a next hop that does not answer the final dot by then is left; its message is deferred";
    delivery_send_time: Duration = "delivery-send-time", "POSTERN_DELIVERY_SEND_TIME", "seconds", 180, 1, 3600,
        "a next hop that takes nothing of a message for so long is left; its message is deferred";
    delivery_idle_time: Duration = "delivery-idle-time", "POSTERN_DELIVERY_IDLE_TIME", "seconds", 2, 0, 300,
        "a connection to a next hop is ended with QUIT when nothing was sent on it for so long";
    connection_messages: u64 = "connection-messages", "POSTERN_CONNECTION_MESSAGES", "messages", 1000, 1, 100_000,
        "after so many on one connection to a next hop a new one is made";
    retry_first: Duration = "retry-first", "POSTERN_RETRY_FIRST", "seconds", 60, 1, 3600,
        "the wait after the first failed attempt; it doubles from there";
    retry_max: Duration = "retry-max", "POSTERN_RETRY_MAX", "seconds", 3600, 1, 24 * 3600,
        "no wait between two attempts is longer";
    host_retry_first: Duration = "host-retry-first", "POSTERN_HOST_RETRY_FIRST", "seconds", 5, 1, 600,
        "the wait before a next hop that could not be reached is tried again; it doubles from there";
    host_retry_max: Duration = "host-retry-max", "POSTERN_HOST_RETRY_MAX", "seconds", 300, 1, 3600,
        "no wait between two attempts to reach a next hop is longer";
    mx_hosts: u64 = "mx-hosts", "POSTERN_MX_HOSTS", "names", 20, 1, 256,
        "further mail exchangers of a domain, in the order of their preference, are not looked at";
    mx_addresses: u64 = "mx-addresses", "POSTERN_MX_ADDRESSES", "addresses", 5, 1, 50,
        "an attempt tries no more addresses of a domain's mail exchangers";
    mx_sessions: u64 = "mx-sessions", "POSTERN_MX_SESSIONS", "connections", 2, 1, 10,
        "an attempt gives up after so many of a domain's mail exchangers greeted us and did not take the message";
    // Names
    dns_time: Duration = "dns-time", "POSTERN_DNS_TIME", "seconds", 10, 1, 60,
        "a name that has no answer by then, however often it was asked for, has none for the moment";
    dns_try_time: Duration = "dns-try-time", "POSTERN_DNS_TRY_TIME", "seconds", 3, 1, 30,
        "a question that the name servers do not answer by then is asked again";
    dns_ttl_max: Duration = "dns-ttl-max", "POSTERN_DNS_TTL_MAX", "seconds", 3600, 1, 24 * 3600,
        "no answer is believed for longer, whatever its TTL";
    dns_negative_ttl_max: Duration = "dns-negative-ttl-max", "POSTERN_DNS_NEGATIVE_TTL_MAX", "seconds", 300, 1, 24 * 3600,
        "for no longer is it believed that a name does not exist";
    dns_failure_time: Duration = "dns-failure-time", "POSTERN_DNS_FAILURE_TIME", "seconds", 5, 0, 300,
        "for so long a name is not asked for again when the name servers failed";
    dns_memory: u64 = "dns-memory", "POSTERN_DNS_MEMORY", "octets", 8 << 20, 64 << 10, 1 << 30,
        "answers beyond it are forgotten before their time";
    name_ttl_min: Duration = "name-ttl-min", "POSTERN_NAME_TTL_MIN", "seconds", 5, 1, 3600,
        "a name that is a source or a blocked client is not looked up sooner again, whatever its TTL";
    name_ttl_max: Duration = "name-ttl-max", "POSTERN_NAME_TTL_MAX", "seconds", 300, 1, 24 * 3600,
        "a name that is a source or a blocked client is looked up again by then, whatever its TTL";
    name_keep: Duration = "name-keep", "POSTERN_NAME_KEEP", "seconds", 24 * 3600, 60, 30 * 24 * 3600,
        "for so long a source that is a name keeps its last addresses while the name servers fail";
    canary_interval: Duration = "canary-interval", "POSTERN_CANARY_INTERVAL", "seconds", 60, 1, 3600,
        "after so long what must not be reached is tried again";
    canary_time: Duration = "canary-time", "POSTERN_CANARY_TIME", "seconds", 5, 1, 60,
        "what must not be reached, and does not answer by then, was not reached";
    // Stopping
    drain_accept_time: Duration = "drain-accept-time", "POSTERN_DRAIN_ACCEPT_TIME", "seconds", 5, 0, 300,
        "how long new connections are still taken after SIGTERM, while load balancers notice that we are not ready";
    drain_time: Duration = "drain-time", "POSTERN_DRAIN_TIME", "seconds", 20, 1, 3600,
        "after that, how long transactions may take, and what is due is delivered; nothing new in its last quarter";
    // Administration
    http_connections: u64 = "http-connections", "POSTERN_HTTP_CONNECTIONS", "connections", 64, 4, 1024,
        "further clients of the HTTP port wait";
    http_time: Duration = "http-time", "POSTERN_HTTP_TIME", "seconds", 60, 1, 3600,
        "a connection to the HTTP port is closed after so long";
    control_connections: u64 = "control-connections", "POSTERN_CONTROL_CONNECTIONS", "connections", 16, 1, 1024,
        "further clients of the control socket wait";
    control_request: u64 = "control-request", "POSTERN_CONTROL_REQUEST", "octets", 1 << 20, 1 << 10, 16 << 20,
        "a longer request on the control socket is refused";
    control_time: Duration = "control-time", "POSTERN_CONTROL_TIME", "seconds", 60, 1, 3600,
        "a client of the control socket that sends or reads nothing for so long is closed";
    settings_size: u64 = "settings-size", "POSTERN_SETTINGS_SIZE", "octets", postern_wire::PLAIN_BYTES_MAX, 1 << 20, 1 << 30,
        "larger settings, before they were compressed, are refused, and those in force stay";
    secret_size: u64 = "secret-size", "POSTERN_SECRET_SIZE", "octets", 1 << 20, 1 << 10, 16 << 20,
        "a larger file under secrets/ or of a certificate is refused, and what is in force stays";
    certificates: u64 = "certificates", "POSTERN_CERTIFICATES", "certificates", 100, 1, 10_000,
        "further ones in the folder of --tls, by their names, are reported and not used";
}

/// Why a limit cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such row.
    #[error("there is no limit called {0}")]
    Unknown(String),
    /// Not a number with a suffix of its unit.
    #[error("--{name} {value}: not a number of {unit}, such as {example}")]
    Form {
        /// The flag.
        name: &'static str,
        /// As given.
        value: String,
        /// What is counted.
        unit: &'static str,
        /// A value that would do.
        example: String,
    },
    /// Less or more than the table allows.
    #[error("--{name} {value}: must be between {min} and {max} {unit}")]
    Bounds {
        /// The flag.
        name: &'static str,
        /// As given.
        value: String,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// What is counted.
        unit: &'static str,
    },
}

impl Limits {
    /// Sets one limit by the name of its flag, from what a person wrote: for tests and for whoever has no command line.
    ///
    /// # Errors
    /// [`Refused`], naming flag, value and bounds.
    pub fn with(mut self, name: &str, text: &str) -> Result<Self, Refused> {
        let flag =
            TABLE.iter().find(|flag| flag.limit.name == name).ok_or_else(|| Refused::Unknown(name.to_owned()))?;
        self.set(name, parse(&flag.limit, text)?);
        Ok(self)
    }
}

/// Reads a value as a person writes it, and holds it against its bounds.
fn parse(limit: &'static Limit, text: &str) -> Result<u64, Refused> {
    let suffixes: &[(&str, u64)] = match limit.unit {
        "octets" | "octets a second" => &[("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40)],
        "seconds" => &[("s", 1), ("m", 60), ("h", 3600)],
        _ => &[],
    };
    let (digits, factor) = suffixes
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|digits| (digits, *factor)))
        .unwrap_or((text, 1));
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
    let Some(number) = number else {
        let example = limit.default.to_string();
        return Err(Refused::Form { name: limit.name, value: text.to_owned(), unit: limit.unit, example });
    };
    match number.checked_mul(factor).filter(|value| limit.allows(*value)) {
        Some(value) => Ok(value),
        None => Err(Refused::Bounds {
            name: limit.name,
            value: text.to_owned(),
            min: limit.min,
            max: limit.max,
            unit: limit.unit,
        }),
    }
}

/// As a person would write it: `16Mi`, `5m`, `200`.
pub fn written(limit: &Limit, value: u64) -> String {
    let suffixes: &[(&str, u64)] = match limit.unit {
        "octets" | "octets a second" => &[("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)],
        "seconds" => &[("h", 3600), ("m", 60), ("s", 1)],
        _ => &[],
    };
    match suffixes.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor)) {
        Some((suffix, factor)) => format!("{}{suffix}", value / factor),
        None => value.to_string(),
    }
}

/// One flag for each row, so that the table and the command line cannot differ.
impl clap::Args for Limits {
    fn augment_args(command: Command) -> Command {
        TABLE.iter().fold(command, |command, Flag { limit, env }| {
            let default = written(limit, limit.default);
            let help = format!(
                "{} [{}, default {default}, {} to {}]",
                limit.meaning,
                limit.unit,
                written(limit, limit.min),
                written(limit, limit.max),
            );
            command.arg(
                Arg::new(limit.name)
                    .long(limit.name)
                    .env(*env)
                    .value_name(if limit.unit == "seconds" { "TIME" } else { "N" })
                    .value_parser(move |text: &str| parse(limit, text))
                    .hide_env(true)
                    .hide_short_help(true)
                    .help_heading("Limits")
                    .help(help),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Limits {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let default =
            |name: &str| TABLE.iter().find(|flag| flag.limit.name == name).map_or(0, |flag| flag.limit.default);
        Ok(Self::from_values(|name| matches.get_one::<u64>(name).copied().unwrap_or_else(|| default(name))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for flag in TABLE {
            if let Some(value) = matches.get_one::<u64>(flag.limit.name) {
                self.set(flag.limit.name, *value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limits: Limits,
    }

    #[test]
    fn every_default_is_within_its_bounds_and_reads_back_as_written() {
        for Flag { limit, env } in TABLE {
            for value in [limit.default, limit.min, limit.max] {
                assert!(limit.allows(value), "{}", limit.name);
            }
            for value in [limit.default, limit.min, limit.max] {
                let rows: &'static Limit = limit;
                assert_eq!(parse(rows, &written(limit, value)), Ok(value), "{}", limit.name);
            }
            assert_eq!(*env, format!("POSTERN_{}", limit.name.to_uppercase().replace('-', "_")));
        }
    }

    #[test]
    fn a_flag_sets_its_own_limit_and_no_other() {
        let line = Line::try_parse_from(["relay", "--command-time", "2m", "--body-memory", "1Mi"]).unwrap();
        assert_eq!(line.limits.command_time, Duration::from_secs(120));
        assert_eq!(line.limits.body_memory, 1 << 20);
        assert_eq!(line.limits.body_time, Duration::from_secs(300));
    }

    #[test]
    fn refuses_by_flag_value_and_bounds() {
        for (name, text, said) in [
            ("errors", "0", "--errors 0: must be between 1 and 1000 replies"),
            ("errors", "1001", "--errors 1001: must be between 1 and 1000 replies"),
            ("errors", "-1", "--errors -1: not a number of replies, such as 20"),
            ("errors", "", "--errors : not a number of replies, such as 20"),
            ("command-time", "5d", "--command-time 5d: not a number of seconds, such as 300"),
            (
                "spool-size",
                "99999999999Ti",
                "--spool-size 99999999999Ti: must be between 268435456 and 17592186044416 octets",
            ),
            ("nonsense", "1", "there is no limit called nonsense"),
        ] {
            assert_eq!(Limits::default().with(name, text).unwrap_err().to_string(), said);
        }
        let refused = Line::try_parse_from(["relay", "--errors", "0"]).err().unwrap().to_string();
        assert!(refused.contains("must be between 1 and 1000 replies"), "{refused}");
    }
}
