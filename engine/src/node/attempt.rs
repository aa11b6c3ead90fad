//! One attempt on a script thread: prepare, run, commit; again on a conflict, at last under the app's lock (S2).
//!
//! Owns: the way of a claimed attempt to its end. Never does: decide what may start.
//!
//! Invariants: E90 an attempt that was claimed ends exactly once; E91 after `conflicts_before_lock` conflicts it
//! runs while nobody else writes what it touched, after `conflicts_before_app_lock` while nobody else writes into its
//! app; E114 it never waits for a lock while it holds one; E92 an outcome leaves only after what it depends on
//! is durable (S3); E93 a run on its caller's thread is bounded by `brief_operations` and never waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use relive_log::Lsn;
use relive_log::events::{
    AttemptRecord, ErrorKind, ErrorRecord, Event, ExecutionEvent, KeptReply, LogLine, OutputRecord, Record,
    Released, Source,
};
use relive_log::{Purpose, Urgency};
use relive_projections::{App, AsOf};

use super::answer::answer;
use super::calling::{AttemptCalls, CallParts, NotHere};
use super::core::{Core, Deferred, Job, NotAppended};
use super::input::{For, Inputs, NoInput};
use super::keyed::Keeper;
use super::locks::{Scope, Ticket, Touched};
use super::seat::Seat;
use super::snapshot::{Leave, Letters, Settle, ViewSnapshot};
use super::waiters::Action;
use super::watches::BriefWatch;
use super::{Delivery, Node, Outcome, Reply, ReplyTo};
use crate::decide::commit::{Ending, NotCommitted, Success, commit, push_client_gone};
use crate::decide::failure::{FailedAttempt, fail};
use crate::refusal::Failure;
use crate::script::{
    Calls, Compiled, Context, ContextInput, Finished, Imports, Response, Run, StopCause, Stopwatch,
    mask_call, run,
};
use crate::secrets::Masker;

/// What an attempt that has to commit does while another execution holds a lock on what it writes.
enum IfLocked<'a> {
    /// Waits, unless it holds a lock itself; what it touched is noted for the next one.
    Wait(&'a mut Lock),
    /// Runs again elsewhere.
    Leave,
}

/// What a run came to, ready to be committed.
enum Ran {
    Good { reply: Option<Reply>, success: Box<Success>, depends_on: Lsn },
    Bad { error: ErrorRecord, record: AttemptRecord },
}

impl Ran {
    /// The keys that its commit writes, times to live that it ends included.
    fn keys(&self) -> Vec<(&str, &str)> {
        match self {
            Ran::Good { success, .. } => {
                let ends = success.lapsed.iter().map(|it| (it.collection.as_str(), it.key.as_str()));
                success.writes.keys().map(|(c, k)| (c.as_str(), k.as_str())).chain(ends).collect()
            }
            Ran::Bad { .. } => Vec::new(),
        }
    }

    /// What the run read and wanted to write.
    fn touched(&self, into: &mut Touched) {
        if let Ran::Good { success, .. } = self {
            success.touched(into);
        }
    }
}

impl Success {
    /// What the run read and wanted to write.
    fn touched(&self, into: &mut Touched) {
        into.add(&[&self.record.reads, &self.unrecorded_reads], &self.writes);
    }
}

/// What differs between a run that may wait and one on its caller's thread.
struct Around {
    calls: Arc<dyn Calls>,
    settle: Settle,
    stopwatch: Arc<dyn Stopwatch>,
}

/// What an attempt runs.
struct Program {
    main: Compiled,
    imports: Imports,
}

/// How an attempt goes on.
enum Verdict {
    Ended,
    /// Something that it read was written meanwhile.
    Conflict,
    /// It holds a lock, and another one keeps it from writing (E114).
    Blocked,
}

/// How an attempt stands with locks.
#[derive(Default)]
struct Lock {
    touched: Touched,
    ticket: Option<Ticket>,
}

/// What leaves after the lock is given up.
struct Leaving {
    after: Lsn,
    outcome: Outcome,
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

