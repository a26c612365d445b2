//! The command line of a relay: where it listens, what it calls itself, where its files are, and its limits. Everything
//! about domains, hosts and policies is in the settings instead.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::address::Domain;
use crate::limits::Limits;
use crate::policy::client::range;

/// The flags that every way of running a relay shares.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Where mail is taken; several addresses with commas between them
    #[arg(long, env = "POSTERN_SMTP", value_name = "ADDR:PORT", value_delimiter = ',', hide_env = true)]
    pub smtp: Vec<SocketAddr>,
    /// Where mail is taken with TLS before anything else (port 465); several addresses with commas. Needs --tls
    #[arg(long, env = "POSTERN_SMTPS", value_name = "ADDR:PORT", value_delimiter = ',', hide_env = true)]
    pub smtps: Vec<SocketAddr>,
    /// The folder of certificates, NAME/tls.crt with NAME/tls.key each, chosen by the DNS names in them; NAME `default`, or
    /// without it the first, is for everyone else. Followed while they change. With it STARTTLS is offered
    #[arg(long, env = "POSTERN_TLS", value_name = "DIR", hide_env = true)]
    pub tls: Option<PathBuf>,
    /// Proxies, as ranges with commas, that must say for whom they connect: PROXY protocol 1 or 2. Others must not
    #[arg(long, env = "POSTERN_PROXY_FROM", value_name = "CIDR", value_delimiter = ',', value_parser = range, hide_env = true)]
    pub proxy_from: Vec<IpNet>,
    /// Addresses, as ranges with commas, that make nobody a source: those of nodes that hide clients behind them
    #[arg(long, env = "POSTERN_NEVER_SOURCE", value_name = "CIDR", value_delimiter = ',', value_parser = range, hide_env = true)]
    pub never_source: Vec<IpNet>,
    /// Where /livez, /readyz, /metrics and /status are answered
    #[arg(long, env = "POSTERN_HTTP", value_name = "ADDR:PORT", hide_env = true)]
    pub http: Option<SocketAddr>,
    /// The unix socket for `postern queue`
    #[arg(long, env = "POSTERN_CONTROL", value_name = "SOCKET", hide_env = true)]
    pub control: Option<PathBuf>,
    /// What the relay calls itself in greetings and Received fields; without it the system's host name
    #[arg(long, env = "POSTERN_HOSTNAME", value_name = "NAME", hide_env = true)]
    pub hostname: Option<String>,
    /// The name servers that are asked, such as 192.0.2.53 or `[2001:db8::53]:5353`; without it those of /etc/resolv.conf
    #[arg(long, env = "POSTERN_DNS", value_name = "ADDR[,ADDR]", hide_env = true, value_delimiter = ',',
        value_parser = name_server)]
    pub dns: Vec<SocketAddr>,
    /// Ranges, such as 10.20.0.0/16, that the MX of a recipient's domain may lead to although they are not public
    #[arg(long, env = "POSTERN_MX_ALLOW", value_name = "CIDR[,CIDR]", hide_env = true, value_delimiter = ',',
        value_parser = range)]
    pub mx_allow: Vec<IpNet>,
    /// The port of every mail exchanger
    #[arg(long, env = "POSTERN_MX_PORT", value_name = "PORT", hide_env = true, default_value_t = 25,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub mx_port: u16,
    /// What the network must not let this relay reach: it tries now and then, and says so if it does
    #[arg(long, env = "POSTERN_CANARY", value_name = "ADDR:PORT", hide_env = true)]
    pub canary: Option<SocketAddr>,
    /// The limits of the process.
    #[command(flatten)]
    pub limits: Limits,
}

/// All that a relay needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with `settings.json` and `secrets/`.
    pub settings: PathBuf,
    /// The folder of the spool.
    pub spool: PathBuf,
    /// Where mail is taken, at least one address.
    pub smtp: Vec<SocketAddr>,
    /// Where mail is taken with TLS before anything else.
    pub smtps: Vec<SocketAddr>,
    /// The folder of certificates. Absent: no TLS for clients.
    pub tls: Option<PathBuf>,
    /// Proxies that must say for whom they connect.
    pub proxy_from: Vec<IpNet>,
    /// Addresses that make nobody a source.
    pub never_source: Vec<IpNet>,
    /// Where `/livez`, `/readyz`, `/metrics` and `/status` are answered.
    pub http: SocketAddr,
    /// The unix socket for `postern queue`. Absent: there is none.
    pub control: Option<PathBuf>,
    /// What it calls itself.
    pub hostname: String,
    /// The name servers that are asked. Empty: those of `/etc/resolv.conf`.
    pub dns: Vec<SocketAddr>,
    /// What a stranger's MX may lead to besides the public Internet.
    pub mx_allow: Vec<IpNet>,
    /// The port of every mail exchanger.
    pub mx_port: u16,
    /// What the network must not let it reach. Absent: nothing is tried.
    pub canary: Option<SocketAddr>,
    /// The limits of the process.
    pub limits: Limits,
}

/// Where a relay listens when nothing is said.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// See [`Options::smtp`].
    pub smtp: SocketAddr,
    /// See [`Options::http`].
    pub http: SocketAddr,
    /// See [`Options::control`].
    pub control: Option<PathBuf>,
}

