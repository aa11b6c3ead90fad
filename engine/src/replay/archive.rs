//! Where replays read from, and how one recorded attempt is put together from it.
//!
//! Owns: [`Archive`], [`NotReplayable`]. Never does: run anything, write anything.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "one kind of event is looked for; what else there is does not matter"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use relive_log::events::{
    AbandonReason, AttemptRecord, Claimed, DeadLetterEvent, Enqueued, ErrorKind, ErrorRecord, Event,
    ExecutionEvent, Input, KvEvent, ReadRecord, ScriptEvent, Source, Writer, decode_record,
};
use relive_log::{AppId, ExecutionId, LetterId, Lsn, ReadError as LogError, Reader, UnixMicros};
use relive_projections::{App, AsOf, At, AttemptRef, ExecutionRow, Script, ScriptVersion, Status, Views};

use super::answers::{SecretAnswer, Secrets, untold_ms};
use super::leaks::Leaks;
use super::recording::{Candidate, Recorded, Recording, Sealed};
use crate::node::input::{For, Inputs, NoInput, Withheld};
use crate::node::snapshot::{Letters, Settle, ViewSnapshot};
use crate::node::vault::Vaults;
use crate::refusal::Failure;
use crate::script::{
    CompileCache, CompileError, Compiled, Context, Imports, LetterEffect, LetterVerb, Limits, SecretLookup,
    SecretSource, SendEffect, WriteEffect,
};
use crate::seams::Clock;
use crate::secrets::InstanceKey;
use crate::settings::EngineSettings;

/// Views, log and keys of one instance, live or opened read-only.
#[derive(Clone)]
pub struct Archive {
    pub(crate) views: Arc<Views>,
    pub(crate) reader: Reader,
    pub(crate) vaults: Arc<Vaults>,
    pub(crate) compiled: Arc<CompileCache>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Under which another script than the recorded one runs; `None`: under those of the record, too.
    pub(crate) limits: Option<Limits>,
    /// How long an execution may take whose route says nothing else, milliseconds.
    pub(crate) timeout_ms: u64,
    /// What replays left.
    pub(crate) leaks: Arc<Leaks>,
}

/// Why an attempt cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReplayable {
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// `app`, `execution`, `script version`.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// The execution has no attempt of this number.
    #[error("attempt: there is no attempt {asked}; the execution has {}", attempts_text(.known))]
    NoAttempt {
        /// Which was asked for.
        asked: u32,
        /// Those that are recorded.
        known: Vec<u32>,
    },
    /// Nothing was recorded to replay.
    #[error("{0}")]
    NotRecorded(String),
    /// The attempt has not ended.
    #[error("attempt {0} is still running; a replay needs its end")]
    StillRunning(u32),
    /// The source does not compile.
    #[error("the source does not compile: {0}")]
    Source(CompileError),
    /// Replays of the script left memory that nothing frees (E171).
    #[error(
        "replays of `{script}` left {bytes} bytes of memory that nothing frees; the limit is {limit} \
         (RELIVE_MAX_LEAKED_MEMORY): this source is not replayed again before the process starts anew"
    )]
    Leaks {
        /// The script.
        script: String,
        /// What they left.
        bytes: u64,
        /// What they may leave.
        limit: u64,
    },
    /// The record was cut off by retention.
    #[error("the record is below the horizon; history goes back to LSN {0} only")]
    BelowHorizon(Lsn),
    /// Stored data could not be read.
    #[error(transparent)]
    Failed(#[from] Failure),
}

