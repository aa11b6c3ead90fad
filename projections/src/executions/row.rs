//! One execution as the views show it: the fold of its events.
//!
//! Owns: [`ExecutionRow`] and its parts, names on the outside, the filter of listings. Never does: hold inputs or
//! outputs; they are read from the log through the positions in here.

use bincode::{Decode, Encode};
use relive_log::events::{AbandonReason, ErrorRecord, Principal, Source};
use relive_log::{AppId, ExecutionId, LetterId, Lsn, TriggerId, UnixMicros};

use crate::source::At;

/// Where an execution stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Status {
    /// Waits for its first attempt, or was given back by a shutdown.
    Pending,
    /// An attempt runs.
    Running,
    /// Waits for its next attempt.
    Retrying,
    /// Succeeded.
    Completed,
    /// Ended without success, and without a letter (reply-to work, dead-letter handlers).
    Failed,
    /// Out of attempts; a dead letter holds it.
    DeadLettered,
    /// Reply-to work that a crash cut off.
    Abandoned,
    /// Never ran or never will: its trigger, route or app went, or it was too deep.
    Dropped,
}

impl Status {
    /// Every status with its name on the outside.
    pub const NAMES: [(Status, &'static str); 8] = [
        (Status::Pending, "pending"),
        (Status::Running, "running"),
        (Status::Retrying, "retrying"),
        (Status::Completed, "completed"),
        (Status::Failed, "failed"),
        (Status::DeadLettered, "dead_lettered"),
        (Status::Abandoned, "abandoned"),
        (Status::Dropped, "dropped"),
    ];

    /// The name on the outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Retrying => "retrying",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::DeadLettered => "dead_lettered",
            Status::Abandoned => "abandoned",
            Status::Dropped => "dropped",
        }
    }

    /// The status with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Status> {
        Status::NAMES.iter().find(|(_, known)| *known == name).map(|(status, _)| *status)
    }

    /// The number in the columns of rows.
    pub(super) const fn number(self) -> u8 {
        match self {
            Status::Pending => 0,
            Status::Running => 1,
            Status::Retrying => 2,
            Status::Completed => 3,
            Status::Failed => 4,
            Status::DeadLettered => 5,
            Status::Abandoned => 6,
            Status::Dropped => 7,
        }
    }

    /// Whether the work is still in the outbox.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Status::Pending | Status::Running | Status::Retrying => true,
            Status::Completed
            | Status::Failed
            | Status::DeadLettered
            | Status::Abandoned
            | Status::Dropped => false,
        }
    }
}

/// What became of the outcome of reply-to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Delivery {
    /// The caller was there to take it.
    Delivered,
    /// The caller had gone away (D5).
    Abandoned,
}

impl Delivery {
    /// The name on the outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Delivery::Delivered => "delivered",
            Delivery::Abandoned => "abandoned",
        }
    }
}

