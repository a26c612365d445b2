use super::*;
use crate::queue_id::QueueId;
use crate::smtp::body;

struct Receipt;

impl Stored for Receipt {
    fn id(&self) -> QueueId {
        QueueId::new(1_790_000_000_000, 7)
    }
}

const LIMITS: Limits = Limits { errors: 20, refusals: 30, idle_commands: 100, chunk: 1 << 20 };
const DOT: Next = Next::Body(Framing::Dot);

/// A client and a driver that says yes to all, but for addresses that begin with `no`.
struct Talk {
    session: Session<Receipt>,
    next: Next,
    said: String,
    discarded: usize,
    /// Octets of chunks, and whether they are read to their end without a word from the test.
    read: u64,
    keeps_chunks: bool,
    /// The answer to whether TLS can begin. Absent: there is no certificate.
    tls: Option<Answer>,
}

impl Talk {
    fn begin() -> Self {
        let session = Session::new("mx.test".into(), LIMITS);
        let mut talk = Self {
            session,
            next: Next::Unchanged,
            said: String::new(),
            discarded: 0,
            read: 0,
            keeps_chunks: true,
            tls: None,
        };
        talk.step(Input::Connected);
        talk
    }

    /// One input, and all that the driver does until the session waits for the client again.
    fn step(&mut self, input: Input<'_, Receipt>) -> &mut Self {
        let mut replies = Replies::default();
        let mut next = self.session.step(input, &mut replies);
        loop {
            let input = match &next {
                Next::Ask(serial, question) => Input::Answer(*serial, self.answer(question)),
                Next::Commit => Input::Accepted(Receipt),
                Next::Discard => {
                    self.discarded += 1;
                    break;
                }
                Next::Unchanged => {
                    next = self.next.clone();
                    break;
                }
                Next::Body(Framing::Chunk { bytes, .. }) | Next::Skip(bytes) if self.keeps_chunks => {
                    self.read += bytes;
                    match next {
                        Next::Skip(_) => Input::Skipped,
                        _ => Input::Body(BodyEnd::Complete),
                    }
                }
                Next::Read | Next::Body(_) | Next::Skip(_) | Next::StartTls | Next::Close(_) => break,
            };
            next = self.session.step(input, &mut replies);
        }
        self.next = next;
        self.said = String::from_utf8(replies.as_bytes().to_vec()).unwrap();
        self
    }

    fn line(&mut self, line: &str) -> &mut Self {
        self.step(Input::Line { line: line.as_bytes(), more: false })
    }

    fn lines(&mut self, lines: &[&str]) -> &mut Self {
        for line in lines {
            self.line(line);
        }
        self
    }

    fn answer(&self, question: &Question) -> Answer {
        let text = match question {
            Question::Hello => {
                return Answer::Offers(Offers { size_max: 1000, starttls: self.tls.is_some(), dsn: true });
            }
            Question::StartTls => {
                let not_here = Answer::No(Reply::new(502, Enhanced(5, 5, 1), "not here"));
                return self.tls.clone().unwrap_or(not_here);
            }
            Question::Client | Question::Content => return Answer::Yes,
            Question::Sender(mail) => mail.sender.to_string(),
            Question::Recipient(rcpt) => rcpt.to.to_string(),
        };
        if text.starts_with("<no") { Answer::No(Reply::new(550, Enhanced(5, 7, 1), "no")) } else { Answer::Yes }
    }

    fn code(&self) -> u16 {
        self.said.get(..3).map_or(0, |code| code.parse().unwrap())
    }
}

