//! Settings of the engine, every bound with a name. The server fills them from flags, environment and file.

use relive_log::events::{Backoff, RetryPolicy};

use crate::script::Limits;

/// Longest wait that a retry or timeout may name: one day.
pub const RETRY_WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Most attempts that a retry may name.
pub const RETRY_ATTEMPTS_MAX: u32 = 1000;

/// Settings of one node; see `contract.md` for the names on the outside.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Executions that run at once (`RELIVE_MAX_CONCURRENT_EXECUTIONS`).
    pub gate: usize,
    /// Sync calls that may wait for a place (`RELIVE_MAX_WAITING_CALLS`).
    pub waiting_calls_max: usize,
    /// The deepest execution that still runs (`RELIVE_MAX_TRIGGER_DEPTH`).
    pub depth_max: u16,
    /// How long dead letters are kept, milliseconds (`RELIVE_DEAD_LETTER_RETENTION`).
    pub dead_letter_retention_ms: u64,
    /// How long abandoned records are kept, milliseconds (`RELIVE_ABANDONED_RETENTION`).
    pub abandoned_retention_ms: u64,
    /// Retries where a trigger or route says nothing (`RELIVE_RETRY_…`).
    pub retry: RetryPolicy,
    /// Wall-clock limit of an attempt, milliseconds (`RELIVE_EXECUTION_TIMEOUT_MS`).
    pub timeout_ms: u64,
    /// Budgets of a script.
    pub limits: Limits,
    /// Bytes that the scripts of one app may leave allocated for ever before it is paused
    /// (`RELIVE_MAX_LEAKED_MEMORY`).
    pub leaked_bytes_max: u64,
    /// Executions that one commit may fire.
    pub fan_out_max: usize,
    /// Conflicts after which an execution runs under locks on the keys and ranges that it touched (S2).
    pub conflicts_before_lock: u32,
    /// Conflicts after which it runs under its app's lock.
    pub conflicts_before_app_lock: u32,
    /// Operations that a sync call may take on its caller's thread before it starts again on a script thread; 0:
    /// it never runs there. What is asked of such a thread's stack grows with it: 1 KiB an operation is plenty.
    pub brief_operations: u64,
    /// Headers that are withheld from the record (T5), lower case.
    pub sensitive_headers: Vec<String>,
    /// Largest request body, bytes (`413` above).
    pub request_body_max: usize,
    /// Largest script source, bytes.
    pub source_bytes_max: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        EngineSettings {
            gate: 4,
            waiting_calls_max: 1024,
            depth_max: 8,
            dead_letter_retention_ms: 30 * 24 * 3600 * 1000,
            abandoned_retention_ms: 7 * 24 * 3600 * 1000,
            retry: RetryPolicy {
                max_attempts: 3,
                backoff: Backoff::Exponential,
                base_ms: 1000,
                max_ms: 60_000,
                jitter_pct: 20,
            },
            timeout_ms: 10_000,
            limits: Limits::default(),
            leaked_bytes_max: 64 << 20,
            fan_out_max: 10_000,
            conflicts_before_lock: 4,
            conflicts_before_app_lock: 8,
            brief_operations: 0,
            sensitive_headers: ["authorization", "cookie", "proxy-authorization", "x-api-key"]
                .map(str::to_owned)
                .to_vec(),
            request_body_max: 1024 * 1024,
            source_bytes_max: 256 * 1024,
        }
    }
}
