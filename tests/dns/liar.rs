//! A name server that answers whatever octets a test makes of the question.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

use postern_tests::loopback;

/// A question as it came.
pub(crate) struct Asked<'a> {
    /// The whole message.
    pub(crate) octets: &'a [u8],
    /// Where the question itself ends.
    end: usize,
    pub(crate) tcp: bool,
}

impl Asked<'_> {
    /// 1: A, 15: MX, 28: AAAA.
    pub(crate) fn kind(&self) -> u16 {
        u16::from_be_bytes([self.octets[self.end - 4], self.octets[self.end - 3]])
    }

    /// The name, with dots.
    pub(crate) fn name(&self) -> String {
        let (mut labels, mut at) = (Vec::new(), 12);
        while self.octets[at] != 0 {
            let length = usize::from(self.octets[at]);
            labels.push(String::from_utf8_lossy(&self.octets[at + 1..at + 1 + length]).into_owned());
            at += 1 + length;
        }
        labels.join(".")
    }

    /// Header and question of an answer with these flags and counts of answers and authorities.
    pub(crate) fn head(&self, flags: u16, answers: u16, authorities: u16) -> Vec<u8> {
        let mut head = self.octets[..2].to_vec();
        for number in [flags, 1, answers, authorities, 0] {
            head.extend(number.to_be_bytes());
        }
        head.extend(&self.octets[12..self.end]);
        head
    }

    /// An ordinary answer with these records, each about the name that was asked for.
    pub(crate) fn answer(&self, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut answer = self.head(0x8180, u16::try_from(records.len()).unwrap(), 0);
        for (kind, data) in records {
            answer.extend(record(&[0xc0, 12], *kind, 60, data));
        }
        answer
    }
}

/// A resource record.
pub(crate) fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut record = owner.to_vec();
    record.extend(kind.to_be_bytes());
    record.extend(1u16.to_be_bytes());
    record.extend(ttl.to_be_bytes());
    record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    record.extend(data);
    record
}

/// A name as it stands in a message.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// The data of an MX record.
pub(crate) fn mx(preference: u16, host: &[u8]) -> (u16, Vec<u8>) {
    (15, [&preference.to_be_bytes()[..], host].concat())
}

/// Answers each question with these messages: over TCP with one, over UDP with any number.
pub(crate) fn start(answer: impl Fn(&Asked<'_>) -> Vec<Vec<u8>> + Send + Sync + 'static) -> SocketAddr {
    let address = loopback::address();
    let (udp, tcp) = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
    let answer = Arc::new(answer);
    let of_udp = Arc::clone(&answer);
    thread::spawn(move || {
        let mut octets = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut octets) {
            for message in of_udp(&asked(&octets[..length], false)) {
                // One that is too long for UDP is the test's business.
                drop(udp.send_to(&message, client));
            }
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            thread::spawn(move || {
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut octets).unwrap();
                    for message in answer(&asked(&octets, true)) {
                        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
                        drop(stream.write_all(&[&length[..], &message].concat()));
                    }
                }
            });
        }
    });
    address
}

fn asked(octets: &[u8], tcp: bool) -> Asked<'_> {
    let mut end = 12;
    while octets[end] != 0 {
        end += 1 + usize::from(octets[end]);
    }
    Asked { octets, end: end + 5, tcp }
}
