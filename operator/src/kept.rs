//! Which volumes relays have left that were scaled in, and how much mail is on them. Pure.
//!
//! A claim is a relay's by its name, as a StatefulSet makes it: `TEMPLATE-WORKLOAD-NUMBER`. It is kept when that number is
//! not one of the workload's any more and no pod of that name is left. What cannot be known now stays as it was told before.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use postern_crds::status::KeptVolume;
use serde::Deserialize;
use serde_json::Value;

use crate::inputs::{Anchor, Inputs};

/// A volume without its relay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// The relay's number.
    pub number: u64,
    /// The relay's pod.
    pub relay: String,
    /// The claim.
    pub claim: String,
}

/// The names of those claims that are not being deleted.
pub fn claims<'a>(all: impl IntoIterator<Item = &'a PersistentVolumeClaim>) -> BTreeSet<String> {
    let staying = all.into_iter().filter(|claim| claim.metadata.deletion_timestamp.is_none());
    staying.filter_map(|claim| claim.metadata.name.clone()).collect()
}

/// What a FilterPolicy's status says of kept volumes; an entry that cannot be decoded counts as absent.
pub fn told(status: &Value) -> Vec<KeptVolume> {
    let listed = status["keptVolumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    listed.iter().filter_map(|entry| KeptVolume::deserialize(entry).ok()).collect()
}

/// Those among these claims that relays of this workload have left, sorted by number; `pods`: all that there are.
pub fn left(anchor: &Anchor, claims: &BTreeSet<String>, pods: &BTreeSet<String>) -> Vec<Left> {
    let of_relay = |claim: &String| {
        let number = anchor.claim_templates.iter().find_map(|template| {
            let number = claim.strip_prefix(template.as_str())?.strip_prefix('-')?;
            canonical(number.strip_prefix(anchor.name.as_str())?.strip_prefix('-')?)
        })?;
        let relay = format!("{}-{number}", anchor.name);
        let is_wanted = number >= anchor.first && number - anchor.first < anchor.replicas;
        (!is_wanted && !pods.contains(&relay)).then(|| Left { number, relay, claim: claim.clone() })
    };
    let mut left: Vec<_> = claims.iter().filter_map(of_relay).collect();
    left.sort();
    left
}

/// A number as a StatefulSet writes it: a claim `spool-relay-01` is somebody else's.
fn canonical(text: &str) -> Option<u64> {
    text.parse::<u32>().ok().filter(|number| number.to_string() == text).map(u64::from)
}

/// Every kept volume, sorted by the relay's number.
pub fn volumes(inputs: &Inputs) -> Vec<KeptVolume> {
    let (Some(anchor), None, Ok(claims)) = (&inputs.anchor, &inputs.unreadable, &inputs.claims) else {
        return inputs.kept.clone();
    };
    let volume = |Left { number: _, relay, claim }| {
        let heard = inputs.left.get(&relay).map(|messages| i64::try_from(*messages).unwrap_or(i64::MAX));
        let before = || inputs.kept.iter().find(|kept| kept.claim == claim).and_then(|kept| kept.messages);
        KeptVolume { messages: heard.or_else(before), claim, relay }
    };
    left(anchor, claims, &inputs.pods).into_iter().map(volume).collect()
}

/// `5 messages of postern-relay-1 on the claim spool-postern-relay-1`
pub fn said(volume: &KeptVolume) -> String {
    let KeptVolume { claim, relay, messages } = volume;
    let how_many = match messages {
        None => "an unknown number of messages".to_owned(),
        Some(1) => "1 message".to_owned(),
        Some(number) => format!("{number} messages"),
    };
    format!("{how_many} of {relay} on the claim {claim}")
}

/// What a workload must be for relays to be back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Back {
    /// Its name.
    pub workload: String,
    /// How many pods it must have.
    pub replicas: u64,
    /// The number that its first pod must have, if that is another than now.
    pub first: Option<u64>,
}

/// What to do for all of these to be back. `None`: for none there is anything to do.
pub fn back<'a>(volumes: impl IntoIterator<Item = &'a KeptVolume>, anchor: Option<&Anchor>) -> Option<Back> {
    let numbers = volumes.into_iter().filter_map(|volume| {
        let (workload, number) = volume.relay.rsplit_once('-')?;
        Some((number.parse::<u64>().ok()?, workload))
    });
    let numbers: Vec<_> = numbers.collect();
    let ((lowest, _), (highest, workload)) = (*numbers.iter().min()?, *numbers.iter().max()?);
    let (first, next) = anchor.map_or((0, 0), |anchor| (anchor.first, anchor.first + anchor.replicas));
    let begins = first.min(lowest);
    let replicas = next.max(highest.saturating_add(1)) - begins;
    Some(Back { workload: workload.to_owned(), replicas, first: (begins < first).then_some(begins) })
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, replicas, first } = self;
        write!(f, "raise the replicas of the StatefulSet {workload} to {replicas}")?;
        if let Some(first) = first {
            write!(f, ", and set its ordinals.start to {first}")?;
        }
        // What kubectl scale has written is no longer Helm's to change: its next upgrade would fail.
        write!(f, " (helm upgrade … --set replicas={replicas}; kubectl scale only where Helm did not install it)")
    }
}

#[cfg(test)]
mod tests;