fn attempts_text(known: &[u32]) -> String {
    let all: Vec<String> = known.iter().map(u32::to_string).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn log_failed(error: &LogError) -> NotReplayable {
    match error.horizon() {
        Some(first) => NotReplayable::BelowHorizon(first),
        None => NotReplayable::Failed(Failure::Read { message: error.to_string() }),
    }
}

pub(super) fn view_failed(error: impl std::fmt::Display) -> NotReplayable {
    NotReplayable::Failed(Failure::Read { message: error.to_string() })
}

fn no_input(why: NoInput) -> NotReplayable {
    match why {
        NoInput::NotRecorded => not_recorded("the input was not recorded (record = \"off\")"),
        NoInput::KeyMissing => not_recorded("the input is sealed with an instance key that is not here"),
        NoInput::BelowHorizon(first) => NotReplayable::BelowHorizon(first),
        NoInput::Failed(failure) => NotReplayable::Failed(failure),
    }
}

fn not_recorded(why: &str) -> NotReplayable {
    NotReplayable::NotRecorded(why.to_owned())
}

impl Archive {
    /// Of a directory that no node serves: views caught up with a log that is only read.
    #[must_use]
    pub fn new(views: Arc<Views>, reader: Reader, key: InstanceKey, clock: Arc<dyn Clock>) -> Archive {
        let (vaults, compiled) = (Arc::new(Vaults::new(key)), Arc::default());
        Archive {
            views,
            reader,
            vaults,
            compiled,
            clock,
            limits: None,
            timeout_ms: EngineSettings::default().timeout_ms,
            leaks: Arc::default(),
        }
    }

    /// The views.
    #[must_use]
    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }

    /// The app with this slug.
    ///
    /// # Errors
    /// When there is none.
    pub fn app(&self, slug: &str) -> Result<Arc<App>, NotReplayable> {
        let registry = self.views.registry();
        let found = registry.app_by_slug(slug).map(Arc::clone);
        found.ok_or_else(|| NotReplayable::NotFound { what: "app", name: slug.to_owned() })
    }

    /// The row of an execution.
    ///
    /// # Errors
    /// When there is none, its record was cut off, or it could not be read.
    pub fn row(&self, app: AppId, execution: ExecutionId) -> Result<ExecutionRow, NotReplayable> {
        let found = self.views.executions().get(app, execution).map_err(view_failed)?;
        found.ok_or_else(|| match expired(&self.reader, execution) {
            Some(first) => NotReplayable::BelowHorizon(first),
            None => NotReplayable::NotFound { what: "execution", name: execution.to_string() },
        })
    }

    /// One attempt of an execution (the last if none is named), to be run with `candidate`.
    ///
    /// # Errors
    /// When it was not recorded, has not ended, or could not be read.
    pub fn recording(
        &self,
        app: &App,
        row: &ExecutionRow,
        attempt: Option<u32>,
        candidate: &Candidate,
        sealed: Sealed,
    ) -> Result<Recording, NotReplayable> {
        self.recording_with(app, row, attempt, candidate, None, sealed)
    }

    /// As [`Archive::recording`]; `found` is the candidate's script if it was looked for already.
    pub(super) fn recording_with(
        &self,
        app: &App,
        row: &ExecutionRow,
        attempt: Option<u32>,
        candidate: &Candidate,
        found: Option<&Chosen>,
        sealed: Sealed,
    ) -> Result<Recording, NotReplayable> {
        let first = self.reader.first_lsn();
        if row.enqueued.lsn < first {
            return Err(NotReplayable::BelowHorizon(first));
        }
        if !row.recorded {
            return Err(not_recorded("its route has record = \"off\": neither input nor journal were kept"));
        }
        let one = chosen(row, attempt)?;
        let (enqueued, claimed) = self.begun(row, one)?;
        let recorded = self.ended(row, one)?;
        let record = recorded.as_ref().and_then(|recorded| recorded.record.as_ref());
        let snapshot = record.map_or(claimed.snapshot, |record| record.snapshot);
        let first = self.reader.first_lsn();
        if record.is_some_and(|record| looked_below(record, first)) {
            return Err(NotReplayable::BelowHorizon(first));
        }
        let who = if sealed == Sealed::Opened { For::Attempt } else { For::Eyes };
        let (input, withheld) = self.input(app, &enqueued, row.enqueued, who)?;
        let script = match found {
            Some(found) => found.clone(),
            None => self.script(app, &row.script, one.version, candidate)?,
        };
        let context = Context {
            app: app.slug.clone(),
            script: row.script.clone(),
            version: script.version.unwrap_or(one.version),
            execution: row.execution,
            root: row.root,
            depth: row.depth,
            attempt: one.attempt,
            principal: row.principal.clone(),
            lsn: snapshot,
            input,
        };
        let limits = self.limits(record, script.version == Some(one.version));
        let letters = record.map_or_else(Vec::new, letters_seen);
        let kv = ViewSnapshot {
            views: Arc::clone(&self.views),
            app: app.id,
            at: AsOf { lsn: snapshot, time: claimed.at },
            reader: self.reader.clone(),
            settle: Settle::Settled,
            list_bytes_max: limits.list_bytes_max,
            letters: Letters::Recorded(letters),
        };
        let (imports, imported) = self.imports(app, &script, &claimed)?;
        if let Ok(compiled) = &script.compiled {
            self.leaks.allow(compiled)?;
        }
        Ok(Recording {
            leaks: Arc::clone(&self.leaks),
            context,
            imports,
            source: row.source.clone(),
            recorded_version: one.version,
            version: script.version,
            seed: claimed.seed,
            claim_time: claimed.at,
            script: script.compiled,
            source_text: script.text,
            imported,
            kv: Arc::new(kv),
            secrets: self.secrets(app, recorded.as_ref(), candidate, sealed),
            recorded,
            withheld,
            limits,
            untold_ms: untold_ms(app.timeout_ms(&row.source).unwrap_or(self.timeout_ms)),
            clock: Arc::clone(&self.clock),
        })
    }

    /// The bounds of a replay: those of the record, unless another script is tried on an instance.
    fn limits(&self, record: Option<&AttemptRecord>, same_script: bool) -> Limits {
        let own = self.limits.unwrap_or_default();
        match (self.limits, record) {
            (Some(_), _) if !same_script => own,
            (_, Some(record)) => own.as_recorded(&record.limits),
            (_, None) => own,
        }
    }

    /// The script of a candidate, the same for every execution; `None`: each has its own.
    pub(super) fn script_of(
        &self,
        app: &App,
        script: &str,
        candidate: &Candidate,
    ) -> Result<Option<Chosen>, NotReplayable> {
        match candidate {
            Candidate::Recorded => Ok(None),
            Candidate::Version(_) | Candidate::Source(_) => self.script(app, script, 0, candidate).map(Some),
        }
    }

    fn input(
        &self,
        app: &App,
        enqueued: &Enqueued,
        at: At,
        who: For,
    ) -> Result<(crate::script::ContextInput, Withheld), NotReplayable> {
        let inputs = Inputs { views: &self.views, reader: &self.reader, vaults: &self.vaults, app, who };
        let mut withheld = inputs.withheld_of_enqueued(enqueued).map_err(no_input)?;
        match inputs.of_read(enqueued.clone(), at) {
            Ok(input) => {
                if who == For::Eyes {
                    let sealed = std::mem::take(&mut withheld.sealed);
                    withheld.digests.extend(sealed.into_iter().map(|(name, _)| name));
                }
                Ok((input, withheld))
            }
            // Sealed with another key: placeholders stand for the values, and the replay says so.
            Err(NoInput::KeyMissing) if who == For::Attempt => self.input(app, enqueued, at, For::Eyes),
            Err(why) => Err(no_input(why)),
        }
    }

    /// What began an attempt: the enqueue and the claim. Of a sync call both are one batch, which is read once.
    fn begun(&self, row: &ExecutionRow, one: &AttemptRef) -> Result<(Enqueued, Claimed), NotReplayable> {
        let (enqueued, claimed) = (row.enqueued, one.claimed);
        let read = |pos, lsn| self.reader.read_event(pos, lsn).map_err(|error| log_failed(&error));
        let events = if enqueued.pos == claimed.pos
            && let Ok(frame) = self.reader.read_frame_of(enqueued.pos, enqueued.lsn)
        {
            let event = |lsn| {
                let raw = frame.records().find(|raw| raw.lsn == lsn);
                let raw = raw.ok_or_else(|| view_failed(format!("event {lsn} is not in its batch")))?;
                decode_record(raw.type_, raw.type_version, raw.body)
                    .map_err(|error| view_failed(format!("event {lsn}: {error}")))
            };
            (event(enqueued.lsn)?, event(claimed.lsn)?)
        } else {
            (read(enqueued.pos, enqueued.lsn)?.0, read(claimed.pos, claimed.lsn)?.0)
        };
        match events {
            (
                Event::Execution(ExecutionEvent::Enqueued(event)),
                Event::Execution(ExecutionEvent::Claimed(claim)),
            ) => Ok((*event, claim)),
            _ => Err(view_failed(format!("events {} and {} begin no attempt", enqueued.lsn, claimed.lsn))),
        }
    }

    /// What the batch that ended an attempt says.
    fn ended(&self, row: &ExecutionRow, one: &AttemptRef) -> Result<Option<Recorded>, NotReplayable> {
        let Some(at) = one.ended else { return Err(NotReplayable::StillRunning(one.attempt)) };
        let frame = self.reader.read_frame_of(at.pos, at.lsn).map_err(|error| log_failed(&error))?;
        let mut writes = BTreeMap::new();
        let (mut sends, mut letters) = (Vec::new(), Vec::new());
        let mut too_deep = 0;
        let mut ended = None;
        for raw in frame.records() {
            let event = decode_record(raw.type_, raw.type_version, raw.body)
                .map_err(|error| view_failed(format!("event {}: {error}", raw.lsn)))?;
            match event {
                Event::Kv(KvEvent::Put(put)) => {
                    if let Some(line) = line_of(&put.writer, row.execution) {
                        let effect = WriteEffect { value: Some(put.value), line, expires_at: put.expires_at };
                        writes.insert((put.collection, put.key), effect);
                    }
                }
                Event::Kv(KvEvent::Deleted(deleted)) => {
                    if let Some(line) = line_of(&deleted.writer, row.execution) {
                        writes.insert(
                            (deleted.collection, deleted.key),
                            WriteEffect { value: None, line, expires_at: None },
                        );
                    }
                }
                Event::Execution(event) if raw.lsn == at.lsn => ended = end(event),
                Event::Execution(ExecutionEvent::Enqueued(sent)) if sent.caused_by == Some(row.execution) => {
                    sends.extend(send_of(*sent));
                }
                Event::Execution(ExecutionEvent::DepthExceeded(sent))
                    if sent.caused_by == Some(row.execution)
                        && matches!(sent.source, Source::Queue { .. }) =>
                {
                    too_deep += 1;
                }
                Event::DeadLetter(event) => letters.extend(closed_by(event, row.execution)),
                _ => {}
            }
        }
        Ok(ended.map(|(result, record)| Recorded { result, record, writes, sends, letters, too_deep }))
    }

    fn script(
        &self,
        app: &App,
        name: &str,
        recorded: u32,
        candidate: &Candidate,
    ) -> Result<Chosen, NotReplayable> {
        let version = match candidate {
            Candidate::Recorded => recorded,
            Candidate::Version(version) => *version,
            Candidate::Source(text) => {
                let compiled = self.compiled.get_or_compile(name, text).map_err(NotReplayable::Source)?;
                return Ok(Chosen { compiled: Ok(compiled), text: Some(Arc::clone(text)), version: None });
            }
        };
        let found = app.scripts.get(name).and_then(|script| Some((script, script.version(version)?)));
        match found {
            Some((script, found)) => {
                let text = self.source_of(script, found)?;
                let compiled = self.compiled.get_or_compile_known(name, found.sha256, &text);
                let compiled = compiled.map_err(|error| ErrorRecord {
                    kind: ErrorKind::Parse,
                    message: error.message,
                    line: error.line,
                    column: error.column,
                });
                Ok(Chosen { compiled, text: Some(text), version: Some(version) })
            }
            None if *candidate == Candidate::Recorded => {
                let message = format!("there is no script `{name}`");
                let missing = ErrorRecord::without_place(ErrorKind::ScriptMissing, message);
                Ok(Chosen { compiled: Err(missing), text: None, version: Some(version) })
            }
            None => Err(NotReplayable::NotFound { what: "version", name: format!("{version} of {name}") }),
        }
    }

    /// What the script can import: the versions that the claim names (D17); what only another candidate imports, in its
    /// current version.
    fn imports(&self, app: &App, chosen: &Chosen, claimed: &Claimed) -> Result<Imported, NotReplayable> {
        let Ok(main) = &chosen.compiled else { return Ok(Imported::default()) };
        let mut texts = BTreeMap::new();
        let mut open: Vec<String> = main.imports().iter().map(|import| import.script.clone()).collect();
        let mut found: BTreeMap<String, Compiled> = BTreeMap::new();
        while let Some(name) = open.pop() {
            let Some(script) = app.scripts.get(&name).filter(|_| !found.contains_key(&name)) else {
                continue;
            };
            let named = claimed.imports.iter().find(|import| import.script == name);
            let version = named.map_or(script.current, |import| import.version);
            // One that was missing then is missing now: the run says so where it is imported.
            let Some(version) = script.version(version) else { continue };
            let text = self.source_of(script, version)?;
            let compiled = self.compiled.get_or_compile_known(&name, version.sha256, &text);
            let compiled = compiled.map_err(NotReplayable::Source)?;
            open.extend(compiled.imports().iter().map(|import| import.script.clone()));
            texts.insert(name.clone(), text);
            found.insert(name, compiled);
        }
        Ok((Imports::new(found), texts))
    }

    fn source_of(&self, script: &Script, version: &ScriptVersion) -> Result<Arc<str>, NotReplayable> {
        if script.current == version.version {
            return Ok(Arc::clone(&script.source));
        }
        match self.reader.read_event(version.pos, version.lsn).map_err(|error| log_failed(&error))? {
            (Event::Script(ScriptEvent::Deployed(deployed)), _) => Ok(Arc::from(deployed.source)),
            _ => Err(view_failed(format!("event {} is no deploy", version.lsn))),
        }
    }

    /// Each secret that the attempt took as it was then: the value if that version is still to be had.
    fn secrets(
        &self,
        app: &App,
        recorded: Option<&Recorded>,
        candidate: &Candidate,
        sealed: Sealed,
    ) -> Arc<Secrets> {
        let vault = self.vaults.of(app);
        let live = |name: &str| match vault.get(name) {
            SecretLookup::Found { version, value } if sealed == Sealed::Opened => Some((version, value)),
            _ => None,
        };
        let mut answers = BTreeMap::new();
        if *candidate != Candidate::Recorded {
            for name in app.secrets.keys() {
                let answer =
                    live(name).map_or(SecretAnswer::Withheld(0), |(v, value)| SecretAnswer::Known(v, value));
                answers.insert(name.clone(), answer);
            }
        }
        let record = recorded.and_then(|recorded| recorded.record.as_ref());
        for (name, version) in record.iter().flat_map(|record| &record.secrets) {
            let answer = match (version, live(name)) {
                (0, _) => SecretAnswer::Absent,
                (version, Some((now, value))) if now == *version => SecretAnswer::Known(now, value),
                (version, _) => SecretAnswer::Withheld(*version),
            };
            answers.insert(name.clone(), answer);
        }
        let key_missing = recorded
            .is_some_and(|recorded| recorded.result.as_ref().is_err_and(|e| e.kind == ErrorKind::KeyMissing));
        let others = match (candidate, key_missing) {
            (_, true) => SecretAnswer::KeyMissing,
            (Candidate::Recorded, false) => SecretAnswer::Withheld(0),
            (Candidate::Version(_) | Candidate::Source(_), false) => SecretAnswer::Absent,
        };
        Secrets::new(answers, others)
    }
}