/// The reference: for each state the code, and the state after it. N: no HELO yet, H: idle, M: after MAIL, R: after RCPT,
/// C: after a chunk that was not the last, X: closed. It knows nothing of the code above.
const REFERENCE: &[(&str, [&str; 5])] = &[
    ("HELO a", ["250 H", "250 H", "250 H", "250 H", "250 H"]),
    ("EHLO a", ["250 H", "250 H", "250 H", "250 H", "250 H"]),
    ("MAIL FROM:<a@b.test>", ["503 N", "250 M", "503 M", "503 R", "503 C"]),
    ("RCPT TO:<a@b.test>", ["503 N", "503 H", "250 R", "250 R", "503 C"]),
    ("DATA", ["503 N", "503 H", "503 M", "354 H", "503 C"]),
    ("BDAT 10 LAST", ["503 N", "503 H", "503 H", "250 H", "250 H"]),
    ("BDAT 10", ["503 N", "503 H", "503 H", "250 C", "250 C"]),
    ("RSET", ["250 N", "250 H", "250 H", "250 H", "250 H"]),
    ("NOOP", ["250 N", "250 H", "250 M", "250 R", "250 C"]),
    ("VRFY a", ["252 N", "252 H", "252 M", "252 R", "252 C"]),
    ("HELP", ["214 N", "214 H", "214 M", "214 R", "214 C"]),
    ("QUIT", ["221 X", "221 X", "221 X", "221 X", "221 X"]),
    ("STARTTLS", ["502 N", "502 H", "502 M", "502 R", "502 C"]),
    ("AUTH PLAIN AGEAYg==", ["502 N", "502 H", "502 M", "502 R", "502 C"]),
    ("EXPN a", ["502 N", "502 H", "502 M", "502 R", "502 C"]),
    ("ETRN a", ["502 N", "502 H", "502 M", "502 R", "502 C"]),
    ("XCLIENT NAME=a", ["500 N", "500 H", "500 M", "500 R", "500 C"]),
    ("XFORWARD NAME=a", ["500 N", "500 H", "500 M", "500 R", "500 C"]),
    ("garbage", ["500 N", "500 H", "500 M", "500 R", "500 C"]),
    ("GET / HTTP/1.1", ["521 X", "521 X", "521 X", "521 X", "521 X"]),
];

#[test]
fn every_command_in_every_state_to_depth_three_does_as_the_reference_says() {
    let mut played = 0;
    for index in 0..REFERENCE.len().pow(3) {
        for start in [
            &[][..],
            &["EHLO a"][..],
            &["EHLO a", "MAIL FROM:<a@b.test>"],
            &["EHLO a", "MAIL FROM:<>", "RCPT TO:<a@b.test>"],
            &["EHLO a", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "BDAT 10"],
        ] {
            let mut talk = Talk::begin();
            let mut state = start.len();
            talk.lines(start);
            for command in [index % 20, index / 20 % 20, index / 400] {
                let (line, row) = REFERENCE[command];
                let (code, after) = row[state].split_once(' ').unwrap();
                assert_eq!(talk.line(line).code().to_string(), code, "{line} in state {state} of {start:?}, {index}");
                assert_eq!(matches!(talk.next, Next::Close(_)), after == "X", "{line}");
                if after == "X" {
                    break;
                }
                if talk.next == DOT {
                    assert_eq!(talk.step(Input::Body(BodyEnd::Complete)).code(), 250);
                }
                state = "NHMRC".find(after).unwrap();
                played += 1;
            }
        }
    }
    assert!(played > 50_000, "{played}");
}

#[test]
fn offers_its_extensions_after_ehlo_and_none_after_helo() {
    let mut talk = Talk::begin();
    assert_eq!(talk.said, "220 mx.test ESMTP Postern\r\n");
    assert_eq!(talk.line("HELO a").said, "250 mx.test\r\n");
    assert!(talk.session.hello().is_some_and(|hello| !hello.extended));
    assert_eq!(
        talk.line("EHLO a").said,
        "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250-SMTPUTF8\r\n\
         250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n"
    );
    assert!(talk.session.hello().is_some_and(|hello| hello.extended));
}

#[test]
fn a_message_is_acknowledged_by_the_name_of_its_receipt() {
    let mut talk = Talk::begin();
    talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA"]);
    assert_eq!((talk.code(), &talk.next), (354, &DOT));
    assert_eq!(talk.step(Input::Body(BodyEnd::Complete)).said, format!("250 2.0.0 queued as {}\r\n", Receipt.id()));
    assert_eq!((&talk.next, talk.session.is_idle()), (&Next::Discard, true));
    assert_eq!(talk.line("RCPT TO:<a@b.test>").code(), 503);
}

