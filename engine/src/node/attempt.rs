//! One attempt on a script thread: prepare, run, commit; again on a conflict, at last under the app's lock (S2).
//!
//! Owns: the way of a claimed attempt to its end. Never does: decide what may start.
//!
//! Invariants: E90 an attempt that was claimed ends exactly once; E91 after `conflicts_before_lock` conflicts it
//! runs while nobody else writes what it touched, after `conflicts_before_app_lock` while nobody else writes into its
//! app; E114 it never waits for a lock while it holds one; E92 an outcome leaves only after what it depends on
//! is durable (S3).

use std::collections::BTreeMap;
use std::sync::Arc;

use relive_log::Lsn;
use relive_log::events::{
    AttemptRecord, ErrorKind, ErrorRecord, KeptReply, OutgoingCalls, OutputRecord, Record, Source,
};
use relive_projections::{App, AsOf};

use super::answer::answer;
use super::calling::{AttemptCalls, CallParts};
use super::core::{Deferred, Job};
use super::input::{For, Inputs, NoInput};
use super::keyed::Keeper;
use super::leaks::Suspect;
use super::locks::{Scope, Ticket, Touched};
use super::seat::Seat;
use super::settle::{IfLocked, Ran, Verdict};
use super::snapshot::{Letters, Settle, ViewSnapshot};
use super::{Node, Reply};
use crate::decide::commit::Success;
use crate::refusal::Failure;
use crate::script::{
    Calls, Compiled, Context, ContextInput, Finished, Imports, Response, Run, SecretSource, StopCause,
    Stopwatch, mask_call,
};
use crate::seams::{NoOutgoing, Outgoing};
use crate::secrets::Masker;

/// What a call of a script comes to while its app has them off: recorded as the outcome of that call.
const CALLS_OFF: &str = "outgoing_calls_off: the app's outgoing calls are off, as those of every new fork are \
                         (`relive app calls on` lets them out)";

/// What differs between a run that may wait and one on its caller's thread.
pub(super) struct Around {
    pub calls: Arc<dyn Calls>,
    pub settle: Settle,
    pub stopwatch: Arc<dyn Stopwatch>,
}

/// What an attempt runs.
pub(super) struct Program {
    pub main: Compiled,
    imports: Imports,
}

/// How an attempt stands with locks.
#[derive(Default)]
pub(super) struct Lock {
    pub(super) touched: Touched,
    pub(super) ticket: Option<Ticket>,
}

impl Node {
    /// Runs executions until shutdown; to be called on `settings.gate` threads with
    /// [`SCRIPT_STACK_BYTES`](crate::script::SCRIPT_STACK_BYTES) of stack.
    pub fn run_scripts(self: &Arc<Self>) {
        self.jobs.join();
        while let Some(job) = self.jobs.pop() {
            self.attempt(*job);
        }
    }

    /// Waits until executions that gave their place back need another script thread (D2): the caller lends one to
    /// [`Node::run_spare_scripts`]. `false` at shutdown.
    pub fn needs_script_thread(&self) -> bool {
        self.jobs.wanted()
    }

    /// The thread that [`Node::needs_script_thread`] asked for could not be had: what is away goes on when there is a
    /// place among those that are lent.
    pub fn script_thread_failed(&self) {
        self.jobs.forgo();
    }

    /// As [`Node::run_scripts`], until there was nothing to do for a while.
    pub fn run_spare_scripts(self: &Arc<Self>) {
        while let Some(job) = self.jobs.pop_or_leave() {
            self.attempt(*job);
        }
    }

    /// Runs one claimed attempt if there is one; for loops that do not block.
    pub fn step_scripts(self: &Arc<Self>) -> bool {
        let job = self.jobs.try_pop();
        job.is_some_and(|job| {
            self.attempt(*job);
            true
        })
    }

    /// What an attempt runs, or its end if it cannot.
    pub(super) fn ready_or_finish(self: &Arc<Self>, job: &mut Job) -> Option<(Program, ContextInput)> {
        match self.ready(job) {
            Ok(ready) => Some(ready),
            Err(error) => {
                let record = AttemptRecord { snapshot: job.claim.snapshot, ..AttemptRecord::default() };
                let mut lock = Lock::default();
                self.finish(job, Ran::Bad { error, record }, Vec::new(), IfLocked::Wait(&mut lock));
                None
            }
        }
    }

