//! Where mail goes, as a person is told: by the settings in force, and by what delivery knows of its destinations.

use std::sync::Arc;

use super::Destinations;
use super::answer::{Destination, Unreachable};
use crate::config::Directory as _;
use crate::delivery::{Down, View};
use crate::envelope::Remote;
use crate::reload::Report;
use crate::route::{self, Route};

/// Asks these.
pub fn destinations(report: Report, view: Arc<View>) -> Destinations {
    let held = |why: &str| {
        let problem = Remote { server: String::new(), reply: why.to_owned(), status: "4.3.5".to_owned() };
        Destination { problem: Some(problem), ..Destination::default() }
    };
    Arc::new(move |origin, recipient| {
        let Some(config) = report.config() else { return held("no settings yet") };
        let route = config.route(origin, recipient);
        let destination = match &route {
            Route::Held(why) => return held(why),
            Route::To(destination) => destination,
        };
        let hosts = match destination {
            route::Destination::Mx(_) => vec![destination.to_string()],
            route::Destination::Hosts(tiers) => {
                tiers.iter().flat_map(|tier| &tier.hosts).map(ToString::to_string).collect()
            }
        };
        let down = view.down(&route);
        let next_probe = down.as_ref().map(|down| down.next_probe);
        Destination { hosts, problem: down.map(|down| down.problem), next_probe }
    })
}

/// The RelayHosts that mail cannot get to now, sorted by name.
pub fn unreachable(view: &View) -> Vec<Unreachable> {
    let told = |(name, down): (String, Down)| {
        let Down { problem, next_probe, failures } = down;
        Unreachable { name, problem, failures, next_probe }
    };
    let mut all: Vec<_> = view.hosts_down().into_iter().map(told).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.truncate(Unreachable::TOLD_MAX);
    all
}
