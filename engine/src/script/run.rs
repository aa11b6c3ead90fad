//! One run of a script, from what it is handed to what it leaves.
//!
//! Owns: [`Run`], [`Finished`], [`run`]. Never does: commit, retry, look at a clock.
//! Invariants: E40, E41, E44, E45.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use relive_log::events::{AttemptRecord, CallOutcome, CallRecord, ErrorKind, ErrorRecord, SharedBytes};
use relive_log::{ExecutionId, LetterId, Lsn, UnixMicros};
use rhai::{Dynamic, EvalAltResult, Position, Scope};

use super::calls::Calls;
use super::compile::Compiled;
use super::context::Context;
use super::engine;
use super::errors::{classify, place, record};
use super::host::{Effects, Host};
use super::imports::Imports;
use super::memory::held_bytes;
use super::response::{Returned, returned};
use super::types::{Lapsed, Limits, SecretSource, Snapshot, Stopwatch};
use super::watch::{self, Watch};
use crate::secrets::{Masked, Masker};

/// Everything that a run depends on.
#[derive(Clone)]
pub struct Run {
    /// The script.
    pub compiled: Compiled,
    /// What it can import, by name: the versions that its claim names (D17).
    pub imports: Imports,
    /// What `ctx` says.
    pub context: Context,
    /// KV as of [`Context::lsn`].
    pub snapshot: Arc<dyn Snapshot>,
    /// The app's secrets.
    pub secrets: Arc<dyn SecretSource>,
    /// Answers its outgoing calls.
    pub calls: Arc<dyn Calls>,
    /// The bounds.
    pub limits: Limits,
    /// Feeds `random` and `uuid`.
    pub seed: [u8; 16],
    /// What `time::now()` says.
    pub claim_time: UnixMicros,
    /// Says when to stop.
    pub stopwatch: Arc<dyn Stopwatch>,
}

/// The last write of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteEffect {
    /// The value, JSON text; `None` deletes.
    pub value: Option<SharedBytes>,
    /// Line of the write, 0 when unknown.
    pub line: u32,
    /// When the value's time to live ends.
    pub expires_at: Option<UnixMicros>,
}

/// A message for a queue (D18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendEffect {
    /// The execution that it becomes: the script was told its id.
    pub execution: ExecutionId,
    /// The queue.
    pub queue: String,
    /// JSON text.
    pub message: SharedBytes,
    /// Not before so many milliseconds after the commit.
    pub delay_ms: u64,
    /// The key of its line, where the consumer is ordered by key.
    pub key: Option<String>,
    /// Line of the send, 0 when unknown.
    pub line: u32,
}

/// A dead letter that the run closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterEffect {
    /// The letter.
    pub letter: LetterId,
    /// How.
    pub verb: LetterVerb,
}

/// How a letter is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterVerb {
    /// Run again, under this id.
    Redrive(ExecutionId),
    /// Closed, with this note.
    Resolve(String),
}

/// What a run leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What it returned, or why it did not; secrets that it took are masked in the message.
    pub outcome: Result<Returned, ErrorRecord>,
    /// The last write per (collection, key); to be committed only if the outcome is good.
    pub writes: BTreeMap<(String, String), WriteEffect>,
    /// Messages for queues, in order; as the writes.
    pub sends: Vec<SendEffect>,
    /// Dead letters that it closes, in order; to be committed only if the outcome is good.
    pub letters: Vec<LetterEffect>,
    /// The journal.
    pub record: AttemptRecord,
    /// The line at which it asked for each of the reads in its record, 0 when unknown.
    pub read_lines: Vec<u32>,
    /// What it took for expired although the log may not say so yet.
    pub lapsed: Vec<Lapsed>,
    /// The highest version that it read; the snapshot's LSN as soon as it listed.
    pub depends_on: Lsn,
    /// Masks the secrets that it took: for whatever of the outcome is recorded or shown.
    pub masker: Masker,
}

/// Runs a script. Needs a thread with [`SCRIPT_STACK_BYTES`](super::SCRIPT_STACK_BYTES) of stack; never panics.
#[must_use]
pub fn run(run: Run) -> Finished {
    run_watched(run, &Watch::default())
}

/// Runs a script as [`run`] does, watched (E124).
#[must_use]
pub fn run_watched(run: Run, watch: &Watch) -> Finished {
    run_measured(run, watch).0
}

