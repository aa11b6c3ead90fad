//! Shapes that several families of events share: who acted, where work came from, what an attempt recorded.
//!
//! Every type here is part of the format on disk (bincode, field order matters): a released one is never
//! edited, a new version gets a new type. No recursive types: user JSON stays bytes.

use std::sync::Arc;

use bincode::{Decode, Encode};

use super::journal::CallRecord;
use crate::ids::{ExecutionId, LetterId, PrincipalId, RouteId, TriggerId};
use crate::types::{Lsn, UnixMicros};

/// Bytes that are shared rather than copied (values, bodies).
pub type SharedBytes = Arc<[u8]>;

/// What a token allows, as a bit set (`contract.md`, Scopes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Scopes(pub u16);

impl Scopes {
    /// Everything, all apps.
    pub const INSTANCE_ADMIN: Scopes = Scopes(1);
    /// Administration of one app.
    pub const APP_ADMIN: Scopes = Scopes(1 << 1);
    /// The app's metadata and open work.
    pub const APP_READ: Scopes = Scopes(1 << 2);
    /// Script sources, KV reads.
    pub const SCRIPT_READ: Scopes = Scopes(1 << 3);
    /// Deploys of scripts, KV writes, queue sends.
    pub const SCRIPT_WRITE: Scopes = Scopes(1 << 4);
    /// Direct runs.
    pub const SCRIPT_EXECUTE: Scopes = Scopes(1 << 5);
    /// The log, executions with inputs, history and as-of reads.
    pub const LOG_READ: Scopes = Scopes(1 << 6);

    /// Every scope with its name on the outside.
    pub const NAMES: [(Scopes, &'static str); 7] = [
        (Scopes::INSTANCE_ADMIN, "instance:admin"),
        (Scopes::APP_ADMIN, "app:admin"),
        (Scopes::APP_READ, "app:read"),
        (Scopes::SCRIPT_READ, "script:read"),
        (Scopes::SCRIPT_WRITE, "script:write"),
        (Scopes::SCRIPT_EXECUTE, "script:execute"),
        (Scopes::LOG_READ, "log:read"),
    ];

    /// Whether this set grants `scope`: `instance:admin` grants all, `app:admin` contains `app:read`.
    #[must_use]
    pub const fn grants(self, scope: Scopes) -> bool {
        let mut effective = self.0;
        if effective & Scopes::INSTANCE_ADMIN.0 != 0 {
            return true;
        }
        if effective & Scopes::APP_ADMIN.0 != 0 {
            effective |= Scopes::APP_READ.0;
        }
        effective & scope.0 == scope.0
    }

    /// Whether `scope` stands in this set itself; [`Scopes::grants`] says what follows from it.
    #[must_use]
    pub const fn contains(self, scope: Scopes) -> bool {
        self.0 & scope.0 == scope.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, scope: Scopes) -> Scopes {
        Scopes(self.0 | scope.0)
    }

    /// The scope with this name on the outside.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Scopes> {
        Scopes::NAMES.iter().find(|(_, known)| *known == name).map(|(scope, _)| *scope)
    }

    /// The names of the scopes in this set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Scopes::NAMES.iter().filter(move |(scope, _)| self.0 & scope.0 != 0).map(|(_, name)| *name)
    }
}

/// Who acts: a token's holder, as it was when the event was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Principal {
    /// The token's id (the instance token has [`Principal::INSTANCE_ID`]).
    pub id: PrincipalId,
    /// The token's name.
    pub name: String,
    /// What it allowed then.
    pub scopes: Scopes,
}

impl Principal {
    /// The id of the instance token, which is not in the log.
    pub const INSTANCE_ID: PrincipalId = PrincipalId::from_bytes([0; 16]);

    /// The principal of the instance token.
    #[must_use]
    pub fn instance() -> Principal {
        Principal { id: Principal::INSTANCE_ID, name: "instance".into(), scopes: Scopes::INSTANCE_ADMIN }
    }
}

/// How the wait before the next attempt grows (D7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Backoff {
    /// No wait at all.
    None,
    /// `base_ms` each time.
    Fixed,
    /// `base_ms` × n.
    Linear,
    /// `base_ms` × 2^(n−1).
    Exponential,
}

