//! The vocabulary of events: what can have happened. One family per file, one struct per kind.
//!
//! Owns: the kinds, their numbers ([`registry`]) and their bytes ([`encode_record`], [`decode_record`]). Never does:
//! fold, decide, or know which view reads what (the registry only documents it).
//!
//! Invariants: L30 a type number is never reused; L31 `decode(encode(e)) == e` and every byte is consumed;
//! L32 decoding never panics and never allocates by an unchecked length.

mod app;
mod codec;
mod common;
mod cron;
mod dead_letter;
mod execution;
mod job;
mod journal;
mod kv;
pub mod registry;
mod retention;
mod route;
mod script;
mod secret;
mod token;
mod trigger;

pub use app::{
    AppChanged, AppCreated, AppDeleted, AppEvent, AppForked, AppPauseReason, AppPaused, AppResumed, Fork,
    ForkBase, Leak, OutgoingCalls,
};
pub use codec::{DecodeError, EVENT_BYTES_MAX, decode_record, encode_record};
pub use common::{
    AttemptRecord, Backoff, ErrorKind, ErrorRecord, HeaderRecord, IdempotencyKey, Input, KeptAnswer,
    KeptReply, LogLevel, LogLine, OutputRecord, Principal, ReadRecord, RequestRecord, RetryPolicy, Scopes,
    SealedBytes, SharedBytes, Source, Writer,
};
pub use cron::{CronEvent, CronTicked};
pub use dead_letter::{
    DeadLetterEvent, DeadLetterExpired, DeadLetterHandlerFailed, DeadLetterRedriven, DeadLetterResolved,
    DeadLettered, RedriveProof, Verdict,
};
pub use execution::{
    AbandonReason, Abandoned, AfterFailure, AloneEnded, AttemptFailed, Claimed, Completed, DepthExceeded,
    Dropped, Enqueued, ExecutionEvent, Released,
};
pub use job::{
    JobCreated, JobEnded, JobEvent, JobExpired, JobFilter, JobKind, JobOutcome, JobProgressed, VersionChoice,
};
pub use journal::{CallAnswer, CallOutcome, CallRecord};
pub use kv::{KvDeleted, KvEvent, KvExpired, KvPut};
pub use retention::{AbandonedExpired, HoldReleased, HoldSet, RetentionEvent};
pub use route::{DispatchMode, Record, RouteCreated, RouteDeleted, RouteEvent, RouteSpec};
pub use script::{ImportedVersion, ScriptDeleted, ScriptDeployed, ScriptEvent};
pub use secret::{SecretDeleted, SecretEvent, SecretSet};
pub use token::{TokenCreated, TokenDeleted, TokenEvent};
pub use trigger::{
    KvOps, Ordering, Pattern, PauseReason, TriggerChanged, TriggerCreated, TriggerDeleted, TriggerEvent,
    TriggerPaused, TriggerResumed, TriggerSpec,
};

use crate::ids::{AppId, ExecutionId};

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Tenants.
    App(AppEvent),
    /// Script versions.
    Script(ScriptEvent),
    /// Routes.
    Route(RouteEvent),
    /// Triggers.
    Trigger(TriggerEvent),
    /// Tokens.
    Token(TokenEvent),
    /// Secrets.
    Secret(SecretEvent),
    /// Mutations of keys.
    Kv(KvEvent),
    /// The outbox.
    Execution(ExecutionEvent),
    /// Dead letters.
    DeadLetter(DeadLetterEvent),
    /// Jobs on dead letters.
    Job(JobEvent),
    /// What is no longer kept, and what has to be.
    Retention(RetentionEvent),
    /// Schedules.
    Cron(CronEvent),
}

