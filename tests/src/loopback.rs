//! Addresses that nobody else listens on.
//!
//! A port that was free a moment ago may be the source port of somebody's connection now. So each test process has a
//! loopback address of its own, made from its process id, and counts ports on it, below those that the kernel gives away.

use std::net::{Ipv4Addr, SocketAddr};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST_PORT: u16 = 10_000;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// An address to listen on: a new one at each call.
pub fn address() -> SocketAddr {
    let [_, high, middle, low] = process::id().to_be_bytes();
    let port = FIRST_PORT + TAKEN.fetch_add(1, Ordering::Relaxed);
    (Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low), port).into()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn each_address_is_new_and_can_be_listened_on() {
        let (first, second) = (address(), address());
        assert_ne!(first, second);
        assert!(first.ip().is_loopback());
        let _listeners = (TcpListener::bind(first).unwrap(), TcpListener::bind(second).unwrap());
    }
}
