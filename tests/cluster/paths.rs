//! Paths that move: behind a name, behind a Service, and to the Internet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::dmz::Dmz;
use crate::isolation::host;
use crate::network::inside;
use crate::peer::Peer;
use crate::spot::Spot;
use crate::standing::Namespace;
use crate::world;

/// A DMZ of one relay and two servers that listen on port 2525, on either node, in a namespace of their own.
struct Scene {
    dmz: Dmz,
    relay: Spot,
    apps: Namespace,
    first: SocketAddr,
    second: SocketAddr,
    witness: Spot,
}

impl Scene {
    fn new(hint: &str) -> Self {
        let dmz = Dmz::new(hint, 1, &[]);
        let apps = Namespace::new(&format!("{hint}-apps"));
        let server = |node: &str, name: &str| {
            let peer = Peer::start(&apps.0, node, name, &["listen", "2525"]).unwrap();
            SocketAddr::from((peer.ip(), 2525))
        };
        let (first, second) = (server("a", "first"), server("b", "second"));
        Peer::start(&apps.0, "b", "witness", &["idle"]).unwrap();
        let witness = Spot::pod(&apps.0, "witness").unwrap();
        witness.sees_open(&[first, second]);
        let relay = Spot::relay(&dmz.relays().unwrap()[0]);
        relay.sees_closed(&[first, second]);
        Self { dmz, relay, apps, first, second, witness }
    }
}

fn v4(address: SocketAddr) -> Ipv4Addr {
    match address.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address}: the cluster has IPv4 alone"),
    }
}

#[test]
fn a_name_that_changes_its_answer_opens_the_new_address_and_keeps_the_old() {
    let scene = Scene::new("names");
    let name = "mail.names.example";
    world::answers(name, &[v4(scene.first)]);
    let mail = host("mail", &json!({"host": {"address": name, "port": 2525}}));
    scene.dmz.apply(&mail.to_string()).unwrap();
    scene.relay.sees_open(&[scene.first]);
    scene.relay.sees_closed(&[scene.second]);

    world::answers(name, &[v4(scene.second)]);
    scene.relay.sees_open(&[scene.second]);
    // A relay, or its name server, may have been told the old address a moment ago.
    scene.relay.sees_open(&[scene.first]);

    scene.dmz.kubectl(&["delete", "relayhost", "mail"]).unwrap();
    scene.relay.sees_closed(&[scene.first, scene.second]);
    scene.witness.sees_open(&[scene.first, scene.second]);
}

#[test]
fn a_service_takes_its_path_along_to_other_pods() {
    let scene = Scene::new("service");
    let select = |selector: Value| {
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "mail", "namespace": scene.apps.0},
            "spec": {"selector": selector, "ports": [{"port": 25, "targetPort": 2525}]},
        });
        Cluster::shared().kubectl_with(&["apply", "-f", "-"], &service.to_string()).unwrap();
    };
    select(json!({"peer": "first"}));
    let endpoint = json!({"service": {"name": "mail", "namespace": scene.apps.0, "port": 25}});
    scene.dmz.apply(&host("mail", &endpoint).to_string()).unwrap();
    scene.relay.sees_open(&[scene.first]);
    scene.relay.sees_closed(&[scene.second]);
    let service = Cluster::shared().get(&["-n", &scene.apps.0, "service", "mail"]).unwrap();
    let service: IpAddr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    scene.relay.sees_open(&[(service, 25).into()]);

    select(json!({"peer": "second"}));
    scene.relay.sees_open(&[scene.second, (service, 25).into()]);
    scene.relay.sees_closed(&[scene.first]);

    Cluster::shared().kubectl(&["-n", &scene.apps.0, "delete", "service", "mail"]).unwrap();
    scene.relay.sees_closed(&[scene.second]);
    scene.witness.sees_open(&[scene.first, scene.second]);
}

/// An address that is nobody's own, somewhere behind the nodes, for as long as the test runs.
struct Public(&'static str);

impl Public {
    fn new(address: &'static str) -> Self {
        let public = Self(address);
        assert!(public.ip("add"), "{address} is taken");
        public
    }

    fn ip(&self, what: &str) -> bool {
        let network = format!("--net={}", Cluster::shared().network("net").display());
        let words = [network.as_str(), "ip", "address", what, self.0, "dev", "lo"];
        Command::new("nsenter").args(words).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        self.ip("del");
    }
}

#[test]
fn mail_that_leaves_directly_reaches_the_internet_and_nothing_private() {
    let scene = Scene::new("direct");
    let _public = Public::new("198.51.100.7/32");
    let listen =
        |port: u16| inside("net", move || Ok(TcpListener::bind((Ipv4Addr::new(198, 51, 100, 7), port))?)).unwrap();
    let (smtp, other) = (listen(25), listen(26));
    let outside = TcpListener::bind((Cluster::shared().outside(), 25)).unwrap();
    let pod = Peer::start(&scene.apps.0, "a", "private", &["listen", "25"]).unwrap();
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let internet = address(&smtp);
    let never = [address(&other), address(&outside), (pod.ip(), 25).into(), scene.first];
    scene.witness.sees_open(&[internet]);
    scene.witness.sees_open(&never);
    scene.relay.sees_closed(&[internet]);

    let application = json!({
        "apiVersion": "postern.io/v1alpha1",
        "kind": "RelayHost",
        "metadata": {"name": "application"},
        "spec": {"sources": [{"cidr": {"range": "192.0.2.0/28"}}]},
    });
    let domain = json!({
        "apiVersion": "postern.io/v1alpha1",
        "kind": "RelayDomain",
        "metadata": {"name": "leaving"},
        "spec": {
            "domains": ["example.com"],
            "deliverTo": [{"name": "mail"}],
            "recipients": {"mode": "AcceptAll"},
            "outbound": {"hosts": [{"name": "application"}], "recipients": "Any"},
        },
    });
    let mail = host("mail", &json!({"host": {"address": scene.second.ip().to_string(), "port": 2525}}));
    let all = json!({"apiVersion": "v1", "kind": "List", "items": [application, mail, domain]});
    scene.dmz.apply(&all.to_string()).unwrap();
    scene.relay.sees_open(&[internet]);
    scene.relay.sees_closed(&never);

    scene.dmz.kubectl(&["delete", "relaydomain", "leaving"]).unwrap();
    scene.relay.sees_closed(&[internet]);
    scene.witness.sees_open(&[internet]);
}