impl Event {
    /// The kind's entry in the registry.
    #[must_use]
    pub fn kind(&self) -> &'static registry::Kind {
        registry::by_number(codec::type_number(self)).unwrap_or(&registry::UNKNOWN)
    }

    /// The app that the event belongs to (S6: to exactly one; what is of the instance has [`AppId::INSTANCE`]).
    #[must_use]
    pub fn app(&self) -> AppId {
        match self {
            Event::App(AppEvent::Created(e)) => e.app,
            Event::App(AppEvent::Changed(e)) => e.app,
            Event::App(AppEvent::Paused(e)) => e.app,
            Event::App(AppEvent::Resumed(e)) => e.app,
            Event::App(AppEvent::Deleted(e)) => e.app,
            Event::App(AppEvent::Forked(e)) => e.app,
            Event::Script(ScriptEvent::Deployed(e)) => e.app,
            Event::Script(ScriptEvent::Deleted(e)) => e.app,
            Event::Route(RouteEvent::Created(e)) => e.app,
            Event::Route(RouteEvent::Deleted(e)) => e.app,
            Event::Trigger(TriggerEvent::Created(e)) => e.app,
            Event::Trigger(TriggerEvent::Changed(e)) => e.app,
            Event::Trigger(TriggerEvent::Paused(e)) => e.app,
            Event::Trigger(TriggerEvent::Resumed(e)) => e.app,
            Event::Trigger(TriggerEvent::Deleted(e)) => e.app,
            Event::Token(TokenEvent::Created(e)) => e.app.unwrap_or(AppId::INSTANCE),
            Event::Token(TokenEvent::Deleted(e)) => e.app.unwrap_or(AppId::INSTANCE),
            Event::Secret(SecretEvent::Set(e)) => e.app,
            Event::Secret(SecretEvent::Deleted(e)) => e.app,
            Event::Kv(KvEvent::Put(e)) => e.app,
            Event::Kv(KvEvent::Deleted(e)) => e.app,
            Event::Kv(KvEvent::Expired(e)) => e.app,
            Event::Execution(ExecutionEvent::Enqueued(e)) => e.app,
            Event::Execution(ExecutionEvent::Claimed(e)) => e.app,
            Event::Execution(ExecutionEvent::AloneEnded(e)) => e.app,
            Event::Execution(ExecutionEvent::Released(e)) => e.app,
            Event::Execution(ExecutionEvent::Completed(e)) => e.app,
            Event::Execution(ExecutionEvent::AttemptFailed(e)) => e.app,
            Event::Execution(ExecutionEvent::Abandoned(e)) => e.app,
            Event::Execution(ExecutionEvent::Dropped(e)) => e.app,
            Event::Execution(ExecutionEvent::DepthExceeded(e)) => e.app,
            Event::DeadLetter(DeadLetterEvent::DeadLettered(e)) => e.app,
            Event::DeadLetter(DeadLetterEvent::HandlerFailed(e)) => e.app,
            Event::DeadLetter(DeadLetterEvent::Redriven(e)) => e.app,
            Event::DeadLetter(DeadLetterEvent::Resolved(e)) => e.app,
            Event::DeadLetter(DeadLetterEvent::Expired(e)) => e.app,
            Event::Job(JobEvent::Created(e)) => e.app,
            Event::Job(JobEvent::Progressed(e)) => e.app,
            Event::Job(JobEvent::Ended(e)) => e.app,
            Event::Job(JobEvent::Expired(e)) => e.app,
            Event::Retention(RetentionEvent::AbandonedExpired(e)) => e.app,
            Event::Retention(RetentionEvent::HoldSet(_) | RetentionEvent::HoldReleased(_)) => AppId::INSTANCE,
            Event::Cron(CronEvent::Ticked(e)) => e.app,
        }
    }

    /// The execution that the event is about or was made by, if there is one.
    #[must_use]
    pub fn execution(&self) -> Option<ExecutionId> {
        match self {
            Event::App(_)
            | Event::Script(_)
            | Event::Route(_)
            | Event::Trigger(_)
            | Event::Token(_)
            | Event::Secret(_) => None,
            Event::Kv(KvEvent::Put(KvPut { writer, .. }) | KvEvent::Deleted(KvDeleted { writer, .. })) => {
                match writer {
                    Writer::Execution { id, .. } => Some(*id),
                    Writer::Principal { .. } | Writer::Undo { .. } => None,
                }
            }
            Event::Kv(KvEvent::Expired(_)) => None,
            Event::Execution(ExecutionEvent::Enqueued(e)) => Some(e.execution),
            Event::Execution(ExecutionEvent::Claimed(e)) => Some(e.execution),
            Event::Execution(ExecutionEvent::AloneEnded(e)) => Some(e.execution),
            Event::Execution(ExecutionEvent::Released(e)) => Some(e.execution),
            Event::Execution(ExecutionEvent::Completed(e)) => Some(e.execution),
            Event::Execution(ExecutionEvent::AttemptFailed(e)) => Some(e.execution),
            Event::Execution(ExecutionEvent::Abandoned(e)) => Some(e.execution),
            Event::Execution(ExecutionEvent::Dropped(e)) => Some(e.execution),
            Event::Execution(ExecutionEvent::DepthExceeded(e)) => Some(e.execution),
            Event::DeadLetter(DeadLetterEvent::DeadLettered(e)) => Some(e.execution),
            Event::DeadLetter(DeadLetterEvent::HandlerFailed(e)) => Some(e.execution),
            Event::DeadLetter(DeadLetterEvent::Redriven(e)) => Some(e.execution),
            Event::DeadLetter(DeadLetterEvent::Resolved(e)) => e.execution,
            Event::DeadLetter(DeadLetterEvent::Expired(_)) | Event::Job(_) => None,
            Event::Retention(RetentionEvent::AbandonedExpired(e)) => Some(e.execution),
            Event::Retention(RetentionEvent::HoldSet(_) | RetentionEvent::HoldReleased(_)) => None,
            Event::Cron(CronEvent::Ticked(e)) => e.execution,
        }
    }
}

#[cfg(test)]
mod tests;
