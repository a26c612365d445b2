//! What the README names exists, and the invariants stand in it.

use std::fs;

use crate::assert_none;
use crate::source::root;

/// How many invariants the architecture has.
const INVARIANTS: usize = 12;

/// What stands between backticks and looks like a path of this repository, and does not exist.
fn missing_paths(readme: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    const OURS: &[&str] = &["crds/", "operator/", "relay/", "charts/", "tests/", ".ci/"];
    let inline = readme.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    let paths = inline.filter(|text| OURS.iter().any(|ours| text.starts_with(ours)));
    let paths = paths.filter_map(|text| text.split([' ', ':', '*', '{']).next());
    let missing = paths.filter(|path| !exists(path.trim_end_matches('/')));
    missing.map(|path| format!("README.md: {path} does not exist")).collect()
}

/// The numbers of the list under the heading `Invariants`.
fn invariants(readme: &str) -> Vec<usize> {
    let lines = readme.lines().skip_while(|line| !(line.starts_with('#') && line.contains("nvariants"))).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(". ")?.0.parse().ok()).collect()
}

#[test]
fn what_the_readme_names_exists() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert_none(&missing_paths(&readme, |path| root().join(path).exists()));
}

#[test]
fn the_readme_prints_the_invariants() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert_eq!(invariants(&readme), (1..=INVARIANTS).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_gone_is_found() {
        let readme = "See `relay/src/gone.rs` and `tests/run smtp`, `kubectl`.\n```\n`relay/not/a/path`\n```\n`crds/`";
        let exists = |path: &str| path == "tests/run" || path == "crds";
        assert_eq!(missing_paths(readme, exists), ["README.md: relay/src/gone.rs does not exist"]);
    }

    #[test]
    fn an_invariant_that_is_missing_is_found() {
        assert_eq!(invariants("1. no\n## Invariants\n\n1. a\n2. b\n\n4. c\n## Next\n5. d\n"), [1, 2, 4]);
    }
}
