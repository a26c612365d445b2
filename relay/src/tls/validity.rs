//! Until when a certificate is valid: the one thing that is read of it here, and no library of ours tells it.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, before the version.
const VERSION: u8 = 0xa0;

/// `notAfter` of a certificate in DER (RFC 5280, section 4.1.2.5). `None`: it is no certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let mut outer = Der(certificate).value(SEQUENCE)?;
    let mut fields = Der(outer.value(SEQUENCE)?.0);
    if fields.0.first() == Some(&VERSION) {
        fields.value(VERSION)?;
    }
    fields.value(INTEGER)?; // serial number
    fields.value(SEQUENCE)?; // signature algorithm
    fields.value(SEQUENCE)?; // issuer
    let mut validity = fields.value(SEQUENCE)?;
    validity.time()?;
    validity.time()
}

/// Values, one behind the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value, and its tag.
    fn any(&mut self) -> Option<(u8, Der<'a>)> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (octets, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = behind;
                octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet))
            }
            _ => return None,
        };
        let (value, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, Der(value)))
    }

    fn value(&mut self, tag: u8) -> Option<Der<'a>> {
        self.any().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    /// `YYMMDDHHMMSSZ`, until 2049, or `YYYYMMDDHHMMSSZ`.
    fn time(&mut self) -> Option<Timestamp> {
        let (tag, Der(text)) = self.any()?;
        let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (year, rest) = match (tag, digits.len()) {
            (UTC_TIME, 12) => {
                let year: i16 = digits[..2].parse().ok()?;
                (if year >= 50 { 1900 + year } else { 2000 + year }, &digits[2..])
            }
            (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
            _ => return None,
        };
        let part = |place: usize| rest[2 * place..2 * place + 2].parse::<i8>().ok();
        let time = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
        // The last hours of the year 9999 mean `never`, and no timestamp is that late.
        Some(time.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |zoned| zoned.timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 7, 31);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn reads_both_forms_of_time() {
        for (year, said) in
            [(2026, "2026-07-31T00:00:00Z"), (2049, "2049-07-31T00:00:00Z"), (2050, "2050-07-31T00:00:00Z")]
        {
            assert_eq!(not_after(&certificate(year)).unwrap().to_string(), said);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_time_and_does_no_harm() {
        let good = certificate(2030);
        for length in 0..good.len().min(200) {
            assert_eq!(not_after(&good[..length]), None, "{length}");
        }
        for place in 0..good.len().min(200) {
            let mut bad = good.clone();
            bad[place] ^= 0xff;
            let _ = not_after(&bad);
        }
        assert_eq!(not_after(b"\x30\x84\xff\xff\xff\xff"), None);
    }
}
