use proptest::prelude::*;

use super::*;

fn whole(text: &str) -> Reply {
    let (reply, length) = Reply::parse(text.as_bytes()).unwrap().unwrap();
    assert_eq!(length, text.len());
    reply
}

fn refused(text: &str) -> Malformed {
    Reply::parse(text.as_bytes()).unwrap_err()
}

#[test]
fn reads_one_line_and_many() {
    let reply = whole("250 2.1.5 fine\r\n");
    assert_eq!((reply.code, reply.enhanced), (250, Some(Enhanced(2, 1, 5))));
    assert_eq!(reply.to_string(), "250 2.1.5 fine");
    let reply = whole("550-5.1.1 no such\r\n550-5.1.1\r\n550 5.1.1 user here\r\n");
    assert_eq!(reply.to_string(), "550 5.1.1 no such user here");
    assert_eq!(whole("250\r\n").to_string(), "250");
    assert_eq!(whole("250 ok\n").to_string(), "250 ok");
}

#[test]
fn reads_only_the_first_of_several() {
    let (reply, length) = Reply::parse(b"250 one\r\n550 two\r\n").unwrap().unwrap();
    assert_eq!((reply.code, length), (250, 9));
}

#[test]
fn keeps_an_enhanced_code_without_text_and_drops_one_of_another_class() {
    assert_eq!(whole("554 5.7.2\r\n").to_string(), "554 5.7.2");
    assert_eq!(whole("554 5.7.2\r\n").status(), "5.7.2");
    assert_eq!(whole("554 4.7.2 odd\r\n").status(), "5.0.0");
    assert_eq!(whole("554 4.7.2 odd\r\n").to_string(), "554 4.7.2 odd");
    assert_eq!(whole("450 10.0.0.1 is greylisted\r\n").enhanced, None);
    assert_eq!(whole("450 4.7.1.2 x\r\n").enhanced, None);
    assert_eq!(whole("550 5.1000.1 x\r\n").enhanced, None);
}

#[test]
fn refuses_what_is_not_a_reply() {
    for text in
        ["2\r\n", "\r\n", "25\r\n", "hello\r\n", "150 x\r\n", "600 x\r\n", "250x\r\n", "250\tx\r\n", " 250 x\r\n"]
    {
        assert_eq!(refused(text), Malformed::NotAReply, "{text:?}");
    }
    assert_eq!(refused("450-wait\r\n250 ok\r\n"), Malformed::CodesDiffer);
}

#[test]
fn a_reply_without_end_is_cut_off() {
    assert_eq!(refused(&"250-\r\n".repeat(LINES_MAX)), Malformed::TooManyLines);
    assert_eq!(refused(&format!("250 {}", "x".repeat(OCTETS_MAX))), Malformed::TooLong);
    assert_eq!(refused(&format!("250 {}\r\n", "x".repeat(OCTETS_MAX))), Malformed::TooLong);
    assert_eq!(refused(&format!("250-{}\r\n", "x".repeat(1000)).repeat(9)), Malformed::TooLong);
    assert_eq!(Reply::parse(&b"250-x\r\n".repeat(LINES_MAX - 1)), Ok(None));
}

#[test]
fn tells_only_printable_ascii_and_not_too_much() {
    let (reply, _) = Reply::parse(b"550 a\0b\x1b[31m\xc3\xa9\tz\r\n").unwrap().unwrap();
    assert_eq!(reply.to_string(), "550 a?b?[31m???z");
    assert_eq!(whole(&format!("550 {}\r\n", "x".repeat(4000))).to_string().len(), TOLD_MAX);
}

proptest! {
    #[test]
    fn never_panics_and_never_reads_past_the_bounds(input in proptest::collection::vec(any::<u8>(), 0..10_000)) {
        if let Ok(Some((reply, length))) = Reply::parse(&input) {
            prop_assert!(length <= OCTETS_MAX && length <= input.len());
            prop_assert!((200..600).contains(&reply.code));
        }
    }

    #[test]
    fn any_prefix_says_more_and_any_suffix_changes_nothing(
        texts in proptest::collection::vec("[ -~]{0,60}", 1..20), code in 200u16..600, after in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let last = texts.len() - 1;
        let mut input = String::new();
        for (index, text) in texts.iter().enumerate() {
            input += &format!("{code}{}{text}\r\n", if index == last { ' ' } else { '-' });
        }
        for cut in 0..input.len() - 1 {
            prop_assert_eq!(Reply::parse(&input.as_bytes()[..cut]), Ok(None));
        }
        let alone = Reply::parse(input.as_bytes()).unwrap().unwrap();
        let followed = Reply::parse(&[input.as_bytes(), &after].concat()).unwrap().unwrap();
        prop_assert_eq!(&alone, &followed);
        prop_assert_eq!(alone.1, input.len());
        prop_assert!(alone.0.to_string().bytes().all(|octet| (b' '..=b'~').contains(&octet)));
    }
}