/// Where the log begins, if an execution of which nothing is known was cut off with its beginning: its id says when it
/// was made.
#[must_use]
pub fn expired(reader: &Reader, execution: ExecutionId) -> Option<Lsn> {
    let first = reader.first_lsn();
    if first <= Lsn::FIRST {
        return None;
    }
    let begins = reader.scan(first).ok()?.next()?.ok()?.commit_time;
    let made = execution.as_bytes().first_chunk::<6>()?.iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte));
    (UnixMicros::from_millis(made) < begins).then_some(first)
}

/// What a script can import, and the texts of it by name.
type Imported = (Imports, BTreeMap<String, Arc<str>>);

/// What a replay runs.
#[derive(Clone)]
pub(super) struct Chosen {
    compiled: Result<Compiled, ErrorRecord>,
    text: Option<Arc<str>>,
    version: Option<u32>,
}

fn chosen(row: &ExecutionRow, attempt: Option<u32>) -> Result<&AttemptRef, NotReplayable> {
    let Some(asked) = attempt else {
        return row.last_attempt().ok_or_else(|| {
            not_recorded(match row.status {
                Status::Dropped => "it was dropped before its first attempt",
                _ => "it has had no attempt yet",
            })
        });
    };
    row.attempts.iter().find(|one| one.attempt == asked).ok_or_else(|| NotReplayable::NoAttempt {
        asked,
        known: row.attempts.iter().map(|one| one.attempt).collect(),
    })
}

