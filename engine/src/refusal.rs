//! Refusals: a domain no (4xx), with what, where and what to do. Errors of the world are [`Failure`].

use relive_log::{ExecutionId, Lsn};

/// A key that was written since the execution that shall be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoConflict {
    /// Collection.
    pub collection: String,
    /// Key.
    pub key: String,
    /// The version that the execution left.
    pub wrote: Lsn,
    /// The version that it has; `None`: it is absent.
    pub current: Option<Lsn>,
}

/// Why a command or call was not admitted. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// `app`, `script`, `route`, `trigger`, `secret`, `key`, `dead letter`, `execution`.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// It exists already.
    #[error("{what} `{name}` exists already")]
    Exists {
        /// What.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// Who asks lacks a scope.
    #[error("this needs the scope `{scope}`, which the token lacks")]
    Forbidden {
        /// The scope's name.
        scope: &'static str,
    },
    /// Another call came with the same `Idempotency-Key` within a day (D14).
    #[error(
        "the Idempotency-Key was used for another call of this route (execution {execution}): take a new key, or send \
         that call again"
    )]
    KeyReused {
        /// The other call's.
        execution: relive_log::ExecutionId,
    },
    /// A state that does not allow it (a letter that is resolved).
    #[error("{message}")]
    Conflict {
        /// Stable code for programs.
        code: &'static str,
        /// What and what to do.
        message: String,
    },
    /// The version of the key is another one.
    #[error("the key has version {}, not what the condition asks for", .current.map_or_else(|| "none (it is absent)".to_owned(), |lsn| lsn.to_string()))]
    Precondition {
        /// What it has.
        current: Option<Lsn>,
    },
    /// What an execution wrote was written again since.
    #[error("execution `{execution}` cannot be undone: {} of its keys changed since", .conflicts.len())]
    UndoConflicts {
        /// The execution.
        execution: ExecutionId,
        /// Which keys.
        conflicts: Vec<UndoConflict>,
    },
    /// A value that makes no sense.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The log was cut above it.
    #[error("history goes back to LSN {first} only")]
    BelowHorizon {
        /// The first event that is there.
        first: Lsn,
    },
    /// A limit was exceeded.
    #[error("{what} has {actual} {unit}, the limit is {limit} ({setting})")]
    TooLarge {
        /// What.
        what: String,
        /// How large it is.
        actual: u64,
        /// What is allowed.
        limit: u64,
        /// `bytes`, `executions`.
        unit: &'static str,
        /// The limit's name or setting.
        setting: &'static str,
    },
    /// A script does not compile.
    #[error("script `{script}` line {line}, column {column}: {message}")]
    Source {
        /// The script.
        script: String,
        /// What is wrong.
        message: String,
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
    },
    /// Too much waits already.
    #[error("too many calls wait ({waiting}); the limit is {limit} (RELIVE_MAX_WAITING_CALLS)")]
    Overloaded {
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// A queue that nothing consumes (D18).
    #[error("no trigger consumes the queue `{queue}`: deploy one with kind = \"queue\" first")]
    UnknownQueue {
        /// The queue.
        queue: String,
    },
    /// The app is paused: its sync routes are closed (D15).
    #[error("app `{app}` is paused")]
    AppPaused {
        /// The app.
        app: String,
    },
    /// The instance shuts down.
    #[error("the instance is shutting down")]
    ShuttingDown,
}

/// The world broke (5xx).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The log failed: the process is about to end.
    #[error("the log failed: {message}")]
    Log {
        /// What it said.
        message: String,
    },
    /// Stored data could not be read.
    #[error("stored data could not be read: {message}")]
    Read {
        /// What was said.
        message: String,
    },
    /// The disk is full; nothing was lost, room brings the instance back.
    #[error("the disk is full: {message}")]
    NoSpace {
        /// What was said.
        message: String,
    },
}

/// Why a command did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A domain no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The world broke.
    #[error(transparent)]
    Failed(#[from] Failure),
}
