//! The state of one run behind the host functions.
//!
//! Owns: [`Host`] (what the run was handed, its budgets, its effects so far) and the stop that ends it.
//! Never does: know how a function is called from Rhai (`modules/`).
//!
//! A used-up budget is kept here, first cause wins, and asked for before every operation and once more when the
//! script has ended: even an error that the interpreter lets a script catch still ends the run (E41).
//! Invariants: E40, E41, E43, E44.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use rand_chacha::ChaCha20Rng;
use relive_log::events::{CallRecord, ErrorKind, ErrorRecord, LogLevel, LogLine, ReadRecord, Scopes};
use relive_log::{ExecutionId, Lsn, UnixMicros};
use rhai::{Dynamic, EvalAltResult, NativeCallContext, Position};
use sha2::{Digest, Sha256};

use super::calls::Calls;
use super::context::Context;
use super::errors::{self, Answer};
use super::memory::held_bytes;
use super::modules::chance;
use super::needs::Needs;
use super::run::{LetterEffect, Run, SendEffect, WriteEffect};
use super::types::{
    Lapsed, Limits, ListQuery, OPERATIONS_UPPER_BOUND, ReadFailed, SecretSource, Slot, Snapshot,
};
use super::types::{StopCause, Stopwatch};
use super::watch::EndsAt;
use crate::planted::{self, Bug};

/// One key of one collection.
pub(super) type FullKey = (String, String);

/// What a run did so far.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) writes: BTreeMap<FullKey, WriteEffect>,
    pub(super) write_bytes: usize,
    pub(super) sends: Vec<SendEffect>,
    pub(super) letters: Vec<LetterEffect>,
    pub(super) seen: BTreeMap<FullKey, Slot>,
    pub(super) listed: BTreeSet<ListQuery>,
    pub(super) reads: Vec<ReadRecord>,
    /// The line of each read.
    pub(super) read_lines: Vec<u32>,
    pub(super) lapsed: BTreeSet<Lapsed>,
    pub(super) depends_on: Lsn,
    pub(super) secrets: Vec<(String, u32)>,
    pub(super) secret_values: Vec<(String, String)>,
    pub(super) calls: Vec<CallRecord>,
    pub(super) journal_bytes: usize,
    pub(super) logs: Vec<LogLine>,
    /// Bytes of log text kept; `None` once lines were dropped.
    log_bytes: Option<usize>,
    stop: Option<ErrorRecord>,
}

impl Effects {
    /// Notes a read and where it was asked for.
    pub(super) fn read(&mut self, call: &NativeCallContext<'_>, read: ReadRecord) {
        self.reads.push(read);
        self.read_lines.push(errors::place(call.call_position()).0);
    }
}

/// The state of one run.
pub(super) struct Host {
    pub(super) context: Context,
    pub(super) snapshot: Arc<dyn Snapshot>,
    pub(super) secrets: Arc<dyn SecretSource>,
    pub(super) calls: Arc<dyn Calls>,
    pub(super) limits: Limits,
    pub(super) claim_time: UnixMicros,
    pub(super) effects: Mutex<Effects>,
    seed: [u8; 16],
    /// Boxed: few runs draw, and inline its alignment would make every host a costly block to ask for.
    chance: Mutex<Option<Box<ChaCha20Rng>>>,
    stopwatch: Arc<dyn Stopwatch>,
    operations: AtomicU64,
    next_look: AtomicU64,
    memory_ceiling: i64,
    ctx: OnceLock<Dynamic>,
    needs: Needs,
    /// Where something outside ended the recorded run that this one replays.
    ends_at: Option<EndsAt>,
    /// Patterns that the run compiled.
    pub(super) patterns: Mutex<BTreeMap<String, Arc<regex::Regex>>>,
}

