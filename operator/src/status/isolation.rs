//! Whether the network isolates the relays: by their own account of what they could reach and must not.

use postern_crds::condition::{ConditionType, Reason};

use super::Verdict;
use crate::inputs::{Inputs, Relay, Report};

/// The condition of the whole DMZ; none while no relay can be asked.
pub(super) fn isolated(inputs: &Inputs, relays: &[Relay]) -> Option<Verdict> {
    let answers = relays.iter().filter_map(|relay| match &relay.report {
        Report::Answered(status) => Some((&relay.pod, &status.isolation)),
        Report::NotReady(_) | Report::Unreachable(_) => None,
    });
    let (mut asked, mut silent, mut reached) = (0, Vec::new(), Vec::new());
    for (pod, isolation) in answers {
        asked += 1;
        match isolation {
            None => silent.push(pod.as_str()),
            Some(isolation) if isolation.reached => reached.push(format!("{pod} reaches {}", isolation.canary)),
            Some(_) => {}
        }
    }
    let of = ConditionType::Isolated;
    if asked == 0 {
        return None;
    }
    if !reached.is_empty() {
        let why = match writes_policies(inputs) {
            true => "the network plugin of this cluster does not enforce NetworkPolicies",
            false => "the operator writes none here (postern.io/network-policies: \"off\"), and yours leave it open",
        };
        let message = format!("{}, which no policy opens: {why}", reached.join(", "));
        return Some(Verdict { of, holds: Some(false), reason: Reason::NotEnforced, message });
    }
    if !silent.is_empty() {
        let message = format!("not known yet of {}: whether it reaches what it must not (--canary)", silent.join(", "));
        return Some(Verdict { of, holds: None, reason: Reason::NotTried, message });
    }
    let message = "no relay reaches what no policy opens".to_owned();
    Some(Verdict { of, holds: Some(true), reason: Reason::Isolated, message })
}

/// Whether the isolation is the operator's, so that a DMZ without it is not as it was asked for.
pub(super) fn writes_policies(inputs: &Inputs) -> bool {
    inputs.anchor.as_ref().is_none_or(|anchor| anchor.network_policies)
}
