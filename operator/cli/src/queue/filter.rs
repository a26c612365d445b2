//! Which messages a command line means.

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use postern_relay::control::{Filter, State};
use postern_relay::queue_id::QueueId;

use crate::duration::seconds;

/// What narrows a choice down: all of it must be true of a message.
#[derive(Debug, Default, Args)]
pub(super) struct Narrowed {
    /// From this address; @DOMAIN for all of a domain, <> for notifications
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// To this address, or to @DOMAIN, and not settled
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// To this domain, and not settled
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// On its way to this RelayHost, or last tried at a server of this name
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// How it stands
    #[arg(long, value_enum)]
    state: Option<Stands>,
    /// Accepted longer ago: 90s, 5m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    older_than: Option<u64>,
    /// Accepted less long ago
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    younger_than: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stands {
    /// For its time, or its turn
    Waiting,
    /// In an attempt
    Trying,
    /// Kept by a person
    Held,
}

impl Narrowed {
    pub(super) fn filter(&self) -> Result<Filter> {
        let Self { sender, recipient, domain, host, state, older_than, younger_than } = self;
        let state = state.map(|state| match state {
            Stands::Waiting => State::Waiting,
            Stands::Trying => State::Trying,
            Stands::Held => State::Held,
        });
        Ok(Filter {
            ids: Vec::new(),
            sender: sender.clone(),
            recipient: recipient.clone(),
            domain: domain.clone(),
            host: host.clone(),
            state,
            older_than: *older_than,
            younger_than: *younger_than,
        })
    }
}

/// Messages that something is done to: they must be named.
#[derive(Debug, Default, Args)]
pub(super) struct Chosen {
    /// Their ids
    ids: Vec<QueueId>,
    /// All messages; without it, ids or something that narrows the choice down is needed
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    narrowed: Narrowed,
}

impl Chosen {
    pub(super) fn filter(&self) -> Result<Filter> {
        let filter = Filter { ids: self.ids.clone(), ..self.narrowed.filter()? };
        ensure!(self.all || !filter.is_all(), "say which messages: ids, --domain and the like, or --all");
        ensure!(!self.all || filter.is_all(), "--all means every message: leave out what narrows it down");
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_must_be_meant() {
        let nothing = Chosen::default();
        assert!(nothing.filter().unwrap_err().to_string().contains("--all"));
        let all = Chosen { all: true, ..Chosen::default() };
        assert!(all.filter().unwrap().is_all());
        let domain = || Narrowed { domain: Some("a.example".into()), ..Narrowed::default() };
        assert!(!Chosen { narrowed: domain(), ..Chosen::default() }.filter().unwrap().is_all());
        assert!(Chosen { all: true, narrowed: domain(), ..Chosen::default() }.filter().is_err());
        let ids = vec![QueueId::new(1, 1)];
        assert_eq!(Chosen { ids: ids.clone(), ..Chosen::default() }.filter().unwrap().ids, ids);
    }
}
