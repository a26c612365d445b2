//! Which crate may know which, and what comes in from outside. Read with `cargo tree`, one crate at a time, because in
//! the workspace as a whole features of one are switched on for all.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::assert_none;
use crate::source::root;

/// A crate, and whom it never knows, at any depth.
const NEVER: &[(&str, &[&str])] = &[
    ("postern-crds", &["postern-*", "kube-client", "kube-runtime", "tokio", "hyper"]),
    ("postern-wire", &["postern-*", "k8s-openapi", "kube*", "tokio"]),
    ("postern-relay", &["k8s-openapi", "kube*", "postern-cli", "postern-crds", "postern-operator", "postern-tests"]),
    ("postern-operator", &["postern-cli", "postern-relay", "postern-tests"]),
    ("postern-tests", &["postern-cli"]),
];
/// One provider of cryptography, no C library of the system, nothing abandoned.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring", "serde_yaml"];
/// Crates of which there are two versions, each with its reason.
const TWO_VERSIONS: &[(&str, &str)] = &[
    ("base64", "k8s-openapi, kube-cel and tower-http are a version behind kube-client"),
    ("getrandom", "ahash, under kube-runtime, is a version behind rand, tempfile and uuid"),
    ("syn", "derives move from 2 to 3 one after the other; nothing of it is in our programs"),
    ("thiserror", "cel, under kube's `cel`, still uses 1"),
    ("thiserror-impl", "see thiserror"),
];
/// Licences that ours can be given together with.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "LLVM-exception",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// One line of `cargo tree`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    /// Where it comes from when that is neither crates.io nor here.
    source: Option<String>,
    licence: String,
}

/// Reads lines of `{p}|{l}`: `kube v5.0.0|Apache-2.0`, `x v1.0.0 (https://…)|MIT (*)`, `ours v0.1.0 (/path)|…`.
fn packages(tree: &str) -> BTreeSet<Package> {
    let mut packages = BTreeSet::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, licence) = line.split_once('|').unwrap_or((line, ""));
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let source = words.find(|word| word.contains("://")).map(str::to_owned);
        let licence = licence.trim_end_matches("(*)").trim().to_owned();
        packages.insert(Package { name: name.to_owned(), version: version.to_owned(), source, licence });
    }
    packages
}

fn tree(args: &[&str]) -> BTreeSet<Package> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}|{l}"]);
    let output = command.args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    packages(&String::from_utf8(output.stdout).unwrap())
}

fn is(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
}

fn forbidden(of: &str, never: &[&str], packages: &BTreeSet<Package>) -> Vec<String> {
    let known = packages.iter().filter(|package| package.name != of);
    let forbidden = known.filter(|package| never.iter().any(|pattern| is(pattern, &package.name)));
    forbidden.map(|package| format!("{of} knows {} {}", package.name, package.version)).collect()
}

fn two_versions(packages: &BTreeSet<Package>, exceptions: &[(&str, &str)]) -> Vec<String> {
    let mut versions = BTreeMap::<&str, BTreeSet<&str>>::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let reasoned = |name: &str| exceptions.iter().any(|(exception, _)| *exception == name);
    let unreasoned = versions.iter().filter(|(name, _)| !reasoned(name));
    let needless = exceptions.iter().filter(|(name, _)| !versions.contains_key(name));
    let unreasoned = unreasoned.map(|(name, versions)| format!("{name}: {versions:?}, and no reason for it"));
    unreasoned.chain(needless.map(|(name, _)| format!("{name}: one version only, and needs no exception"))).collect()
}

fn bad_licences(packages: &BTreeSet<Package>) -> Vec<String> {
    let words = |licence: &str| {
        let words = licence.split([' ', '(', ')', '/']).filter(|word| !matches!(*word, "" | "AND" | "OR" | "WITH"));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let good = |licence: &str| {
        let words = words(licence);
        !words.is_empty() && words.iter().all(|word| LICENCES.contains(&word.as_str()))
    };
    let bad = packages.iter().filter(|package| !good(&package.licence));
    bad.map(|package| format!("{} {}: licence {:?}", package.name, package.version, package.licence)).collect()
}

fn bad_sources(packages: &BTreeSet<Package>) -> Vec<String> {
    let named = packages.iter().filter_map(|package| Some((&package.name, package.source.as_ref()?)));
    named.map(|(name, source)| format!("{name} comes from {source}, not from crates.io")).collect()
}

/// Dependencies without a version, in the text of a Cargo.toml.
fn wildcards(manifest: &str) -> Vec<String> {
    let open = |line: &&str| line.replace(' ', "").contains("=\"*\"");
    manifest.lines().filter(open).map(|line| format!("any version will do for: {line}")).collect()
}

#[test]
fn no_crate_knows_what_it_must_not() {
    for (name, never) in NEVER {
        let packages = tree(&["--package", name]);
        assert!(packages.iter().any(|package| package.name == *name), "{name}");
        assert_none(&forbidden(name, never, &packages));
    }
}

#[test]
fn what_comes_in_from_outside_is_known_and_may_be_given_on() {
    let packages = tree(&["--workspace"]);
    assert!(packages.len() > 100, "only {} packages", packages.len());
    assert_none(&forbidden("the workspace", BANNED, &packages));
    assert_none(&two_versions(&packages, TWO_VERSIONS));
    assert_none(&bad_licences(&packages));
    assert_none(&bad_sources(&packages));
    for manifest in
        ["Cargo.toml", "crds/Cargo.toml", "operator/Cargo.toml", "operator/cli/Cargo.toml", "relay/Cargo.toml"]
    {
        assert_none(&wildcards(&std::fs::read_to_string(root().join(manifest)).unwrap()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_knows_too_much_is_found() {
        let packages = packages("postern-wire v0.1.0 (/here)|Apache-2.0\nserde v1.0.0|MIT\nkube-core v5.0.0|MIT\n");
        assert_eq!(
            forbidden("postern-wire", &["postern-*", "kube*"], &packages),
            ["postern-wire knows kube-core v5.0.0"]
        );
    }

    #[test]
    fn a_second_version_without_a_reason_is_found_and_so_is_a_needless_reason() {
        let packages = packages("a v1.0.0|MIT\na v2.0.0|MIT\na v2.0.0|MIT (*)\nb v1.0.0|MIT\n");
        assert_eq!(two_versions(&packages, &[]).len(), 1);
        assert_eq!(two_versions(&packages, &[("a", "known"), ("b", "needless")]).len(), 1);
    }

    #[test]
    fn a_licence_or_a_source_that_is_not_ours_to_take_is_found() {
        let packages =
            packages("a v1.0.0|GPL-3.0 OR MIT\nb v1.0.0|\nc v1.0.0|(MIT OR Apache-2.0) AND Unicode-3.0 (*)\n");
        assert_eq!(bad_licences(&packages).len(), 2);
        let packages = super::packages("a v1.0.0 (https://example.test/a#1234)|MIT\nb v1.0.0 (/here)|MIT\n");
        assert_eq!(bad_sources(&packages), ["a comes from (https://example.test/a#1234), not from crates.io"]);
    }

    #[test]
    fn a_dependency_of_any_version_is_found() {
        assert_eq!(wildcards("a = \"*\"\nb = { version = \"*\" }\nc = \"1\"\nmembers = [\"*\"]").len(), 2);
    }
}