#[test]
fn a_refused_message_ends_its_transaction() {
    for (end, code) in [
        (BodyEnd::TooLarge, "552 5.3.4"),
        (BodyEnd::OverlongLine, "554 5.6.0"),
        (BodyEnd::Failed(Reply::new(452, Enhanced(4, 3, 1), "full")), "452 4.3.1"),
    ] {
        let mut talk = Talk::begin();
        talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA"]).step(Input::Body(end));
        assert!(talk.said.starts_with(code), "{}", talk.said);
        assert_eq!((&talk.next, talk.discarded), (&Next::Discard, 1));
        assert_eq!(talk.line("RCPT TO:<a@b.test>").code(), 503);
        assert_eq!(talk.line("DATA").code(), 503);
        assert_eq!(talk.line("MAIL FROM:<a@b.test>").code(), 250);
    }
}

#[test]
fn a_broken_body_closes_and_nothing_after_it_is_heard() {
    for why in [body::Broken::BareCr, body::Broken::BareLf, body::Broken::Nul] {
        let mut talk = Talk::begin();
        talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA"])
            .step(Input::Body(BodyEnd::Broken(why)));
        assert!(talk.said.starts_with("521 5.5.2") && talk.next == Next::Close(Closed::Protocol), "{}", talk.said);
        assert_eq!(talk.line("MAIL FROM:<a@b.test>").said, "");
        assert_eq!(talk.next, Next::Close(Closed::Protocol));
    }
}

#[test]
fn refused_recipients_leave_no_content_to_send() {
    let mut talk = Talk::begin();
    talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>", "RCPT TO:<no@b.test>"]);
    assert_eq!(talk.code(), 550);
    assert_eq!(talk.line("DATA").said, "554 5.5.1 no valid recipients\r\n");
    assert_eq!(talk.lines(&["RCPT TO:<a@b.test>", "DATA"]).code(), 354);
}

#[test]
fn a_refused_sender_opens_no_transaction() {
    let mut talk = Talk::begin();
    assert_eq!(talk.lines(&["EHLO a", "MAIL FROM:<no@b.test>"]).code(), 550);
    assert_eq!(talk.line("RCPT TO:<a@b.test>").code(), 503);
    assert_eq!(talk.line("MAIL FROM:<a@b.test>").code(), 250);
}

#[test]
fn rset_and_ehlo_discard_an_open_transaction() {
    for line in ["RSET", "EHLO a", "HELO a"] {
        let mut talk = Talk::begin();
        talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>", line]);
        assert_eq!((talk.code(), &talk.next, talk.discarded), (250, &Next::Discard, 1), "{line}");
    }
}

#[test]
fn a_late_answer_is_recognised() {
    let (mut replies, mut session) = (Replies::default(), Session::<Receipt>::new("mx.test".into(), LIMITS));
    let Next::Ask(first, Question::Client) = session.step(Input::Connected, &mut replies) else { panic!() };
    session.step(Input::Answer(first, Answer::Yes), &mut replies);
    let Next::Ask(second, _) = session.step(Input::Line { line: b"EHLO a", more: false }, &mut replies) else {
        panic!()
    };
    let offers = Answer::Offers(Offers { size_max: 1, starttls: false, dsn: true });
    assert_eq!(session.step(Input::Answer(first, Answer::Yes), &mut replies), Next::Unchanged);
    assert_eq!(session.step(Input::Answer(second, offers.clone()), &mut replies), Next::Read);
    assert_eq!(session.step(Input::Answer(second, offers.clone()), &mut replies), Next::Unchanged);
}

#[test]
fn a_receipt_that_nobody_asked_for_is_no_acknowledgement() {
    let mut talk = Talk::begin();
    talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>"]).step(Input::Accepted(Receipt));
    assert_eq!((talk.code(), &talk.next), (421, &Next::Close(Closed::Fault)));
}

