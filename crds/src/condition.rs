//! The vocabulary of conditions: types and reasons, closed, so that no status says what nobody has written down.
//!
//! Every condition has an `observedGeneration`, one of these reasons, and a sentence that names the culprit.

use std::fmt;

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $meaning:literal])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $meaning])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it is written into a status.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// What it says, in one sentence or two.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),*),)* }.trim_start()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

vocabulary! {
    /// What a condition is about.
    ConditionType {
        /// The object is valid and has a part in the settings.
        Accepted,
        /// Every object that it names exists and holds what is needed.
        ResolvedRefs,
        /// Every ready relay reports that it enforces this object at this generation.
        Programmed,
        /// All of the above.
        Ready,
        /// Present only when true: a part of the object is not in force.
        PartiallyInvalid,
        /// FilterPolicy `default`, of the whole DMZ: no relay reaches what no NetworkPolicy opens. Absent while no relay answers.
        Isolated,
        /// Present only when there is something to say. FilterPolicy `default`, of the whole DMZ: relays that were scaled in
        /// have left mail on their volumes, or nobody knows whether they have.
        MailKept,
    }
}

vocabulary! {
    /// Why a condition is as it is.
    Reason {
        /// Accepted, True: valid.
        Accepted,
        /// ResolvedRefs, True: everything named was found.
        ResolvedRefs,
        /// Programmed, True: every ready relay enforces it.
        Programmed,
        /// Ready, True: accepted, resolved and programmed.
        Ready,

        /// Accepted, False: the object cannot be decoded; its last good part stays in force.
        /// PartiallyInvalid, True: an entry of it is refused, the rest is in force.
        Invalid,
        /// Accepted, False, or PartiallyInvalid, True: another, older object holds all, or some, of its names.
        Conflicted,
        /// PartiallyInvalid, True: an entry of sources is addresses of the cluster's nodes, behind which anybody may be.
        NodeAddress,
        /// PartiallyInvalid, True: a DNS name has no known address, so the network path to it is closed. ResolvedRefs, False: none
        /// of the endpoints has any.
        AddressUnknown,

        /// ResolvedRefs, False: a RelayHost that is named does not exist.
        HostNotFound,
        /// ResolvedRefs, False: a RelayHost that is named as a next hop has no endpoints, or as a sender has no sources.
        HostUnfit,
        /// ResolvedRefs, False: the FilterPolicy does not exist.
        PolicyNotFound,
        /// ResolvedRefs, False: a ConfigMap that is named, or its key, does not exist.
        ConfigMapNotFound,
        /// ResolvedRefs, False: a Secret that is named, or its key, does not exist.
        SecretNotFound,
        /// ResolvedRefs, False: a Service that is named, or its port, does not exist.
        ServiceNotFound,
        /// ResolvedRefs, False: what is named exists, but cannot be read or does not hold what is needed.
        ContentInvalid,
        /// ResolvedRefs, Unknown: the operator may not read what is named; the Role of the DMZ, or its ClusterRole, is missing.
        /// MailKept, Unknown: it may not list the volumes; the Role is that of an older chart.
        Forbidden,

        /// Programmed, False: some ready relays do not enforce this generation yet.
        Pending,
        /// Programmed, False: there is no ready relay.
        NoRelay,
        /// Programmed, Unknown: a relay could not be asked.
        RelayUnreachable,
        /// Programmed, False: a relay has refused the settings, or its part of them.
        RelayRejected,
        /// Programmed, False: the relays are too old for what the object says.
        RelayTooOld,
        /// Programmed, False: the DMZ is paused by its annotation; the last good settings stay.
        Paused,
        /// Programmed, False: the settings are too large to be published; the last good ones stay.
        /// ResolvedRefs, False: what is named exists, and there is no room for it in the settings.
        SettingsFull,
        /// Programmed, False: an object of a name that the operator must write exists and is not the operator's.
        NameTaken,

        /// Isolated, True: every relay has tried, and none has reached, what no policy opens.
        Isolated,
        /// Isolated, False: a relay reaches what no policy opens: nothing enforces the policies.
        NotEnforced,
        /// Isolated, Unknown: a relay has not tried yet, or was not told what to try.
        NotTried,

        /// MailKept, True: there are fewer relays than there were, and some of those that went had not delivered everything.
        ScaledIn,
        /// An event, when MailKept ends: the relays are back, or their claims are deleted.
        NothingKept,

        /// Ready, False: `Isolated` is False, although the policies are the operator's.
        NotIsolated,
        /// Ready, False: `Accepted` is not True. Programmed, False: so there is nothing, or only its last good part, to enforce.
        NotAccepted,
        /// Ready, False: `ResolvedRefs` is not True.
        UnresolvedRefs,
        /// Ready, False or Unknown: `Programmed` is not True.
        NotProgrammed,
    }
}
