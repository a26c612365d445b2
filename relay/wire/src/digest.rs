//! SHA-256 over the compact JSON of a value.

use std::fmt;
use std::io::{self, BufWriter, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest as 64 lower-case hexadecimal characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::shown(&Sha256::digest(bytes))
    }

    fn shown(digest: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        Self(digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect())
    }

    /// The digest of the compact JSON of `value`.
    ///
    /// # Panics
    /// Never for the types of this crate: they hold no map with keys other than strings, and no failing `Serialize`.
    #[expect(clippy::expect_used, reason = "serialising a plain struct into memory has no way to fail")]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        // Never the whole JSON at once: of a large DMZ it is tens of megabytes.
        let mut hash = BufWriter::with_capacity(BUFFER_BYTES, Hash(Sha256::new()));
        serde_json::to_writer(&mut hash, value).expect("a wire type serialises");
        hash.flush().expect("a hash takes everything");
        Self::shown(&hash.get_ref().0.clone().finalize())
    }

    /// All 64 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight characters, as people read them in logs and in `postern up`.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

/// Small enough that the digest of a small section costs no more than the section.
const BUFFER_BYTES: usize = 1024;

struct Hash(Sha256);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