#[test]
fn errors_and_refusals_are_borne_up_to_their_limits() {
    let mut talk = Talk::begin();
    for _ in 0..LIMITS.errors {
        assert_eq!(talk.line("garbage").code(), 500);
    }
    assert_eq!(talk.line("garbage").said, "421 4.7.0 too many errors, closing the connection\r\n");
    assert_eq!(talk.next, Next::Close(Closed::Errors));

    let mut talk = Talk::begin();
    talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>"]);
    for _ in 0..LIMITS.refusals {
        assert_eq!(talk.line("RCPT TO:<no@b.test>").code(), 550);
    }
    assert_eq!((talk.line("RCPT TO:<no@b.test>").code(), &talk.next), (421, &Next::Close(Closed::Errors)));

    let mut talk = Talk::begin();
    for _ in 0..LIMITS.idle_commands + LIMITS.errors {
        assert_eq!(talk.line("NOOP").code(), 250);
    }
    assert_eq!((talk.line("NOOP").code(), &talk.next), (421, &Next::Close(Closed::Errors)));
}

#[test]
fn an_accepted_message_forgives_what_was_before() {
    let mut talk = Talk::begin();
    talk.line("EHLO a");
    for _ in 0..3 {
        talk.lines(&["garbage"; 15]).lines(&["MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>"]);
        talk.lines(&["RCPT TO:<no@b.test>"; 25]).line("DATA");
        assert_eq!(talk.step(Input::Body(BodyEnd::Complete)).code(), 250);
    }
}

#[test]
fn draining_closes_the_idle_and_lets_a_transaction_finish() {
    let mut talk = Talk::begin();
    talk.line("EHLO a").step(Input::Draining);
    assert_eq!((talk.said.get(..9), &talk.next), (Some("421 4.3.2"), &Next::Close(Closed::Draining)));

    let mut talk = Talk::begin();
    talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>"]).step(Input::Draining);
    assert_eq!((talk.said.as_str(), &talk.next), ("", &Next::Read));
    talk.lines(&["RCPT TO:<a@b.test>", "DATA"]);
    assert_eq!(talk.step(Input::Draining).next, DOT);
    talk.step(Input::Body(BodyEnd::Complete));
    assert!(talk.said.starts_with("250 2.0.0 queued") && talk.said.ends_with("421 4.3.2 shutting down\r\n"));
    assert_eq!(talk.next, Next::Close(Closed::Draining));
}

#[test]
fn the_longest_idle_is_told_to_come_back() {
    let mut talk = Talk::begin();
    assert_eq!(talk.line("EHLO a").step(Input::Evicted).said.get(..9), Some("421 4.3.2"));
    assert_eq!(talk.next, Next::Close(Closed::Evicted));
}