/// A flag that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFlag {
    /// Not a name for EHLO (RFC 5321, section 4.1.1.1).
    #[error("--hostname {0}: not a domain name of letters, digits and hyphens")]
    Hostname(String),
    /// Nothing was said, and the system has no usable one.
    #[error("--hostname is needed: the system's own name, {0:?}, is not a domain name")]
    NoHostname(String),
    /// TLS from the first octet, and no folder of certificates.
    #[error("--smtps {0}: needs certificates: give their folder with --tls")]
    NoCertificates(SocketAddr),
    /// The longest wait is shorter than the first.
    #[error("--{longest} is shorter than --{first}")]
    Waits {
        /// The flag of the first wait.
        first: &'static str,
        /// The flag of the longest.
        longest: &'static str,
    },
}

impl Flags {
    /// The options of a relay on these folders.
    ///
    /// # Errors
    /// [`BadFlag`], naming flag and value.
    pub fn into_options(self, settings: PathBuf, spool: PathBuf, defaults: Defaults) -> Result<Options, BadFlag> {
        let Self {
            smtp,
            smtps,
            tls,
            proxy_from,
            never_source,
            http,
            control,
            hostname,
            dns,
            mx_allow,
            mx_port,
            canary,
            limits,
        } = self;
        let is_name = |name: &str| name.parse::<Domain>().is_ok_and(|name| !name.is_literal());
        let hostname = match hostname {
            Some(name) if is_name(&name) => name,
            Some(name) => return Err(BadFlag::Hostname(name)),
            None => {
                let name = system_hostname();
                if !is_name(&name) {
                    return Err(BadFlag::NoHostname(name));
                }
                name
            }
        };
        for (first, longest, short, long) in [
            ("retry-first", "retry-max", limits.retry_first, limits.retry_max),
            ("host-retry-first", "host-retry-max", limits.host_retry_first, limits.host_retry_max),
        ] {
            if long < short {
                return Err(BadFlag::Waits { first, longest });
            }
        }
        if let (Some(address), None) = (smtps.first(), &tls) {
            return Err(BadFlag::NoCertificates(*address));
        }
        Ok(Options {
            settings,
            spool,
            smtp: if smtp.is_empty() { vec![defaults.smtp] } else { smtp },
            smtps,
            tls,
            proxy_from,
            never_source,
            http: http.unwrap_or(defaults.http),
            control: control.or(defaults.control),
            hostname,
            dns,
            mx_allow,
            mx_port,
            canary,
            limits,
        })
    }
}

/// An address, with port 53 unless it says another.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let alone = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    let parsed = text.parse::<SocketAddr>().or_else(|_| alone());
    parsed.map_err(|_| "not an IP address, with or without a port".to_owned())
}

fn system_hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn options(line: &[&str]) -> Result<Options, BadFlag> {
        let line = Line::try_parse_from([&["relay"], line].concat()).unwrap();
        let defaults =
            Defaults { smtp: ([127, 0, 0, 1], 2525).into(), http: ([127, 0, 0, 1], 8025).into(), control: None };
        line.flags.into_options("settings".into(), "spool".into(), defaults)
    }

    #[test]
    fn a_flag_wins_over_its_default() {
        let line = ["--hostname", "relay.example", "--smtp", "[::1]:25,127.0.0.1:25", "--control", "c"];
        let given = options(&line).unwrap();
        assert_eq!(given.hostname, "relay.example");
        assert_eq!(given.smtp, ["[::1]:25".parse().unwrap(), "127.0.0.1:25".parse().unwrap()]);
        assert_eq!(options(&line[..2]).unwrap().smtp, ["127.0.0.1:2525".parse().unwrap()]);
        assert_eq!((given.http.to_string(), given.control), ("127.0.0.1:8025".to_owned(), Some("c".into())));
    }

    #[test]
    fn reads_name_servers_and_ranges() {
        let given = options(&[
            "--hostname",
            "relay.example",
            "--dns",
            "192.0.2.53,[::1]:5353,2001:db8::53",
            "--mx-allow",
            "10.20.0.0/16",
        ]);
        let given = given.unwrap();
        let servers: Vec<String> = given.dns.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.53:53", "[::1]:5353", "[2001:db8::53]:53"]);
        assert_eq!((given.mx_allow, given.mx_port), (vec!["10.20.0.0/16".parse().unwrap()], 25));
        for (flag, value, said) in [
            ("--dns", "ns.example", "not an IP address"),
            ("--mx-allow", "10.20.0.1/16", "write 10.20.0.0/16"),
            ("--mx-allow", "0.0.0.0/0", "is everyone"),
            ("--mx-port", "0", "0 is not in 1..=65535"),
        ] {
            let refused = Line::try_parse_from(["relay", flag, value]).err().unwrap().to_string();
            assert!(refused.contains(said), "{refused}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_used_by_flag_and_value() {
        for (line, said) in [
            (&["--hostname", "re lay"][..], "--hostname re lay: not a domain name of letters, digits and hyphens"),
            (
                &["--hostname", "[127.0.0.1]"],
                "--hostname [127.0.0.1]: not a domain name of letters, digits and hyphens",
            ),
            (
                &["--hostname", "relay", "--retry-first", "2m", "--retry-max", "1m"],
                "--retry-max is shorter than --retry-first",
            ),
            (
                &["--hostname", "relay", "--smtps", "[::1]:465"],
                "--smtps [::1]:465: needs certificates: give their folder with --tls",
            ),
        ] {
            assert_eq!(options(line).unwrap_err().to_string(), said);
        }
    }
}
