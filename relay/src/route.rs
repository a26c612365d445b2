//! Where a recipient's mail goes next: a pure question to the settings in force, asked again at each attempt.

use std::fmt;
use std::sync::Arc;

use crate::address::{Domain, Mailbox};
use crate::envelope::Origin;
use crate::policy::names::Names;

/// The answer to "where next".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// There.
    To(Destination),
    /// Nowhere now, and it may come back (its RelayDomain is gone, a reference is missing, no way for notifications):
    /// the message waits until its lifetime ends. One sentence for the log and the queue.
    Held(Arc<str>),
}

/// Where mail goes. What has the same destination shares its lanes and its connections, and one that is dead holds up no
/// other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// To these hosts, in this order. Never empty.
    Hosts(Arc<[Tier]>),
    /// Directly to the mail exchangers of the recipient's domain (RFC 5321, section 5.1).
    Mx(Domain),
}

/// As logs and the queue name it: `exchange-a, exchange-b`, `mx:example.com`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mx(domain) => write!(f, "mx:{}", domain.as_str()),
            Self::Hosts(tiers) => {
                let hosts: Vec<&str> = tiers.iter().flat_map(|tier| &tier.hosts).map(|host| &**host).collect();
                f.write_str(&hosts.join(", "))
            }
        }
    }
}

/// How mail leaves, whoever its recipient is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// By these hosts, in this order. Never empty.
    Hosts(Arc<[Tier]>),
    /// Directly to the mail exchangers of each recipient's domain.
    Mx,
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
    pub outbound: Option<Result<Via, Arc<str>>>,
    /// Notifications about its mail. Absent: by `outbound`.
    pub bounces: Option<Result<Via, Arc<str>>>,
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
            return match &ways.inbound {
                Ok(tiers) => Route::To(Destination::Hosts(tiers.clone())),
                Err(reason) => Route::Held(reason.clone()),
            };
        }
        let route = |way| route(way, recipient.domain());
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

fn route(way: &Result<Via, Arc<str>>, domain: &Domain) -> Route {
    match way {
        Ok(Via::Hosts(tiers)) => Route::To(Destination::Hosts(tiers.clone())),
        Ok(Via::Mx) => Route::To(Destination::Mx(domain.clone())),
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

    fn tiers(host: &str) -> Arc<[Tier]> {
        vec![Tier { hosts: vec![host.into()] }].into()
    }

    fn way(host: &str) -> Result<Via, Arc<str>> {
        Ok(Via::Hosts(tiers(host)))
    }

    fn source(domain: &str) -> Origin {
        Origin::Source { client: [10, 0, 0, 1].into(), host: "web".to_owned(), domain: domain.to_owned() }
    }

    fn notification(domain: Option<&str>) -> Origin {
        Origin::Notification { about: QueueId::new(0, 0), domain: domain.map(str::to_owned) }
    }

    #[test]
    fn each_origin_has_its_way() {
        let names =
            Names::new([("full.test", 0), ("*.full.test", 0), ("in.test", 1), ("broken.test", 2), ("direct.test", 3)])
                .unwrap();
        let ways = vec![
            Ways {
                name: "full".into(),
                inbound: Ok(tiers("mail")),
                outbound: Some(way("smart")),
                bounces: Some(way("bounce")),
            },
            Ways { name: "in".into(), inbound: Ok(tiers("other")), outbound: None, bounces: None },
            Ways {
                name: "broken".into(),
                inbound: Err("RelayHost mx1 does not exist".into()),
                outbound: Some(way("smart")),
                bounces: None,
            },
            Ways { name: "direct".into(), inbound: Ok(tiers("own")), outbound: Some(Ok(Via::Mx)), bounces: None },
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
            (&source("direct.test"), "a@else.test", Ok("mx:else.test")),
            (&source("direct.test"), "a@Mixed.Else.test", Ok("mx:mixed.else.test")),
            (&source("direct.test"), "a@direct.test", Ok("own")),
            (&source("direct.test"), "a@in.test", Ok("other")),
            (&notification(Some("direct.test")), "a@else.test", Ok("mx:else.test")),
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
            let found = match routes.route(origin, &recipient.parse().unwrap()) {
                Route::To(destination) => Ok(destination.to_string()),
                Route::Held(reason) => Err(reason.to_string()),
            };
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{origin:?} {recipient}");
        }
    }
}