    fn attempt(self: &Arc<Self>, mut job: Job) {
        let Some((program, input)) = self.ready_or_finish(&mut job) else { return };
        let calls = Arc::new(self.calls(&job));
        let mut conflicts = 0;
        let mut lock = Lock::default();
        let mut snapshot = job.claim.snapshot;
        let mut suspect = None;
        loop {
            let around = Around {
                calls: Arc::clone(&calls) as Arc<dyn Calls>,
                settle: Settle::Wait(self.durability.clone()),
                stopwatch: Arc::clone(&job.stop) as Arc<dyn Stopwatch>,
            };
            let (finished, suspected) = self.run_once(&job, &program, around, input.clone(), snapshot);
            self.look_later(std::mem::replace(&mut suspect, suspected));
            if calls.wants() {
                // It holds a lock and needs an answer that the journal lacks (S2, E153).
                self.unlock(&mut lock);
                calls.make_wanted();
                self.lock(&job, &mut lock, conflicts);
                calls.lock_taken();
                snapshot = self.views.applied();
                continue;
            }
            let logs = finished.record.logs.clone();
            let ran = self.judge(&job, finished, snapshot, conflicts);
            match self.finish(&mut job, ran, logs, IfLocked::Wait(&mut lock)) {
                Verdict::Ended => break,
                Verdict::Conflict | Verdict::Blocked => conflicts += 1,
            }
            if conflicts >= self.settings.conflicts_before_lock {
                self.unlock(&mut lock);
                self.lock(&job, &mut lock, conflicts);
                calls.lock_taken();
            }
            snapshot = self.views.applied();
        }
        self.unlock(&mut lock);
        calls.close();
        self.look_closely(suspect);
    }

    /// The compiled script and the input of an attempt.
    fn ready(&self, job: &mut Job) -> Result<(Program, ContextInput), ErrorRecord> {
        in_time(job)?;
        let program = self.program(job)?;
        Ok((program, self.input(job)?))
    }

    /// The input of an attempt: at hand, or read from the log.
    pub(super) fn input(&self, job: &mut Job) -> Result<ContextInput, ErrorRecord> {
        if let Some(live) = job.live.take() {
            return Ok(live);
        }
        let inputs = Inputs {
            views: &self.views,
            reader: &self.reader,
            vaults: &self.vaults,
            app: &job.app,
            who: For::Attempt,
        };
        let input = match job.read.take() {
            Some(enqueued) => inputs.of_read(*enqueued, job.enqueued),
            None => inputs.of(job.enqueued.pos, job.enqueued.lsn),
        };
        input.map_err(|why| match why {
            NoInput::KeyMissing => ErrorRecord::without_place(
                ErrorKind::KeyMissing,
                "a header is sealed with a key that is not here",
            ),
            NoInput::NotRecorded => {
                ErrorRecord::without_place(ErrorKind::Internal, "the input was not recorded")
            }
            NoInput::BelowHorizon(first) => {
                let message = format!("the input was cut off: the log begins at LSN {first}");
                ErrorRecord::without_place(ErrorKind::Internal, message)
            }
            NoInput::Failed(failure) => ErrorRecord::without_place(ErrorKind::Internal, failure.to_string()),
        })
    }

    /// The script and what it imports, in the versions that the claim names (D17).
    pub(super) fn program(&self, job: &Job) -> Result<Program, ErrorRecord> {
        let name = &job.ending.script;
        let missing = |name: &str| format!("there is no script `{name}`");
        let main = self.version_of(&job.app, name, job.claim.version, || missing(name))?;
        let mut imports = BTreeMap::new();
        for import in &job.claim.imports {
            let needed = || format!("{}, which `{name}` imports", missing(&import.script));
            let compiled = self.version_of(&job.app, &import.script, import.version, needed)?;
            imports.insert(import.script.clone(), compiled);
        }
        Ok(Program { main, imports: Imports::new(imports) })
    }

