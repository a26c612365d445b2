//! The sync comes before the 250: the order of the system calls, for a message that is one record of the log and for one
//! whose body is a file of its own.

use postern_tests::sink::Sink;

use crate::load::{message_of, send};
use crate::relay_to;
use crate::trace::{Call, Trace};

const SMALL: usize = 4 << 10;
const LARGE: usize = 600 << 10;

/// Sends one message to a relay that is watched; gives its id and what the relay called.
fn watched(number: u64, length: usize) -> (String, Vec<Call>) {
    let sink = Sink::start().unwrap();
    // Nothing is delivered, so that every write is about keeping.
    sink.answer("EHLO", "421 4.3.2 later");
    sink.answer("HELO", "421 4.3.2 later");
    let mut relay = relay_to(&sink);
    relay.start_again().unwrap();
    let mut client = relay.client().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::attach(relay.pid().unwrap(), folder.path()).unwrap();
    let id = send(&mut client, number, &message_of(number, length)).unwrap();
    // Its answer shows that the call before it has returned, and that the trace knows.
    client.say("NOOP", 250).unwrap();
    (id, trace.end().unwrap())
}

/// The call that tells the client its queue id.
fn acknowledgement<'a>(calls: &'a [Call], id: &str) -> &'a Call {
    let told = |call: &&Call| call.args.contains("socket:") && call.args.contains(&format!("queued as {id}"));
    calls.iter().find(told).unwrap_or_else(|| panic!("nobody was told {id}: {calls:#?}"))
}

/// The path of the descriptor that is a call's first argument.
fn path(call: &Call) -> String {
    let (_, rest) = call.args.split_once('<').unwrap();
    rest.split_once('>').unwrap().0.to_owned()
}

/// The write that puts the record into the log: the last before the acknowledgement that holds the envelope.
fn record<'a>(calls: &'a [Call], acknowledged: &Call, recipient: &str) -> &'a Call {
    let writes = |call: &&Call| {
        call.name.starts_with("pwrite") && call.exit <= acknowledged.entry && call.args.contains(recipient)
    };
    let in_log = |call: &&Call| path(call).contains("/segments/segment-");
    calls
        .iter()
        .rfind(|call| writes(call) && in_log(call))
        .unwrap_or_else(|| panic!("no record of {recipient}: {calls:#?}"))
}

/// Whether this file was made durable between these two.
fn synced_between(calls: &[Call], path: &str, after: &Call, before: &Call) -> bool {
    calls.iter().any(|call| call.syncs(path) && call.entry >= after.exit && call.exit <= before.entry)
}

#[test]
fn the_record_is_synced_before_the_client_is_told() {
    let (id, calls) = watched(7, SMALL);
    let told = acknowledgement(&calls, &id);
    let record = record(&calls, told, "r7@");
    assert!(record.args.contains("X-Marker: 7"), "the record holds the message: {record:?}");
    assert!(synced_between(&calls, &path(record), record, told), "{calls:#?}");
}

#[test]
fn the_file_of_a_large_body_its_directory_and_its_record_are_synced_in_this_order() {
    let (id, calls) = watched(8, LARGE);
    let told = acknowledgement(&calls, &id);
    let record = record(&calls, told, "r8@");
    let is_body =
        |call: &&Call| call.name.contains("write") && call.args.contains("/files/") && call.exit <= record.entry;
    let body = calls.iter().rfind(is_body).unwrap_or_else(|| panic!("no body: {calls:#?}"));
    let file = path(body);
    let directory = file.rsplit_once('/').unwrap().0.to_owned();
    assert!(synced_between(&calls, &file, body, record), "the body: {calls:#?}");
    assert!(synced_between(&calls, &directory, body, record), "its directory: {calls:#?}");
    assert!(synced_between(&calls, &path(record), record, told), "its record: {calls:#?}");
}
