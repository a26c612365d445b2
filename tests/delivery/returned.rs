//! Notifications: who gets one, when, and what stands in it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use postern_relay::bounce;
use postern_relay::envelope::{Dsn, Notify, Origin, RecipientDsn};
use postern_relay::metrics::Outcome;
use postern_relay::queue_id::QueueId;
use postern_tests::clock::wait_until;
use postern_tests::loopback;
use postern_tests::sink::Sink;

use crate::post::{Letter, Plan, Post, SOON, Settings};

struct Returning {
    mailbox: Sink,
    returns: Sink,
    settings: Settings,
}

fn refusing() -> Returning {
    let (mailbox, returns) = (Sink::start().unwrap(), Sink::start().unwrap());
    mailbox.answer("RCPT TO:<bob@", "550 5.1.1 no bob here");
    let settings = Settings::to(&[mailbox.address()]).host("out", &[returns.address()]).bounces("out");
    Returning { mailbox, returns, settings }
}

#[test]
fn a_refused_recipient_becomes_a_notification_that_a_person_can_read() {
    let Returning { mailbox, returns, settings } = refusing();
    let post = Post::start(settings);
    let id = post.post(&Letter::to(&["bob@example.test", "carol@example.test"]));
    let mails = returns.wait_for_mails(1, SOON).unwrap();
    post.wait_until_empty();
    assert_eq!(mailbox.mails()[0].recipients, ["<carol@example.test>"]);
    assert!(mails[0].sender.starts_with("<> ") && mails[0].recipients == ["<alice@sender.test>"]);
    let text = String::from_utf8(mails[0].content.clone()).unwrap();
    for line in [
        "From: Mail Delivery System <mailer-daemon@relay.test>",
        "To: <alice@sender.test>",
        "Auto-Submitted: auto-replied",
        "Your message could not be delivered to one recipient.",
        "        550 5.1.1 no bob here",
        "Reporting-MTA: dns; relay.test",
        &format!("X-Postern-Queue-ID: {id}"),
        "Final-Recipient: rfc822; bob@example.test",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 no bob here",
        "Subject: hello",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("The body.") && !text.contains("carol"));
    assert_eq!(post.metrics().notifications.get(), 1);
}

#[test]
fn all_recipients_that_failed_are_in_one_notification() {
    let Returning { mailbox, returns, settings } = refusing();
    mailbox.answer("RCPT TO:<eve@", "554 5.7.1 not eve");
    let post = Post::start(settings);
    post.post(&Letter::to(&["bob@example.test", "eve@example.test"]));
    returns.wait_for_mails(1, SOON).unwrap();
    post.wait_until_empty();
    let mails = returns.mails();
    let text = String::from_utf8_lossy(&mails[0].content);
    assert_eq!((mails.len(), text.matches("Final-Recipient:").count()), (1, 2));
}

#[test]
fn a_message_without_sender_is_never_answered() {
    let Returning { mailbox: _mailbox, returns, settings } = refusing();
    let post = Post::start(settings);
    post.post(&Letter { sender: "", ..Letter::to(&["bob@example.test"]) });
    post.wait_until_empty();
    assert_eq!((post.metrics().dropped_notifications.get(), post.metrics().notifications.get()), (1, 0));
    assert!(returns.mails().is_empty());
}

#[test]
fn a_refused_notification_makes_no_second_one() {
    let Returning { mailbox: _mailbox, returns, settings } = refusing();
    returns.answer("RCPT", "550 5.1.1 no alice either");
    let post = Post::start(settings);
    post.post_one();
    post.wait_until_empty();
    assert_eq!((post.metrics().dropped_notifications.get(), post.metrics().notifications.get()), (1, 1));
    assert_eq!(post.count(Outcome::Failed), 2);
}

