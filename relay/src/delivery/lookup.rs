//! The addresses of a next hop's name, asked for again at each new connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::BoxFuture;

/// Addresses of one name that are tried; more are not looked at.
pub(super) const ADDRESSES_MAX: usize = 5;
/// How long a name may take.
const TIME: Duration = Duration::from_secs(10);

/// Finds the addresses of a name, in the order in which they shall be tried.
pub trait Lookup: Send + Sync + 'static {
    /// An error may go away: it only defers.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// As the system is configured: hosts file and name servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// An endpoint's addresses: itself, when it is one.
pub(super) async fn resolve(lookup: &dyn Lookup, name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = match tokio::time::timeout(TIME, lookup.addresses(name)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(format!("has no address: {error}")),
        Err(_) => return Err(format!("has no address: no answer within {} s", TIME.as_secs())),
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        let address = SocketAddr::new(address, port);
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err("has no address".to_owned()) } else { Ok(addresses) }
}
