//! The relay takes every field of the Snapshot apart: a new one cannot be forgotten, because `relay/src/config` does not
//! compile until it is named.

use std::fs;

use crate::assert_none;
use crate::source::{Source, blank, root, sources};

/// The names of the structs with named fields.
fn structs(code: &str) -> Vec<String> {
    let names = code.split("pub struct ").skip(1).filter_map(|rest| {
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        let after = rest[name.len()..].trim_start();
        let after = if after.starts_with('<') { after.split_once('>')?.1.trim_start() } else { after };
        after.starts_with('{').then_some(name)
    });
    names.collect()
}

/// The patterns `Name { … }` in this code, with what is between the braces. What is built with `Name { … }` is not one: a
/// pattern is followed by `=`, `|`, `:`, `,`, `)` or `in`.
fn patterns<'a>(name: &str, code: &'a str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(name) {
        let before = code[..at].chars().next_back();
        let Some(rest) = code[at + name.len()..].trim_start().strip_prefix('{') else { continue };
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let Some(end) = rest.find('}') else { continue };
        let after = rest[end + 1..].trim_start();
        if after.starts_with(['=', '|', ':', ',', ')']) || after.starts_with("in ") {
            found.push(rest[..end].trim());
        }
    }
    found
}

fn not_taken_apart(structs: &[String], files: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for name in structs {
        let all: Vec<(&str, &str)> = files
            .iter()
            .flat_map(|file| patterns(name, &file.code).into_iter().map(|p| (file.path.as_str(), p)))
            .collect();
        if !all.iter().any(|(_, pattern)| !pattern.contains("..")) {
            violations.push(format!("{name}: nowhere in relay/src/config is it taken apart field by field"));
        }
        let open = all.iter().filter(|(_, pattern)| pattern.trim_end().ends_with(".."));
        violations.extend(open.map(|(path, _)| format!("{path}: `{name} {{ … .. }}` forgets fields")));
    }
    violations
}

#[test]
fn the_relay_takes_every_field_of_the_snapshot_apart() {
    let snapshot = fs::read_to_string(root().join("relay/wire/src/snapshot.rs")).unwrap();
    let structs = structs(&blank(&snapshot));
    assert!(structs.len() > 10 && structs.contains(&"Section".to_owned()), "{structs:?}");
    assert_none(&not_taken_apart(&structs, &sources(&["relay/src/config"])));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> usize {
        not_taken_apart(&["Host".to_owned()], &[Source::new("relay/src/config/build.rs", code)]).len()
    }

    #[test]
    fn structs_with_named_fields_are_known() {
        assert_eq!(structs("pub struct A { a: u8 } pub struct B<T> {} pub struct C(u8); pub enum D {}"), ["A", "B"]);
    }

    #[test]
    fn a_struct_that_is_only_built_or_read_by_field_is_found() {
        assert_eq!(found("fn f(host: &wire::Host) -> Host { Host { a: host.a } }"), 1);
        assert_eq!(found("fn f(host: &wire::Host) { let wire::Host { a, b } = host; }"), 0);
        assert_eq!(found("fn f(wire::Host { a, b }: wire::Host) {}"), 0);
    }

    #[test]
    fn two_dots_are_found() {
        assert_eq!(found("fn f() { let Host { a, b } = x; let Host { a, .. } = y; }"), 1);
    }
}