/// Retry settings of a trigger or an async route (D7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// How the wait grows.
    pub backoff: Backoff,
    /// Unit of the wait, milliseconds.
    pub base_ms: u64,
    /// Upper bound of the wait, milliseconds.
    pub max_ms: u64,
    /// Spread of the wait, percent of it, 0 to 100.
    pub jitter_pct: u8,
}

/// Where an execution came from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Source {
    /// A call of a route; `sync` callers wait for the outcome (reply-to work, D4).
    Route {
        /// The route that matched.
        route: RouteId,
        /// Whether a caller waits for the outcome.
        sync: bool,
    },
    /// A KV trigger fired on a mutation.
    Kv {
        /// The trigger.
        trigger: TriggerId,
    },
    /// A dead-letter trigger fired on a letter.
    DeadLetter {
        /// The trigger.
        trigger: TriggerId,
        /// The letter.
        letter: LetterId,
    },
    /// A direct run through the admin API (reply-to work).
    Direct,
    /// A cron trigger's time came.
    Cron {
        /// The trigger.
        trigger: TriggerId,
    },
    /// A message of a queue, for its consumer.
    Queue {
        /// The trigger.
        trigger: TriggerId,
    },
}

impl Source {
    /// The trigger that fired, if one did.
    #[must_use]
    pub const fn trigger(&self) -> Option<TriggerId> {
        match self {
            Source::Kv { trigger }
            | Source::DeadLetter { trigger, .. }
            | Source::Cron { trigger }
            | Source::Queue { trigger } => Some(*trigger),
            Source::Route { .. } | Source::Direct => None,
        }
    }

    /// Whether a caller waits for the outcome: such work never retries and never dead-letters (D4).
    #[must_use]
    pub const fn reply_to(&self) -> bool {
        matches!(self, Source::Route { sync: true, .. } | Source::Direct)
    }

    /// The name on the outside.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Source::Route { .. } => "route",
            Source::Kv { .. } => "kv",
            Source::DeadLetter { .. } => "dead_letter",
            Source::Direct => "direct",
            Source::Cron { .. } => "cron",
            Source::Queue { .. } => "queue",
        }
    }
}

/// What an execution runs on. Inputs are stored once (T1): by reference wherever the log already has them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Input {
    /// The mutation at this LSN (KV triggers).
    Mutation(Lsn),
    /// The `dead_lettered` event at this LSN (dead-letter handlers).
    Letter(Lsn),
    /// The input of the `enqueued` event at this LSN (redrives).
    SameAs(Lsn),
    /// An HTTP request in full (routes).
    Request(Box<RequestRecord>),
    /// The payload of a direct run, JSON text; `None` when the caller sent none.
    Payload(Option<SharedBytes>),
    /// Nothing was recorded (`record = "off"`).
    NotRecorded,
    /// A moment of a schedule.
    Tick {
        /// The scheduled time.
        scheduled_at: UnixMicros,
        /// How many scheduled times before it had no run.
        missed: u64,
    },
    /// A message of a queue; it was sent at the commit time of its `enqueued`.
    Message {
        /// The queue.
        queue: String,
        /// JSON text.
        message: SharedBytes,
    },
}

/// An HTTP request as it is recorded: secrets masked, withheld headers not in clear (T5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RequestRecord {
    /// Method, upper case.
    pub method: String,
    /// Path without the app, undecoded, with its leading slash.
    pub path: String,
    /// Values of the route's `{name}` segments, decoded.
    pub params: Vec<(String, String)>,
    /// Query pairs in order, decoded.
    pub query: Vec<(String, String)>,
    /// Headers in order, lower-case names.
    pub headers: Vec<(String, HeaderRecord)>,
    /// The body, raw.
    pub body: Vec<u8>,
    /// Whether a secret's value was masked somewhere in it: a replay is then not exact.
    pub masked: bool,
}

/// One header's value as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HeaderRecord {
    /// In clear.
    Clear(String),
    /// A keyed digest only (sensitive headers of sync routes).
    Digest([u8; 32]),
    /// Encrypted with the instance key (sensitive headers of async routes).
    Sealed(SealedBytes),
}

/// Bytes encrypted with the instance key (XChaCha20-Poly1305).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SealedBytes {
    /// Which key: the first 8 bytes of its digest.
    pub key_id: [u8; 8],
    /// The nonce.
    pub nonce: [u8; 24],
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

