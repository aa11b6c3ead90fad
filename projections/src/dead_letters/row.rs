//! One dead letter as the view shows it.

use bincode::{Decode, Encode};
use relive_log::events::{DeadLettered, ErrorRecord, Principal, RedriveProof, Source};
use relive_log::{AppId, ExecutionId, JobId, LetterId, Lsn, TriggerId, UnixMicros};

use crate::source::At;

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Resolution {
    /// A handler failed; the letter stays open (D10).
    HandlerFailed {
        /// The handler's execution.
        execution: ExecutionId,
    },
    /// Its input was enqueued again (D12).
    Redriven {
        /// The new execution.
        execution: ExecutionId,
        /// Who did it; of a script, whom it ran as.
        by: Principal,
        /// The execution that did it, if a script did.
        by_execution: Option<ExecutionId>,
        /// The job that did it, if one did.
        job: Option<JobId>,
        /// What proved it, if a backtest did.
        proof: Option<Box<RedriveProof>>,
    },
    /// It was closed without being run again (D12).
    Resolved {
        /// As what.
        resolution: String,
        /// Why, for people.
        note: Option<String>,
        /// Who did it; of a script, whom it ran as.
        by: Principal,
        /// The execution that did it, if a script did.
        by_execution: Option<ExecutionId>,
        /// The job that did it, if one did.
        job: Option<JobId>,
    },
}

impl Resolution {
    /// The name on the outside.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Resolution::HandlerFailed { .. } => "handler_failed",
            Resolution::Redriven { .. } => "redriven",
            Resolution::Resolved { resolution, .. } => resolution,
        }
    }
}

/// One dead letter: its `dead_lettered` event and what became of it. The input is read at `enqueued`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LetterRow {
    /// The app.
    pub app: AppId,
    /// Its id.
    pub letter: LetterId,
    /// The execution that died.
    pub execution: ExecutionId,
    /// Its root.
    pub root: ExecutionId,
    /// Its depth.
    pub depth: u16,
    /// Its `enqueued` event: the input.
    pub enqueued: Lsn,
    /// Name of the script.
    pub script: String,
    /// Version that failed last; 0 if the script was missing.
    pub version: u32,
    /// Where the work came from.
    pub source: Source,
    /// The key of its line, if it has one.
    pub ordering_key: Option<String>,
    /// Whom it ran as.
    pub principal: Option<Principal>,
    /// Attempts that counted.
    pub attempts: u32,
    /// The last error.
    pub error: ErrorRecord,
    /// Errors alike have it alike.
    pub fingerprint: u64,
    /// When the first attempt was claimed.
    pub first_attempt_at: UnixMicros,
    /// When the last attempt was claimed.
    pub last_attempt_at: UnixMicros,
    /// The `dead_lettered` event.
    pub at: At,
    /// What became of it.
    pub resolution: Option<Resolution>,
    /// The event that closed it; `None` while it is open.
    pub resolved_at: Option<At>,
}

impl LetterRow {
    /// Open iff its resolution is none or `handler_failed` (D10).
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match &self.resolution {
            None | Some(Resolution::HandlerFailed { .. }) => true,
            Some(Resolution::Redriven { .. } | Resolution::Resolved { .. }) => false,
        }
    }

    /// The letter as its event makes it.
    #[must_use]
    pub fn of(event: &DeadLettered, at: At) -> LetterRow {
        LetterRow {
            app: event.app,
            letter: event.letter,
            execution: event.execution,
            root: event.root,
            depth: event.depth,
            enqueued: event.enqueued,
            script: event.script.clone(),
            version: event.version,
            source: event.source.clone(),
            ordering_key: event.ordering_key.clone(),
            principal: event.principal.clone(),
            attempts: event.attempts,
            error: event.error.clone(),
            fingerprint: event.fingerprint,
            first_attempt_at: event.first_attempt_at,
            last_attempt_at: event.last_attempt_at,
            at,
            resolution: None,
            resolved_at: None,
        }
    }
}

/// Letters whose errors are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterGroup {
    /// What they have alike.
    pub fingerprint: u64,
    /// How many there are.
    pub count: u64,
    /// How many of them are open.
    pub open: u64,
    /// When the first of them died.
    pub first_at: UnixMicros,
    /// The one that died last.
    pub last: LetterRow,
}

/// Which letters a listing wants; absent fields want all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Only open ones, or only resolved ones.
    pub open: Option<bool>,
    /// Of this script.
    pub script: Option<String>,
    /// Of work that this trigger fired.
    pub trigger: Option<TriggerId>,
    /// With this fingerprint.
    pub fingerprint: Option<u64>,
    /// Whose error's message or kind contains this text.
    pub error: Option<String>,
    /// Only ids strictly below this one.
    pub cursor: Option<LetterId>,
    /// At most so many.
    pub limit: usize,
}

impl LetterFilter {
    /// Whether a letter is wanted (the cursor and the limit aside).
    #[must_use]
    pub fn wants(&self, row: &LetterRow) -> bool {
        self.open.is_none_or(|open| open == row.is_open())
            && self.script.as_ref().is_none_or(|script| *script == row.script)
            && self.trigger.is_none_or(|trigger| row.source.trigger() == Some(trigger))
            && self.fingerprint.is_none_or(|fingerprint| fingerprint == row.fingerprint)
            && self.error.as_ref().is_none_or(|text| {
                row.error.message.contains(text.as_str()) || row.error.kind.name() == text.as_str()
            })
    }
}
