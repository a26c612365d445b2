//! Whether relays that were scaled in have left mail.

use postern_crds::condition::{ConditionType, Reason};
use postern_crds::status::KeptVolume;

use super::Verdict;
use crate::inputs::Inputs;
use crate::kept::{back, said};

/// Volumes that the message names.
const NAMED_MAX: usize = 8;

/// The condition of the whole DMZ; none while there is nothing to say.
pub(super) fn mail_kept(inputs: &Inputs, volumes: &[KeptVolume]) -> Option<Verdict> {
    let of = ConditionType::MailKept;
    let told = told(inputs, volumes);
    // Of a namespace that is not readable at all every object says so already.
    if let (Err(why), Some(_), None) = (&inputs.claims, &inputs.anchor, &inputs.unreadable) {
        let before = told.map(|told| format!(". Before that: {told}")).unwrap_or_default();
        let message = format!(
            "whether relays that were scaled in have left mail is not known: the operator's Role here is that of an older \
             chart (helm upgrade it): {why}{before}"
        );
        return Some(Verdict { of, holds: None, reason: Reason::Forbidden, message });
    }
    Some(Verdict { of, holds: Some(true), reason: Reason::ScaledIn, message: told? })
}

/// How much there is where, and what to do.
fn told(inputs: &Inputs, volumes: &[KeptVolume]) -> Option<String> {
    let full: Vec<&KeptVolume> = volumes.iter().filter(|volume| volume.may_hold_mail()).collect();
    let back = back(full.iter().copied(), inputs.anchor.as_ref())?;
    let named = full.iter().take(NAMED_MAX).map(|volume| said(volume));
    let more = match full.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more (status.keptVolumes)"),
    };
    Some(format!(
        "left behind when relays were scaled in: {}{more}. To have them delivered, {back}; what is not wanted goes with its \
         claim",
        named.collect::<Vec<_>>().join(", ")
    ))
}