/// Why an attempt, or the work, did not succeed. The names are stable (`semantics.md`, status table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub enum ErrorKind {
    /// The source does not compile.
    Parse,
    /// A run-time error of the script.
    Runtime,
    /// The script threw.
    Throw,
    /// A host function refused for lack of a scope.
    Permission,
    /// The script no longer exists.
    ScriptMissing,
    /// A secret or header is sealed with a key that is not here.
    KeyMissing,
    /// What the script returned is no valid response.
    BadResponse,
    /// Not admitted: too much waits already.
    Overloaded,
    /// Cut off by an orderly shutdown.
    ShuttingDown,
    /// The wall-clock limit.
    Timeout,
    /// The budget of operations.
    Operations,
    /// Too many nested calls.
    CallDepth,
    /// A value grew past its limit.
    Size,
    /// The memory budget.
    Memory,
    /// Too many or too large writes.
    Writes,
    /// One commit fired too many executions.
    FanOut,
    /// The process died while the attempt ran.
    Crashed,
    /// An error of Relive itself.
    Internal,
    /// The disk is low.
    NoSpace,
    /// Events were lost, and this work was open then: what it did is unknown.
    LogGap,
}

impl ErrorKind {
    /// Every kind with its name on the outside.
    pub const NAMES: [(ErrorKind, &'static str); 20] = [
        (ErrorKind::Parse, "parse"),
        (ErrorKind::Runtime, "runtime"),
        (ErrorKind::Throw, "throw"),
        (ErrorKind::Permission, "permission"),
        (ErrorKind::ScriptMissing, "script_missing"),
        (ErrorKind::KeyMissing, "key_missing"),
        (ErrorKind::BadResponse, "bad_response"),
        (ErrorKind::Overloaded, "overloaded"),
        (ErrorKind::ShuttingDown, "shutting_down"),
        (ErrorKind::Timeout, "timeout"),
        (ErrorKind::Operations, "operations"),
        (ErrorKind::CallDepth, "call_depth"),
        (ErrorKind::Size, "size"),
        (ErrorKind::Memory, "memory"),
        (ErrorKind::Writes, "writes"),
        (ErrorKind::FanOut, "fan_out"),
        (ErrorKind::Crashed, "crashed"),
        (ErrorKind::Internal, "internal"),
        (ErrorKind::NoSpace, "no_space"),
        (ErrorKind::LogGap, "log_gap"),
    ];

    /// The name on the outside (`kind` in `last_error`, `code` in problem documents).
    #[must_use]
    pub fn name(self) -> &'static str {
        ErrorKind::NAMES.iter().find(|(kind, _)| *kind == self).map_or("internal", |(_, name)| name)
    }
}

/// An error as it is recorded; line and column count from 1, 0 when unknown.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ErrorRecord {
    /// The class.
    pub kind: ErrorKind,
    /// The text, secrets masked.
    pub message: String,
    /// Line in the script.
    pub line: u32,
    /// Column in the script.
    pub column: u32,
}

impl ErrorRecord {
    /// An error that has no place in a script.
    #[must_use]
    pub fn without_place(kind: ErrorKind, message: impl Into<String>) -> ErrorRecord {
        ErrorRecord { kind, message: message.into(), line: 0, column: 0 }
    }
}

/// Severity of a script's log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum LogLevel {
    /// `log::debug`, `debug`.
    Debug,
    /// `log::info`, `print`.
    Info,
    /// `log::warn`.
    Warn,
    /// `log::error`.
    Error,
}

impl LogLevel {
    /// The name on the outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }
}

/// One line that a script logged, secrets masked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogLine {
    /// Severity.
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// Line in the script, 0 when unknown.
    pub line: u32,
}

