//! Where a recipient's mail goes next: a pure question to the settings in force, asked again at each attempt.

use std::sync::Arc;

use crate::address::Mailbox;
use crate::envelope::Origin;
use crate::policy::names::Names;

/// The answer to "where next".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To these hosts, in this order. Never empty.
    To(Arc<[Tier]>),
    /// Nowhere now, and it may come back (its RelayDomain is gone, a reference is missing, no way for notifications):
    /// the message waits until its lifetime ends. One sentence for the log and the queue.
    Held(Arc<str>),
}

/// Hosts of the same preference, which share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tier {
    /// Names of host sections, sorted.
    pub hosts: Vec<Arc<str>>,
}

/// The ways of one RelayDomain. A way that cannot be gone now says why, naming what is missing.
#[derive(Clone, Debug)]
pub struct Ways {
    /// The object's name.
    pub name: Arc<str>,
    /// Mail to it.
    pub inbound: Result<Arc<[Tier]>, Arc<str>>,
    /// Mail from it. Absent: nothing leaves.
    pub outbound: Option<Result<Arc<[Tier]>, Arc<str>>>,
    /// Notifications about its mail. Absent: by `outbound`.
    pub bounces: Option<Result<Arc<[Tier]>, Arc<str>>>,
}

/// All ways of one DMZ.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    names: Arc<Names>,
    ways: Vec<Arc<Ways>>,
}

impl Routes {
    /// `names` are indexes of `ways`.
    pub fn new(names: Arc<Names>, ways: Vec<Arc<Ways>>) -> Self {
        Self { names, ways }
    }

    /// Mail to a domain of ours goes its way, whoever sent it; any other leaves by the domain that it was taken for.
    pub fn route(&self, origin: &Origin, recipient: &Mailbox) -> Route {
        let to = recipient.domain().as_str();
        if let Some(ways) = self.find(to) {
            return route(&ways.inbound);
        }
        match origin {
            Origin::Outsider { .. } => held(format!("{to} is not a domain of any RelayDomain")),
            Origin::Source { domain, .. } => match self.find(domain) {
                None => held(format!("{domain}, as which it was sent, is not a domain of any RelayDomain")),
                Some(Ways { outbound: None, name, .. }) => held(format!("RelayDomain {name} has no spec.outbound")),
                Some(Ways { outbound: Some(way), .. }) => route(way),
            },
            Origin::Notification { domain: None, .. } => {
                held(format!("no RelayDomain tells how notifications to {to} leave"))
            }
            Origin::Notification { domain: Some(domain), .. } => match self.find(domain) {
                None => held(format!("{domain}, whose mail it is about, is not a domain of any RelayDomain")),
                Some(Ways { bounces: Some(way), .. } | Ways { bounces: None, outbound: Some(way), .. }) => route(way),
                Some(Ways { name, .. }) => {
                    held(format!("RelayDomain {name} has neither spec.bounces nor spec.outbound"))
                }
            },
        }
    }

    fn find(&self, domain: &str) -> Option<&Ways> {
        self.names.find(domain).map(|index| &*self.ways[index])
    }
}

fn route(way: &Result<Arc<[Tier]>, Arc<str>>) -> Route {
    match way {
        Ok(tiers) => Route::To(tiers.clone()),
        Err(reason) => Route::Held(reason.clone()),
    }
}

fn held(reason: String) -> Route {
    Route::Held(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue_id::QueueId;

    fn way(host: &str) -> Result<Arc<[Tier]>, Arc<str>> {
        Ok(vec![Tier { hosts: vec![host.into()] }].into())
    }

    fn source(domain: &str) -> Origin {
        Origin::Source { client: [10, 0, 0, 1].into(), host: "web".to_owned(), domain: domain.to_owned() }
    }

    fn notification(domain: Option<&str>) -> Origin {
        Origin::Notification { about: QueueId::new(0, 0), domain: domain.map(str::to_owned) }
    }

    #[test]
    fn each_origin_has_its_way() {
        let names = Names::new([("full.test", 0), ("*.full.test", 0), ("in.test", 1), ("broken.test", 2)]).unwrap();
        let ways = vec![
            Ways {
                name: "full".into(),
                inbound: way("mail"),
                outbound: Some(way("smart")),
                bounces: Some(way("bounce")),
            },
            Ways { name: "in".into(), inbound: way("other"), outbound: None, bounces: None },
            Ways {
                name: "broken".into(),
                inbound: Err("RelayHost mx1 does not exist".into()),
                outbound: Some(way("smart")),
                bounces: None,
            },
        ];
        let routes = Routes::new(Arc::new(names), ways.into_iter().map(Arc::new).collect());
        let outsider = Origin::Outsider { client: [203, 0, 113, 9].into() };
        for (origin, recipient, expected) in [
            (&outsider, "a@full.test", Ok("mail")),
            (&outsider, "a@sub.full.test", Ok("mail")),
            (&source("full.test"), "a@in.test", Ok("other")),
            (&notification(None), "a@in.test", Ok("other")),
            (&source("full.test"), "a@else.test", Ok("smart")),
            (&notification(Some("x.full.test")), "a@else.test", Ok("bounce")),
            (&notification(Some("broken.test")), "a@else.test", Ok("smart")),
            (&outsider, "a@broken.test", Err("RelayHost mx1 does not exist")),
            (&outsider, "a@else.test", Err("else.test is not a domain of any RelayDomain")),
            (&source("in.test"), "a@else.test", Err("RelayDomain in has no spec.outbound")),
            (
                &source("gone.test"),
                "a@else.test",
                Err("gone.test, as which it was sent, is not a domain of any RelayDomain"),
            ),
            (&notification(None), "a@else.test", Err("no RelayDomain tells how notifications to else.test leave")),
            (
                &notification(Some("in.test")),
                "a@else.test",
                Err("RelayDomain in has neither spec.bounces nor spec.outbound"),
            ),
            (
                &notification(Some("gone.test")),
                "a@else.test",
                Err("gone.test, whose mail it is about, is not a domain of any RelayDomain"),
            ),
        ] {
            let expected = match expected {
                Ok(host) => Route::To(way(host).unwrap()),
                Err(reason) => Route::Held(reason.into()),
            };
            assert_eq!(routes.route(origin, &recipient.parse().unwrap()), expected, "{origin:?} {recipient}");
        }
    }
}