    fn version_of(
        &self,
        app: &App,
        name: &str,
        version: u32,
        missing: impl Fn() -> String,
    ) -> Result<Compiled, ErrorRecord> {
        let missing = || ErrorRecord::without_place(ErrorKind::ScriptMissing, missing());
        let script = app.live_script(name).ok_or_else(missing)?;
        let version = script.version(version).ok_or_else(missing)?;
        let source = if script.current == version.version {
            Arc::clone(&script.source)
        } else {
            let source = self.source_at(version);
            source.map_err(|failure| ErrorRecord::without_place(ErrorKind::Internal, failure.to_string()))?
        };
        let compiled = self.compiled.get_or_compile_known(name, version.sha256, &source);
        compiled.map_err(|e| ErrorRecord {
            kind: ErrorKind::Parse,
            message: e.message,
            line: e.line,
            column: e.column,
        })
    }

    fn calls(self: &Arc<Self>, job: &Job) -> AttemptCalls {
        let outgoing: Arc<dyn Outgoing> = match job.app.outgoing_calls {
            OutgoingCalls::On => Arc::clone(&self.outgoing),
            OutgoingCalls::Off => Arc::new(NoOutgoing(CALLS_OFF)),
        };
        AttemptCalls::new(CallParts {
            outgoing,
            durability: self.durability.clone(),
            clock: Arc::clone(&self.clock),
            stop: Arc::clone(&job.stop),
            seat: Seat::new(self, job.ending.execution, &job.stop),
            claimed: job.claimed,
            response_bytes_max: self.settings.limits.http_response_bytes_max,
            calls_max: self.settings.limits.http_calls_max,
        })
    }

    pub(super) fn run_once(
        &self,
        job: &Job,
        program: &Program,
        around: Around,
        input: ContextInput,
        snapshot: Lsn,
    ) -> (Finished, Option<Suspect>) {
        let Around { calls, settle, stopwatch } = around;
        let run = Run {
            compiled: program.main.clone(),
            imports: program.imports.clone(),
            context: Context {
                app: job.app.slug.clone(),
                script: job.ending.script.clone(),
                version: job.claim.version,
                execution: job.ending.execution,
                root: job.ending.root,
                depth: job.ending.depth,
                attempt: job.claim.attempt,
                principal: job.principal.clone(),
                lsn: snapshot,
                input,
            },
            snapshot: Arc::new(ViewSnapshot {
                views: Arc::clone(&self.views),
                app: job.app.id,
                at: AsOf { lsn: snapshot, time: job.claim.at },
                reader: self.reader.clone(),
                settle,
                list_bytes_max: self.settings.limits.list_bytes_max,
                letters: Letters::Now,
            }),
            secrets: Arc::clone(&job.vault) as Arc<dyn SecretSource>,
            calls,
            limits: self.settings.limits,
            seed: job.claim.seed,
            claim_time: job.claim.at,
            stopwatch,
        };
        self.run_counted(job, run)
    }

    /// Turns what a run left into what is committed: the answer's shape is checked where a caller waits for it.
    pub(super) fn judge(&self, job: &Job, finished: Finished, snapshot: Lsn, conflicts: u32) -> Ran {
        let Finished {
            outcome,
            writes,
            sends,
            letters,
            mut record,
            lapsed,
            depends_on,
            masker,
            read_lines: _,
        } = finished;
        record.conflicts = conflicts;
        self.mask_record(job.vault.masker(), &mut record);
        let keeps = !records_nothing(job);
        let mut unrecorded_reads = Vec::new();
        if !keeps {
            // T1: no journal; what it logged is kept, because that is said to be read.
            unrecorded_reads = std::mem::take(&mut record.reads);
            record.secrets.clear();
            record.calls.clear();
        }
        let returned = match outcome {
            Ok(returned) => returned,
            Err(mut error) => {
                job.vault.masker().mask_text(&mut error.message);
                return Ran::Bad { error, record };
            }
        };
        let (reply, mut output) =
            match answer(&job.ending.source, &returned, self.settings.limits.response_bytes_max) {
                Ok(answer) => answer,
                Err(error) => return Ran::Bad { error, record },
            };
        let kept = match &reply {
            Some(Reply::Response(response)) if job.keyed => {
                Some(self.keep(job, response, &masker, &mut output))
            }
            Some(_) | None => None,
        };
        let kept = match kept.transpose() {
            Ok(kept) => kept.map(Box::new),
            Err(failure) => {
                let error = ErrorRecord::without_place(ErrorKind::Internal, failure.to_string());
                return Ran::Bad { error, record };
            }
        };
        if keeps || kept.is_some() {
            masker.mask_bytes(&mut output.head);
        } else {
            output.head.clear();
        }
        let claimed_at = job.claim.at;
        let success = Box::new(Success {
            output,
            record,
            reply: kept,
            writes,
            sends,
            letters,
            principal: job.principal.clone(),
            unrecorded_reads,
            snapshot,
            claimed_at,
            lapsed,
        });
        Ran::Good { reply, success, depends_on }
    }

