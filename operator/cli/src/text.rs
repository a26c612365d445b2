//! What goes to a terminal.

/// What a stranger wrote must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() && char != '\t' {
            true => printable.extend(char.escape_default()),
            false => printable.push(char),
        }
    }
    printable
}
