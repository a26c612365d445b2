//! Which settings are asked: those that files mean, or those that the relays of a cluster obey; and what either would mean
//! with what-if files laid over.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ipnet::IpNet;
use postern_operator::inputs::{Inputs, Kind, Meta, Object};
use postern_operator::problem::Effect;
use postern_operator::render::render;
use postern_operator::resolve::resolve;
use postern_relay::policy::client::range;
use postern_wire::snapshot::Section;
use postern_wire::{SCHEMA, Snapshot};

use crate::cluster::{self, Cluster};
use crate::manifest::{self, Manifests};
use crate::status;

/// Where settings come from.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Ask the settings that these manifests mean: a file, a folder of files, or - for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = ["namespace", "context", "kubeconfig"])]
    files: Vec<PathBuf>,

    /// Lay these manifests over, each object in place of the one of its kind and name, and tell what they change
    #[arg(long, value_name = "PATH")]
    what_if: Vec<PathBuf>,

    #[command(flatten)]
    cluster: cluster::Target,
}

/// Settings, and where they are from.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) snapshot: Snapshot,
    pub(super) from: String,
    pub(super) notes: Vec<String>,
}

/// What there is now, and with the what-if files.
pub(super) struct Found {
    pub(super) now: Settings,
    pub(super) what_if: Option<Settings>,
    /// What the relays are told by `--never-source`.
    pub(super) never_source: Vec<IpNet>,
    /// What the operator says against objects, as they are now in a cluster: by `KIND/NAME`.
    pub(super) told: BTreeMap<String, Vec<String>>,
}

/// `None` when files are wrong: standard error says how.
pub(super) fn find(place: &Place) -> Result<Option<Found>> {
    let over = match place.what_if.as_slice() {
        [] => None,
        files => match valid(files) {
            Some(manifests) => Some(manifests.inputs()),
            None => return Ok(None),
        },
    };
    match place.files.as_slice() {
        [] if place.cluster.is_said() || cluster::is_plugin() => in_cluster(place, over).map(Some),
        [] => bail!("say which settings: -f PATH for files, --namespace NAME for those in a cluster"),
        files => Ok(valid(files).map(|manifests| in_files(place, &manifests.inputs(), over))),
    }
}

fn in_files(place: &Place, inputs: &Inputs, over: Option<Inputs>) -> Found {
    let from = names(&place.files);
    let what_if = over.map(|over| {
        let from = format!("{from} with {} laid over", names(&place.what_if));
        settings(&lay_over(inputs.clone(), over), from)
    });
    Found { now: settings(inputs, from), what_if, never_source: Vec::new(), told: BTreeMap::new() }
}

/// The settings that the relays obey; what they would be is made of the objects as they are now.
fn in_cluster(place: &Place, over: Option<Inputs>) -> Result<Found> {
    let cluster: Cluster = place.cluster.connect()?;
    let snapshot = cluster.settings()?.snapshot;
    let namespace = &cluster.namespace;
    let never_source = cluster.never_source().split(',').filter_map(|text| range(text.trim()).ok()).collect();
    let (mut notes, objects) = match cluster.objects(&snapshot) {
        Ok(objects) => (newer(&objects, &snapshot), Ok(objects)),
        Err(error) => (
            vec![format!("whether objects are newer than these settings is not known: {}", cluster::sentence(&error))],
            Err(error),
        ),
    };
    notes.sort();
    let what_if = match over {
        None => None,
        Some(over) => {
            let mut inputs = lay_over(objects?, over);
            let unread = cluster.read_named(&mut inputs)?;
            let unread_services = cluster.read_services(&mut inputs);
            let from = format!("the objects of namespace {namespace} with {} laid over", names(&place.what_if));
            let mut settings = settings(&inputs, from);
            settings.notes.extend(unread.into_iter().chain(unread_services));
            Some(settings)
        }
    };
    let from = format!("namespace {namespace}: those that its relays obey");
    Ok(Found { now: Settings { snapshot, from, notes }, what_if, never_source, told: conditions(&cluster) })
}

/// Conditions that are not as they should be. Of what may not be read nothing is said here: it is a note already.
fn conditions(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let kinds = status::kinds().into_iter();
    let objects = kinds.flat_map(|kind| status::objects(cluster, &kind).unwrap_or_default());
    objects.map(|object| (object.title(), object.sentences())).filter(|(_, told)| !told.is_empty()).collect()
}

/// Objects that are not as the settings have them.
fn newer(objects: &Inputs, settings: &Snapshot) -> Vec<String> {
    let mut all = compare(Kind::RelayDomain, objects.domains.iter().map(|object| &object.meta), &settings.domains);
    all.extend(compare(Kind::RelayHost, objects.hosts.iter().map(|object| &object.meta), &settings.hosts));
    all.extend(compare(Kind::FilterPolicy, objects.policies.iter().map(|object| &object.meta), &settings.policies));
    all
}

fn compare<'a, S>(kind: Kind, objects: impl Iterator<Item = &'a Meta>, sections: &[Section<S>]) -> Vec<String> {
    let mut left: Vec<&Section<S>> = sections.iter().collect();
    let mut told = Vec::new();
    for Meta { name, uid, generation, created: _ } in objects {
        let section = sections.iter().find(|section| section.name == *name && section.uid == *uid);
        left.retain(|section| section.name != *name);
        match section {
            Some(section) if section.generation == *generation => {}
            Some(section) => told.push(format!(
                "{kind}/{name} is newer than these settings: they are of its generation {}, it has {generation}",
                section.generation
            )),
            None => told.push(format!("{kind}/{name} is not in these settings")),
        }
    }
    told.extend(left.iter().map(|section| format!("{kind}/{} is in these settings, and deleted", section.name)));
    told
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Manifests as the API server would take them; or standard error says what it would not.
fn valid(files: &[PathBuf]) -> Option<Manifests> {
    let manifests = manifest::read(files);
    manifests.findings.iter().for_each(|finding| eprintln!("{finding}"));
    manifests.findings.is_empty().then_some(manifests)
}

/// What the operator makes of these objects; what it would complain about is a note, for it may be the explanation.
/// `postern check` warns of more.
fn settings(inputs: &Inputs, from: String) -> Settings {
    let (model, problems) = resolve(inputs);
    let rendered = render(&model, SCHEMA);
    // What the operator may read, and the person here not, is no problem of an object.
    let is_theirs = |effect: Effect| !matches!(effect, Effect::Warning | Effect::Unreadable);
    let problems = problems.iter().chain(&rendered.problems).filter(|problem| is_theirs(problem.effect));
    let notes = problems.map(|problem| format!("{}: {}", problem.object, problem.message)).collect();
    Settings { snapshot: rendered.settings.snapshot, from, notes }
}

/// Each object of `over` takes the place of the one of its kind and name, and is as old as that one.
fn lay_over(mut base: Inputs, over: Inputs) -> Inputs {
    replace(&mut base.domains, over.domains);
    replace(&mut base.hosts, over.hosts);
    replace(&mut base.policies, over.policies);
    base.config_maps.extend(over.config_maps);
    base.secrets.extend(over.secrets);
    base
}

fn replace<S>(base: &mut Vec<Object<S>>, over: Vec<Object<S>>) {
    for mut object in over {
        match base.iter_mut().find(|known| known.meta.name == object.meta.name) {
            Some(known) => {
                object.meta = known.meta.clone();
                object.meta.generation += 1;
                *known = object;
            }
            None => base.push(object),
        }
    }
}