/// One try at an execution. A try that was given back by a shutdown is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AttemptRef {
    /// 1, 2, 3…
    pub attempt: u32,
    /// Version of the script; 0 if it was missing.
    pub version: u32,
    /// Its `claimed` event; [`At::time`] is the commit time, see [`AttemptRef::claim_time`].
    pub claimed: At,
    /// The claim time: `time::now()` of the attempt (K1).
    pub claim_time: UnixMicros,
    /// The snapshot as of which it read at first.
    pub snapshot: Lsn,
    /// For so many milliseconds nothing else ran (D3); 0: an ordinary claim.
    pub alone_ms: u64,
    /// Whether it outlived its time alone.
    pub alone_ended: bool,
    /// The event that ended it: `completed`, `attempt_failed`, `abandoned` or `dropped`.
    pub ended: Option<At>,
    /// Whether it counted towards the maximum (failed attempts only).
    pub counted: bool,
    /// Whether it failed.
    pub failed: bool,
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ExecutionRow {
    /// Its app.
    pub app: AppId,
    /// Its id.
    pub execution: ExecutionId,
    /// The execution at the root of the causal tree.
    pub root: ExecutionId,
    /// Depth (D8).
    pub depth: u16,
    /// The execution that caused it.
    pub caused_by: Option<ExecutionId>,
    /// The event that caused it.
    pub cause: Option<Lsn>,
    /// Name of the script.
    pub script: String,
    /// Where it came from.
    pub source: Source,
    /// Where it stands.
    pub status: Status,
    /// Its `enqueued` (or `depth_exceeded`) event: the input is read there.
    pub enqueued: At,
    /// Not before; after a failed attempt, of the next one.
    pub due_at: UnixMicros,
    /// The key of its line, if it has one (D13).
    pub ordering_key: Option<String>,
    /// Whom it runs as.
    pub principal: Option<Principal>,
    /// The dead letter that it redrives.
    pub redrive_of: Option<LetterId>,
    /// Whether its call came with an `Idempotency-Key`.
    pub keyed: bool,
    /// The version asked for, if one was.
    pub pinned_version: Option<u32>,
    /// Tries, in order.
    pub attempts: Vec<AttemptRef>,
    /// Failed attempts that counted.
    pub failures_counted: u32,
    /// Crashes in a row that did not count (D3).
    pub crashes: u32,
    /// The last error.
    pub last_error: Option<ErrorRecord>,
    /// The event that ended it.
    pub ended_at: Option<At>,
    /// What became of the outcome; `None` unless the work is reply-to and ended, or its caller went away.
    pub delivery: Option<Delivery>,
    /// The abandoned record (D5): why, and when.
    pub abandoned: Option<(AbandonReason, UnixMicros)>,
    /// Why it was dropped, for people.
    pub drop_reason: Option<String>,
    /// Its dead letter.
    pub letter: Option<LetterId>,
    /// Whether the input was kept.
    pub recorded: bool,
}

impl ExecutionRow {
    /// Work that was recorded at `at`, is due then, caused by nothing, and of which nothing more is known.
    pub(super) fn new(
        (app, execution): (AppId, ExecutionId),
        script: &str,
        source: &Source,
        at: At,
    ) -> ExecutionRow {
        ExecutionRow {
            app,
            execution,
            root: execution,
            depth: 0,
            caused_by: None,
            cause: None,
            script: script.to_owned(),
            source: source.clone(),
            status: Status::Pending,
            enqueued: at,
            due_at: at.time,
            ordering_key: None,
            principal: None,
            redrive_of: None,
            keyed: false,
            pinned_version: None,
            attempts: Vec::new(),
            failures_counted: 0,
            crashes: 0,
            last_error: None,
            ended_at: None,
            delivery: None,
            abandoned: None,
            drop_reason: None,
            letter: None,
            recorded: true,
        }
    }

    /// The letter whose input it takes: that of the work that it redrives, or handles.
    #[must_use]
    pub const fn refers_to(&self) -> Option<LetterId> {
        match (self.redrive_of, &self.source) {
            (Some(letter), _) => Some(letter),
            (None, Source::DeadLetter { letter, .. }) => Some(*letter),
            (None, _) => None,
        }
    }

    /// The attempt that runs, or ran last.
    #[must_use]
    pub fn last_attempt(&self) -> Option<&AttemptRef> {
        self.attempts.last()
    }
}

/// Which executions a listing wants; absent fields want all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Of this status.
    pub status: Option<Status>,
    /// Of this script.
    pub script: Option<String>,
    /// Fired by this trigger.
    pub trigger: Option<TriggerId>,
    /// Of this causal tree.
    pub root: Option<ExecutionId>,
    /// Enqueued at or after.
    pub since: Option<UnixMicros>,
    /// Enqueued before.
    pub until: Option<UnixMicros>,
    /// Only ids strictly below this one.
    pub cursor: Option<ExecutionId>,
    /// At most so many.
    pub limit: usize,
}
