//! Inside the relay, imports point only downwards. Which module is in which layer is read from the table in
//! `relay/src/lib.rs`, so that there is only one.

use std::collections::BTreeMap;

use crate::assert_none;
use crate::source::{Named, Source, paths, sources};

/// What the modules of layers 0 and 1 never name: paths by their beginning.
const IMPURE: &[&str] = &[
    "axum",
    "getrandom",
    "hickory_resolver",
    "rustix",
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "std::process",
    "std::thread",
    "tokio",
    "tokio_rustls",
];
/// Whose `now` is a clock.
const CLOCKS: &[&str] = &["Instant", "SystemTime", "Timestamp", "Zoned"];

type Layers = BTreeMap<String, u8>;

/// Reads rows such as ``//! | 3 drivers | `server`, `delivery` | never … |``.
fn layers(lib: &str) -> Layers {
    let mut layers = Layers::new();
    for row in lib.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let mut cells = row.split(" | ");
        let (Some(layer), Some(modules)) = (cells.next(), cells.next()) else { continue };
        let Some(layer) = layer.split(' ').next().and_then(|number| number.parse().ok()) else { continue };
        let names = modules.split('`').skip(1).step_by(2);
        layers.extend(names.map(|name| (name.to_owned(), layer)));
    }
    layers
}

/// `relay/src/spool/log.rs` is in `spool`, two modules deep.
fn place(path: &str) -> (String, usize) {
    let inside = path.trim_start_matches("relay/src/").trim_end_matches(".rs").trim_end_matches("/mod");
    (inside.split('/').next().unwrap_or(inside).to_owned(), inside.split('/').count())
}

/// A path of our own crate from its root on: `crate::spool::Spool` and `super::super::spool::Spool` are the same.
fn from_root(path: &Named, depth: usize) -> Option<&[String]> {
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    match path[0].as_str() {
        "crate" => Some(&path[1..]),
        "super" if supers == depth => Some(&path[supers..]),
        _ => None,
    }
}

fn layer_violations(layers: &Layers, files: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        let (module, depth) = place(&file.path);
        let layer = match module.as_str() {
            "lib" | "main" => continue,
            module => match layers.get(module) {
                Some(layer) => *layer,
                None => {
                    violations
                        .push(format!("{}: `{module}` is in no layer of the table in relay/src/lib.rs", file.path));
                    continue;
                }
            },
        };
        for path in paths(&file.code) {
            let Some([other, inside @ ..]) = from_root(&path, depth) else { continue };
            let Some(below) = layers.get(other).filter(|_| *other != module) else { continue };
            let named = path.join("::");
            if *below > layer {
                violations.push(format!("{}: {named} is in layer {below}, above `{module}`", file.path));
            } else if *below == layer && layer == 3 {
                violations.push(format!("{}: {named}: drivers do not know each other", file.path));
            } else if *below == layer && layer == 2 && inside.len() > 1 && inside[0].starts_with(char::is_lowercase) {
                violations.push(format!("{}: {named} is inside another resource: use what its root gives", file.path));
            }
        }
    }
    violations
}

fn purity_violations(layers: &Layers, files: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| layers.get(&place(&file.path).0).is_some_and(|layer| *layer <= 1)) {
        for path in paths(&file.code) {
            let named = path.join("::");
            let begins = |impure: &&&str| named == **impure || named.starts_with(&format!("{impure}::"));
            if IMPURE.iter().any(|impure| begins(&impure)) {
                violations.push(format!("{}: {named} in a pure layer", file.path));
            }
            if let [.., clock, now] = path.as_slice()
                && now == "now"
                && CLOCKS.contains(&clock.as_str())
            {
                violations.push(format!("{}: {named}: `now` is an argument", file.path));
            }
        }
        let words = file.code.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.into_iter().any(|word| word == "await" || word == "async") {
            violations.push(format!("{}: waits, in a pure layer", file.path));
        }
    }
    violations
}

