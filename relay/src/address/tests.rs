use proptest::prelude::*;

use super::*;

fn refusal(text: &str) -> NotAnAddress {
    match text.parse::<Mailbox>() {
        Ok(mailbox) => panic!("{text:?} was taken for {mailbox}"),
        Err(error) => error,
    }
}

fn key(text: &str) -> String {
    text.parse::<Mailbox>().unwrap_or_else(|error| panic!("{text:?}: {error}")).key()
}

#[test]
fn takes_what_rfc_5321_writes_and_hands_it_on_unchanged() {
    for text in [
        "a@example.test",
        "first.last+tag@sub.example.test",
        "!#$%&'*+-/=?^_`{|}~@example.test",
        "\"a b\"@example.test",
        "\"a\\\"b\\\\\"@example.test",
        "\"victim@evil.test\"@example.test",
        "victim%evil.test@example.test",
        "evil.test!victim@example.test",
        "a@[192.0.2.1]",
        "a@[IPv6:2001:db8::1]",
        "a@localhost",
        "a@xn--bcher-kva.example",
        "A.Mixed.Case@example.test",
    ] {
        assert_eq!(text.parse::<Mailbox>().map(|mailbox| mailbox.to_string()), Ok(text.into()));
    }
}

#[test]
fn compares_without_case_and_without_needless_quotes() {
    assert_eq!(key("Victim@EXAMPLE.Test"), "victim@example.test");
    assert_eq!(key("\"Victim\"@example.test"), "victim@example.test");
    assert_eq!(key("\"v\\ic\\tim\"@example.test"), "victim@example.test");
    assert_eq!(key("\"a\\ b\"@example.test"), "\"a b\"@example.test");
    assert_eq!(key("\"victim\\@evil.test\"@example.test"), "\"victim@evil.test\"@example.test");
    assert_eq!(key("\"x\\\"y\\\\\"@example.test"), "\"x\\\"y\\\\\"@example.test");
}

#[test]
fn a_local_part_in_unicode_travels_unchanged_and_compares_as_it_is_read() {
    for text in ["jürgen@example.test", "\"jü rgen\"@example.test", "u\u{308}@example.test", "用户@example.test"] {
        let mailbox: Mailbox = text.parse().unwrap();
        assert_eq!((mailbox.to_string().as_str(), mailbox.is_ascii()), (text, false));
    }
    assert_eq!(key("JÜRGEN@example.test"), "jürgen@example.test");
    assert_eq!(key("Ju\u{308}rgen@example.test"), "jürgen@example.test");
    assert_eq!(key("\"jürgen\"@example.test"), "jürgen@example.test");
    assert_eq!(key("\"JÜ rgen\"@example.test"), "\"jü rgen\"@example.test");
    assert_ne!(key("ʝ@example.test"), key("j@example.test"));
    assert_eq!("a@bücher.example".parse::<Mailbox>().map(|mailbox| mailbox.is_ascii()), Ok(true));
}

