//! A command line. Whatever it is, it is read or refused with a reply; and what was read says the same when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_relay::smtp::command::{Command, parse};

fuzz_target!(|line: &[u8]| match parse(line, true) {
    Ok(Command::Mail(mail)) => {
        let text = mail.sender.to_string();
        assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
    }
    Ok(_) => {}
    Err(malformed) => assert!((500..600).contains(&malformed.reply().code)),
});