fn relay() -> (Layers, Vec<Source>) {
    let files = sources(&["relay/src"]);
    let lib = files.iter().find(|file| file.path == "relay/src/lib.rs").unwrap();
    (layers(&lib.text), files)
}

#[test]
fn imports_of_the_relay_point_only_downwards() {
    let (layers, files) = relay();
    assert!(layers.len() > 10 && layers["smtp"] == 1 && layers["spool"] == 2, "{layers:?}");
    assert_none(&layer_violations(&layers, &files));
}

#[test]
fn the_pure_layers_of_the_relay_do_no_io_and_read_no_clock() {
    let (layers, files) = relay();
    assert_none(&purity_violations(&layers, &files));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "//! | 3 drivers | `server`, `delivery` | x |\n//! | 2 resources | `spool`, `config` | x |\n\
                         //! | 1 pure | `smtp` | x |\n//! | 0 nouns | `address` | x |\n";

    fn found(rule: fn(&Layers, &[Source]) -> Vec<String>, path: &str, code: &str) -> Vec<String> {
        rule(&layers(TABLE), &[Source::new(path, code)])
    }

    #[test]
    fn the_table_is_read() {
        assert_eq!(
            layers(TABLE).into_iter().map(|(name, layer)| format!("{name}{layer}")).collect::<Vec<_>>(),
            ["address0", "config2", "delivery3", "server3", "smtp1", "spool2"]
        );
    }

    #[test]
    fn an_import_upwards_is_found() {
        let upwards = [
            ("relay/src/smtp/session.rs", "use crate::{address::Mailbox, spool::Spool};"),
            ("relay/src/smtp/session.rs", "fn f() { super::super::spool::open() }"),
            ("relay/src/address.rs", "use super::smtp;"),
            ("relay/src/spool/mod.rs", "fn f(x: crate::server::Server) {}"),
        ];
        for (path, code) in upwards {
            assert_eq!(found(layer_violations, path, code).len(), 1, "{path}: {code}");
        }
    }

    #[test]
    fn what_is_allowed_is_not_found() {
        let allowed = [
            (
                "relay/src/server/mod.rs",
                "use crate::spool::log::Entry; use crate::smtp::Session; use self::a; use super::a;",
            ),
            (
                "relay/src/spool/mod.rs",
                "use crate::config::Config; use crate::spool::log::Log; use crate::config::build;",
            ),
            (
                "relay/src/smtp/session.rs",
                "use super::reply::Reply; // crate::spool\n#[cfg(test)]\nmod tests { use crate::spool; }",
            ),
        ];
        for (path, code) in allowed {
            assert_none(&found(layer_violations, path, code));
        }
    }

    #[test]
    fn one_driver_that_knows_another_is_found() {
        assert_eq!(found(layer_violations, "relay/src/server/mod.rs", "use crate::delivery::Delivery;").len(), 1);
    }

    #[test]
    fn the_inside_of_another_resource_is_found() {
        assert_eq!(found(layer_violations, "relay/src/config/mod.rs", "use crate::spool::log::Log;").len(), 1);
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        assert_eq!(found(layer_violations, "relay/src/helpers.rs", "").len(), 1);
    }

    #[test]
    fn io_and_clocks_in_a_pure_layer_are_found() {
        let impure = [
            "use tokio::sync::mpsc;",
            "use std::{fs, fmt};",
            "fn f() { std::fs::read(p); }",
            "use std::net::{IpAddr, TcpStream};",
            "fn f() { let t = Instant::now(); }",
            "fn f() { jiff::Timestamp::now(); }",
            "fn f() { g().await; }",
        ];
        for code in impure {
            assert_eq!(found(purity_violations, "relay/src/smtp/session.rs", code).len(), 1, "{code}");
        }
        assert_none(&found(
            purity_violations,
            "relay/src/smtp/session.rs",
            "use std::net::IpAddr; use std::io::Write;",
        ));
        assert_none(&found(purity_violations, "relay/src/spool/disk.rs", "use std::fs; fn f() { Instant::now(); }"));
    }
}
