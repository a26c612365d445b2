//! The DNS and all that hangs on it: real name servers in this process, and one that lies. Rows J1 to J8 of the hostile inputs.

#![expect(clippy::unwrap_used, reason = "a test may fail with a panic")]

mod answers;
mod exchangers;
mod liar;
mod office;
mod sources;
mod zones;