/// Runs a script as [`run_watched`] does; beside it, bytes that the thread holds more than before, what was left for the
/// caller included: what the run leaked is at most that.
#[must_use]
pub fn run_measured(run: Run, watch: &Watch) -> (Finished, u64) {
    let (compiled, imports) = (run.compiled.clone(), run.imports.clone());
    let before = held_bytes();
    let host = Arc::new(Host::new(run, watch.ends_at.clone()));
    let evaluated = catch_unwind(AssertUnwindSafe(|| evaluate(&host, &compiled, &imports, watch)));
    let outcome = evaluated.unwrap_or_else(|_| {
        let message = "the interpreter panicked; this is an error of Relive";
        Err(record(ErrorKind::Internal, message, Position::NONE))
    });
    let operations = host.operations();
    let effects = std::mem::take(&mut *host.effects.lock());
    let finished = finish(&host, outcome, effects, operations);
    // The host still holds what the run was handed: freeing that hides nothing.
    (finished, u64::try_from(held_bytes() - before).unwrap_or(0))
}

fn evaluate(
    host: &Arc<Host>,
    compiled: &Compiled,
    imports: &Imports,
    watch: &Watch,
) -> Result<Returned, ErrorRecord> {
    let mut engine = engine::running(host, imports);
    watch::attach(&mut engine, host, watch);
    let mut scope = Scope::new();
    let result = engine.eval_ast_with_scope::<Dynamic>(&mut scope, compiled.ast());
    let outcome = result
        .or_else(|error| if let EvalAltResult::Exit(value, _) = *error { Ok(value) } else { Err(error) });
    let outcome = match (host.stopped(), outcome) {
        (Some(stop), ended) => Err(placed(stop, ended.err().as_deref())),
        (None, Ok(value)) => Ok(returned(value)),
        (None, Err(error)) => Err(classify(&error, compiled.name())),
    };
    untie(&mut scope);
    // One that was watched, or whose run panicked, is not used again.
    if watch.is_idle() {
        engine::give_back(engine, host.limits);
    }
    outcome
}

/// A stop noticed between operations does not know where: the interpreter's error does.
fn placed(mut stop: ErrorRecord, error: Option<&EvalAltResult>) -> ErrorRecord {
    if stop.line == 0
        && let Some(error) = error
    {
        (stop.line, stop.column) = place(error.position());
    }
    stop
}

/// Empties variables that closures captured: a closure kept in the map that it captured is a cycle that
/// reference counting never frees. Reaches the variables of the top level; those of functions are out of reach.
fn untie(scope: &mut Scope<'_>) {
    let names: Vec<String> = scope.iter_raw().map(|(name, _, _)| name.to_owned()).collect();
    for name in names {
        if let Some(value) = scope.get_mut(&name)
            && value.is_shared()
            && let Some(mut inner) = value.write_lock::<Dynamic>()
        {
            *inner = Dynamic::UNIT;
        }
    }
}

fn finish(
    host: &Host,
    outcome: Result<Returned, ErrorRecord>,
    effects: Effects,
    operations: u64,
) -> Finished {
    let masker = Masker::new(effects.secret_values);
    let outcome = outcome.map_err(|mut error| {
        masker.mask_text(&mut error.message);
        error
    });
    let mut logs = effects.logs;
    for line in &mut logs {
        masker.mask_text(&mut line.message);
    }
    let mut calls = effects.calls;
    calls.iter_mut().for_each(|call| mask_call(&masker, call));
    let record = AttemptRecord {
        reads: effects.reads,
        secrets: effects.secrets,
        calls,
        logs,
        operations,
        conflicts: 0,
        snapshot: host.context.lsn,
        limits: host.limits.recorded(),
    };
    Finished {
        outcome,
        writes: effects.writes,
        sends: effects.sends,
        letters: effects.letters,
        record,
        read_lines: effects.read_lines,
        lapsed: effects.lapsed.into_iter().collect(),
        depends_on: effects.depends_on,
        masker,
    }
}

/// Masks what is recorded of one outgoing call; the digest stays.
pub(crate) fn mask_call(masker: &Masker, call: &mut CallRecord) {
    masker.mask_text(&mut call.url);
    for (_, value) in &mut call.headers {
        masker.mask_text(value);
    }
    masker.mask_bytes(&mut call.body_head);
    match &mut call.outcome {
        CallOutcome::Failed(message) => {
            masker.mask_text(message);
        }
        CallOutcome::Answered(answer) => {
            let mut found = Masked::No;
            for (_, value) in &mut answer.headers {
                found = found.or(masker.mask_text(value));
            }
            let mut body = answer.body.to_vec();
            if masker.mask_bytes(&mut body) == Masked::Yes {
                answer.body = body.into();
                found = Masked::Yes;
            }
            answer.masked |= found == Masked::Yes;
        }
    }
}
