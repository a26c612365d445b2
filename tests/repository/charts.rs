//! The charts say the same thing everywhere: values, their documentation and their schema, the definitions of the custom
//! resources, the limits of the relay. What the charts render is tests/charts' and tests/kubernetes' to find.
//!
//! What is derived is written anew by `POSTERN_BLESS=1 cargo test -p postern-tests --test repository`: read the difference
//! before it is committed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use postern_relay::limits::TABLE;
use serde_json::{Map, Value, json};

use crate::assert_none;
use crate::source::root;

const CHARTS: [&str; 2] = ["operator", "relay"];
/// Limits of the relay that have values of their own.
const OTHERWISE: [&str; 2] = ["drain-accept-time", "drain-time"];
/// What would make a second rendering another one than the first.
const NOT_THE_SAME_TWICE: &[&str] = &[
    "lookup",
    "rand",
    "shuffle",
    "uuid",
    "now",
    "genCA",
    "genSignedCert",
    "genPrivateKey",
    "derivePassword",
    "htpasswd",
];
/// Between these lines stands the table of values in a README.
const TABLE_BEGINS: &str = "<!-- The table is made from values.yaml. -->\n";
const TABLE_ENDS: &str = "<!-- Here it ends. -->\n";

fn chart(name: &str) -> PathBuf {
    root().join("charts").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Holds a file against what it is made from; `POSTERN_BLESS` makes it anew.
fn assert_current(path: &Path, expected: &str) {
    if std::env::var_os("POSTERN_BLESS").is_some() {
        fs::write(path, expected).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "{} is stale: see the head of tests/repository/charts.rs", path.display());
}

/// One value with the comment above it.
#[derive(Debug, PartialEq, Eq)]
struct Documented {
    path: Vec<String>,
    comment: String,
}

/// The values that have a comment, in their order; and those that neither have one nor stand inside of one that has.
fn documented(values: &str) -> (Vec<Documented>, Vec<String>) {
    let (mut found, mut bare) = (Vec::<Documented>::new(), Vec::new());
    let (mut comment, mut path) = (Vec::<&str>::new(), Vec::<(usize, &str)>::new());
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(said) = text.strip_prefix("# ") {
            comment.push(said);
            continue;
        }
        let said = std::mem::take(&mut comment).join(" ");
        let Some((key, value)) = text.split_once(':').filter(|(key, _)| !key.contains([' ', '-'])) else { continue };
        let indent = line.len() - text.len();
        path.retain(|(outer, _)| *outer < indent);
        path.push((indent, key));
        let full: Vec<String> = path.iter().map(|(_, key)| (*key).to_owned()).collect();
        let inside = found.iter().any(|outer| full.starts_with(&outer.path));
        match said.is_empty() {
            false => found.push(Documented { path: full, comment: said }),
            true if !inside && !value.trim().is_empty() => bare.push(full.join(".")),
            true => {}
        }
    }
    (found, bare)
}

/// The table in a chart's README.
fn table(values: &str) -> String {
    let tree: Value = serde_saphyr::from_str(values).unwrap();
    let mut table = String::from("| value | unless set | says |\n|---|---|---|\n");
    for Documented { path, comment } in documented(values).0 {
        let default = path.iter().fold(&tree, |tree, key| &tree[key.as_str()]);
        table += &format!("| `{}` | `{default}` | {} |\n", path.join("."), comment.replace('|', "\\|"));
    }
    table
}

/// What a strict schema has for an object of which all members are known; `None`: it may hold anything.
fn members(schema: &Value) -> Option<&Map<String, Value>> {
    schema["properties"].as_object()
}

/// Objects that take what nobody knows, and values that only one of the two files has.
fn loose(at: &str, schema: &Value, values: &Value, violations: &mut Vec<String>) {
    let Some(members) = members(schema) else { return };
    if schema["additionalProperties"] != json!(false) {
        violations.push(format!("{at}: takes what nobody knows"));
    }
    // Of the limits and the ports of nodes each has a default of its own, so none stands in the values.
    let Some(values) = values.as_object().filter(|values| !values.is_empty()) else { return };
    let (said, known): (BTreeSet<_>, BTreeSet<_>) = (values.keys().collect(), members.keys().collect());
    violations.extend(said.difference(&known).map(|key| format!("{at}.{key}: not in the schema")));
    violations
        .extend(known.difference(&said).filter(|key| **key != "global").map(|key| format!("{at}.{key}: no value")));
    for (key, schema) in members {
        loose(&format!("{at}.{key}"), schema, &values.get(key).cloned().unwrap_or_default(), violations);
    }
}