#[test]
fn a_deadline_closes_in_every_phase() {
    for lines in [&[][..], &["EHLO a"], &["EHLO a", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA"]] {
        let mut talk = Talk::begin();
        talk.lines(lines).step(Input::Deadline);
        assert_eq!((talk.said.get(..9), &talk.next), (Some("421 4.4.2"), &Next::Close(Closed::Timeout)));
    }
}

#[test]
fn lines_that_are_none_are_refused() {
    let mut talk = Talk::begin();
    assert_eq!((talk.step(Input::LineTooLong).code(), &talk.next), (500, &Next::Read));
    assert_eq!(
        (talk.step(Input::LineBroken(line::Broken::BareLineEnd)).code(), &talk.next),
        (521, &Next::Close(Closed::Protocol))
    );
}

/// With a certificate.
fn begin_with_tls() -> Talk {
    let mut talk = Talk::begin();
    talk.tls = Some(Answer::Yes);
    talk
}

#[test]
fn starttls_is_offered_until_it_stands_and_forgets_what_was_said_before() {
    let mut talk = begin_with_tls();
    assert!(talk.line("EHLO plain").said.ends_with("250 STARTTLS\r\n"), "{}", talk.said);
    assert_eq!(talk.line("STARTTLS now").code(), 501);
    assert_eq!(talk.line("STARTTLS").said, "220 2.0.0 begin TLS\r\n");
    assert_eq!(talk.next, Next::StartTls);
    assert_eq!(talk.step(Input::TlsUp).said, "");
    assert_eq!((&talk.next, talk.session.hello()), (&Next::Read, None));
    assert_eq!(talk.line("MAIL FROM:<a@b.test>").code(), 503);
    assert!(!talk.line("EHLO secret").said.contains("STARTTLS"), "{}", talk.said);
    assert_eq!(talk.line("STARTTLS").said, "503 5.5.1 TLS is active already\r\n");
    assert_eq!(talk.line("MAIL FROM:<a@b.test>").code(), 250);
}

#[test]
fn starttls_has_its_place() {
    let mut talk = begin_with_tls();
    assert_eq!((talk.line("STARTTLS").code(), &talk.next), (503, &Next::Read));
    assert_eq!(talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>", "STARTTLS"]).code(), 503);
    assert_eq!(talk.line("RCPT TO:<a@b.test>").code(), 250, "the transaction goes on");
    assert_eq!((talk.lines(&["RSET", "STARTTLS"]).code(), &talk.next), (220, &Next::StartTls));
}

#[test]
fn whoever_talks_on_behind_starttls_is_sent_away() {
    let mut talk = begin_with_tls();
    talk.tls = Some(Answer::Ahead);
    assert_eq!(talk.lines(&["EHLO a", "STARTTLS"]).code(), 554);
    assert_eq!(talk.next, Next::Close(Closed::Protocol));
    assert_eq!(talk.line("MAIL FROM:<evil@x.test>").said, "");
}

#[test]
fn implicit_tls_stands_before_the_greeting() {
    let mut talk = begin_with_tls();
    talk.session = Session::new("mx.test".into(), LIMITS);
    assert_eq!(talk.step(Input::TlsUp).said, "");
    assert_eq!(talk.step(Input::Connected).code(), 220);
    assert!(!talk.line("EHLO a").said.contains("STARTTLS"));
}

#[test]
fn draining_waits_for_the_handshake_and_no_longer() {
    let mut talk = begin_with_tls();
    talk.lines(&["EHLO a", "STARTTLS"]).step(Input::Draining);
    assert_eq!((talk.said.as_str(), &talk.next), ("", &Next::StartTls));
    assert_eq!((talk.step(Input::TlsUp).code(), &talk.next), (421, &Next::Close(Closed::Draining)));
}

const READY: &[&str] = &["EHLO a", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>"];

#[test]
fn chunks_make_one_message_and_the_last_is_answered_like_a_final_dot() {
    let mut talk = Talk::begin();
    talk.lines(READY);
    assert_eq!(talk.line("BDAT 2000").said, "250 2.0.0 2000 octets received\r\n");
    assert_eq!(talk.line("bdat 0").said, "250 2.0.0 0 octets received\r\n");
    assert_eq!(talk.line("BDAT 70 last").said, format!("250 2.0.0 queued as {}\r\n", Receipt.id()));
    assert_eq!((talk.read, &talk.next, talk.session.is_idle()), (2070, &Next::Discard, true));
    assert_eq!(talk.line("BDAT 5 LAST").said, "503 5.5.1 send MAIL first\r\n");
    assert_eq!(talk.read, 2075, "what is refused is read all the same");
}

#[test]
fn a_chunk_that_fails_ends_its_message_whatever_comes_behind_it() {
    for (end, code) in [
        (BodyEnd::TooLarge, "552 5.3.4"),
        (BodyEnd::Failed(Reply::new(452, Enhanced(4, 3, 1), "full")), "452 4.3.1"),
        (BodyEnd::Broken(body::Broken::BareLf), "554 5.6.0 the message holds an LF without CR"),
    ] {
        let mut talk = Talk::begin();
        talk.lines(READY).keeps_chunks = false;
        assert_eq!(talk.line("BDAT 10").next, Next::Body(Framing::Chunk { bytes: 10, last: false }));
        talk.step(Input::Body(end));
        assert!(talk.said.starts_with(code), "{}", talk.said);
        assert_eq!(talk.next, Next::Discard);
        talk.keeps_chunks = true;
        for line in ["BDAT 5", "BDAT 6 LAST", "DATA", "RCPT TO:<a@b.test>"] {
            assert_eq!(talk.line(line).said, "503 5.5.1 send MAIL first\r\n", "{line}");
        }
        assert_eq!(talk.read, 11);
        assert_eq!(talk.lines(READY).line("BDAT 5 LAST").code(), 250);
    }
}

#[test]
fn a_chunk_for_nobody_ends_its_transaction() {
    let mut talk = Talk::begin();
    talk.lines(&["EHLO a", "MAIL FROM:<a@b.test>", "RCPT TO:<no@b.test>", "BDAT 5000"]);
    assert_eq!((talk.said.as_str(), talk.read), ("554 5.5.1 no valid recipients\r\n", 5000));
    // Or the rest of a message would be taken for all of it.
    assert_eq!(talk.lines(&["RCPT TO:<a@b.test>", "BDAT 10 LAST"]).code(), 503);
}

#[test]
fn a_chunk_whose_length_is_no_length_closes() {
    for line in [
        "BDAT",
        "BDAT ",
        "BDAT -1",
        "BDAT +1",
        "BDAT 1 LAST x",
        "BDAT 1 FIRST",
        "BDAT LAST",
        "BDAT 0x10",
        "BDAT 1\t",
        "BDAT 1 LAST\u{7f}",
        "BDAT 1048577",
        "BDAT 18446744073709551615",
        "BDAT 18446744073709551616",
        "BDAT 99999999999999999999",
        "BDAT 111111111111111111111",
    ] {
        let mut talk = Talk::begin();
        talk.lines(READY).line(line);
        assert!(talk.said.starts_with("501 5.5.4"), "{line}: {}", talk.said);
        assert_eq!((&talk.next, talk.read), (&Next::Close(Closed::Protocol), 0), "{line}");
    }
    assert_eq!(Talk::begin().lines(READY).line("BDAT 1048576").code(), 250);
}

#[test]
fn chunks_of_next_to_nothing_are_borne_up_to_a_limit() {
    let mut talk = Talk::begin();
    talk.lines(READY);
    for _ in 1..LIMITS.idle_commands + LIMITS.errors {
        assert_eq!(talk.line("BDAT 1").code(), 250);
    }
    assert_eq!((talk.line("BDAT 1").code(), &talk.next), (421, &Next::Close(Closed::Errors)));
    let mut talk = Talk::begin();
    talk.lines(READY);
    for _ in 0..1000 {
        assert_eq!(talk.line("BDAT 1024").code(), 250);
    }
}

#[test]
fn binary_content_comes_by_bdat_only() {
    let mut talk = Talk::begin();
    talk.lines(&["EHLO a", "MAIL FROM:<a@b.test> BODY=BINARYMIME", "RCPT TO:<a@b.test>", "DATA"]);
    assert_eq!(talk.said, "503 5.5.1 BINARYMIME content comes by BDAT\r\n");
    assert_eq!(talk.line("BDAT 10 LAST").code(), 250);
    assert_eq!(talk.lines(READY).line("DATA").code(), 354);
}

#[test]
fn utf8_is_for_the_transaction_that_declared_it() {
    let mut talk = Talk::begin();
    talk.line("EHLO a");
    for line in ["MAIL FROM:<\u{fc}@b.test>", "VRFY \u{fc}"] {
        assert_eq!(talk.line(line).said, "553 5.6.7 an address outside ASCII needs SMTPUTF8\r\n");
    }
    talk.line("MAIL FROM:<a@b.test>");
    assert_eq!(talk.line("RCPT TO:<\u{fc}@b.test>").code(), 553);
    talk.lines(&["RSET", "MAIL FROM:<\u{fc}@b.test> SMTPUTF8"]);
    assert_eq!(talk.code(), 250);
    assert_eq!(talk.line("RCPT TO:<\u{fc}@b.test>").code(), 250);
    for end in ["RSET", "EHLO a", "BDAT 0 LAST"] {
        talk.lines(&[end, "MAIL FROM:<a@b.test>"]);
        assert_eq!(talk.line("RCPT TO:<\u{fc}@b.test>").code(), 553, "{end}");
        talk.lines(&["RSET", "MAIL FROM:<a@b.test> SMTPUTF8", "RCPT TO:<\u{fc}@b.test>"]);
        assert_eq!(talk.code(), 250);
    }
    talk.lines(&["RSET", "MAIL FROM:<no\u{fc}@b.test> SMTPUTF8"]);
    assert_eq!(talk.code(), 550);
    assert_eq!(talk.lines(&["MAIL FROM:<a@b.test>", "RCPT TO:<\u{fc}@b.test>"]).code(), 553);
}

#[test]
fn replies_are_in_utf8_only_for_whom_they_may_be() {
    let mut session = Session::<Receipt>::new("mx.test".into(), LIMITS);
    let mut ask = |input: Input<'_, Receipt>| {
        let mut replies = Replies::default();
        let mut next = session.step(input, &mut replies);
        while let Next::Ask(serial, question) = next {
            let answer = match question {
                Question::Hello => Answer::Offers(Offers { size_max: 1, starttls: false, dsn: true }),
                Question::Recipient(_) => Answer::No(Reply::new(550, Enhanced(5, 1, 1), "<\u{fc}>: nobody")),
                _ => Answer::Yes,
            };
            next = session.step(Input::Answer(serial, answer), &mut replies);
        }
        String::from_utf8(replies.as_bytes().to_vec()).unwrap()
    };
    ask(Input::Connected);
    let mut say = |line: &str| ask(Input::Line { line: line.as_bytes(), more: false });
    say("EHLO a");
    say("MAIL FROM:<a@b.test> SMTPUTF8");
    assert_eq!(say("RCPT TO:<\u{fc}@b.test>"), "550 5.1.1 <\u{fc}>: nobody\r\n");
    say("RSET");
    say("MAIL FROM:<a@b.test>");
    assert_eq!(say("RCPT TO:<a@b.test>"), "550 5.1.1 <??>: nobody\r\n");
}

#[test]
fn whoever_does_not_wait_where_he_must_is_closed() {
    for line in ["EHLO a", "HELO a", "DATA", "NOOP", "VRFY a"] {
        let mut talk = Talk::begin();
        talk.lines(READY).step(Input::Line { line: line.as_bytes(), more: true });
        assert!(
            talk.said.starts_with("554 5.5.0") && talk.next == Next::Close(Closed::Protocol),
            "{line}: {}",
            talk.said
        );
    }
    for line in ["MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "BDAT 10 LAST", "RSET", "garbage"] {
        let mut talk = Talk::begin();
        talk.lines(READY).step(Input::Line { line: line.as_bytes(), more: true });
        assert!(!matches!(talk.next, Next::Close(_)), "{line}: {}", talk.said);
    }
}

#[test]
fn what_comes_in_one_breath_behind_a_refused_mail_is_no_mistake() {
    let mut talk = Talk::begin();
    talk.lines(&["EHLO a", "MAIL FROM:<no@b.test>"]);
    for _ in 0..LIMITS.refusals - 2 {
        assert_eq!(talk.line("RCPT TO:<a@b.test>").code(), 503);
    }
    assert_eq!(talk.line("DATA").code(), 503);
    assert_eq!(talk.line("RCPT TO:<a@b.test>").code(), 421);
    let mut talk = Talk::begin();
    talk.lines(READY).line("BDAT 0 LAST");
    for _ in 0..LIMITS.errors {
        assert_eq!(talk.line("RCPT TO:<a@b.test>").code(), 503);
    }
    assert_eq!(talk.line("RCPT TO:<a@b.test>").code(), 421);
}
