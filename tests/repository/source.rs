//! The Rust files of the workspace, read just well enough: comments and literals are blank, tests are told apart from the
//! rest, and the paths that the code names are spelt out.

use std::fs;
use std::path::{Path, PathBuf};

/// One file that is not a test.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the workspace's root: `relay/src/spool/log.rs`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Without comments, literals and tests, which are blank; the lines are where they were.
    pub(crate) code: String,
    /// How many lines are not test code.
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, test_lines) = without_tests(&blank(text));
        Self { path: path.to_owned(), text: text.to_owned(), code, lines: text.lines().count() - test_lines }
    }

    /// The modules that the file declares for tests only, as path prefixes without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((parent, "mod" | "lib" | "main")) => parent,
            _ => stem,
        };
        let code = blank(&self.text);
        let declared = code.split("#[cfg(test)]").skip(1).filter_map(|item| {
            let declaration = item.split(['{', ';']).next()?;
            declaration.trim().rsplit_once("mod ").map(|(_, name)| name.trim().to_owned())
        });
        declared.map(|name| format!("{folder}/{name}")).collect()
    }
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust files below these folders that are not tests of a module.
pub(crate) fn sources(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| collect(&root().join(folder), &mut paths));
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        Source::new(name, &fs::read_to_string(path).unwrap())
    };
    let mut sources: Vec<Source> = paths.iter().map(read).collect();
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    let is_test = |path: &str| {
        tests.iter().any(|test| path.strip_prefix(test.as_str()).is_some_and(|rest| rest.starts_with(['.', '/'])))
    };
    sources.retain(|source| !is_test(&source.path));
    assert!(!sources.is_empty(), "no source below {folders:?}");
    sources
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The text with comments and literals made blank, line by line as long as before.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins here ends; `at` when none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let starts = |index: usize, pattern: &str| {
        pattern.chars().enumerate().all(|(offset, c)| chars.get(index + offset) == Some(&c))
    };
    let find = |from: usize, pattern: &str| {
        (from..chars.len()).find(|index| starts(*index, pattern)).map_or(chars.len(), |index| index + pattern.len())
    };
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if starts(at, "//") {
        return find(at, "\n").saturating_sub(1).max(at + 2);
    }
    if starts(at, "/*") {
        return find(at, "*/");
    }
    if chars[at] == 'r' && (!in_word || chars[at - 1] == 'b') {
        let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
        if chars.get(at + 1 + hashes) == Some(&'"') {
            return find(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    match chars[at] {
        '"' => quoted_end(chars, at, '"'),
        // A character, not a lifetime.
        '\'' if chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => quoted_end(chars, at, '\''),
        _ => at,
    }
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut index = at + 1;
    while index < chars.len() && chars[index] != quote {
        index += if chars[index] == '\\' { 2 } else { 1 };
    }
    (index + 1).min(chars.len())
}

/// Makes each item under `#[cfg(test)]` blank, and counts its lines.
fn without_tests(code: &str) -> (String, usize) {
    let (mut out, mut lines, mut rest) = (String::new(), 0, code);
    while let Some(at) = rest.find("#[cfg(test)]") {
        let end = at + item_end(&rest[at..]);
        out.push_str(&rest[..at]);
        let newlines = rest[at..end].matches('\n').count();
        out.push_str(&"\n".repeat(newlines));
        lines += newlines + 1;
        rest = &rest[end..];
    }
    out.push_str(rest);
    (out, lines)
}

/// The first `;` outside of braces, or the brace that closes the first one.
fn item_end(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// A path that code names, segment by segment: `["crate", "spool", "Spool"]`.
pub(crate) type Named = Vec<String>;

/// Every path of at least two segments, with the groups of `use` spelt out.
pub(crate) fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        at = if is_word(&tokens[at]) { path(&tokens, at, &[], &mut found) } else { at + 1 };
    }
    found.retain(|path| path.len() > 1);
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        let mut token = c.to_string();
        if c.is_alphanumeric() || c == '_' {
            while let Some(more) = chars.next_if(|next| next.is_alphanumeric() || *next == '_') {
                token.push(more);
            }
        } else if c == ':' && chars.next_if_eq(&':').is_some() {
            token.push(':');
        }
        if !c.is_whitespace() {
            tokens.push(token);
        }
    }
    tokens
}

/// Reads one path and gives where it ends.
fn path(tokens: &[String], mut at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    let mut segments = prefix.to_vec();
    loop {
        segments.push(tokens[at].clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        match tokens.get(at + 1) {
            Some(next) if next == "{" => return group(tokens, at + 2, &segments, found),
            Some(next) if is_word(next) || next == "*" => at += 1,
            _ => break,
        }
    }
    found.push(segments);
    at
}

fn group(tokens: &[String], mut at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "}" => return at + 1,
            "as" => at += 2,
            "self" => {
                found.push(prefix.to_vec());
                at += 1;
            }
            word if is_word(word) || word == "*" => at = path(tokens, at, prefix, found),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(code: &str) -> Vec<String> {
        paths(&blank(code)).iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "a /* b\n */ c // d\n\"e\\\"f\" r#\"g\"h\"# 'i' '\\'' &'life x";
        let code = blank(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "c", "&'life", "x"]);
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn tests_are_not_counted_and_not_read() {
        let source =
            Source::new("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { c::d(); }\n}\nfn e() {}\n");
        assert_eq!(source.lines, 2);
        assert!(source.code.contains("fn e()") && !source.code.contains("c::d"));
    }

    #[test]
    fn files_of_test_modules_are_known() {
        let source = Source::new(
            "relay/src/spool/mod.rs",
            "mod log;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\npub(crate) mod disk;",
        );
        assert_eq!(source.test_modules(), ["relay/src/spool/tests", "relay/src/spool/disk"]);
        assert_eq!(Source::new("relay/src/a.rs", "#[cfg(test)]\nmod tests;").test_modules(), ["relay/src/a/tests"]);
    }

    #[test]
    fn groups_of_use_are_spelt_out() {
        assert_eq!(
            spelt("use crate::{a::{self, b as c}, d::*}; fn f() -> crate::e::F<g::H> { crate::i::<J>() }"),
            ["crate::a", "crate::a::b", "crate::d::*", "crate::e::F", "g::H", "crate::i"]
        );
    }
}