#[test]
fn a_notification_to_one_of_our_own_domains_goes_the_way_of_that_domain() {
    let Returning { mailbox, returns, settings } = refusing();
    let post = Post::start(settings);
    post.post(&Letter { sender: "carol@example.test", ..Letter::to(&["bob@example.test"]) });
    let mails = mailbox.wait_for_mails(1, SOON).unwrap();
    post.wait_until_empty();
    assert_eq!(mails[0].recipients, ["<carol@example.test>"]);
    assert!(returns.mails().is_empty());
}

#[test]
fn a_notification_without_a_way_is_held() {
    let mailbox = Sink::start().unwrap();
    mailbox.answer("RCPT", "550 5.1.1 nobody");
    let post = Post::start(Settings::to(&[mailbox.address()]));
    let id = post.post_one();
    wait_until("the notification takes its place", SOON, || {
        post.spool.queue().first().is_some_and(|queued| queued.id != id && queued.attempts == 1)
    })
    .unwrap();
    let held = post.wait_for_attempts(post.spool.queue()[0].id, 1);
    assert_eq!(held.reply, "RelayDomain relayed has neither spec.bounces nor spec.outbound");
}

#[test]
fn a_failure_whose_notification_cannot_be_stored_is_deferred_instead() {
    let Returning { mailbox: _mailbox, returns, settings } = refusing();
    let mut plan = Plan::new(settings);
    // The message fits, a notification about it does not.
    plan.message_size_max = 600;
    let post = plan.start();
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 2);
    assert_eq!(heard.reply, "550 5.1.1 no bob here");
    assert_eq!((post.count(Outcome::Failed), returns.mails().len(), post.spool.queue().len()), (0, 0, 1));
}

/// A failure whose notification would have an id that is in the queue already, under this origin.
fn with_the_id_in_use(origin: impl FnOnce(QueueId) -> Origin) -> (Post, Sink) {
    let Returning { mailbox, settings, .. } = refusing();
    let suspended = |settings: &Settings, name| settings.clone().change_host(name, |host| host.suspend = true);
    let out_suspended = suspended(&settings, "out");
    let post = Post::start(suspended(&out_suspended, "mailbox"));
    let id = post.post_one();
    let taken = bounce::id(id, bounce::Kind::Failed, &[0], 0);
    post.commit_as(taken, &Letter { sender: "", ..Letter::to(&["alice@sender.test"]) }, origin(id));
    post.change(&out_suspended);
    wait_until("the failure is settled", SOON, || {
        post.count(Outcome::Failed) == 1 && post.spool.queue().iter().all(|queued| queued.id != id)
    })
    .unwrap();
    (post, mailbox)
}

#[test]
fn a_notification_from_before_a_crash_is_not_made_again() {
    let domain = Some("example.test".to_owned());
    let (post, _mailbox) = with_the_id_in_use(|about| Origin::Notification { about, domain });
    assert_eq!((post.metrics().notifications.get(), post.spool.queue().len()), (0, 1));
}

#[test]
fn an_id_that_something_else_has_does_not_swallow_a_notification() {
    let domain = Some("example.test".to_owned());
    let (post, _mailbox) =
        with_the_id_in_use(|about| Origin::Notification { about: QueueId::new(about.unix_millis() + 1, 0), domain });
    assert_eq!((post.metrics().notifications.get(), post.spool.queue().len()), (1, 2));
}

