//! Notifications: who gets one, when, and what stands in it.

use postern_relay::bounce;
use postern_relay::envelope::Origin;
use postern_relay::metrics::Outcome;
use postern_relay::queue_id::QueueId;
use postern_tests::clock::wait_until;
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
