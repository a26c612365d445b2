//! Being somewhere in the cluster's network without a pod there: on a node, or between the nodes as any client outside is.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cluster::Cluster;

/// Does this in the network of node `a`, of node `b`, or between them (`net`). A socket stays where it was made.
pub(crate) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    within(&Cluster::shared().network(namespace), work)
}

/// Does this in the network of the pod with this address on this node, as if its own program did it.
pub(crate) fn inside_pod<T: Send>(node: &str, ip: IpAddr, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    for entry in fs::read_dir(Cluster::shared().pod_networks(node))? {
        let path = entry?.path();
        // Only where the address is one's own can a socket have it. One of a pod that is gone by now cannot be entered.
        if within(&path, || Ok(UdpSocket::bind((ip, 0))?)).is_ok() {
            return within(&path, work);
        }
    }
    bail!("no pod on node {node} has the address {ip}")
}

fn within<T: Send>(namespace: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = File::open(namespace).with_context(|| namespace.display().to_string())?;
    thread::scope(|scope| {
        // Only that thread moves, and it ends with the work.
        let there = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        there.join().expect("what is done there does not panic")
    })
}

/// The body of what is answered at this address by HTTP.
pub(crate) fn http(address: SocketAddr, path: &str) -> Result<String> {
    Ok(answer(address, path)?.1)
}

/// The status and the body of what is answered there.
pub(crate) fn answer(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no status: {head}"))?, body.to_owned()))
}