/// The schema of the relay's limits, from the table that the relay reads.
fn limits() -> Value {
    let rows = TABLE.iter().map(|flag| &flag.limit).filter(|limit| !OTHERWISE.contains(&limit.name));
    let rows = rows.map(|limit| {
        let schema = match limit.unit {
            "octets" | "octets a second" => json!({"type": ["integer", "string"], "pattern": "^[0-9]+(Ki|Mi|Gi|Ti)?$"}),
            "seconds" => json!({"type": ["integer", "string"], "pattern": "^[0-9]+(s|m|h)?$"}),
            _ => json!({"type": "integer", "minimum": limit.min, "maximum": limit.max}),
        };
        (limit.name.to_owned(), schema)
    });
    json!({"type": "object", "additionalProperties": false, "properties": rows.collect::<Map<_, _>>()})
}

/// Functions whose result is not made of the values alone, by the words inside of the template's braces.
fn unsteady(template: &str) -> Vec<&str> {
    let inside = template.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    let inside = inside.filter(|code| !code.trim_start_matches(['-', ' ']).starts_with("/*"));
    let words = inside.flat_map(|code| code.split(|c: char| !c.is_alphanumeric()));
    words.filter(|word| NOT_THE_SAME_TWICE.iter().any(|function| word.starts_with(function))).collect()
}

#[test]
fn every_value_has_a_comment_and_stands_in_the_readme() {
    for name in CHARTS {
        let values = read(&chart(name).join("values.yaml"));
        assert_eq!(documented(&values).1, [""; 0], "charts/{name}/values.yaml: without a comment");
        let path = chart(name).join("README.md");
        let readme = read(&path);
        let (head, rest) = readme.split_once(TABLE_BEGINS).unwrap();
        let (_, tail) = rest.split_once(TABLE_ENDS).unwrap();
        assert_current(&path, &format!("{head}{TABLE_BEGINS}\n{}\n{TABLE_ENDS}{tail}", table(&values)));
    }
}

#[test]
fn the_schema_knows_every_value_and_takes_no_other() {
    for name in CHARTS {
        let path = chart(name).join("values.schema.json");
        let mut schema: Value = serde_json::from_str(&read(&path)).unwrap();
        let values: Value = serde_saphyr::from_str(&read(&chart(name).join("values.yaml"))).unwrap();
        let mut violations = Vec::new();
        loose(name, &schema, &values, &mut violations);
        assert_none(&violations);
        if name == "relay" {
            schema["properties"]["limits"] = limits();
        }
        assert_current(&path, &format!("{}\n", serde_json::to_string_pretty(&schema).unwrap()));
    }
}

#[test]
fn the_operators_chart_has_the_definitions_of_today() {
    let (from, copies) = (root().join("crds/yaml"), chart("operator").join("files/crds"));
    let names = |folder: &Path| -> BTreeSet<_> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    for name in names(&from) {
        assert_current(&copies.join(&name), &read(&from.join(&name)));
    }
    assert_eq!(names(&from), names(&copies));
}

#[test]
fn charts_and_programs_have_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    for name in CHARTS {
        let about: Value = serde_saphyr::from_str(&read(&chart(name).join("Chart.yaml"))).unwrap();
        assert_eq!((&about["version"], &about["appVersion"]), (&json!(version), &json!(version)), "charts/{name}");
    }
}

#[test]
fn no_template_asks_for_the_time_for_chance_or_for_the_cluster() {
    for name in CHARTS {
        for entry in fs::read_dir(chart(name).join("templates")).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(unsteady(&read(&path)), [""; 0], "{}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: &str = "# One.\n# And more.\none: 1\ngroup:\n  # Two | three.\n  two: []\n  bare: x\n\n# Whole.\nwhole:\n  inside: 1\n";

    #[test]
    fn comments_belong_to_the_value_below_them() {
        let (found, bare) = documented(VALUES);
        let found: Vec<_> = found.iter().map(|value| (value.path.join("."), value.comment.as_str())).collect();
        let expected = [("one", "One. And more."), ("group.two", "Two | three."), ("whole", "Whole.")];
        assert_eq!(found, expected.map(|(path, comment)| (path.to_owned(), comment)));
        assert_eq!(bare, ["group.bare"]);
        assert!(
            table(VALUES)
                .ends_with("| `group.two` | `[]` | Two \\| three. |\n| `whole` | `{\"inside\":1}` | Whole. |\n")
        );
    }

    #[test]
    fn a_schema_that_is_not_strict_or_not_whole_is_found() {
        let schema = json!({"additionalProperties": false, "properties": {"a": {"properties": {"x": {}}}, "b": {}}});
        let mut violations = Vec::new();
        loose("chart", &schema, &json!({"a": {"x": 1}, "c": 1}), &mut violations);
        assert_eq!(violations, ["chart.c: not in the schema", "chart.b: no value", "chart.a: takes what nobody knows"]);
    }

    #[test]
    fn what_is_not_the_same_twice_is_found() {
        assert_eq!(
            unsteady("{{ now | date }} now {{- /* now */ -}} {{ randAlphaNum 5 }} {{ .Values.known }}"),
            ["now", "randAlphaNum"]
        );
    }
}
