//! Messages that can be told apart and checked, and clients that send them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_tests::sink::Mail;
use postern_tests::smtp::Client;

use crate::DOMAIN;

const MARKER: &str = "X-Marker: ";
/// One message in so many is larger than the spool keeps in its log.
const ONE_IS_LARGE: u64 = 200;
const SMALL: usize = 4 << 10;
const LARGE: usize = 300 << 10;

/// The message with this number. Every octet of it follows from the number, so that a wrong one shows.
pub(crate) fn message(number: u64) -> Vec<u8> {
    let length = if number % ONE_IS_LARGE == ONE_IS_LARGE - 1 { LARGE } else { SMALL };
    message_of(number, length)
}

/// The same with at least so many octets.
pub(crate) fn message_of(number: u64, length: usize) -> Vec<u8> {
    let mut content = format!("{MARKER}{number}\r\nSubject: durability\r\n\r\n").into_bytes();
    let mut line = 0_u64;
    while content.len() < length {
        content.extend(format!("{number} {line} {:016x}\r\n", number.rotate_left(32) ^ line).bytes());
        line += 1;
    }
    content
}

/// What was acknowledged: numbers, and the queue ids that the relay told with its 250.
pub(crate) type Acknowledged = BTreeMap<u64, String>;

/// Sends one message and gives the queue id of its 250.
pub(crate) fn send(client: &mut Client, number: u64, content: &[u8]) -> Result<String> {
    let recipient = format!("r{number}@{DOMAIN}");
    let reply = client.mail("sender@elsewhere.test", &[&recipient], content)?;
    ensure!(reply.code == 250, "message {number}: {reply}");
    reply.queue_id()
}

/// Clients that send all the time, through every end of the relay, and remember what was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Load {
    next: AtomicU64,
    stop: AtomicBool,
    acknowledged: Mutex<Acknowledged>,
}

impl Load {
    /// How many were acknowledged so far.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends the clients.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn acknowledged(self) -> Acknowledged {
        self.acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// One client. Whatever goes wrong between it and the relay, it begins again: only what was acknowledged counts.
    pub(crate) fn client(&self, server: SocketAddr) {
        while !self.stop.load(Ordering::Acquire) {
            // The relay is being killed all the time: an error here is what this is about.
            let _ = self.session(server);
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn session(&self, server: SocketAddr) -> Result<()> {
        let mut client = Client::greeted(server)?;
        while !self.stop.load(Ordering::Acquire) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let id = send(&mut client, number, &message(number))?;
            self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(number, id);
        }
        Ok(())
    }
}

/// What the sink has, by number; every copy is checked octet by octet.
pub(crate) fn arrived(mails: &[Mail], expected: impl Fn(u64) -> Vec<u8>) -> Result<BTreeMap<u64, Vec<String>>> {
    let mut arrived = BTreeMap::<u64, Vec<String>>::new();
    for mail in mails {
        let text = String::from_utf8_lossy(&mail.content);
        let at = text.find(MARKER).context("a message without a marker")?;
        let number = text[at + MARKER.len()..].lines().next().unwrap_or_default().parse()?;
        // The relay writes before what it was given, and changes nothing of it.
        let (added, given) = mail.content.split_at(at);
        ensure!(given == expected(number), "message {number} is not what was sent");
        ensure!(mail.recipients.len() == 1 && mail.recipients[0].starts_with(&format!("<r{number}@")), "{mail:?}");
        arrived.entry(number).or_default().push(String::from_utf8_lossy(added).into_owned());
    }
    Ok(arrived)
}

/// Those that were acknowledged and are not there under their queue id.
pub(crate) fn lost(acknowledged: &Acknowledged, arrived: &BTreeMap<u64, Vec<String>>) -> Vec<u64> {
    let is_there = |number: &u64, id: &str| {
        arrived.get(number).is_some_and(|copies| copies.iter().any(|trace_fields| trace_fields.contains(id)))
    };
    acknowledged.iter().filter(|(number, id)| !is_there(number, id)).map(|(number, _)| *number).collect()
}

#[test]
fn a_lost_message_a_wrong_id_and_a_changed_octet_are_found() {
    let mail = |number: u64, id: &str, content: &[u8]| Mail {
        sender: String::new(),
        recipients: vec![format!("<r{number}@{DOMAIN}>")],
        content: [format!("Received: from x by y id {id}; now\r\n").as_bytes(), content].concat(),
    };
    let acknowledged = Acknowledged::from([(1, "AAAA".to_owned()), (2, "BBBB".to_owned()), (3, "CCCC".to_owned())]);
    let mails = [mail(1, "AAAA", &message(1)), mail(2, "DDDD", &message(2))];
    assert_eq!(lost(&acknowledged, &arrived(&mails, message).unwrap()), [2, 3]);
    let mut changed = message(1);
    changed[1000] ^= 1;
    assert!(arrived(&[mail(1, "AAAA", &changed)], message).is_err());
}
