//! The examples under `crds/`: those to follow are valid and a relay takes them, each invalid one is refused as it says, and
//! nothing that a CRD forbids is without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use postern_crds::condition::{ConditionType, Reason};
use postern_operator::problem::{Effect, Problem};
use postern_operator::render::render;
use postern_operator::resolve::resolve;
use postern_wire::limits::{self, Limit};
use serde_json::Value;

use super::tests::read_texts;
use super::{Finding, Manifests, read};

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds").join(path)
}

fn files(path: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder(path)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn invalid() -> impl Iterator<Item = PathBuf> {
    ["invalid/relaydomain", "invalid/relayhost", "invalid/filterpolicy"].into_iter().flat_map(files)
}

/// The lines of a file's head that begin with `# KEY: `.
fn head(file: &Path, key: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let prefix = format!("# {key}: ");
    let lines: Vec<String> = text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{} expects nothing", file.display());
    lines
}

/// What is wrong for reasons that a schema gives: `RelayHost spec.endpoints[].host.port maximum`.
fn constraint(finding: &Finding) -> Option<String> {
    let kind = finding.object.as_deref()?.split('/').next()?;
    let field: String =
        finding.field.split_inclusive('[').map(|part| part.trim_start_matches(char::is_numeric)).collect();
    Some(format!("{kind} {field} {}", finding.constraint.as_deref()?))
}

#[test]
fn the_quickstart_is_valid_and_finds_all_that_it_names() {
    let manifests = read(&[folder("examples/quickstart")]);
    assert_eq!(manifests.findings, []);
    assert_eq!(manifests.notes, []);
    let (_, problems) = resolve(&manifests.inputs());
    let problems: Vec<_> = problems.into_iter().filter(|problem| problem.effect != Effect::Warning).collect();
    assert_eq!(problems, []);
    let sources = manifests.hosts.iter().flat_map(|host| &host.spec.sources);
    assert!(sources.filter_map(|source| source.cidr.as_ref()).all(|cidr| cidr.range == "127.0.0.8/29"));
}

#[test]
fn every_other_example_is_valid_finds_all_that_it_names_and_becomes_settings() {
    let folders = fs::read_dir(folder("examples")).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert!(folders.len() >= 3, "{folders:?}");
    for folder in folders {
        let manifests = read(std::slice::from_ref(&folder));
        assert_eq!((&*manifests.findings, &*manifests.notes), (&[][..], &[][..]), "{}", folder.display());
        let (model, problems) = resolve(&manifests.inputs());
        let (warnings, problems): (Vec<_>, Vec<_>) =
            problems.into_iter().partition(|problem| problem.effect == Effect::Warning);
        assert_eq!(problems, [], "{}", folder.display());
        let of_the_place = |problem: &Problem| {
            problem.reason == Reason::AddressUnknown || problem.message.contains("taken here, refused in a cluster")
        };
        assert!(warnings.iter().all(of_the_place), "{warnings:?}");
        let settings = render(&model, postern_wire::SCHEMA).settings;
        let secrets = model.secrets.into_iter().map(|(file, content)| (file.0, content.0)).collect();
        let (_, faults) = postern_relay::config::build(settings.snapshot, &secrets, None).unwrap();
        assert_eq!(faults, [], "{}", folder.display());
    }
}

#[test]
fn each_invalid_example_is_refused_for_exactly_what_it_says() {
    for file in invalid() {
        let expected = head(&file, "expect");
        let Manifests { findings, .. } = read(std::slice::from_ref(&file));
        assert_eq!(findings.len(), expected.len(), "{}: {findings:?}", file.display());
        for line in expected {
            let (field, text) = line.split_once(": ").unwrap();
            let said = findings.iter().any(|finding| finding.field == field && finding.message.contains(text));
            assert!(said, "{} must say {line:?}, but says {findings:?}", file.display());
        }
    }
}

#[test]
fn each_dangling_example_gets_the_status_that_it_says() {
    for file in files("invalid/dangling") {
        let manifests = read(std::slice::from_ref(&file));
        assert_eq!(manifests.findings, [], "{}", file.display());
        let (_, problems) = resolve(&manifests.inputs());
        let expected = head(&file, "status");
        assert_eq!(problems.len(), expected.len(), "{}: {problems:?}", file.display());
        for (line, problem) in expected.iter().zip(&problems) {
            let condition = match problem.effect {
                Effect::NotAccepted => ConditionType::Accepted,
                Effect::Partial => ConditionType::PartiallyInvalid,
                _ => ConditionType::ResolvedRefs,
            };
            let said = format!("{} {condition} {}: {}", problem.object, problem.reason, problem.message);
            assert!(said.starts_with(line.as_str()), "{} must say {line:?}, but says {said:?}", file.display());
        }
    }
}

#[test]
fn nothing_that_a_crd_forbids_is_without_an_invalid_example() {
    let shown: BTreeSet<String> =
        invalid().flat_map(|file| read(&[file]).findings).filter_map(|finding| constraint(&finding)).collect();
    let mut all = BTreeSet::new();
    for (kind, schema) in schemas() {
        collect(&kind, "", &schema, &mut all);
    }
    let missing: Vec<_> = all.difference(&shown).collect();
    assert!(missing.is_empty(), "no example in crds/invalid for: {missing:#?}");
    assert!(all.len() > 100, "only {} constraints were found: is the walk broken?", all.len());
}

/// Kinds and their schemas.
fn schemas() -> Vec<(String, Value)> {
    let crds = postern_crds::all();
    let schema = |version: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion| {
        serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap()
    };
    crds.iter().map(|crd| (crd.spec.names.kind.clone(), schema(&crd.spec.versions[0]))).collect()
}

/// All constraints of a schema, as [`constraint`] names them; and a failure for a keyword that nobody checks offline.
fn collect(kind: &str, path: &str, schema: &Value, all: &mut BTreeSet<String>) {
    const SAYS_NOTHING: [&str; 7] = [
        "description",
        "format",
        "items",
        "properties",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
    ];
    let child = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (keyword, value) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "minimum" | "maximum" | "maxLength" | "minItems" | "maxItems" | "enum" => {
                all.insert(format!("{kind} {path} {keyword}"));
            }
            "required" => {
                let names = value.as_array().unwrap().iter().filter_map(Value::as_str);
                all.extend(names.map(|name| format!("{kind} {} required", child(name))));
            }
            "x-kubernetes-list-type" if value == "atomic" => {}
            "x-kubernetes-list-type" => {
                all.insert(format!("{kind} {path}[] duplicate"));
            }
            "x-kubernetes-validations" => {
                for rule in value.as_array().unwrap() {
                    let place = rule["fieldPath"].as_str().map_or(path, |field| field.trim_start_matches('.'));
                    all.insert(format!("{kind} {place} rule {}", rule["rule"].as_str().unwrap()));
                }
            }
            other => assert!(SAYS_NOTHING.contains(&other), "{kind} {path}: nobody checks {other} offline"),
        }
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        // The operator alone writes the status.
        if !(path.is_empty() && key == "status") {
            collect(kind, &child(key), property, all);
        }
    }
    if let Some(items) = schema.get("items") {
        collect(kind, &format!("{path}[]"), items, all);
    }
}

