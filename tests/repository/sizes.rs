//! The numbers and names that keep a file readable.

use std::fs;

use crate::assert_none;
use crate::source::{Source, root, sources};

/// Lines of a file that are not tests.
const LINES_MAX: usize = 400;
/// Longer files, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "manager", "misc", "shared", "types", "util", "utils"];
/// What may lie beside the dotfiles at the top.
const TOP: &[&str] =
    &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "charts", "crds", "operator", "relay", "tests"];

fn long_files(files: &[Source], exceptions: &[(&str, &str)]) -> Vec<String> {
    let is_exception = |file: &Source| exceptions.iter().any(|(path, _)| *path == file.path);
    let long = files.iter().filter(|file| file.lines > LINES_MAX && !is_exception(file));
    long.map(|file| format!("{}: {} lines without its tests, more than {LINES_MAX}", file.path, file.lines)).collect()
}

/// Exceptions that nothing needs any more.
fn needless_exceptions(files: &[Source], exceptions: &[(&str, &str)]) -> Vec<String> {
    let needs = |path: &str| files.iter().any(|file| file.path == path && file.lines > LINES_MAX);
    let needless = exceptions.iter().filter(|(path, _)| !needs(path));
    needless.map(|(path, _)| format!("{path}: is not long, and needs no exception")).collect()
}

fn empty_names(files: &[Source]) -> Vec<String> {
    let parts = |path: &str| path.trim_end_matches(".rs").split('/').map(str::to_owned).collect::<Vec<_>>();
    let empty = |file: &&Source| parts(&file.path).iter().any(|part| EMPTY_NAMES.contains(&part.as_str()));
    files.iter().filter(empty).map(|file| format!("{}: a name that says nothing", file.path)).collect()
}

fn without_header(files: &[Source]) -> Vec<String> {
    let without = files.iter().filter(|file| file.lines > 1 && !file.text.starts_with("//! "));
    without.map(|file| format!("{}: begins without a module header (`//! …`)", file.path)).collect()
}

fn strangers_at_the_top(names: &[String]) -> Vec<String> {
    let known = |name: &String| name.starts_with('.') || TOP.contains(&name.as_str());
    let strangers = names.iter().filter(|name| !known(name));
    strangers.map(|name| format!("{name}: not one of the top-level folders of the architecture")).collect()
}

fn all() -> Vec<Source> {
    sources(&["crds", "operator", "relay", "tests"])
}

#[test]
fn no_file_is_longer_than_can_be_read() {
    let files = all();
    assert!(files.len() > 50, "only {} files were found", files.len());
    assert_none(&long_files(&files, LONG_FILES));
    assert_none(&needless_exceptions(&files, LONG_FILES));
}

#[test]
fn no_name_says_nothing() {
    assert_none(&empty_names(&all()));
}

#[test]
fn each_file_begins_with_its_contract() {
    assert_none(&without_header(&all()));
}

#[test]
fn the_top_level_is_that_of_the_architecture() {
    // The build's folder is where cargo was told to put it; by default here.
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = entries.filter(|name| name != "target").collect();
    assert!(names.iter().any(|name| name == "Cargo.toml"));
    assert_none(&strangers_at_the_top(&names));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> Source {
        Source::new(path, &"//! x\n".repeat(lines))
    }

    #[test]
    fn a_long_file_is_found_and_so_is_a_needless_exception() {
        let files = [file("a.rs", 401), file("b.rs", 400), file("c.rs", 500)];
        let exceptions = [("b.rs", "none"), ("c.rs", "one table")];
        assert_eq!(long_files(&files, &exceptions), ["a.rs: 401 lines without its tests, more than 400"]);
        assert_eq!(needless_exceptions(&files, &exceptions).len(), 1);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        let files =
            [file("relay/src/utils.rs", 1), file("relay/src/common/a.rs", 1), file("relay/src/typesetter.rs", 1)];
        assert_eq!(empty_names(&files).len(), 2);
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(without_header(&[Source::new("a.rs", "// a\nfn main() {}\n"), file("b.rs", 1)]).len(), 1);
    }

    #[test]
    fn a_stranger_at_the_top_is_found() {
        let names = ["relay", ".ci", "scripts"].map(str::to_owned);
        assert_eq!(strangers_at_the_top(&names).len(), 1);
    }
}
