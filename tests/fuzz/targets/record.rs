//! A record of the spool, as a damaged disk may hold it: its header's CRC is right, and nothing else need be.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| postern_relay::spool::fuzzing::record(octets));
