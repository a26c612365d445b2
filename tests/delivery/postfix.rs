//! Postfix's smtp-sink as the next hop, with all the ways in which it can misbehave.

use postern_relay::metrics::Outcome;
use postern_tests::postfix::SmtpSink;

use crate::post::{Post, SOON, Settings};

fn with(flags: &[&str]) -> (SmtpSink, Post, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let sink = SmtpSink::start_with(flags, &folder.path().join("sink.log")).unwrap();
    let post = Post::start(Settings::to(&[sink.address()]));
    (sink, post, folder)
}

#[test]
fn takes_mail_whatever_it_offers() {
    for flags in [&[][..], &["-p"], &["-e"], &["-8"], &["-E", "-N"], &["-P"], &["-w", "1"]] {
        let (sink, post, _folder) = with(flags);
        for _ in 0..20 {
            post.post_one();
        }
        post.wait_until_empty();
        sink.wait_for(20, SOON).unwrap();
        assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (20, 0), "{flags:?}");
    }
}

#[test]
fn defers_when_it_says_not_now_hangs_up_or_says_421() {
    for (flag, commands) in [
        ("-r", &["EHLO", "MAIL", "RCPT", "DATA", "."][..]),
        ("-q", &["EHLO", "MAIL", "RCPT", "DATA", "."]),
        ("-Q", &["EHLO", "MAIL", "RCPT", "DATA", "."]),
    ] {
        for command in commands {
            let (_sink, post, _folder) = with(&[flag, command]);
            let id = post.post_one();
            let heard = post.wait_for_attempts(id, 1);
            assert!(heard.status.starts_with("4."), "{flag} {command}: {heard:?}");
            assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Failed)), (0, 0), "{flag} {command}");
        }
    }
}

#[test]
fn fails_when_it_says_never() {
    for command in ["MAIL", "RCPT", "DATA", "."] {
        let (_sink, post, _folder) = with(&["-f", command]);
        let id = post.post_one();
        let failed = postern_tests::clock::wait_until(command, SOON, || {
            post.count(Outcome::Failed) == 1 && post.spool.queue().iter().all(|queued| queued.id != id)
        });
        assert!(failed.is_ok(), "{command}");
    }
    // No mail server at all, then: nothing is known about any message.
    let (_sink, post, _folder) = with(&["-f", "EHLO,HELO"]);
    let id = post.post_one();
    assert_eq!(post.wait_for_attempts(id, 1).status, "4.3.0");
}
