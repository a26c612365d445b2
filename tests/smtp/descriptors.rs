//! Row E6's other half: a process that has no descriptor left waits for one, and spends nothing on it.

use std::time::Duration;

use anyhow::{Context, Result};
use postern_tests::clock::wait_until;
use postern_tests::smtp::Client;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::scene::Scene;

const SOON: Duration = Duration::from_secs(30);
const SAID: &str = "no connection can be taken for the moment";

/// The relay may have so many descriptors more than it has now; answers what it might have before.
fn leave(scene: &Scene, more: u64) -> Result<Rlimit> {
    let pid = scene.relay.pid()?;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    limit(scene, Rlimit { current: Some(open + more), maximum: None })
}

fn limit(scene: &Scene, new: Rlimit) -> Result<Rlimit> {
    let pid = Pid::from_raw(i32::try_from(scene.relay.pid()?)?).context("a process id")?;
    let maximum = std::fs::read_to_string(format!("/proc/{}/limits", scene.relay.pid()?))?;
    let maximum = maximum.lines().find_map(|line| line.strip_prefix("Max open files")).context("a limit")?;
    let maximum = maximum.split_whitespace().nth(1).and_then(|number| number.parse().ok());
    Ok(prlimit(Some(pid), Resource::Nofile, Rlimit { current: new.current, maximum })?)
}

#[test]
fn e06_when_descriptors_are_back_the_next_client_is_greeted() {
    let scene = Scene::open().unwrap();
    let mut guest = scene.stranger().unwrap();
    let before = leave(&scene, 0).unwrap();
    let waiting: Vec<_> = (0..4).map(|_| Client::connect(scene.relay.smtp).unwrap()).collect();
    wait_until("the lack is noticed", SOON, || scene.relay.log().matches(SAID).count() >= 4).unwrap();
    guest.say("NOOP", 250).unwrap();
    let mut waiting = waiting.into_iter();
    // One goes, one comes: while the others still wait.
    drop(guest);
    let mut next = waiting.next().unwrap();
    next.expect(220).unwrap();
    let tries = scene.relay.log().matches(SAID).count();
    assert!(tries < 100, "it waits between its tries: {tries}");
    limit(&scene, before).unwrap();
    for mut client in waiting {
        client.expect(220).unwrap();
    }
    scene.stranger().unwrap().say("NOOP", 250).unwrap();
    let cpu = scene.relay.usage().unwrap().cpu;
    assert!(cpu < Duration::from_secs(1), "it used {cpu:?} of processor time");
}