/// What Python's email package reads in it: the fields of each block of the delivery report, and the types of the parts.
fn read_by_python(content: &[u8]) -> serde_json::Value {
    const SCRIPT: &str = r"
import email, email.policy, json, sys
message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = list(message.iter_parts())
report = parts[1]
blocks = [dict(block.items()) for block in report.get_payload()]
json.dump({
    'types': [part.get_content_type() for part in parts],
    'report_type': message.get_content_type() + ' ' + message['Content-Type'].params['report-type'],
    'defects': [str(defect) for part in message.walk() for defect in part.defects],
    'blocks': blocks, 'to': message['To'], 'text': parts[0].get_content(),
}, sys.stdout)
";
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    python.stdin.take().unwrap().write_all(content).unwrap();
    let output = python.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn another_program_reads_the_report_as_it_is_meant() {
    let Returning { mailbox, returns, settings } = refusing();
    mailbox.answer("RCPT TO:<eve@", "554 5.7.1 not eve");
    let post = Post::start(settings);
    let id = post.post(&Letter::to(&["bob@example.test", "eve@example.test"]));
    let mails = returns.wait_for_mails(1, SOON).unwrap();
    let read = read_by_python(&mails[0].content);
    assert_eq!(read["defects"], serde_json::json!([]), "{read:#}");
    assert_eq!(read["types"], serde_json::json!(["text/plain", "message/delivery-status", "text/rfc822-headers"]));
    assert_eq!(
        (&read["report_type"], &read["to"]),
        (&"multipart/report delivery-status".into(), &"alice@sender.test".into())
    );
    let blocks = read["blocks"].as_array().unwrap();
    assert_eq!((blocks.len(), &blocks[0]["Reporting-MTA"]), (3, &"dns; relay.test".into()));
    assert_eq!(blocks[0]["X-Postern-Queue-ID"], id.to_string());
    for (block, recipient, status, diagnostic) in [
        (&blocks[1], "rfc822; bob@example.test", "5.1.1", "smtp; 550 5.1.1 no bob here"),
        (&blocks[2], "rfc822; eve@example.test", "5.7.1", "smtp; 554 5.7.1 not eve"),
    ] {
        assert_eq!((&block["Final-Recipient"], &block["Action"]), (&recipient.into(), &"failed".into()));
        assert_eq!((&block["Status"], &block["Diagnostic-Code"]), (&status.into(), &diagnostic.into()));
    }
    assert!(read["text"].as_str().unwrap().contains("The mail server 127."), "{read:#}");
}

/// A server that takes nothing yet, and senders that are told after a second.
fn waiting() -> Returning {
    let (mailbox, returns) = (Sink::start().unwrap(), Sink::start().unwrap());
    mailbox.answer("RCPT TO:<bob@", "451 4.3.0 being moved");
    mailbox.answer("RCPT TO:<eve@", "451 4.3.0 being moved");
    let settings = Settings::to(&[mailbox.address()]).host("out", &[returns.address()]).bounces("out");
    let settings = settings.change_host("mailbox", |host| host.queue.warn_after = Some(1));
    Returning { mailbox, returns, settings }
}

fn warnings(mailbox: &Sink) -> Vec<String> {
    let mails = mailbox.mails();
    let texts = mails.iter().map(|mail| String::from_utf8_lossy(&mail.content).into_owned());
    texts.filter(|text| text.contains("Subject: Your message is delayed")).collect()
}

#[test]
fn a_sender_of_ours_is_told_once_that_a_message_waits_even_after_a_restart() {
    let Returning { mailbox, returns, settings } = waiting();
    let post = Post::start(settings.clone());
    let id = post.post(&Letter::of_ours(&["bob@example.test", "eve@example.test"]));
    let told = wait_until("a warning", SOON, || warnings(&mailbox).len() == 1);
    assert!(told.is_ok(), "{:?}", post.spool.queue());
    let read = read_by_python(warnings(&mailbox)[0].as_bytes());
    let blocks = read["blocks"].as_array().unwrap();
    assert_eq!((blocks.len(), &blocks[1]["Action"], &blocks[1]["Status"]), (3, &"delayed".into(), &"4.3.0".into()));
    assert!(blocks[1]["Will-Retry-Until"].as_str().is_some(), "{read:#}");
    assert_eq!(read["defects"], serde_json::json!([]), "{read:#}");
    let attempts =
        |post: &Post| post.spool.queue().iter().find(|queued| queued.id == id).map_or(0, |found| found.attempts);
    let before = attempts(&post);
    wait_until("more attempts", SOON, || attempts(&post) >= before + 2).unwrap();
    let post = post.restart(settings);
    let before = attempts(&post);
    wait_until("attempts after the restart", SOON, || attempts(&post) >= before + 3).unwrap();
    assert_eq!((warnings(&mailbox).len(), returns.mails().len()), (1, 0));
    mailbox.answer_normally();
    post.wait_until_empty();
    assert_eq!(warnings(&mailbox).len(), 1);
}

#[test]
fn nobody_else_is_told_that_a_message_waits() {
    let Returning { mailbox, returns, settings } = waiting();
    let post = Post::start(settings);
    let never = RecipientDsn { notify: Some(Notify { success: false, failure: true, delay: false }), original: None };
    let dsn = Some(Dsn { recipients: [(0, never)].into(), ..Dsn::default() });
    let letters = [
        Letter::to(&["bob@example.test"]),
        Letter { sender: "carol@example.test", ..Letter::to(&["bob@example.test"]) },
        Letter { sender: "", ..Letter::of_ours(&["bob@example.test"]) },
        Letter { dsn, ..Letter::of_ours(&["bob@example.test"]) },
    ];
    let ids = letters.each_ref().map(|letter| post.post(letter));
    // By then the warning was due for long.
    for id in ids {
        post.wait_for_attempts(id, 5);
    }
    assert_eq!((warnings(&mailbox).len(), returns.mails().len()), (0, 0));
}

#[test]
fn a_sender_of_ours_is_told_though_nothing_is_tried_while_the_server_is_away() {
    let returns = Sink::start().unwrap();
    let settings = Settings::to(&[loopback::address()]).host("out", &[returns.address()]).other(&[(10, "out")]);
    let settings = settings.change_host("mailbox", |host| host.queue.warn_after = Some(1));
    let mut plan = Plan::new(settings);
    // Whoever was the probe would be tried again in an hour only.
    (plan.limits.retry_first, plan.limits.retry_max) = (Duration::from_secs(3600), Duration::from_secs(3600));
    let post = plan.start();
    for sender in ["carol@other.test", "dave@other.test", "erin@other.test"] {
        let origin = Origin::Source { client: [192, 0, 2, 9].into(), host: "out".into(), domain: "other.test".into() };
        post.post(&Letter { sender, origin, ..Letter::to(&["bob@example.test"]) });
    }
    let mails = returns.wait_for_mails(3, SOON).unwrap();
    let mut to: Vec<_> = mails.iter().map(|mail| mail.recipients[0].as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["<carol@other.test>", "<dave@other.test>", "<erin@other.test>"]);
    assert!(mails.iter().all(|mail| String::from_utf8_lossy(&mail.content).contains("Action: delayed")));
    assert_eq!(post.spool.queue().len(), 3);
}

#[test]
fn mail_with_the_null_sender_is_given_up_sooner() {
    let Returning { mailbox, returns, settings } = waiting();
    let settings = settings.change_host("mailbox", |host| {
        (host.queue.lifetime, host.queue.null_sender_lifetime) = (24 * 3600, Some(3600));
    });
    let away = settings.clone().host("mailbox", &[loopback::address()]).change_host("mailbox", |host| {
        (host.queue.lifetime, host.queue.null_sender_lifetime) = (24 * 3600, Some(3600));
    });
    for settings in [settings, away] {
        let post = Post::start(settings);
        let arrived = Timestamp::now() - jiff::Span::new().hours(2);
        for sender in ["", "alice@sender.test"] {
            for _ in 0..3 {
                post.post(&Letter { sender, arrived, ..Letter::to(&["bob@example.test"]) });
            }
        }
        wait_until("the bounces are given up", SOON, || post.count(Outcome::Failed) == 3).unwrap();
        assert_eq!((post.spool.queue().len(), post.metrics().dropped_notifications.get()), (3, 3));
    }
    assert!(mailbox.mails().is_empty() && returns.mails().is_empty());
}