    /// Runs an attempt that has a caller on the caller's thread while it is brief: a script that ends within
    /// `brief_operations` costs no hand-over. One that does not, or meets a conflict, starts again on a script
    /// thread; nobody can tell, since a run has no effect before its commit (E93).
    pub(super) fn attempt_here(self: &Arc<Self>, mut job: Box<Job>) {
        if self.settings.brief_operations == 0 {
            self.jobs.push(job);
            return;
        }
        let Some((program, input)) = self.ready_or_finish(&mut job) else { return };
        let snapshot = job.claim.snapshot;
        if program.main.pace().try_brief() {
            let watch = Arc::new(BriefWatch::new(&job.stop, self.settings.brief_operations));
            let around = Around {
                calls: Arc::new(NotHere::new(Arc::clone(&watch))),
                settle: Settle::Leave(self.durability.clone(), Arc::clone(&watch) as Arc<dyn Leave>),
                stopwatch: Arc::clone(&watch) as Arc<dyn Stopwatch>,
            };
            let finished = self.run_once(&job, &program, around, input.clone(), snapshot);
            if watch.is_over() {
                program.main.pace().was_long();
            } else {
                let logs = finished.record.logs.clone();
                let ran = self.judge(&job, finished, snapshot, 0);
                match self.finish(&job, ran, logs, IfLocked::Leave) {
                    Verdict::Ended => return,
                    Verdict::Conflict | Verdict::Blocked => {}
                }
            }
        }
        job.live = Some(input);
        self.jobs.push(job);
    }

