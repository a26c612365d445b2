//! The two relays: each with an empty queue, on addresses of its own, and ended by its own means.

mod postern;
mod postfix;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use postern_tests::usage;

use crate::bridge::Identity;
use postern::Postern;
pub(crate) use postern::snapshot;
use postfix::Postfix;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postern,
    Postfix,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Postern, Self::Postfix];
}

/// What a relay is to do.
pub(crate) struct Task<'a> {
    /// Where its queue lies.
    pub(crate) folder: &'a Path,
    /// The program postern-relay.
    pub(crate) relay: &'a Path,
    /// Where mail for each domain goes.
    pub(crate) routes: &'a [(String, SocketAddr)],
    /// TLS from the first octet, on both sides, with this certificate.
    pub(crate) tls: Option<&'a Identity>,
    /// Mail is taken, and not handed on until [`Server::release`].
    pub(crate) held: bool,
}

/// A running relay.
pub(crate) enum Server {
    Postern(Box<Postern>),
    Postfix(Postfix),
}

impl Server {
    pub(crate) fn start(kind: Kind, task: &Task<'_>) -> Result<Self> {
        Ok(match kind {
            Kind::Postern => Self::Postern(Box::new(Postern::start(task)?)),
            Kind::Postfix => Self::Postfix(Postfix::start(task)?),
        })
    }

    /// Where it takes mail: with TLS from the first octet, when that was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Postern(postern) => postern.address(),
            Self::Postfix(postfix) => postfix.address(),
        }
    }

    /// Hands on what was held, and all that comes.
    pub(crate) fn release(&mut self, routes: &[(String, SocketAddr)]) -> Result<()> {
        match self {
            Self::Postern(postern) => postern.release(routes),
            Self::Postfix(postfix) => postfix.release(),
        }
    }

    /// Time on a processor of all its processes so far, the ended ones included.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        match self {
            Self::Postern(postern) => Ok(postern.relay.usage()?.cpu),
            Self::Postfix(postfix) => {
                let master = postfix.master()?;
                let mut cpu = usage::of(master)?.cpu + usage::cpu_of_the_ended(master)?;
                // One that ends in between is counted with the next reading.
                for child in usage::children(master)? {
                    cpu += usage::of(child).map(|usage| usage.cpu).unwrap_or_default();
                }
                Ok(cpu)
            }
        }
    }

    /// Octets of memory of all its processes.
    pub(crate) fn memory(&self) -> Result<u64> {
        match self {
            Self::Postern(postern) => usage::proportional(postern.relay.pid()?),
            Self::Postfix(postfix) => {
                let master = postfix.master()?;
                let children = usage::children(master)?;
                let of_children = children.iter().filter_map(|child| usage::proportional(*child).ok());
                Ok(usage::proportional(master)? + of_children.sum::<u64>())
            }
        }
    }

    pub(crate) fn stop(self) -> Result<()> {
        match self {
            Self::Postern(mut postern) => postern.relay.stop(),
            Self::Postfix(mut postfix) => postfix.stop(),
        }
    }
}
