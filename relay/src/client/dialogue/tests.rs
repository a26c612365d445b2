use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::client::Recipient;

const PLAIN: Capabilities = Capabilities {
    pipelining: false,
    eight_bit_mime: false,
    starttls: false,
    chunking: false,
    binary_mime: false,
    smtp_utf8: false,
    dsn: false,
    auth_plain: false,
    auth_login: false,
    size: None,
};
const ESMTP: Capabilities = Capabilities { pipelining: true, eight_bit_mime: true, size: Some(0), ..PLAIN };
const BINARY: Capabilities = Capabilities { chunking: true, binary_mime: true, ..ESMTP };

fn reply(line: &str) -> Reply {
    Reply::parse(format!("{line}\r\n").as_bytes()).unwrap().unwrap().0
}

/// Plays a server's lines; gives what was written (a step a line, commands divided by `|`) and what it came to.
fn play(offered: Capabilities, recipients: usize, lines: &[&str]) -> (String, Sent, bool) {
    play_after(offered, recipients, lines, false)
}

fn play_after(offered: Capabilities, recipients: usize, lines: &[&str], reset: bool) -> (String, Sent, bool) {
    let sender = ReversePath::Mailbox("s@a.test".parse().unwrap());
    let mailboxes: Vec<Mailbox> = (0..recipients).map(|n| format!("r{n}@b.test").parse().unwrap()).collect();
    let transaction = Transaction {
        sender: &sender,
        recipients: mailboxes.iter().map(|mailbox| Recipient { mailbox, dsn: None }).collect(),
        size: 7,
        eight_bit: true,
        binary: offered.binary_mime,
        utf8: false,
        dsn: None,
        leading_dots: offered.chunking,
    };
    let mut dialogue = Dialogue::new(&transaction, offered, reset);
    let (mut written, mut lines) = (String::new(), lines.iter());
    loop {
        match dialogue.step() {
            Step::Write(commands) => written += &commands.trim_end().replace("\r\n", "|"),
            Step::Read { .. } => match lines.next() {
                Some(line) => dialogue.answered(reply(line)),
                None => dialogue.failed(Fault::new("4.4.2", "closed")),
            },
            step @ (Step::Content | Step::LoneDot | Step::Chunk) => {
                written += match step {
                    Step::Content => "(content)",
                    Step::Chunk => "(chunk)",
                    _ => "(dot)",
                };
                match lines.next() {
                    Some(line) => dialogue.ended(Ok(reply(line)), true),
                    None => dialogue.ended(Err(Fault::new("4.4.2", "closed")), true),
                }
            }
            Step::Over => break,
        }
        written.push('\n');
    }
    assert_eq!(lines.next(), None, "a reply was left over after {written}");
    let reset = dialogue.needs_reset();
    (written, dialogue.sent(), reset)
}

fn told(sent: &Sent) -> Vec<String> {
    let tell = |verdict: &Verdict| match verdict {
        Verdict::Taken(reply) => format!("taken {reply}"),
        Verdict::Refused(said) => format!("refused {said}"),
        Verdict::NotNow { said, dot_sent: true } => format!("not now, after the dot: {said}"),
        Verdict::NotNow { said, dot_sent: false } => format!("not now: {said}"),
    };
    sent.verdicts.iter().map(tell).collect()
}

#[test]
fn asks_everything_in_one_write_where_pipelining_is_offered() {
    let (written, sent, reset) = play(ESMTP, 2, &["250 ok", "250 ok", "250 ok", "354 go", "250 queued"]);
    assert_eq!(
        written.lines().next().unwrap(),
        "MAIL FROM:<s@a.test> SIZE=7 BODY=8BITMIME|RCPT TO:<r0@b.test>|RCPT TO:<r1@b.test>|DATA"
    );
    assert_eq!(told(&sent), ["taken 250 queued", "taken 250 queued"]);
    assert!(sent.mail_answered && !reset);
}

