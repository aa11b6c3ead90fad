//! Family `execution`: the outbox's life of one piece of work (D1): `enqueued`, `claimed`, then `completed`, or
//! `attempt_failed` with a scheduled retry, a dead letter beside it, or the end.

use bincode::{Decode, Encode};

use super::common::{
    AttemptRecord, ErrorRecord, IdempotencyKey, Input, KeptReply, OutputRecord, Principal, Source,
};
use super::script::ImportedVersion;
use crate::ids::{AppId, ExecutionId, LetterId};
use crate::types::{Lsn, UnixMicros};

/// `enqueued`: work was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Enqueued {
    /// The app.
    pub app: AppId,
    /// The new id.
    pub execution: ExecutionId,
    /// The execution at the root of the causal tree; its own id if nothing caused it.
    pub root: ExecutionId,
    /// Depth (D8).
    pub depth: u16,
    /// The event that caused it (a mutation, a dead letter, a redriven execution's `enqueued`).
    pub cause: Option<Lsn>,
    /// The execution that caused it, if one did.
    pub caused_by: Option<ExecutionId>,
    /// Name of the script.
    pub script: String,
    /// Where it came from.
    pub source: Source,
    /// What it runs on.
    pub input: Input,
    /// Not before.
    pub due_at: UnixMicros,
    /// The key of its line, if its trigger was ordered by key then (D13).
    pub ordering_key: Option<String>,
    /// Whom it runs as; `None` is anonymous.
    pub principal: Option<Principal>,
    /// The dead letter that it redrives.
    pub redrive_of: Option<LetterId>,
    /// The script version asked for (a redrive with the original version); the current one if absent.
    pub pinned_version: Option<u32>,
    /// The key that its call came with (D14).
    pub idempotency: Option<Box<IdempotencyKey>>,
}

/// `claimed`: an attempt begins. All that may differ between two runs is in here (T1).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claimed {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
    /// 1, 2, 3…
    pub attempt: u32,
    /// The claim time: `time::now()` of the attempt (K1).
    pub at: UnixMicros,
    /// Seeds `random` and `uuid`.
    pub seed: [u8; 16],
    /// The snapshot as of which the attempt reads at first (a conflict re-run takes a later one: the
    /// outcome's record names it).
    pub snapshot: Lsn,
    /// Version of the script; 0 if there is none any more.
    pub version: u32,
    /// Versions of all scripts that it imports, directly or not, that were current then; by name (D17).
    pub imports: Vec<ImportedVersion>,
    /// Runs alone because earlier attempts were cut off by crashes (D3): for so many milliseconds nothing
    /// else runs. 0: an ordinary claim.
    pub alone_ms: u64,
}

/// `alone_ended`: the attempt outlived its time alone; others join from here on (D3).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AloneEnded {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt.
    pub attempt: u32,
}

/// `released`: an orderly shutdown cut the attempt off; not counted, due again at once (D3).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Released {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt that did not count.
    pub attempt: u32,
}

/// `completed`: an attempt succeeded; its writes and the work that they fire are in the same batch (S1).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Completed {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt.
    pub attempt: u32,
    /// What it returned.
    pub output: OutputRecord,
    /// What it read and logged; empty under `record = "off"`.
    pub record: AttemptRecord,
    /// The rest of the answer, where it has to be given again (D14).
    pub reply: Option<Box<KeptReply>>,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AfterFailure {
    /// Tried again not before this time; the rolled jitter is in it (D7).
    Retry {
        /// Not before.
        due_at: UnixMicros,
    },
    /// Out of attempts: a `dead_lettered` stands in the same batch.
    DeadLetter,
    /// The end: reply-to work (D4) and dead-letter handlers (D10).
    End,
}

/// `attempt_failed`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AttemptFailed {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt.
    pub attempt: u32,
    /// Whether it counts towards `max_attempts`: a crash counts only while the attempt ran alone (D3).
    pub counted: bool,
    /// Why.
    pub error: ErrorRecord,
    /// What it read and logged until then; `None` after a crash: nothing was recorded.
    pub record: Option<AttemptRecord>,
    /// What follows.
    pub then: AfterFailure,
}

/// Why nobody got the outcome of reply-to work (D5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum AbandonReason {
    /// The caller went away; the execution ends as what it is, with `delivery: "abandoned"`.
    ClientGone,
    /// The process died before there was an outcome: the execution's status is `abandoned`.
    Crash,
}

impl AbandonReason {
    /// The name on the outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AbandonReason::ClientGone => "client_gone",
            AbandonReason::Crash => "crash",
        }
    }
}

/// `abandoned`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Abandoned {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
    /// Why.
    pub reason: AbandonReason,
}

/// `dropped`: open work that will never run (its trigger, route or app was deleted).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Dropped {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
    /// Why, for people.
    pub reason: String,
}

/// `depth_exceeded`: a trigger fired too deep; listed as `dropped`, never run, never dead-lettered (D8).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DepthExceeded {
    /// The app.
    pub app: AppId,
    /// The id under which it is listed.
    pub execution: ExecutionId,
    /// Root of the causal tree.
    pub root: ExecutionId,
    /// The depth that it would have had.
    pub depth: u16,
    /// The mutation or letter that fired.
    pub cause: Lsn,
    /// The execution that caused it.
    pub caused_by: Option<ExecutionId>,
    /// Name of the script.
    pub script: String,
    /// The trigger.
    pub source: Source,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutionEvent {
    /// `enqueued`
    Enqueued(Box<Enqueued>),
    /// `claimed`
    Claimed(Claimed),
    /// `alone_ended`
    AloneEnded(AloneEnded),
    /// `released`
    Released(Released),
    /// `completed`
    Completed(Box<Completed>),
    /// `attempt_failed`
    AttemptFailed(Box<AttemptFailed>),
    /// `abandoned`
    Abandoned(Abandoned),
    /// `dropped`
    Dropped(Dropped),
    /// `depth_exceeded`
    DepthExceeded(Box<DepthExceeded>),
}
