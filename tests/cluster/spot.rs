//! Where a connection begins: in a pod's own network, so that its packets are the pod's, or outside of the cluster.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::{Cluster, eventually};
use crate::dmz::Relay;
use crate::network::{inside, inside_pod};

/// Before a path that is not answered counts as closed. All is on one machine, and on an open path somebody answers.
const SILENCE: Duration = Duration::from_secs(3);

pub(crate) struct Spot {
    name: String,
    /// Its node and its address; without a pod it is between the nodes.
    pod: Option<(String, IpAddr)>,
}

impl Spot {
    /// In a pod of this name.
    pub(crate) fn pod(namespace: &str, name: &str) -> Result<Self> {
        let pod = Cluster::shared().get(&["-n", namespace, "pod", name])?;
        let node = pod["spec"]["nodeName"].as_str().context("a pod that runs is on a node")?;
        let ip = pod["status"]["podIP"].as_str().context("a pod that runs has an address")?.parse()?;
        Ok(Self { name: name.to_owned(), pod: Some((node.trim_start_matches("node-").to_owned(), ip)) })
    }

    /// In a relay's own pod.
    pub(crate) fn relay(relay: &Relay) -> Self {
        Self { name: relay.name.clone(), pod: Some((relay.node.clone(), relay.ip)) }
    }

    /// Outside of the cluster.
    pub(crate) fn outside() -> Self {
        Self { name: "outside".to_owned(), pod: None }
    }

    /// Does this here.
    pub(crate) fn does<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.pod {
            Some((node, ip)) => inside_pod(node, *ip, work),
            None => inside("net", work),
        }
    }

    /// Whether a connection from here to there is made.
    pub(crate) fn connects(&self, to: SocketAddr) -> Result<bool> {
        self.does(|| Ok(TcpStream::connect_timeout(&to, SILENCE).is_ok()))
    }

    /// Waits until each of these is open from here.
    pub(crate) fn sees_open(&self, all: &[SocketAddr]) {
        self.sees(true, all);
    }

    /// Waits until each of these is closed from here. It proves nothing where nobody would answer.
    pub(crate) fn sees_closed(&self, all: &[SocketAddr]) {
        self.sees(false, all);
    }

    fn sees(&self, open: bool, all: &[SocketAddr]) {
        for to in all {
            let what = format!("{} sees {to} {}", self.name, if open { "open" } else { "closed" });
            let ask = || {
                ensure!(self.connects(*to)? == open, "it is not");
                Ok(())
            };
            eventually(&what, ask).unwrap();
        }
    }
}
