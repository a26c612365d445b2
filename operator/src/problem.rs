//! What is wrong with an object, as data: it stops nothing, belongs to one object, and becomes a condition there.

use postern_crds::condition::Reason;

use crate::inputs::{Kind, ObjectRef};

/// The FilterPolicy on which conditions of the whole DMZ stand, and the one that holds where none is named.
pub const DEFAULT_POLICY: &str = "default";

/// One thing wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whose status shows it.
    pub object: ObjectRef,
    /// What it means for that object.
    pub effect: Effect,
    /// The word for it.
    pub reason: Reason,
    /// The sentence for it: the field, the culprit, and what is in force instead.
    pub message: String,
}

impl Problem {
    /// A problem of the whole DMZ.
    pub fn of_dmz(effect: Effect, reason: Reason, message: impl Into<String>) -> Self {
        let object = ObjectRef::new(Kind::FilterPolicy, DEFAULT_POLICY);
        Self { object, effect, reason, message: message.into() }
    }
}

/// What a problem means for its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// `Accepted=False`: as it is written, it cannot be done. It keeps its last good part, has none, or its mail waits.
    NotAccepted,
    /// `ResolvedRefs=False`: something that it names is missing or unfit.
    Unresolved,
    /// `ResolvedRefs=Unknown`: what it names could not be read.
    Unreadable,
    /// `PartiallyInvalid=True`: a part of it is not in force.
    Partial,
    /// `Programmed=False`, whatever the relays say.
    NotProgrammed,
    /// Said where `Programmed` is still pending: why that takes longer than it should.
    Late,
    /// No condition: told to whoever runs it on their own machine.
    Warning,
}

/// The problems of one object while it is being resolved.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    object: ObjectRef,
    all: &'a mut Vec<Problem>,
    /// Where this direction's problems begin, see [`Problems::consequence`].
    mark: usize,
}

impl<'a> Problems<'a> {
    pub(crate) fn of(kind: Kind, name: &str, all: &'a mut Vec<Problem>) -> Self {
        let mark = all.len();
        Self { object: ObjectRef::new(kind, name), all, mark }
    }

    pub(crate) fn add(&mut self, effect: Effect, reason: Reason, message: impl Into<String>) {
        self.all.push(Problem { object: self.object.clone(), effect, reason, message: message.into() });
    }

    /// What is written contradicts itself, or says nothing where something must be said.
    pub(crate) fn invalid(&mut self, message: impl Into<String>) {
        self.add(Effect::NotAccepted, Reason::Invalid, message);
    }

    pub(crate) fn partial(&mut self, reason: Reason, message: impl Into<String>) {
        self.add(Effect::Partial, reason, message);
    }

    pub(crate) fn unresolved(&mut self, reason: Reason, message: impl Into<String>) {
        self.add(Effect::Unresolved, reason, message);
    }

    /// Those with this reason that concerned a part, since [`Problems::begin`], concern all that the object names.
    pub(crate) fn nothing_left(&mut self, reason: Reason) {
        for problem in self.all.iter_mut().skip(self.mark) {
            if (problem.effect, problem.reason) == (Effect::Partial, reason) {
                problem.effect = Effect::Unresolved;
            }
        }
    }

    /// From here on, problems concern one direction of mail.
    pub(crate) fn begin(&mut self) {
        self.mark = self.all.len();
    }

    /// Says behind the direction's last problem what they come to.
    pub(crate) fn consequence(&mut self, text: &str) {
        if let Some(last) = self.all.get_mut(self.mark..).and_then(<[Problem]>::last_mut) {
            last.message.push_str("; ");
            last.message.push_str(text);
        }
    }
}

/// Text of a user inside a sentence: in quotes, without control characters, not longer than a line.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}