    /// What it takes to give an answer again (D14): its whole body in the output, and the rest.
    fn keep(
        &self,
        job: &Job,
        response: &Response,
        taken: &Masker,
        output: &mut OutputRecord,
    ) -> Result<KeptReply, Failure> {
        let masker = job.vault.masker();
        let maskers = [taken, masker];
        let keeper = Keeper { key: self.vaults.key(), entropy: &*self.entropy, maskers };
        output.head.clone_from(&response.body);
        masker.mask_bytes(&mut output.head);
        keeper.keep(job.ending.execution, response, None)
    }

    /// Nothing secret is recorded: the values of all secrets of the app (a script may have got one by another way
    /// than `secrets::get`) and sensitive headers of outgoing calls.
    fn mask_record(&self, masker: &Masker, record: &mut AttemptRecord) {
        if !masker.is_empty() {
            for line in &mut record.logs {
                masker.mask_text(&mut line.message);
            }
        }
        for call in &mut record.calls {
            mask_call(masker, call);
            for (name, value) in &mut call.headers {
                if self.settings.sensitive_headers.contains(name) {
                    *value = format!("‹header:{name}›");
                }
            }
        }
    }

    /// Takes a lock on all that the execution touched so far, after many conflicts on its whole app; waits until it
    /// is granted.
    fn lock(&self, job: &Job, lock: &mut Lock, conflicts: u32) {
        let scope = if conflicts >= self.settings.conflicts_before_app_lock {
            Scope::App
        } else {
            Scope::Keys(lock.touched.clone())
        };
        let mut core = self.core.lock();
        let ticket = core.locks.request(job.app.id, job.ending.execution, scope);
        lock.ticket = Some(ticket);
        while !core.locks.is_granted(ticket) {
            core.wait(&self.unlocked);
        }
    }

    /// Gives a lock up, if there is one; writes that waited for it go on.
    fn unlock(self: &Arc<Self>, lock: &mut Lock) {
        let Some(ticket) = lock.ticket.take() else { return };
        let mut core = self.core.lock();
        core.locks.release(ticket);
        core.expiries.unlocked();
        let deferred: Vec<Deferred> = std::mem::take(&mut core.deferred);
        self.wake_timers(&core);
        drop(core);
        self.unlocked.notify_all();
        for deferred in deferred {
            self.submit(deferred.command, &deferred.by, deferred.done);
        }
    }
}

/// Refuses an attempt whose time is over before it started.
fn in_time(job: &Job) -> Result<(), ErrorRecord> {
    match job.stop.expired() {
        Some(StopCause::ShuttingDown) => {
            Err(ErrorRecord::without_place(ErrorKind::ShuttingDown, "the instance is shutting down"))
        }
        Some(StopCause::Timeout | StopCause::NotBrief) => {
            Err(ErrorRecord::without_place(ErrorKind::Timeout, "the time was over before it started"))
        }
        None => Ok(()),
    }
}

fn records_nothing(job: &Job) -> bool {
    let Source::Route { route, .. } = &job.ending.source else { return false };
    job.app.routes.get(route).is_some_and(|route| route.spec.record == Record::Off)
}
