//! What a hostile next hop says. It is a reply, or more is needed, or it is refused; nothing of it is kept but printable ASCII.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_relay::client::Reply;

fuzz_target!(|octets: &[u8]| {
    let Ok(Some((reply, length))) = Reply::parse(octets) else { return };
    assert!(length <= octets.len() && length > 0);
    assert!((200..600).contains(&reply.code));
    let told = reply.to_string();
    assert!(told.bytes().all(|octet| matches!(octet, b' '..=b'~')) && told.len() <= 600, "{told:?}");
    // What stands behind a reply is the next one's business.
    let (alone, same) = Reply::parse(&octets[..length]).ok().flatten().expect("the reply alone is one");
    assert_eq!((alone, same), (reply, length));
});