/// Row D8.
#[test]
fn a_name_in_unicode_is_kept_as_its_a_labels_and_equals_nothing_else() {
    let name = |text: &str| text.parse::<Domain>().map(|domain| domain.as_str().to_owned());
    for (text, kept) in [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("bu\u{308}cher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.bücher.example", "xn--bcher-kva.xn--bcher-kva.example"),
        ("straße.test", "xn--strae-oqa.test"),
        ("ΟΔΟΣ.test", "xn--pxavbq.test"),
        ("раураl.test", "xn--l-7sba6dbr.test"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    ] {
        assert_eq!(name(text).as_deref(), Ok(kept), "{text}");
    }
    assert_ne!(name("раураl.test"), name("paypal.test"));
}

#[test]
fn what_is_kept_can_be_read_back() {
    // Its A-labels are longer than what they stand for.
    let full = format!("{}@{}.test", "a".repeat(64), ["äbcdefghijklmnopqrstuvwxyzäbcdefghijklm"; 4].join("."));
    assert!(full.len() + 2 <= PATH_MAX, "{}", full.len());
    assert_eq!(full.parse::<Mailbox>(), Err(NotAnAddress::TooLong));
}

#[test]
fn writes_an_address_literal_in_one_way() {
    let literal = |text: &str| text.parse::<Domain>().unwrap();
    assert_eq!(literal("[ipv6:2001:DB8:0:0::1]").as_str(), "[IPv6:2001:db8::1]");
    assert_eq!(literal("[IPv6:::ffff:192.0.2.1]").ip(), Some("::ffff:192.0.2.1".parse().unwrap()));
    assert_eq!(literal("[192.0.2.1]").ip(), Some("192.0.2.1".parse().unwrap()));
    assert!(literal("[192.0.2.1]").is_literal() && !literal("example.test").is_literal());
    assert_eq!(literal("example.test").ip(), None);
}

#[test]
fn refuses_what_is_no_mailbox() {
    for text in [
        "",
        "victim",
        "@",
        "@a",
        "@relay.test:victim@evil.test",
        "@a,@b:victim@evil.test",
        "\"victim@evil.test\"",
        ";sleep 66;",
    ] {
        assert_eq!(refusal(text), NotAnAddress::Form, "{text:?}");
    }
}

#[test]
fn refuses_a_local_part_that_is_neither_atoms_nor_quoted() {
    for local_part in [
        ".a",
        "a.",
        "a..b",
        "a b",
        "(a)b",
        "a:b",
        "a,b",
        "<a",
        "a\\b",
        "a\"b\"",
        "\"\"",
        "a\u{7f}",
        "a\tb",
        "a\nb",
        "a\rb",
        "a\0b",
        "ä\u{85}b",
        "ä\u{2028}",
        "[ä]",
    ] {
        assert_eq!(refusal(&format!("{local_part}@example.test")), NotAnAddress::LocalPart, "{local_part:?}");
    }
    for text in
        ["\"\\\"@x.test", "\"a@x.test", "\"a\nb\"@x.test", "\"a\0\"@x.test", "\"\\ä\"@x.test", "\"ä\u{85}\"@x.test"]
    {
        assert_eq!(refusal(text), NotAnAddress::LocalPart, "{text:?}");
    }
    assert_eq!(refusal("\"a\"b@x.test"), NotAnAddress::Form);
}

#[test]
fn refuses_a_domain_that_is_neither_a_name_nor_a_literal() {
    for domain in [
        "",
        ".",
        "example.test.",
        ".example.test",
        "a..b",
        "-a.test",
        "a-.test",
        "a_b.test",
        "exa mple.test",
        "evil.test@relay.test",
        "example.test>",
        "127.1",
        "127.0.0.1",
        "0x7f000001",
        "2130706433",
        "a.0x1",
        "[",
        "[]",
        "[300.1.1.1]",
        "[127.1]",
        "[01.2.3.4]",
        "[::1]",
        "[IPv6:1.2.3.4]",
        "[IPv6:::1",
        "[IPv6:fe80::1%eth0]",
        "[tag:x]",
        "[192.0.2.1].test",
        "xn--",
        "xn--a",
        "xn--example-.com",
        "XN--A.test",
        "ⓔxample.test",
        "exa\u{ad}mple.test",
        "example\u{3002}test",
        "example\u{ff0e}test",
        "\u{ff45}xample.test",
        "ﬁsh.test",
        "bü cher.example",
        "bücher-.example",
        "bücher..example",
        "bücher.example.",
        "bücher.1",
        "bücher.xn--a",
        "bü\u{200d}cher.example",
        "\u{300}a.test",
        "ä@b.test",
        "example.test\0",
        "ex\tample.test",
    ] {
        assert_eq!(refusal(&format!("a@{domain}")), NotAnAddress::Domain, "{domain:?}");
    }
}

#[test]
fn holds_the_limits_of_local_part_label_domain_and_path() {
    let name = |labels: usize| vec!["a".repeat(49); labels].join(".");
    assert!(format!("{}@example.test", "a".repeat(64)).parse::<Mailbox>().is_ok());
    for length in [65, 1000] {
        let error = refusal(&format!("{}@example.test", "a".repeat(length)));
        assert!(matches!(error, NotAnAddress::LocalPart | NotAnAddress::TooLong), "{length}: {error}");
    }
    refusal(&format!("{}@example.test", "a".repeat(1 << 20)));
    assert!(format!("{}.test", "a".repeat(63)).parse::<Domain>().is_ok());
    assert!(format!("{}.test", "a".repeat(64)).parse::<Domain>().is_err());
    let longest = format!("{}.aaaaa", name(5)); // 249 + 1 + 5
    assert_eq!(longest.len(), 255);
    assert!(longest.parse::<Domain>().is_ok());
    assert!(format!("{longest}a").parse::<Domain>().is_err());
    assert_eq!(refusal(&format!("a@{longest}")), NotAnAddress::TooLong, "257 with the brackets");
    assert!(format!("a@{}", &longest[..252]).parse::<Mailbox>().is_ok());
    assert!(vec!["a"; 128].join(".").parse::<Domain>().is_ok());
    assert!(vec!["a"; 129].join(".").parse::<Domain>().is_err());
}

proptest! {
    /// Whatever is taken is printable, is read back the same from the spool, and has one key.
    #[test]
    fn what_is_taken_is_harmless(text in r#"[ -~\x00-\x1fäÄ用\u{85}\u{308}\u{2028}]{0,12}@?["\\.a-z@\[\]:äÖ例\u{308}]{0,12}"#) {
        if let Ok(mailbox) = text.parse::<Mailbox>() {
            let printed = mailbox.to_string();
            let harmless = |character: char| !character.is_control() && !['\u{2028}', '\u{2029}'].contains(&character);
            prop_assert!(printed.chars().all(harmless));
            prop_assert!(mailbox.domain().as_str().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(printed.parse::<Mailbox>(), Ok(mailbox.clone()));
            let key = mailbox.key();
            prop_assert_eq!(key.parse::<Mailbox>().map(|again| again.key()), Ok(key));
        }
    }
}
