//! A relay that ends: it goes on for a while with what it has, and says how much that is.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_tests::clock::wait_for;
use postern_tests::loopback;
use postern_tests::relay::{Relay, get};
use postern_wire::Status;

use crate::{SOON, contoso, queue, relay};

#[test]
fn a_relay_that_ends_is_heard_until_nothing_changes_any_more() -> Result<()> {
    let nobody = loopback::address();
    let mut relay = relay(&contoso(nobody, &["bob@contoso.test"]))?;
    let mut client = relay.client()?;
    client.say("MAIL FROM:<a@elsewhere.test>", 250)?;
    client.say("RCPT TO:<bob@contoso.test>", 250)?;
    client.say("DATA", 354)?;
    let (mut client, http) = (Some(client), relay.http);
    let last = thread::scope(|scope| {
        let ends = scope.spawn(|| relay.stop());
        let mut last = None;
        // As seldom as the operator asks.
        while let Ok((_, body)) = get(http, "/status") {
            let status: Status = serde_json::from_str(&body)?;
            if let Some(mut client) = client.take_if(|_| status.draining) {
                client.send(b"Subject: late\r\n\r\nIt waits.\r\n.\r\nQUIT\r\n")?;
                client.expect(250)?;
                client.expect(221)?;
            }
            last = status.draining.then_some(status.queue).flatten();
            thread::sleep(Duration::from_millis(500));
        }
        ends.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        anyhow::Ok(last)
    })?;
    let last = last.context("it was never heard to end")?;
    assert_eq!(last.messages, 1);
    assert!(relay.log().contains("drained: 1 wait in the spool"), "{}", relay.log());
    Ok(())
}

/// A next hop that takes a second for each message; how many contents were begun, and how many answered.
fn slow_hop() -> Result<(SocketAddr, Arc<[AtomicUsize; 2]>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let shared = Arc::clone(&counts);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|stream| serve_slowly(stream, &shared));
        }
    });
    Ok((address, counts))
}

fn serve_slowly(mut stream: TcpStream, counts: &[AtomicUsize; 2]) -> io::Result<()> {
    stream.write_all(b"220 slow.test ESMTP\r\n")?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut in_content = false;
    while let Some(line) = lines.next().transpose()? {
        let answer = match (in_content, line.as_str()) {
            (true, ".") => {
                thread::sleep(Duration::from_secs(1));
                "250 2.0.0 taken"
            }
            (true, _) => continue,
            (false, "DATA") => "354 go on",
            (false, "QUIT") => "221 2.0.0 bye",
            (false, _) => "250 2.0.0 ok",
        };
        if answer.starts_with("354") {
            counts[0].fetch_add(1, Ordering::SeqCst);
        }
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
        if in_content {
            counts[1].fetch_add(1, Ordering::SeqCst);
        }
        in_content = answer.starts_with("354");
    }
    Ok(())
}

#[test]
fn a_relay_that_ends_delivers_while_it_has_time_and_cuts_off_no_message_that_it_began() -> Result<()> {
    let (address, counts) = slow_hop()?;
    let mut relay = Relay::prepare()?;
    let options = [
        ("--host-connections", "1"),
        ("--drain-accept-time", "0"),
        ("--drain-time", "8s"),
        ("--delivery-idle-time", "60s"),
    ];
    for (option, value) in options {
        relay.option(option, value);
    }
    relay.volume.publish(&contoso(address, &["bob@contoso.test"]), &[])?;
    relay.start_again()?;
    let mut client = relay.client()?;
    for _ in 0..30 {
        let reply = client.mail("a@elsewhere.test", &["bob@contoso.test"], b"Subject: hello\r\n\r\nhi\r\n")?;
        ensure!(reply.code == 250, "{reply}");
    }
    wait_for("a first message", SOON, || (counts[0].load(Ordering::SeqCst) > 0).then_some(()))?;
    let before = counts[0].load(Ordering::SeqCst);
    relay.stop()?;
    let [begun, ended] = [0, 1].map(|index| counts[index].load(Ordering::SeqCst));
    assert!((before + 3..30).contains(&begun), "{begun} were begun, {before} of them before");
    assert_eq!(begun, ended, "none is cut off");
    relay.start_again()?;
    // It goes on at once; none that was taken is tried again.
    let queued = queue(&relay)?.len();
    assert!(queued <= 30 - ended, "{queued} are queued");
    Ok(())
}