/// What was sent to a queue, if that is what it is.
fn send_of(sent: Enqueued) -> Option<SendEffect> {
    let Input::Message { queue, message } = sent.input else { return None };
    let (execution, key) = (sent.execution, sent.ordering_key);
    Some(SendEffect { execution, queue, message, delay_ms: 0, key, line: 0 })
}

/// What this execution did to a dead letter, if it did.
fn closed_by(event: DeadLetterEvent, execution: ExecutionId) -> Option<LetterEffect> {
    match event {
        DeadLetterEvent::Redriven(event) if event.by_execution == Some(execution) => {
            Some(LetterEffect { letter: event.letter, verb: LetterVerb::Redrive(event.execution) })
        }
        DeadLetterEvent::Resolved(event) if event.execution == Some(execution) => {
            let note = event.note.unwrap_or_default();
            Some(LetterEffect { letter: event.letter, verb: LetterVerb::Resolve(note) })
        }
        DeadLetterEvent::DeadLettered(_)
        | DeadLetterEvent::HandlerFailed(_)
        | DeadLetterEvent::Redriven(_)
        | DeadLetterEvent::Resolved(_)
        | DeadLetterEvent::Expired(_) => None,
    }
}

/// The line of a write, if this execution made it.
fn line_of(writer: &Writer, execution: ExecutionId) -> Option<u32> {
    match writer {
        Writer::Execution { id, line } if *id == execution => Some(*line),
        _ => None,
    }
}

