//! Where mail goes, as a person is told: by the settings in force, and by what delivery knows of its destinations.

use std::sync::Arc;

use super::Destinations;
use super::answer::Destination;
use crate::config::Directory as _;
use crate::delivery::Problems;
use crate::envelope::Remote;
use crate::reload::Report;
use crate::route::{self, Route};

/// Asks these.
pub fn destinations(report: Report, problems: Problems) -> Destinations {
    let held = |why: &str| {
        let problem = Remote { server: String::new(), reply: why.to_owned(), status: "4.3.5".to_owned() };
        Destination { hosts: Vec::new(), problem: Some(problem) }
    };
    Arc::new(move |origin, recipient| {
        let Some(config) = report.config() else { return held("no settings yet") };
        let destination = match config.route(origin, recipient) {
            Route::Held(why) => return held(&why),
            Route::To(destination) => destination,
        };
        let hosts = match &destination {
            route::Destination::Mx(_) => vec![destination.to_string()],
            route::Destination::Hosts(tiers) => {
                tiers.iter().flat_map(|tier| &tier.hosts).map(ToString::to_string).collect()
            }
        };
        Destination { hosts, problem: problems.of(&destination) }
    })
}
