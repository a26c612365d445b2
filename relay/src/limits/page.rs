//! Every limit as a page for people: those of the process, and those that users set in custom resources.

use std::fmt::Write as _;

use postern_wire::limits::{self, Limit};

use super::{TABLE, written};

const HEAD: [&str; 6] = ["limit", "counted in", "default", "least", "most", "what happens"];

/// What `--help-limits` prints. Each limit is one line.
pub fn page() -> String {
    let flags: Vec<_> = TABLE.iter().map(|flag| row(&format!("--{}", flag.limit.name), &flag.limit)).collect();
    let fields: Vec<_> = limits::TABLE.iter().map(|limit| row(limit.name, limit)).collect();
    let mut page = String::from(
        "Limits of one relay process: a flag, or an environment variable such as POSTERN_COMMAND_TIME for --command-time.\n\n",
    );
    columns(&mut page, &flags);
    page.push_str("\nLimits in custom resources: a field.\n\n");
    columns(&mut page, &fields);
    page
}

fn row(name: &str, limit: &Limit) -> [String; 6] {
    let Limit { name: _, unit, default, min, max, meaning } = *limit;
    let value = |value| written(limit, value);
    [name.to_owned(), unit.to_owned(), value(default), value(min), value(max), meaning.to_owned()]
}

/// As wide as their widest entry; the last has no end.
fn columns(page: &mut String, rows: &[[String; 6]]) {
    let head = HEAD.map(str::to_owned);
    let lines: Vec<_> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
    let widths: [usize; 6] = std::array::from_fn(width);
    for [name, unit, default, least, most, meaning] in lines {
        let [name_width, unit_width, default_width, least_width, most_width, _] = widths;
        // Writing into a String cannot fail.
        let _ = writeln!(
            page,
            "{name:name_width$}  {unit:unit_width$}  {default:>default_width$}  {least:>least_width$}  \
             {most:>most_width$}  {meaning}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `POSTERN_BLESS=1` writes it anew.
    #[test]
    fn the_committed_page_is_the_one_that_is_printed() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/LIMITS.md");
        let page = page();
        let page = format!("# Every limit\n\nAs `postern-relay --help-limits` prints them.\n\n```\n{page}```\n");
        if std::env::var_os("POSTERN_BLESS").is_some() {
            std::fs::write(file, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), page, "see POSTERN_BLESS");
    }

    #[test]
    fn every_limit_is_on_a_line_of_its_own_with_all_that_there_is_to_say() {
        let page = page();
        let flags = TABLE.iter().map(|flag| (format!("--{}", flag.limit.name), flag.limit));
        let fields = limits::TABLE.iter().map(|limit| (limit.name.to_owned(), *limit));
        for (name, limit) in flags.chain(fields) {
            let mut lines = page.lines().filter(|line| line.split("  ").next() == Some(&*name));
            let line = lines.next().unwrap_or_else(|| panic!("{name} is missing"));
            let cells: Vec<_> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            let numbers = [limit.default, limit.min, limit.max].map(|value| written(&limit, value));
            assert_eq!(cells, [&*name, limit.unit, &numbers[0], &numbers[1], &numbers[2], limit.meaning]);
            assert_eq!(lines.next(), None);
        }
    }
}
