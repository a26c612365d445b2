//! What is compared: each scenario is one load, given to both relays in turn.

use std::time::Duration;

use clap::ValueEnum;

/// The load of one comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// As it is asked for with `--only`, and as the JSON and the picture name it.
    pub(crate) name: String,
    /// One line for the table.
    pub(crate) title: String,
    pub(crate) messages: u32,
    pub(crate) octets: u32,
    pub(crate) sessions: u32,
    /// Recipients of each message.
    pub(crate) recipients: u32,
    /// TLS from the first octet, to the relay and from it.
    pub(crate) tls: bool,
    /// From one end of the connection to the next hop to the other and back.
    pub(crate) latency: Duration,
    pub(crate) shape: Shape,
}

/// How the load meets the next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All is handed on while it comes in.
    Through,
    /// So many wait when it begins, and are worked off while the load comes in.
    Backlog(u32),
    /// The load is spread over so many destinations, the last of which takes connections and never says a word.
    OneDead(u32),
}

/// A family of scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    /// 4 KiB messages with 1, 20 and 80 sessions.
    Small,
    /// Messages of 100 KiB and of 10 MiB.
    Large,
    /// TLS on both sides.
    Tls,
    /// Messages with 50 recipients.
    Recipients,
    /// A next hop that is 50 ms away.
    Latency,
    /// A queue that is worked off while mail comes in.
    Backlog,
    /// 100 destinations, one of them dead.
    Dead,
    /// smtp-source straight into smtp-sink: what the machine and the peers can do.
    Peers,
    /// Postern alone: 10,000 idle connections.
    Idle,
    /// Postern alone: 10,000 domains are exchanged while sessions go on.
    Swap,
}

impl Family {
    pub(crate) const ALL: [Self; 10] = [
        Self::Peers,
        Self::Small,
        Self::Large,
        Self::Tls,
        Self::Recipients,
        Self::Latency,
        Self::Backlog,
        Self::Dead,
        Self::Idle,
        Self::Swap,
    ];

    /// The comparisons of this family, of about `messages` messages of 4 KiB each.
    pub(crate) fn scenarios(self, messages: u32, queued: u32) -> Vec<Scenario> {
        let small = |name: &str, title: &str, messages, sessions| Scenario {
            name: name.to_owned(),
            title: title.to_owned(),
            messages,
            octets: 4 << 10,
            sessions,
            recipients: 1,
            tls: false,
            latency: Duration::ZERO,
            shape: Shape::Through,
        };
        match self {
            Self::Small => vec![
                small("small-1", "4 KiB, 1 session", messages.div_ceil(5), 1),
                small("small-20", "4 KiB, 20 sessions", messages, 20),
                small("small-80", "4 KiB, 80 sessions", messages, 80),
            ],
            Self::Large => vec![
                Scenario { octets: 100 << 10, ..small("100-KiB", "100 KiB, 20 sessions", messages.div_ceil(4), 20) },
                Scenario { octets: 10 << 20, ..small("10-MiB", "10 MiB, 4 sessions", messages.div_ceil(100), 4) },
            ],
            Self::Tls => {
                vec![Scenario { tls: true, ..small("tls", "4 KiB, 20 sessions, TLS on both sides", messages, 20) }]
            }
            Self::Recipients => vec![Scenario {
                recipients: 50,
                ..small("50-recipients", "4 KiB, 20 sessions, 50 recipients each", messages.div_ceil(4), 20)
            }],
            Self::Latency => vec![Scenario {
                latency: Duration::from_millis(50),
                ..small("50-ms", "4 KiB, 20 sessions, next hop 50 ms away", messages.div_ceil(4), 20)
            }],
            Self::Backlog => vec![Scenario {
                shape: Shape::Backlog(queued),
                ..small(
                    "backlog",
                    &format!("{queued} queued are worked off while {messages} come in, 20 sessions"),
                    messages,
                    20,
                )
            }],
            Self::Dead => vec![Scenario {
                shape: Shape::OneDead(100),
                ..small("one-dead", "100 destinations, one of them silent", messages, 100)
            }],
            Self::Peers | Self::Idle | Self::Swap => Vec::new(),
        }
    }
}

impl Scenario {
    /// How many messages the next hops that live will have taken in the end, those of the backlog too.
    pub(crate) fn delivered(&self) -> u32 {
        match self.shape {
            Shape::Through => self.messages,
            Shape::Backlog(queued) => self.messages + queued,
            Shape::OneDead(destinations) => self.messages / destinations * (destinations - 1),
        }
    }

    /// The destinations, by number.
    pub(crate) fn destinations(&self) -> u32 {
        match self.shape {
            Shape::Through | Shape::Backlog(_) => 1,
            Shape::OneDead(destinations) => destinations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_has_a_name_of_its_own() {
        let all: Vec<_> = Family::ALL.iter().flat_map(|family| family.scenarios(5000, 10_000)).collect();
        let mut names: Vec<_> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        assert_eq!(all.iter().find(|one| one.name == "one-dead").unwrap().delivered(), 4950);
    }
}