/// What an attempt read: provenance, validation and replay go by version, never by value (T1).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReadRecord {
    /// One key; `version` is the LSN of its last write as of the snapshot, 0 if there never was one. A deleted
    /// key has the version of its deletion.
    Key {
        /// Collection.
        collection: String,
        /// Key.
        key: String,
        /// LSN of the last write seen.
        version: Lsn,
        /// Whether there was a value.
        present: bool,
    },
    /// A listing: the bounds asked for and the keys with versions that it returned.
    Range {
        /// Collection.
        collection: String,
        /// Keys start with this.
        prefix: String,
        /// Strictly after (before, when reverse) this key.
        cursor: Option<String>,
        /// From the highest key down.
        reverse: bool,
        /// At most so many.
        limit: u32,
        /// What came back.
        items: Vec<(String, Lsn)>,
    },
    /// One key as of an earlier LSN: the past does not change, so there is nothing to validate.
    KeyAt {
        /// Collection.
        collection: String,
        /// Key.
        key: String,
        /// As of this LSN: what was asked for, resolved among the batches up to the snapshot (K3).
        at: Lsn,
        /// LSN of the last write seen.
        version: Lsn,
        /// Whether there was a value.
        present: bool,
    },
    /// The newest versions of a key as of the snapshot; validated like a read of the key.
    History {
        /// Collection.
        collection: String,
        /// Key.
        key: String,
        /// At most so many.
        limit: u32,
        /// The versions that came back, newest first.
        versions: Vec<Lsn>,
    },
    /// A dead letter that was to be redriven or resolved: whether it was open.
    Letter {
        /// The letter.
        letter: LetterId,
        /// Whether it was open; `None`: there was none.
        open: Option<bool>,
    },
}

/// An `Idempotency-Key` of a call (D14): with it the call runs once a day.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IdempotencyKey {
    /// `METHOD pattern` of the route: a route that a deploy makes anew keeps its keys.
    pub route: String,
    /// The header's value.
    pub key: String,
    /// Digest of method, path, query, body and (keyed) `authorization`: another call under the same key is refused.
    pub digest: [u8; 32],
}

/// What an answer under an `Idempotency-Key` needs beside its [`OutputRecord`] to be given again byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeptReply {
    /// For an attempt that only read: the snapshot that the answer named.
    pub read_only_at: Option<Lsn>,
    /// Whether it has a `content-type` (an empty one in the output may be none).
    pub typed: bool,
    /// The answer.
    pub answer: KeptAnswer,
}

/// See [`KeptReply`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum KeptAnswer {
    /// Status, type and whole body stand in the output.
    Clear {
        /// Headers in order, `content-type` not among them.
        headers: Vec<(String, String)>,
    },
    /// It holds a secret's value: everything is encrypted with the instance key, and masked in the output.
    Sealed {
        /// Headers in order, `content-type` not among them.
        headers: Vec<(String, SealedBytes)>,
        /// The body.
        body: SealedBytes,
    },
}

/// What an attempt leaves in its journal beside its effects (T1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct AttemptRecord {
    /// Reads in order.
    pub reads: Vec<ReadRecord>,
    /// Secrets taken, by name and version, in order.
    pub secrets: Vec<(String, u32)>,
    /// Outgoing calls in order, with their outcomes in full.
    pub calls: Vec<CallRecord>,
    /// Lines that the script logged, in order.
    pub logs: Vec<LogLine>,
    /// Operations counted by the interpreter.
    pub operations: u64,
    /// How often it was run again because of a conflict.
    pub conflicts: u32,
    /// The snapshot as of which the last run read.
    pub snapshot: Lsn,
    /// Bounds under which it ran that are not the defaults of 0.1.0, by number (`docs/events.md`): settings may change,
    /// and what a bound ended ends there again.
    pub limits: Vec<(u8, u64)>,
}

/// What an attempt returned: digest, length and the first bytes (T1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct OutputRecord {
    /// HTTP status; 0 for work without a caller.
    pub status: u16,
    /// Content type, empty for none.
    pub content_type: String,
    /// Length of the whole body, bytes.
    pub len: u64,
    /// SHA-256 of the whole body.
    pub sha256: [u8; 32],
    /// The first bytes of the body (at most [`OutputRecord::HEAD_BYTES_MAX`]), secrets masked.
    pub head: Vec<u8>,
}

impl OutputRecord {
    /// How much of an output is kept.
    pub const HEAD_BYTES_MAX: usize = 16 * 1024;
}

/// Who wrote a version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Writer {
    /// An execution, at a line of its script (0 when unknown).
    Execution {
        /// The execution.
        id: ExecutionId,
        /// Line of the write.
        line: u32,
    },
    /// A principal through the admin API.
    Principal {
        /// Its id.
        id: PrincipalId,
        /// Its name then.
        name: String,
    },
    /// A principal that undid an execution: the inverse of one of its writes.
    Undo {
        /// Its id.
        id: PrincipalId,
        /// Its name then.
        name: String,
        /// What was undone.
        of: ExecutionId,
    },
}
