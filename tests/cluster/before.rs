//! A relay before it has any settings: the chart is there, and the operator may not see to it yet.

use std::io::ErrorKind;
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

use crate::cluster::eventually;
use crate::dmz::{Dmz, Relay};
use crate::network::{answer, inside};
use crate::spot::Spot;

/// What the kubelet is told when it asks whether the relay takes mail.
fn readiness(relay: &Relay) -> Result<u16> {
    inside(&relay.node, || Ok(answer((relay.ip, 8025).into(), "/readyz")?.0))
}

/// The relay of this DMZ, once it answers.
fn relay(dmz: &Dmz) -> Result<Relay> {
    eventually("the relay runs", || {
        let relay = dmz.relays()?.pop().context("no pod yet")?;
        readiness(&relay)?;
        Ok(relay)
    })
}

/// Whether pods of the Service are said to take mail.
fn has_endpoints(dmz: &Dmz) -> Result<bool> {
    let slices = dmz.get(&["endpointslices", "-l", "kubernetes.io/service-name=postern-relay"])?;
    let slices = slices["items"].as_array().context("a list")?;
    let mut endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
    Ok(endpoints.any(|endpoint| endpoint["conditions"]["ready"] == true))
}

#[test]
fn before_the_first_settings_no_mail_flows() {
    let dmz = Dmz::unattended("before");
    let before = relay(&dmz).unwrap();
    // The operator has seen it all, so it is not for want of time that nothing happens.
    let told = || {
        let policy = dmz.get(&["filterpolicy", "default"])?;
        let conditions = policy["status"]["conditions"].as_array().context("no status yet")?;
        ensure!(conditions.iter().any(|one| one["reason"] == "Forbidden"), "{conditions:?}");
        Ok(())
    };
    eventually("the operator says what it lacks", told).unwrap();
    assert_eq!(readiness(&before).unwrap(), 503);
    let said = Spot::relay(&before).does(|| Ok(TcpStream::connect((before.ip, 2525)).map(drop))).unwrap();
    assert_eq!(said.map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused), "not even its own pod finds it");
    assert!(!has_endpoints(&dmz).unwrap());
    let client = Spot::outside();
    assert!(!client.connects(dmz.outside(&before.node).unwrap()).unwrap());

    dmz.upgrade(1, &[]).unwrap();
    let after = relay(&dmz).unwrap();
    assert_eq!((after.ip, readiness(&after).unwrap()), (before.ip, 200), "it is still the same pod");
    client.sees_open(&[dmz.outside(&after.node).unwrap()]);
    assert!(has_endpoints(&dmz).unwrap());
}
