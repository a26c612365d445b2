//! What a server offers in its answer to EHLO (RFC 5321, section 4.1.1.1). Pure.

use super::Reply;

/// The service extensions that this client uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 3030, section 2: BDAT.
    pub chunking: bool,
    /// RFC 3030, section 3. Of no use without `chunking`.
    pub binary_mime: bool,
    /// RFC 6531.
    pub smtp_utf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 4954, with the mechanism of RFC 4616.
    pub auth_plain: bool,
    /// RFC 4954, with the mechanism LOGIN, which no RFC describes and every server knows.
    pub auth_login: bool,
    /// RFC 1870: offered, with the largest message that it takes, 0 for no fixed limit.
    pub size: Option<u64>,
}

impl Capabilities {
    /// Reads them from a positive answer to EHLO; its first line is only a name.
    pub fn read(reply: &Reply) -> Self {
        let mut offered = Self::default();
        for line in reply.lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => offered.pipelining = true,
                "8BITMIME" => offered.eight_bit_mime = true,
                "STARTTLS" => offered.starttls = true,
                "CHUNKING" => offered.chunking = true,
                "BINARYMIME" => offered.binary_mime = true,
                "SMTPUTF8" => offered.smtp_utf8 = true,
                "DSN" => offered.dsn = true,
                "SIZE" => offered.size = Some(words.next().and_then(|word| word.parse().ok()).unwrap_or(0)),
                "AUTH" => {
                    for mechanism in words {
                        offered.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        offered.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                _ => {}
            }
        }
        offered
    }

    /// Whether the server says that it takes no message of so many octets.
    pub fn is_too_large(&self, size: u64) -> bool {
        self.size.is_some_and(|most| most > 0 && size > most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Capabilities {
        Capabilities::read(&Reply::parse(text.as_bytes()).unwrap().unwrap().0)
    }

    #[test]
    fn reads_keywords_in_any_case_and_ignores_the_rest() {
        let offered =
            read("250-mx\r\n250-pipelining\r\n250-SIZE 1000\r\n250-X-UNKNOWN a b\r\n250-8BitMime\r\n250 STARTTLS\r\n");
        let expected = Capabilities {
            pipelining: true,
            eight_bit_mime: true,
            starttls: true,
            size: Some(1000),
            ..Capabilities::default()
        };
        assert_eq!(offered, expected);
        assert!(offered.is_too_large(1001) && !offered.is_too_large(1000));
        let offered = read("250-mx\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n");
        assert!(offered.chunking && offered.binary_mime && offered.smtp_utf8 && offered.dsn);
    }

    #[test]
    fn reads_the_mechanisms_of_auth() {
        for (line, plain, login) in [
            ("AUTH PLAIN LOGIN", true, true),
            ("AUTH CRAM-MD5 login", false, true),
            ("auth XOAUTH2 Plain", true, false),
            ("AUTH", false, false),
            ("AUTH PLAINER", false, false),
        ] {
            let offered = read(&format!("250-mx\r\n250 {line}\r\n"));
            assert_eq!((offered.auth_plain, offered.auth_login), (plain, login), "{line}");
        }
    }

    #[test]
    fn takes_no_keyword_from_the_first_line() {
        assert_eq!(read("250 PIPELINING\r\n"), Capabilities::default());
    }

    #[test]
    fn a_size_without_a_number_is_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999999"] {
            let offered = read(&format!("250-mx\r\n250 {line}\r\n"));
            assert_eq!(offered.size, Some(0), "{line}");
            assert!(!offered.is_too_large(u64::MAX), "{line}");
        }
        assert!(!read("250 mx\r\n").is_too_large(u64::MAX));
    }
}
