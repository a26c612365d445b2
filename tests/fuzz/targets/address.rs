//! A mailbox. One that is read is read again from what it says of itself, as the same, and its domain can be routed by.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_relay::address::Mailbox;

fuzz_target!(|text: &str| {
    let Ok(mailbox) = text.parse::<Mailbox>() else { return };
    let written = mailbox.to_string();
    assert!(!written.contains(['\r', '\n', '\0', '<', '>']) || written.contains('"'), "{written:?}");
    let again: Mailbox = written.parse().unwrap_or_else(|error| panic!("{written:?} is refused: {error}"));
    assert_eq!(again.domain().as_str(), mailbox.domain().as_str());
    assert_eq!(again.key(), mailbox.key());
    let domain = mailbox.domain().as_str();
    assert!(domain.is_ascii() && !domain.bytes().any(|octet| octet.is_ascii_uppercase()), "{domain:?}");
    assert!(domain.len() <= 255, "{domain:?}");
});