type End = (Result<relive_log::events::OutputRecord, ErrorRecord>, Option<AttemptRecord>);

/// `None`: nothing that a replay could be compared with.
fn end(event: ExecutionEvent) -> Option<End> {
    match event {
        ExecutionEvent::Completed(completed) => Some((Ok(completed.output), Some(completed.record))),
        ExecutionEvent::AttemptFailed(failed) => {
            let record = failed.record?;
            Some((Err(failed.error), Some(record)))
        }
        ExecutionEvent::Abandoned(abandoned) => {
            debug_assert_eq!(abandoned.reason, AbandonReason::Crash, "a vanished caller ends no attempt");
            None
        }
        _ => None,
    }
}

/// Whether the attempt saw something of the past that a log which begins at `first` does not have any more: a base keeps
/// what was current there, and nothing older.
fn looked_below(record: &AttemptRecord, first: Lsn) -> bool {
    first > Lsn::FIRST
        && record.reads.iter().any(|read| match read {
            ReadRecord::KeyAt { at, .. } => *at < first,
            ReadRecord::History { versions, .. } => versions.iter().filter(|lsn| **lsn < first).count() > 1,
            ReadRecord::Key { .. } | ReadRecord::Range { .. } | ReadRecord::Letter { .. } => false,
        })
}

/// What the attempt saw of dead letters: they may be closed by now.
fn letters_seen(record: &AttemptRecord) -> Vec<(LetterId, Option<bool>)> {
    let letter = |read: &ReadRecord| match read {
        ReadRecord::Letter { letter, open } => Some((*letter, *open)),
        ReadRecord::Key { .. }
        | ReadRecord::KeyAt { .. }
        | ReadRecord::Range { .. }
        | ReadRecord::History { .. } => None,
    };
    record.reads.iter().filter_map(letter).collect()
}
