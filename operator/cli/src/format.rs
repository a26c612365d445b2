//! How a result is printed: for people, or for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

/// `-o`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
    /// The same, as YAML
    Yaml,
}

/// For programs.
pub(crate) fn structured(out: &mut impl Write, format: Format, value: &impl Serialize) -> io::Result<()> {
    match format {
        Format::Yaml => {
            let text = serde_saphyr::to_string(value).map_err(io::Error::other)?;
            out.write_all(text.as_bytes())
        }
        Format::Text | Format::Json => {
            serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
            out.write_all(b"\n")
        }
    }
}
