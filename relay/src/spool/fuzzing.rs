//! The record reader, for tests/fuzz: the only code that may look inside the spool from outside, and only in its builds.

use super::index;
use super::record::{ALIGN, HEADER, Header, Parts, crc_from};

/// Reads `octets` as a record whose header's CRC is right, whatever else is not.
///
/// # Panics
/// When the reader contradicts itself.
pub fn record(octets: &[u8]) {
    let Some(header) = octets.first_chunk::<HEADER>() else { return };
    let mut octets = octets.to_vec();
    octets[..4].copy_from_slice(b"PSR\n");
    octets[4] = 1;
    let salt = u32::from(header[0]);
    let crc = crc_from(salt, &octets[..HEADER - 4]);
    octets[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
    let Some(header) = Header::decode(&octets, salt) else { return };
    assert!(header.length().is_multiple_of(u64::from(ALIGN)) && header.length() >= HEADER as u64);
    assert_eq!(Header::decode(&header.encode(salt), salt), Some(header), "what is written is read");
    let Some(parts) = Parts::cut(&header, &octets) else { return };
    assert!(header.length() <= (octets.len() as u64).next_multiple_of(u64::from(ALIGN)));
    let _ = (parts.front_is_whole(&header), parts.body_is_whole(&header));
    if let Ok(envelope) = index::envelope(header.kind, parts.envelope) {
        for recipient in &envelope.recipients {
            assert!(!recipient.to_string().contains(['\r', '\n', '\0']));
        }
    }
}