    /// What an attempt runs, or its end if it cannot.
    fn ready_or_finish(self: &Arc<Self>, job: &mut Job) -> Option<(Program, ContextInput)> {
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
        loop {
            let around = Around {
                calls: Arc::clone(&calls) as Arc<dyn Calls>,
                settle: Settle::Wait(self.durability.clone()),
                stopwatch: Arc::clone(&job.stop) as Arc<dyn Stopwatch>,
            };
            let finished = self.run_once(&job, &program, around, input.clone(), snapshot);
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
            match self.finish(&job, ran, logs, IfLocked::Wait(&mut lock)) {
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
    }

    /// The compiled script and the input of an attempt.
    fn ready(&self, job: &mut Job) -> Result<(Program, ContextInput), ErrorRecord> {
        match job.stop.expired() {
            Some(StopCause::ShuttingDown) => {
                return Err(ErrorRecord::without_place(
                    ErrorKind::ShuttingDown,
                    "the instance is shutting down",
                ));
            }
            Some(StopCause::Timeout | StopCause::NotBrief) => {
                return Err(ErrorRecord::without_place(
                    ErrorKind::Timeout,
                    "the time was over before it started",
                ));
            }
            None => {}
        }
        let compiled = self.program(job)?;
        if let Some(live) = job.live.take() {
            return Ok((compiled, live));
        }
        let inputs = Inputs { reader: &self.reader, vaults: &self.vaults, app: &job.app, who: For::Attempt };
        let input = inputs.of(job.enqueued.pos, job.enqueued.lsn).map_err(|why| match why {
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
        })?;
        Ok((compiled, input))
    }

    /// The script and what it imports, in the versions that the claim names (D17).
    fn program(&self, job: &Job) -> Result<Program, ErrorRecord> {
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
        AttemptCalls::new(CallParts {
            outgoing: Arc::clone(&self.outgoing),
            durability: self.durability.clone(),
            clock: Arc::clone(&self.clock),
            stop: Arc::clone(&job.stop),
            seat: Seat::new(self, job.ending.execution, &job.stop),
            claimed: job.claimed,
            response_bytes_max: self.settings.limits.http_response_bytes_max,
            calls_max: self.settings.limits.http_calls_max,
        })
    }

    fn run_once(
        &self,
        job: &Job,
        program: &Program,
        around: Around,
        input: ContextInput,
        snapshot: Lsn,
    ) -> Finished {
        let Around { calls, settle, stopwatch } = around;
        run(Run {
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
            secrets: self.vaults.of(&job.app),
            calls,
            limits: self.settings.limits,
            seed: job.claim.seed,
            claim_time: job.claim.at,
            stopwatch,
        })
    }

    /// Turns what a run left into what is committed: the answer's shape is checked where a caller waits for it.
    fn judge(&self, job: &Job, finished: Finished, snapshot: Lsn, conflicts: u32) -> Ran {
        let Finished { outcome, writes, sends, letters, mut record, lapsed, depends_on, masker } = finished;
        record.conflicts = conflicts;
        self.mask_record(&job.app, &mut record);
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
                self.vaults.of(&job.app).masker().mask_text(&mut error.message);
                return Ran::Bad { error, record };
            }
        };
        let (reply, mut output) = match answer(&job.ending.source, &returned, self.settings.response_body_max)
        {
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
        let vault = self.vaults.of(&job.app);
        let maskers = [taken, vault.masker()];
        let keeper = Keeper { key: self.vaults.key(), entropy: &*self.entropy, maskers };
        output.head.clone_from(&response.body);
        vault.masker().mask_bytes(&mut output.head);
        keeper.keep(job.ending.execution, response, None)
    }

    /// Nothing secret is recorded: the values of all secrets of the app (a script may have got one by another way
    /// than `secrets::get`) and sensitive headers of outgoing calls.
    fn mask_record(&self, app: &App, record: &mut AttemptRecord) {
        let vault = self.vaults.of(app);
        let masker = vault.masker();
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

    /// Commits what a run came to and lets the outcome leave when it may (E90, E92).
    fn finish(
        self: &Arc<Self>,
        job: &Job,
        ran: Ran,
        logs: Vec<LogLine>,
        mut if_locked: IfLocked<'_>,
    ) -> Verdict {
        let mut core = self.core.lock();
        while !core.locks.is_empty() && core.locks.blocks(job.app.id, job.ending.execution, ran.keys()) {
            match &mut if_locked {
                IfLocked::Leave => return Verdict::Blocked,
                IfLocked::Wait(lock) if lock.ticket.is_some() => {
                    ran.touched(&mut lock.touched);
                    return Verdict::Blocked;
                }
                IfLocked::Wait(_) => {}
            }
            self.unlocked.wait(&mut core);
        }
        let leaving = match self.settle(&mut core, job, ran) {
            Settled::Conflict(success) => {
                if let IfLocked::Wait(lock) = if_locked {
                    success.touched(&mut lock.touched);
                }
                return Verdict::Conflict;
            }
            Settled::Ended { after, lsn, result } => {
                Leaving { after, outcome: Outcome { execution: job.ending.execution, lsn, result, logs } }
            }
        };
        let execution = job.ending.execution;
        let Leaving { after, outcome } = leaving;
        self.tell_followers(&mut core, after, &outcome);
        let delivery = core
            .inbox
            .remove(&execution)
            .map(|caller| self.delivery(job.ending.clone(), caller.reply, outcome));
        // A delivery that has to wait is queued before the execution leaves `running`: a shutdown closes the queue
        // only after that. One that need not wait takes the lock itself, so it goes first without it.
        let now = match delivery {
            Some(delivery) if self.durability.durable() < after => {
                self.waiters.queue_up(after, delivery);
                None
            }
            other => other,
        };
        if let Some(delivery) = now {
            drop(core);
            delivery(Ok(()));
            core = self.core.lock();
        }
        let ran = core.running.remove(&execution);
        if let Some(begun) = ran.filter(|_| !job.ending.source.reply_to()).and_then(|running| running.begun) {
            core.pace.note(self.clock.now().0.saturating_sub(begun.0));
        }
        core.dispatch.ended(execution);
        if !core.stopping {
            self.pump(&mut core);
        }
        drop(core);
        self.idle.notify_all();
        Verdict::Ended
    }

    /// What hands over an outcome and records it if nobody was there; takes the sequencer's lock. A log that failed
    /// has no outcomes: the caller sees its connection end with the process.
    pub(super) fn delivery(self: &Arc<Self>, ending: Ending, reply: ReplyTo, outcome: Outcome) -> Action {
        let node = Arc::clone(self);
        Box::new(move |durable| {
            if durable.is_ok() && reply(outcome) == Delivery::Gone {
                node.record_gone(&ending);
            }
        })
    }

    fn settle(&self, core: &mut Core, job: &Job, ran: Ran) -> Settled {
        let execution = job.ending.execution;
        let mut ending = job.ending.clone();
        ending.caller_gone = core.inbox.get(&execution).is_some_and(|caller| caller.gone);
        let registry = self.views.registry();
        let open = self.views.executions().with_open(execution, |_| ()).is_some();
        let Some(app) = registry.app(job.app.id).filter(|_| open).map(Arc::clone) else {
            let error =
                ErrorRecord::without_place(ErrorKind::ScriptMissing, "the app was deleted while this ran");
            return Settled::Ended {
                after: self.views.applied(),
                lsn: self.views.applied(),
                result: Err(error),
            };
        };
        let scene = self.scene();
        let (error, record) = match ran {
            Ran::Bad { error, record } => (error, record),
            Ran::Good { reply, mut success, depends_on } => {
                let read_only = !success.has_effects();
                if let Some(kept) = &mut success.reply {
                    kept.read_only_at = read_only.then_some(success.snapshot);
                }
                let (snapshot, operations) = (success.snapshot, success.record.operations);
                // Nobody waits for the record of a call that only read (S3), unless it has to be given again (E132).
                let later = read_only && ending.source.reply_to() && !job.keyed;
                let how = (Purpose::Ending, if later { Urgency::Later } else { Urgency::Now });
                let mut decision = core.decision();
                match commit(&scene, &app, &ending, *success, &mut decision) {
                    Ok(()) => match core.append_as(&decision, &self.views, scene.now, how) {
                        Ok(appended) => {
                            let (after, lsn) = match (read_only, job.keyed) {
                                (true, false) => (depends_on, snapshot),
                                // E132: an answer that is to be given again is on record first.
                                (true, true) => (appended.last, snapshot),
                                (false, _) => (appended.last, appended.last),
                            };
                            let result = reply.ok_or_else(error_without_caller);
                            return Settled::Ended { after, lsn, result };
                        }
                        Err(why) => {
                            (not_appended(&why), completed_record(decision.events()).unwrap_or_default())
                        }
                    },
                    Err(NotCommitted::Conflict(success)) => return Settled::Conflict(success),
                    Err(NotCommitted::Send(error, record)) => (error, *record),
                    Err(NotCommitted::FanOut(refusal, record)) => {
                        (ErrorRecord::without_place(ErrorKind::FanOut, refusal.to_string()), *record)
                    }
                    Err(NotCommitted::Failed(failure)) => (
                        ErrorRecord::without_place(ErrorKind::Internal, failure.to_string()),
                        AttemptRecord { snapshot, operations, ..Default::default() },
                    ),
                }
            }
        };
        self.settle_failure(core, &app, &ending, error, record)
    }

    fn settle_failure(
        &self,
        core: &mut Core,
        app: &App,
        ending: &Ending,
        error: ErrorRecord,
        record: AttemptRecord,
    ) -> Settled {
        let scene = self.scene();
        let execution = ending.execution;
        let mut decision = core.decision();
        if error.kind == ErrorKind::ShuttingDown && !ending.source.reply_to() {
            let released = Released { app: ending.app, execution, attempt: ending.attempt };
            decision.push(Event::Execution(ExecutionEvent::Released(released)));
        } else if let Some(row) = self.views.executions().open_row(execution) {
            let failed = FailedAttempt { error: error.clone(), record: Some(record), counted: true };
            fail(&scene, app, &row, ending, failed, &mut decision);
        }
        let lsn = match core.append(&decision, &self.views, scene.now) {
            Ok(appended) => appended.last,
            Err(why) => {
                tracing::error!(%execution, ?why, "the end of an attempt could not be recorded");
                self.views.applied()
            }
        };
        Settled::Ended { after: lsn, lsn, result: Err(error) }
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
            self.unlocked.wait(&mut core);
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

    /// Records that an outcome found nobody (D5), unless that is recorded already.
    fn record_gone(self: &Arc<Self>, ending: &Ending) {
        let execution = ending.execution;
        let mut core = self.core.lock();
        match self.views.executions().get(ending.app, execution) {
            Ok(Some(row)) if row.abandoned.is_none() => {}
            Ok(_) => return,
            Err(why) => {
                tracing::error!(%execution, %why, "an abandoned outcome could not be looked up");
                return;
            }
        }
        let mut decision = core.decision();
        push_client_gone(ending, &mut decision);
        if let Err(why) = core.append(&decision, &self.views, self.clock.now()) {
            tracing::error!(%execution, ?why, "an abandoned outcome could not be recorded");
        }
    }
}

enum Settled {
    Conflict(Box<Success>),
    Ended { after: Lsn, lsn: Lsn, result: Result<Reply, ErrorRecord> },
}

/// Work without a caller has no answer; nobody looks at this.
fn error_without_caller() -> ErrorRecord {
    ErrorRecord::without_place(ErrorKind::Internal, "no caller")
}

fn not_appended(why: &NotAppended) -> ErrorRecord {
    match why {
        NotAppended::TooLarge { bytes, limit } => ErrorRecord::without_place(
            ErrorKind::Writes,
            format!("the commit has {bytes} bytes, the limit is {limit} (RELIVE_MAX_BATCH)"),
        ),
        NotAppended::Failed(Failure::NoSpace { message }) => {
            ErrorRecord::without_place(ErrorKind::NoSpace, message.clone())
        }
        NotAppended::Failed(failure) => ErrorRecord::without_place(ErrorKind::Internal, failure.to_string()),
    }
}

/// The record of an attempt whose commit was not appended: what it read and logged is kept with its failure.
fn completed_record(events: &[Event]) -> Option<AttemptRecord> {
    events.iter().find_map(|event| {
        let Event::Execution(ExecutionEvent::Completed(completed)) = event else { return None };
        Some(completed.record.clone())
    })
}

fn records_nothing(job: &Job) -> bool {
    let Source::Route { route, .. } = &job.ending.source else { return false };
    job.app.routes.get(route).is_some_and(|route| route.spec.record == Record::Off)
}
