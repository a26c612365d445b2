//! Being somewhere in the cluster's network without a pod there: on a node, or between the nodes as any client outside is.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cluster::Cluster;

/// Does this in the network of node `a`, of node `b`, or between them (`net`). A socket stays where it was made.
pub(crate) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = Cluster::shared().network(namespace);
    let namespace = File::open(&path).with_context(|| path.display().to_string())?;
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
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer}"))?;
    Ok(body.to_owned())
}