#[test]
fn asks_step_by_step_and_without_parameters_where_nothing_is_offered() {
    let (written, sent, _) = play(PLAIN, 2, &["250 ok", "550 no", "250 ok", "354 go", "250 queued"]);
    assert_eq!(
        written.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>(),
        ["MAIL FROM:<s@a.test>", "RCPT TO:<r0@b.test>", "RCPT TO:<r1@b.test>", "DATA", "(content)"]
    );
    assert_eq!(told(&sent), ["refused 550 no", "taken 250 queued"]);
    let (written, sent, reset) = play(PLAIN, 1, &["250 ok", "550 no"]);
    assert!(!written.contains("DATA") && reset);
    assert_eq!(told(&sent), ["refused 550 no"]);
}

#[test]
fn resets_what_the_last_transaction_left_open() {
    let (written, sent, _) = play_after(ESMTP, 1, &["250 reset", "250 ok", "250 ok", "354 go", "250 ok"], true);
    assert!(written.starts_with("RSET|MAIL"), "{written}");
    assert_eq!(told(&sent), ["taken 250 ok"]);
    let (written, ..) = play_after(PLAIN, 1, &["250 reset", "250 ok", "250 ok", "354 go", "250 ok"], true);
    assert!(written.starts_with("RSET\n\nMAIL"), "{written}");
}

#[test]
fn ends_with_a_lone_dot_when_nobody_was_taken_and_data_was() {
    let (written, sent, reset) = play(ESMTP, 2, &["250 ok", "550 no", "450 later", "354 go", "250 empty"]);
    assert!(written.contains("(dot)") && !written.contains("(content)") && !reset);
    assert_eq!(told(&sent), ["refused 550 no", "not now: 450 later"]);
    let (written, sent, _) = play(ESMTP, 1, &["550 sender", "250 odd", "354 go", "250 empty"]);
    assert!(written.contains("(dot)"));
    assert_eq!(told(&sent), ["refused 550 sender"]);
}

#[test]
fn the_answer_to_mail_is_the_one_that_counts() {
    let (_, sent, reset) = play(ESMTP, 2, &["451 later", "503 mail first", "503 mail first", "503 rcpt first"]);
    assert_eq!(told(&sent), ["not now: 451 later", "not now: 451 later"]);
    assert!(sent.mail_answered && !reset);
}

#[test]
fn a_refused_data_counts_for_those_that_were_taken() {
    let (_, sent, reset) = play(ESMTP, 2, &["250 ok", "250 ok", "550 no", "452 full"]);
    assert_eq!(told(&sent), ["not now: 452 full", "refused 550 no"]);
    assert!(reset);
    let (_, sent, _) = play(ESMTP, 1, &["250 ok", "250 ok", "554 never"]);
    assert_eq!(told(&sent), ["refused 554 never"]);
}

#[test]
fn a_yes_before_the_content_is_no_yes() {
    let (written, sent, _) = play(ESMTP, 1, &["250 ok", "250 ok", "250 queued"]);
    assert!(!written.contains("(content)"));
    assert_eq!(told(&sent), ["not now: answered DATA out of turn: 250 queued"]);
}

#[test]
fn a_421_closes_and_leaves_what_was_decided() {
    let (_, sent, _) = play(ESMTP, 3, &["250 ok", "550 no", "421 bye"]);
    assert_eq!(told(&sent), ["refused 550 no", "not now: 421 bye", "not now: 421 bye"]);
    let (_, sent, _) = play(ESMTP, 1, &["421 bye"]);
    assert_eq!(told(&sent), ["not now: 421 bye"]);
}

#[test]
fn a_connection_that_ends_leaves_nobody_delivered() {
    let (_, sent, _) = play(ESMTP, 1, &[]);
    assert!(!sent.mail_answered);
    assert_eq!(told(&sent), ["not now: closed"]);
    let (_, sent, _) = play(ESMTP, 2, &["250 ok", "250 ok", "550 no", "354 go"]);
    assert_eq!(told(&sent), ["not now, after the dot: closed", "refused 550 no"]);
}