/// Whether a policy, or a host, with this value is taken.
fn taken(limit: &Limit, value: &str) -> bool {
    let (kind, field) = limit.name.split_once(".spec.").unwrap();
    let (section, field) = field.split_once('.').unwrap();
    let endpoints = if kind == "RelayHost" { ", endpoints: [{host: {address: 10.0.0.1}}]" } else { "" };
    let text = format!(
        "apiVersion: postern.io/v1alpha1\nkind: {kind}\nmetadata: {{name: default}}\n\
         spec: {{{section}: {{{field}: {value}}}{endpoints}}}\n"
    );
    let findings = read_texts(&[("limit.yaml", &text)]).findings;
    assert!(findings.iter().all(|finding| finding.field == format!("spec.{section}.{field}")), "{findings:?}");
    findings.is_empty()
}

#[test]
fn the_bounds_of_the_crds_are_those_that_the_relay_holds() {
    for limit in limits::TABLE {
        let written = |value: u64| match limit.unit {
            "seconds" => format!("{}h{}m{}s", value / 3600, value / 60 % 60, value % 60),
            _ => value.to_string(),
        };
        for value in [limit.min, limit.default, limit.max] {
            assert!(taken(limit, &written(value)), "{} must take {value}", limit.name);
        }
        // Below 0 nothing can be written.
        for value in limit.min.checked_sub(1).into_iter().chain([limit.max + 1]) {
            assert!(!taken(limit, &written(value)), "{} must not take {value}", limit.name);
        }
    }
}

#[test]
fn the_descriptions_of_limits_name_their_bounds_and_default() {
    let schemas: BTreeMap<String, Value> = schemas().into_iter().collect();
    for limit in limits::TABLE {
        let short = |value: u64| match limit.unit {
            "seconds" if value == 0 => "0s".to_owned(),
            "seconds" if value.is_multiple_of(3600) => format!("{}h", value / 3600),
            "seconds" => format!("{}m", value / 60),
            "octets" if value.is_multiple_of(1 << 30) => format!("{}Gi", value >> 30),
            "octets" if value.is_multiple_of(1 << 20) => format!("{}Mi", value >> 20),
            "octets" => format!("{}Ki", value >> 10),
            _ => value.to_string(),
        };
        let (kind, path) = limit.name.split_once('.').unwrap();
        let schema = path.split('.').fold(&schemas[kind], |schema, field| &schema["properties"][field]);
        let description = schema["description"].as_str().unwrap();
        let expected = format!("From {} to {}. Default: {}.", short(limit.min), short(limit.max), short(limit.default));
        assert!(description.ends_with(&expected), "{}: {description:?} must end with {expected:?}", limit.name);
    }
}
