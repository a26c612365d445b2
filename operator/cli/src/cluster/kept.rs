//! Volumes that relays have left: how much is on them by the operator's word, and whether they are there by the claims.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use postern_crds::FilterPolicy;
use postern_crds::status::KeptVolume;
use postern_operator::inputs::Anchor;
use postern_operator::kept::{self, Back, Left};
use postern_operator::problem::DEFAULT_POLICY;

use super::{Cluster, RELAYS, RelayPod, sentence};

/// What relays have left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) volumes: Vec<KeptVolume>,
    /// The workload, if it is known.
    anchor: Option<Anchor>,
}

impl Cluster {
    /// The workload of the relays: the one that the operator goes by.
    pub(crate) fn workload(&self) -> Result<Option<StatefulSet>> {
        let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = self.runtime.block_on(api.list(&ListParams::default().labels(RELAYS)))?.items;
        Ok(Anchor::among(&all).cloned())
    }

    /// What relays have left, where these pods are all that there are.
    ///
    /// # Errors
    /// When neither the operator's word nor the claims can be read.
    pub(crate) fn kept(&self, workload: Option<&StatefulSet>, pods: &[RelayPod]) -> Result<Kept> {
        let anchor = workload.and_then(Anchor::of);
        let volumes = match (self.told(), &anchor) {
            (told, Some(anchor)) => match (told, self.left(anchor, pods)) {
                (Ok(told), Ok(left)) => counted(&told, left),
                (Ok(told), Err(_)) => told,
                (Err(_), Ok(left)) => counted(&[], left),
                (Err(told), Err(left)) => return Err(left.context(sentence(&told))),
            },
            (told, None) => told?,
        };
        Ok(Kept { volumes, anchor })
    }

    /// What the operator says of them.
    fn told(&self) -> Result<Vec<KeptVolume>> {
        let resource = ApiResource::erase::<FilterPolicy>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let policy = self.runtime.block_on(api.get_opt(DEFAULT_POLICY)).context("the FilterPolicy default")?;
        Ok(policy.map(|policy| kept::told(&policy.data["status"])).unwrap_or_default())
    }

    fn left(&self, anchor: &Anchor, pods: &[RelayPod]) -> Result<Vec<Left>> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = self.runtime.block_on(api.list(&ListParams::default())).context("the PersistentVolumeClaims")?;
        let pods: BTreeSet<String> = pods.iter().map(|pod| pod.name.clone()).collect();
        Ok(kept::left(anchor, &kept::claims(&all.items), &pods))
    }
}

/// Those that are there, with what is told of them.
fn counted(told: &[KeptVolume], left: Vec<Left>) -> Vec<KeptVolume> {
    let messages = |claim: &str| told.iter().find(|told| told.claim == claim).and_then(|told| told.messages);
    left.into_iter()
        .map(|Left { number: _, relay, claim }| KeptVolume { messages: messages(&claim), relay, claim })
        .collect()
}

impl Kept {
    /// Those that hold mail, or may.
    pub(crate) fn full(&self) -> impl Iterator<Item = &KeptVolume> {
        self.volumes.iter().filter(|volume| volume.may_hold_mail())
    }

    /// What to do for these to be delivered.
    pub(crate) fn back<'a>(&self, volumes: impl IntoIterator<Item = &'a KeptVolume>) -> Option<Back> {
        kept::back(volumes, self.anchor.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claims_say_what_is_there_and_the_operator_how_much() {
        let told = |number: u64, messages| KeptVolume {
            claim: format!("spool-r-{number}"),
            relay: format!("r-{number}"),
            messages,
        };
        let left = |number: u64| Left { number, relay: format!("r-{number}"), claim: format!("spool-r-{number}") };
        let all = counted(&[told(1, Some(5)), told(3, Some(7))], vec![left(1), left(2)]);
        assert_eq!(all, [told(1, Some(5)), told(2, None)]);
    }
}