#[test]
fn replies_to_the_final_dot() {
    let answers = ["250 ok", "250 ok", "354 go"];
    for (last, expected) in [
        ("550 spam", "refused 550 spam"),
        ("451 later", "not now, after the dot: 451 later"),
        ("354 more", "not now, after the dot: answered the message out of turn: 354 more"),
    ] {
        let (_, sent, _) = play(ESMTP, 1, &[answers.as_slice(), &[last]].concat());
        assert_eq!(told(&sent), [expected]);
    }
}

#[test]
fn too_many_recipients_is_not_for_good_but_a_full_mailbox_is() {
    let (_, sent, _) = play(
        ESMTP,
        4,
        &["250 ok", "250 ok", "452 4.5.3 more later", "552 too many", "552 5.2.2 mailbox full", "354 go", "250 ok"],
    );
    assert_eq!(
        told(&sent),
        ["taken 250 ok", "not now: 452 4.5.3 more later", "not now: 552 too many", "refused 552 5.2.2 mailbox full"]
    );
    let again: Vec<bool> = sent.verdicts.iter().map(Verdict::wants_another_transaction).collect();
    assert_eq!(again, [false, true, true, false]);
}

#[test]
fn many_recipients_are_asked_in_groups_that_cannot_block() {
    let mut lines = vec!["250 ok"; 1 + 120];
    lines.extend(["354 go", "250 queued"]);
    let (written, sent, _) = play(ESMTP, 120, &lines);
    let writes: Vec<usize> =
        written.lines().filter(|line| line.contains("RCPT")).map(|line| line.matches("RCPT").count()).collect();
    assert_eq!(writes, [50, 50, 20]);
    assert_eq!(written.matches("DATA").count(), 1);
    assert!(sent.verdicts.iter().all(|verdict| matches!(verdict, Verdict::Taken(_))));
}

#[test]
fn stops_after_the_first_group_when_the_sender_is_refused() {
    let mut lines = vec!["550 sender"];
    lines.extend(vec!["503 mail first"; 50]);
    let (written, sent, _) = play(ESMTP, 120, &lines);
    assert!(!written.contains("DATA"));
    assert!(told(&sent).iter().all(|told| told == "refused 550 sender"));
}

#[test]
fn binary_content_goes_as_one_chunk_once_somebody_was_taken() {
    let (written, sent, reset) = play(BINARY, 2, &["250 ok", "550 no", "250 ok", "250 queued"]);
    assert!(written.ends_with("RCPT TO:<r1@b.test>\n\n\n\n(chunk)\n") && !written.contains("DATA"), "{written}");
    assert!(written.starts_with("MAIL FROM:<s@a.test> SIZE=7 BODY=BINARYMIME|RCPT"), "{written}");
    assert_eq!(told(&sent), ["refused 550 no", "taken 250 queued"]);
    assert!(!reset);
    let (written, sent, reset) = play(BINARY, 1, &["250 ok", "450 later"]);
    assert!(!written.contains("(chunk)") && reset, "{written}");
    assert_eq!(told(&sent), ["not now: 450 later"]);
    let (written, sent, _) =
        play(Capabilities { pipelining: false, ..BINARY }, 1, &["250 ok", "250 ok", "451 4.3.0 later"]);
    assert!(written.contains("(chunk)"), "{written}");
    assert_eq!(told(&sent), ["not now, after the dot: 451 4.3.0 later"]);
}

#[test]
fn lines_that_begin_with_a_dot_go_as_one_chunk_where_that_is_offered() {
    let offered = Capabilities { chunking: true, ..ESMTP };
    let (written, sent, _) = play(offered, 1, &["250 ok", "250 ok", "250 queued"]);
    assert!(written.starts_with("MAIL FROM:<s@a.test> SIZE=7 BODY=8BITMIME|RCPT") && written.contains("(chunk)"));
    assert_eq!(told(&sent), ["taken 250 queued"]);
}
