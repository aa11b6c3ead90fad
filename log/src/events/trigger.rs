//! Family `trigger`: event pattern to script.

use bincode::{Decode, Encode};

use super::common::{Principal, RetryPolicy};
use crate::ids::{AppId, TriggerId};

/// Which mutations a KV trigger fires on, as a bit set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct KvOps(pub u8);

impl KvOps {
    /// A key that was absent was written.
    pub const INSERT: KvOps = KvOps(1);
    /// A key that was present was written.
    pub const UPDATE: KvOps = KvOps(2);
    /// A key was deleted.
    pub const DELETE: KvOps = KvOps(4);
    /// A key's time to live ended; only if named.
    pub const EXPIRE: KvOps = KvOps(8);
    /// What a trigger that names no ops fires on.
    pub const DEFAULT: KvOps = KvOps(7);

    /// Every operation with its name on the outside.
    pub const NAMES: [(KvOps, &'static str); 4] = [
        (KvOps::INSERT, "insert"),
        (KvOps::UPDATE, "update"),
        (KvOps::DELETE, "delete"),
        (KvOps::EXPIRE, "expire"),
    ];

    /// Whether `op` is in the set.
    #[must_use]
    pub const fn contains(self, op: KvOps) -> bool {
        self.0 & op.0 == op.0
    }

    /// The names of the operations in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        KvOps::NAMES.into_iter().filter(move |(op, _)| self.contains(*op)).map(|(_, name)| name)
    }
}

/// What a trigger fires on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Pattern {
    /// Mutations of a collection.
    Kv {
        /// The collection.
        collection: String,
        /// Which mutations.
        ops: KvOps,
        /// Only keys that start with this.
        key_prefix: String,
    },
    /// Dead letters of the app.
    DeadLetter {
        /// Only letters of this script.
        from_script: Option<String>,
        /// Only letters of the trigger with this name.
        from_trigger: Option<String>,
    },
    /// Moments of a schedule (D16).
    Cron {
        /// Five fields, or six with seconds in front.
        schedule: String,
        /// IANA name of a time zone; UTC if absent.
        timezone: Option<String>,
    },
    /// Messages of a queue; a queue has exactly one such trigger (D18).
    Queue {
        /// The queue.
        queue: String,
    },
}

/// Whether what a trigger fires for one key runs in order (D13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Ordering {
    /// In any order, in parallel.
    #[default]
    None,
    /// One after the other for each key.
    Key,
}

impl Ordering {
    /// The name on the outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Ordering::None => "none",
            Ordering::Key => "key",
        }
    }
}

/// Why a trigger is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum PauseReason {
    /// Somebody asked for it.
    Asked,
    /// The registrant's token was deleted: nobody is left for whom its executions could run (D9).
    RegistrantDeleted,
    /// It came with a fork: it waits until somebody resumes it.
    Forked,
}

impl PauseReason {
    /// The name on the outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PauseReason::Asked => "asked",
            PauseReason::Forked => "forked",
            PauseReason::RegistrantDeleted => "registrant_deleted",
        }
    }
}

/// What a trigger is, apart from its identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct TriggerSpec {
    /// Name, unique within the app.
    pub name: String,
    /// What it fires on.
    pub pattern: Pattern,
    /// Name of the script.
    pub script: String,
    /// Order of what it fires; triggers of kinds `kv` and `queue` only.
    pub ordering: Ordering,
    /// Retries; the instance's default if absent. Handlers of dead letters run once whatever it says (D10).
    pub retry: Option<RetryPolicy>,
}

/// `trigger_created`: who registers it is the principal that its executions run with (D9).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TriggerCreated {
    /// The app.
    pub app: AppId,
    /// The new id.
    pub trigger: TriggerId,
    /// What it is.
    pub spec: TriggerSpec,
    /// The registrant.
    pub by: Principal,
}

/// `trigger_changed`: same identity, other pattern, script, retries or registrant.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TriggerChanged {
    /// The app.
    pub app: AppId,
    /// The trigger.
    pub trigger: TriggerId,
    /// What it is from now on.
    pub spec: TriggerSpec,
    /// The registrant from now on.
    pub by: Principal,
}

/// `trigger_paused`: its work waits; a cron trigger enqueues nothing (D15).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TriggerPaused {
    /// The app.
    pub app: AppId,
    /// The trigger.
    pub trigger: TriggerId,
    /// Why.
    pub reason: PauseReason,
    /// Who did it.
    pub by: Principal,
}

/// `trigger_resumed`: if its registrant was deleted, who resumes it is its registrant from now on (D9).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TriggerResumed {
    /// The app.
    pub app: AppId,
    /// The trigger.
    pub trigger: TriggerId,
    /// Who did it.
    pub by: Principal,
}

/// `trigger_deleted`: its unclaimed work is dropped (D17).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TriggerDeleted {
    /// The app.
    pub app: AppId,
    /// The trigger.
    pub trigger: TriggerId,
    /// Who did it.
    pub by: Principal,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerEvent {
    /// `trigger_created`
    Created(TriggerCreated),
    /// `trigger_changed`
    Changed(TriggerChanged),
    /// `trigger_paused`
    Paused(TriggerPaused),
    /// `trigger_resumed`
    Resumed(TriggerResumed),
    /// `trigger_deleted`
    Deleted(TriggerDeleted),
}
