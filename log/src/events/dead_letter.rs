//! Family `dead_letter`: work that used up its attempts, kept with its input until it is resolved.

use bincode::{Decode, Encode};

use super::common::{ErrorRecord, Principal, Source};
use crate::ids::{AppId, BacktestId, ExecutionId, JobId, LetterId};
use crate::types::{Lsn, UnixMicros};

/// `dead_lettered`: beside the last `attempt_failed`, in the same batch. Holds all that the letter shows, so
/// that the view never needs the execution's row.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeadLettered {
    /// The app.
    pub app: AppId,
    /// The new id.
    pub letter: LetterId,
    /// The execution that died.
    pub execution: ExecutionId,
    /// Its root.
    pub root: ExecutionId,
    /// Its depth; handlers run at the same (D10).
    pub depth: u16,
    /// Its `enqueued` event: the input.
    pub enqueued: Lsn,
    /// Name of the script.
    pub script: String,
    /// Version that failed last; 0 if the script was missing.
    pub version: u32,
    /// Where the work came from.
    pub source: Source,
    /// The key of its line, if it has one: a redrive joins the line again (D13).
    pub ordering_key: Option<String>,
    /// Whom it ran as.
    pub principal: Option<Principal>,
    /// Attempts that counted.
    pub attempts: u32,
    /// The last error.
    pub error: ErrorRecord,
    /// Errors alike have it alike: of kind, script, line and the message without numbers and ids.
    pub fingerprint: u64,
    /// When the first attempt was claimed.
    pub first_attempt_at: UnixMicros,
    /// When the last attempt was claimed.
    pub last_attempt_at: UnixMicros,
}

/// `dead_letter_handler_failed`: a handler failed or crashed alone; the letter stays open (D10).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeadLetterHandlerFailed {
    /// The app.
    pub app: AppId,
    /// The letter.
    pub letter: LetterId,
    /// The handler's execution.
    pub execution: ExecutionId,
}

/// What a replay with another version came to, against what was recorded (T4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Verdict {
    /// The same status, response, writes and error.
    Same,
    /// It succeeds as it did, or fails as it did, with another result.
    Changed,
    /// It failed then and succeeds now.
    Fixed,
    /// It succeeded then and fails now.
    Broken,
    /// It asked for an outgoing call that was not recorded; such calls are never made.
    Unmatched,
}

impl Verdict {
    /// Every verdict with its name on the outside.
    pub const NAMES: [(Verdict, &'static str); 5] = [
        (Verdict::Same, "same"),
        (Verdict::Changed, "changed"),
        (Verdict::Fixed, "fixed"),
        (Verdict::Broken, "broken"),
        (Verdict::Unmatched, "unmatched"),
    ];

    /// The name on the outside.
    #[must_use]
    pub fn name(self) -> &'static str {
        Verdict::NAMES.iter().find(|(verdict, _)| *verdict == self).map_or("same", |(_, name)| name)
    }
}

/// What showed, before a letter was redriven, that its input succeeds now: kept with the resolution.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RedriveProof {
    /// The backtest; all letters that one backtest proved have it alike.
    pub backtest: BacktestId,
    /// The attempt that was replayed.
    pub attempt: u32,
    /// Version of the script that it was replayed with.
    pub version: u32,
    /// SHA-256 of that version's source.
    pub sha256: [u8; 32],
    /// What it came to.
    pub verdict: Verdict,
    /// The last LSN that was durable when the backtest began: what it knew.
    pub lsn: Lsn,
}

/// `dead_letter_redriven`: its input was enqueued again, in the same batch (D12).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeadLetterRedriven {
    /// The app.
    pub app: AppId,
    /// The letter.
    pub letter: LetterId,
    /// The new execution.
    pub execution: ExecutionId,
    /// Who did it; of a script, whom it ran as.
    pub by: Principal,
    /// The execution that did it, if a script did.
    pub by_execution: Option<ExecutionId>,
    /// The job that did it, if one did.
    pub job: Option<JobId>,
    /// What proved it, if a backtest did.
    pub proof: Option<Box<RedriveProof>>,
}

/// `dead_letter_resolved`: closed without being run again (D12).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeadLetterResolved {
    /// The app.
    pub app: AppId,
    /// The letter.
    pub letter: LetterId,
    /// As what; `ignored` unless somebody said otherwise.
    pub resolution: String,
    /// Why, for people.
    pub note: Option<String>,
    /// Who did it; of a script, whom it ran as.
    pub by: Principal,
    /// The execution that did it, if a script did.
    pub execution: Option<ExecutionId>,
    /// The job that did it, if one did.
    pub job: Option<JobId>,
}

/// `dead_letter_expired`: it was kept long enough, open or resolved (D11).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeadLetterExpired {
    /// The app.
    pub app: AppId,
    /// The letter.
    pub letter: LetterId,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterEvent {
    /// `dead_lettered`
    DeadLettered(Box<DeadLettered>),
    /// `dead_letter_handler_failed`
    HandlerFailed(DeadLetterHandlerFailed),
    /// `dead_letter_redriven`
    Redriven(DeadLetterRedriven),
    /// `dead_letter_resolved`
    Resolved(Box<DeadLetterResolved>),
    /// `dead_letter_expired`
    Expired(DeadLetterExpired),
}
