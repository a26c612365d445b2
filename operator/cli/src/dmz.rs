//! What manifests mean: the operator's own resolving, and where in the files each of its problems lies.

use postern_operator::inputs::Inputs;
use postern_operator::problem::{Effect, Problem};
use postern_operator::resolve::{Model, resolve};

use crate::manifest::{Finding, Manifests};

/// A DMZ as the operator sees it.
#[derive(Debug)]
pub(crate) struct Dmz {
    /// What is in force if nothing is done about the findings.
    pub(crate) model: Model,
    /// What must be changed.
    pub(crate) errors: Vec<Finding>,
    /// What works here, but perhaps not as meant.
    pub(crate) warnings: Vec<Finding>,
}

/// Resolves `inputs`, which were made of `manifests`.
pub(crate) fn compile(manifests: &Manifests, inputs: &Inputs) -> Dmz {
    let (model, problems) = resolve(inputs);
    let (warnings, errors): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| problem.effect == Effect::Warning);
    let place = |problem: Problem| {
        let (field, message) = split_field(&problem.message);
        manifests.finding(&problem.object.to_string(), field, message)
    };
    let (errors, warnings) = (errors.into_iter().map(place).collect(), warnings.into_iter().map(place).collect());
    Dmz { model, errors, warnings }
}

/// The operator's sentences begin with the field where there is one: `spec.deliverTo[0]: …`.
fn split_field(message: &str) -> (&str, &str) {
    match message.split_once(": ") {
        Some((field, rest)) if field.starts_with("spec.") && !field.contains(' ') => (field, rest),
        _ => ("", message),
    }
}