impl Host {
    pub(super) fn new(run: Run, ends_at: Option<EndsAt>) -> Host {
        let limits = Limits { operations: run.limits.operations.min(OPERATIONS_UPPER_BOUND), ..run.limits };
        let memory = i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX);
        let look_every = run.stopwatch.look_every();
        let needs = run.imports.scripts().fold(run.compiled.needs(), |needs, it| needs.and(it.needs()));
        Host {
            context: run.context,
            snapshot: run.snapshot,
            secrets: run.secrets,
            calls: run.calls,
            limits,
            claim_time: run.claim_time,
            effects: Mutex::new(Effects { log_bytes: Some(0), ..Effects::default() }),
            seed: if planted::is(Bug::UnrecordedSeed) { planted::seed() } else { run.seed },
            chance: Mutex::new(None),
            stopwatch: run.stopwatch,
            operations: AtomicU64::new(0),
            next_look: AtomicU64::new(next_look(0, look_every, limits.operations, ends_at.as_ref())),
            memory_ceiling: held_bytes().saturating_add(memory),
            ctx: OnceLock::new(),
            needs,
            ends_at,
            patterns: Mutex::default(),
        }
    }

    /// The host of the run that called a native function.
    pub(super) fn of(call: &NativeCallContext<'_>) -> Answer<Arc<Host>> {
        call.tag()
            .and_then(|tag| tag.read_lock::<Arc<Host>>().map(|host| Arc::clone(&host)))
            .ok_or_else(|| errors::runtime("this function needs a run"))
    }

    /// `ctx`, made when it is first asked for; a shared handle, so that reading a field copies only the field.
    pub(super) fn ctx(&self) -> Dynamic {
        self.ctx.get_or_init(|| self.context.to_dynamic(self.needs).into_read_only().into_shared()).clone()
    }

    /// The run's stream of chance, keyed when it is first drawn from.
    pub(super) fn chance(&self) -> MappedMutexGuard<'_, ChaCha20Rng> {
        MutexGuard::map(self.chance.lock(), |chance| {
            chance.get_or_insert_with(|| Box::new(chance::generator(self.seed))).as_mut()
        })
    }

    /// The id of the n-th execution that the run causes: made of its seed, so that a run that is repeated names the
    /// same ones, and apart from the stream of chance, so that it does not move what the script draws.
    pub(super) fn caused_id(&self, n: usize) -> ExecutionId {
        let mut hash = Sha256::new();
        hash.update(b"relive caused execution 1");
        hash.update(self.seed);
        hash.update((n as u64).to_le_bytes());
        let digest = hash.finalize();
        let mut tail = [0; 10];
        tail.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        ExecutionId(uuid::Builder::from_unix_timestamp_millis(self.claim_time.as_millis(), &tail).into_uuid())
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Counts one operation; answers a token when the run must end. Only the run's own thread comes here.
    pub(super) fn progress(&self) -> Option<Dynamic> {
        let count = self.operations.load(Ordering::Relaxed) + 1;
        self.operations.store(count, Ordering::Relaxed);
        if count < self.next_look.load(Ordering::Relaxed) && held_bytes() <= self.memory_ceiling {
            return None;
        }
        self.look(count)
    }

    #[cold]
    fn look(&self, count: u64) -> Option<Dynamic> {
        if self.stopped().is_some() {
            return Some(Dynamic::UNIT);
        }
        if let Some(end) = self.ends_at.as_ref().filter(|end| count >= end.operations) {
            self.stop(ErrorRecord { line: 0, column: 0, ..end.error.clone() });
            return Some(Dynamic::UNIT);
        }
        let cause = if count > self.limits.operations {
            let message = format!("more than {} operations (RELIVE_MAX_OPERATIONS)", self.limits.operations);
            Some((ErrorKind::Operations, message))
        } else if held_bytes() > self.memory_ceiling {
            Some((
                ErrorKind::Memory,
                format!("more than {} bytes of memory held (RELIVE_MAX_MEMORY)", self.limits.memory_bytes),
            ))
        } else {
            self.stopwatch.expired().map(stop_message)
        };
        match cause {
            Some((kind, message)) => {
                self.stop(errors::record(kind, message, Position::NONE));
                Some(Dynamic::UNIT)
            }
            None => {
                let next = next_look(
                    count,
                    self.stopwatch.look_every(),
                    self.limits.operations,
                    self.ends_at.as_ref(),
                );
                self.next_look.store(next, Ordering::Relaxed);
                None
            }
        }
    }

    /// Ends the run with this record, unless something else already does.
    pub(super) fn stop(&self, record: ErrorRecord) {
        self.effects.lock().stop.get_or_insert(record);
        self.next_look.store(0, Ordering::Relaxed);
    }

    /// What the run ends with, if a budget was used up.
    pub(super) fn stopped(&self) -> Option<ErrorRecord> {
        self.effects.lock().stop.clone()
    }

    /// Ends the run from within a host function.
    pub(super) fn end(
        &self,
        call: &NativeCallContext<'_>,
        kind: ErrorKind,
        why: String,
    ) -> Box<EvalAltResult> {
        self.stop(errors::record_at(kind, why, call.call_position(), self.import_of(call)));
        errors::terminated()
    }

    /// The import in which the call stands; `None` for the script itself.
    fn import_of<'c>(&self, call: &'c NativeCallContext<'_>) -> Option<&'c str> {
        call.call_source().filter(|source| !source.is_empty() && *source != self.context.script)
    }

    /// The store could not be read: an internal error, whatever the script does.
    pub(super) fn broken(&self, call: &NativeCallContext<'_>, failed: &ReadFailed) -> Box<EvalAltResult> {
        self.end(call, ErrorKind::Internal, format!("reading the store failed: {failed}"))
    }

    /// Refuses when there is a principal that lacks the scope; an anonymous run may do everything.
    pub(super) fn allow(&self, scope: Scopes, function: &str) -> Answer<()> {
        match &self.context.principal {
            Some(principal) if !principal.scopes.grants(scope) => {
                let name = scope.names().next().unwrap_or_default();
                Err(errors::permission(format!(
                    "{function} needs the scope {name}, which the principal lacks"
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps a log line; past the bounds lines are dropped, with one note.
    pub(super) fn log(&self, level: LogLevel, message: String, position: Position) {
        let mut effects = self.effects.lock();
        let Some(bytes) = effects.log_bytes else { return };
        let (line, _) = errors::place(position);
        let bytes = bytes + message.len();
        if effects.logs.len() >= self.limits.log_lines_max || bytes > self.limits.log_bytes_max {
            let message = "later log lines were dropped: the log of an attempt is bounded".into();
            effects.logs.push(LogLine { level: LogLevel::Warn, message, line });
            effects.log_bytes = None;
            return;
        }
        effects.log_bytes = Some(bytes);
        effects.logs.push(LogLine { level, message, line });
    }
}

/// The next operation before which there is something to look at.
fn next_look(count: u64, every: u64, operations_max: u64, ends_at: Option<&EndsAt>) -> u64 {
    let bounds = (count + every).min(operations_max + 1);
    ends_at.map_or(bounds, |end| bounds.min(end.operations))
}

/// What a run ends with that something outside ended.
pub(super) fn stop_message(cause: StopCause) -> (ErrorKind, String) {
    match cause {
        StopCause::Timeout => (
            ErrorKind::Timeout,
            "the wall-clock limit was reached (timeout_ms of the route, else RELIVE_EXECUTION_TIMEOUT_MS)"
                .to_owned(),
        ),
        StopCause::ShuttingDown => (ErrorKind::ShuttingDown, "the instance shuts down".to_owned()),
        StopCause::NotBrief => (ErrorKind::Internal, "it goes on elsewhere".to_owned()),
    }
}
