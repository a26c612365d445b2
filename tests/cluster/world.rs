//! The names of the world: CoreDNS asks the address `outside` for every name that is not the cluster's, and is answered here.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use crate::cluster::Cluster;

/// So soon a name is asked again.
const TTL: u32 = 1;
const HEADER: usize = 12;
const A: u16 = 1;

static NAMES: LazyLock<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>> = LazyLock::new(|| {
    let socket = UdpSocket::bind((Cluster::shared().outside(), 53)).expect("nobody else answers there");
    thread::spawn(move || serve(&socket));
    Mutex::default()
});

/// From now on this name has these addresses.
pub(crate) fn answers(name: &str, addresses: &[Ipv4Addr]) {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), addresses.to_owned());
}

fn serve(socket: &UdpSocket) {
    let mut octets = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut octets) {
        if let Some(answer) = answer(&octets[..length]) {
            // A lost answer is asked for again.
            drop(socket.send_to(&answer, from));
        }
    }
}

/// The answer to a message with one question: addresses, that there are none of this kind, or that there is no such name.
fn answer(asked: &[u8]) -> Option<Vec<u8>> {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    while *asked.get(at)? != 0 {
        let length = usize::from(asked[at]);
        labels.push(String::from_utf8_lossy(asked.get(at + 1..at + 1 + length)?).to_ascii_lowercase());
        at += 1 + length;
    }
    let question = asked.get(HEADER..at + 5)?;
    let kind = u16::from_be_bytes([*asked.get(at + 1)?, *asked.get(at + 2)?]);
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = names.get(&labels.join("."));
    let addresses = known.filter(|_| kind == A).cloned().unwrap_or_default();
    // A response with recursion (RFC 1035, section 4.1.1).
    let flags: u16 = if known.is_some() { 0x8180 } else { 0x8183 };
    let mut answer = asked[..2].to_vec();
    for number in [flags, 1, u16::try_from(addresses.len()).ok()?, 0, 0] {
        answer.extend(number.to_be_bytes());
    }
    answer.extend(question);
    for address in addresses {
        // The name is that of the question.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1]);
        answer.extend(TTL.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
