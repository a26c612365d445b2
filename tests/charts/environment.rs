//! What a pod tells its program is what the program asks for: no value is accepted and ignored.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use postern_relay::options::{Defaults, Flags, Options};
use postern_tests::chart::objects;
use serde_json::{Value, json};

use crate::{everything, namespace, renderings};

/// What a relay still takes after its drain, to end what is cut off.
const CUT_OFF: Duration = Duration::from_secs(2);

/// The command line of a relay, but for its folders and its log.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

fn pod(chart: &str, values: &Value) -> Value {
    let objects = objects(chart, namespace(chart), values).unwrap();
    let mut pods = objects.into_iter().map(|mut object| object["spec"]["template"]["spec"].take());
    pods.find(|pod| !pod.is_null()).unwrap()
}

/// The variables, with what the kubelet puts in place of others' names.
fn environment(pod: &Value) -> BTreeMap<String, String> {
    let variables = pod["containers"][0]["env"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let variables = variables.iter().map(|variable| (text(&variable["name"]), text(&variable["value"])));
    let filled = variables.map(|(name, value)| {
        let value = value.replace("$(POD_NAME)", "postern-relay-0");
        let value =
            value.replace("$(KUBERNETES_SERVICE_HOST)", "10.96.0.1").replace("$(KUBERNETES_SERVICE_PORT)", "443");
        assert!(!value.contains("$("), "{name}: {value}");
        (name, value)
    });
    filled.collect()
}

/// The options of a relay in this pod: every variable by the flag of its name.
fn options(pod: &Value) -> Options {
    let environment = environment(pod);
    let of_process = ["POSTERN_SETTINGS", "POSTERN_SPOOL", "POSTERN_LOG", "POSTERN_LOG_FORMAT"];
    let flags = environment.iter().filter(|(name, _)| !of_process.contains(&name.as_str()));
    let flags = flags.filter_map(|(name, value)| {
        let flag = name.strip_prefix("POSTERN_")?.to_lowercase().replace('_', "-");
        Some([format!("--{flag}"), value.clone()])
    });
    let line = Line::try_parse_from(std::iter::once("relay".to_owned()).chain(flags.flatten())).unwrap();
    let nowhere = ([127, 0, 0, 1], 1).into();
    let [settings, spool] = ["POSTERN_SETTINGS", "POSTERN_SPOOL"].map(|name| environment[name].clone().into());
    line.flags.into_options(settings, spool, Defaults { smtp: nowhere, http: nowhere, control: None }).unwrap()
}

/// The Rust files of a folder, as one text.
fn source(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = entries.map(|path| match path.is_dir() {
        true => source(&path),
        false => fs::read_to_string(&path).unwrap_or_default(),
    });
    texts.collect()
}

#[test]
fn every_variable_is_read_by_the_program() {
    for (chart, values) in renderings() {
        let source = source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(chart).join("src"));
        let environment = environment(&pod(chart, &values));
        assert!(environment.len() > 5, "{environment:?}");
        for name in environment.keys() {
            // A pod's name is for the kubelet to put into others' values, too.
            let for_others = chart == "relay" && name == "POD_NAME";
            let for_the_allocator = name.starts_with("MIMALLOC_") && source.contains("mimalloc::MiMalloc");
            let read = source.contains(&format!("\"{name}\"")) || for_others || for_the_allocator;
            assert!(read, "charts/{chart} sets {name}, which the program does not read");
        }
    }
}

#[test]
fn a_relay_takes_what_the_values_say() {
    let options = options(&pod("relay", &everything("relay")));
    let shown = |addresses: &[std::net::SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&options.smtp), ["[::]:2525"]);
    assert_eq!(shown(&options.smtps), ["[::]:4650"]);
    assert_eq!(shown(&options.dns), ["192.0.2.53:53", "[2001:db8::53]:5353"]);
    assert_eq!(options.hostname, "postern-relay-0.example.com");
    assert_eq!(options.tls.as_deref(), Some(Path::new("/tls")));
    assert_eq!(options.control.as_deref(), Some(Path::new("/run/postern/control.sock")));
    let ranges = [&options.proxy_from, &options.never_source, &options.mx_allow].map(|ranges| ranges[0].to_string());
    assert_eq!(ranges, ["192.0.2.10/32", "10.0.0.0/24", "10.20.0.0/16"]);
    let limits = &options.limits;
    assert_eq!((limits.spool_size, limits.connections, limits.body_memory), (20 << 30, 100_000, 32 << 20));
    assert_eq!(limits.command_time, Duration::from_secs(120));
}

#[test]
fn kubernetes_waits_for_the_whole_drain() {
    for drain in [json!({}), json!({"acceptSeconds": 0, "finishSeconds": 600})] {
        let pod = pod("relay", &json!({"hostname": "relay.example.com", "drain": drain}));
        let limits = options(&pod).limits;
        let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap());
        assert!(grace > limits.drain_accept_time + limits.drain_time + CUT_OFF, "{grace:?}");
        if drain["finishSeconds"] == 600 {
            assert_eq!((limits.drain_accept_time, limits.drain_time), (Duration::ZERO, Duration::from_secs(600)));
        }
    }
}

#[test]
fn a_pod_listens_where_its_ports_say() {
    let pod = pod("relay", &everything("relay"));
    let options = options(&pod);
    let ports = pod["containers"][0]["ports"].as_array().unwrap();
    let ports: BTreeMap<_, _> =
        ports.iter().map(|port| (port["name"].as_str().unwrap(), &port["containerPort"])).collect();
    let listens =
        [("http", options.http.port()), ("smtp", options.smtp[0].port()), ("submissions", options.smtps[0].port())];
    assert_eq!(
        ports,
        listens.each_ref().map(|(name, port)| (*name, json!(port))).iter().map(|(name, port)| (*name, port)).collect()
    );
}
