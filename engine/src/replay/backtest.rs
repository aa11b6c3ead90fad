//! Another version of a script over what was recorded (T4).
//!
//! Owns: which executions ([`BacktestAsked`]), the verdict per execution, the summary, and the work as a line that any
//! number of lent threads take from ([`Backtest::run`]). Never does: any effect; each execution is a replay (E120).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use relive_log::events::{ErrorRecord, OutputRecord, RedriveProof, Verdict};
use relive_log::{BacktestId, ExecutionId, LetterId, Lsn, UnixMicros};
use relive_projections::{App, ExecutionFilter, ExecutionRow, LetterFilter, ScriptVersion, Status};

use super::archive::{Archive, Chosen, NotReplayable, view_failed};
use super::compare::Difference;
use super::recording::{Candidate, Sealed};
use super::run::{Replayed, WhyNotFaithful, replay};

/// Most executions of one backtest; more are taken page by page.
pub const BACKTEST_MAX: usize = 10_000;
/// Rows that are looked at together.
const ROWS: usize = 1000;

/// Which executions, against what.
#[derive(Clone, Debug, Default)]
pub struct BacktestAsked {
    /// The script.
    pub script: String,
    /// What runs instead of what ran.
    pub candidate: Candidate,
    /// Enqueued at or after.
    pub since: Option<UnixMicros>,
    /// Enqueued before.
    pub until: Option<UnixMicros>,
    /// Of this status.
    pub status: Option<Status>,
    /// Only those whose dead letter is open.
    pub dead_letters: bool,
    /// At most so many, newest first.
    pub limit: usize,
    /// Only executions below this one: where the last page ended.
    pub cursor: Option<ExecutionId>,
}

/// One execution of a backtest.
#[derive(Clone, Debug)]
pub struct Tested {
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt that was replayed: the last.
    pub attempt: u32,
    /// Its dead letter, if it has an open one.
    pub letter: Option<LetterId>,
    /// The verdict.
    pub verdict: Verdict,
    /// What was recorded.
    pub before: Result<OutputRecord, ErrorRecord>,
    /// What it came to now.
    pub after: Result<OutputRecord, ErrorRecord>,
    /// What differs.
    pub differences: Vec<Difference>,
    /// What a replay was not given.
    pub reason: Option<WhyNotFaithful>,
}

/// What a backtest found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Per execution, newest first.
    pub tested: Vec<Tested>,
    /// Executions that could not be compared (not recorded, still running, cut off by a crash, or something that they
    /// need below the horizon), with the reason.
    pub skipped: Vec<(ExecutionId, String)>,
    /// Where the next page begins, if there is more.
    pub cursor: Option<ExecutionId>,
    /// Names what it found: in the proofs of what is redriven.
    pub id: BacktestId,
    /// What was durable when it began: what it knew.
    pub lsn: Lsn,
}

impl Report {
    /// What this backtest proved of an open dead letter with the current version of its script: that it is repaired.
    #[must_use]
    pub fn proof(&self, tested: &Tested, current: &ScriptVersion) -> Option<RedriveProof> {
        (tested.verdict == Verdict::Fixed && tested.letter.is_some()).then_some(RedriveProof {
            backtest: self.id,
            attempt: tested.attempt,
            version: current.version,
            sha256: current.sha256,
            verdict: tested.verdict,
            lsn: self.lsn,
        })
    }

    /// How many executions have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.tested.iter().filter(|one| one.verdict == verdict).count()
    }
}

/// A backtest in progress.
pub struct Backtest {
    archive: Archive,
    app: Arc<App>,
    candidate: Candidate,
    script: Option<Chosen>,
    sealed: Sealed,
    rows: Vec<ExecutionRow>,
    cursor: Option<ExecutionId>,
    lsn: Lsn,
    next: AtomicUsize,
    cancelled: AtomicBool,
    found: Mutex<Vec<(usize, Found)>>,
}

enum Found {
    Tested(Box<Tested>),
    Skipped(ExecutionId, String),
    Failed(NotReplayable),
}

impl Backtest {
    /// Chooses the executions.
    ///
    /// # Errors
    /// When the script, the version or the source is not there, or the views could not be read.
    pub fn new(
        archive: Archive,
        app: Arc<App>,
        asked: &BacktestAsked,
        sealed: Sealed,
    ) -> Result<Backtest, NotReplayable> {
        if !app.scripts.contains_key(&asked.script) {
            return Err(NotReplayable::NotFound { what: "script", name: asked.script.clone() });
        }
        // A candidate that is not there or does not compile is refused once, before anything runs.
        let script = archive.script_of(&app, &asked.script, &asked.candidate)?;
        let limit = asked.limit.clamp(1, BACKTEST_MAX);
        let lsn = archive.reader.durable();
        let mut rows = archive.chosen(&app, asked, limit + 1)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let cursor = rows.last().filter(|_| more).map(|row| row.execution);
        Ok(Backtest {
            archive,
            app,
            candidate: asked.candidate.clone(),
            script,
            sealed,
            rows,
            cursor,
            lsn,
            next: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
            found: Mutex::default(),
        })
    }

    /// How many executions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many are done.
    #[must_use]
    pub fn done(&self) -> usize {
        self.found.lock().len()
    }

    /// Nothing further is begun.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Takes executions from the line until none is left; to be called on any number of threads, each with
    /// [`SCRIPT_STACK_BYTES`](crate::script::SCRIPT_STACK_BYTES) of stack.
    pub fn run(&self) {
        while !self.cancelled.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(row) = self.rows.get(at) else { return };
            let found = self.test(row);
            self.found.lock().push((at, found));
        }
    }

    fn test(&self, row: &ExecutionRow) -> Found {
        let script = self.script.as_ref();
        let recording =
            self.archive.recording_with(&self.app, row, None, &self.candidate, script, self.sealed);
        let recording = match recording {
            Ok(recording) => recording,
            Err(
                why @ (NotReplayable::NotRecorded(_)
                | NotReplayable::StillRunning(_)
                | NotReplayable::BelowHorizon(_)),
            ) => {
                return Found::Skipped(row.execution, why.to_string());
            }
            Err(why) => return Found::Failed(why),
        };
        let Some(recorded) = &recording.recorded else {
            return Found::Skipped(row.execution, "nothing was recorded of its end".to_owned());
        };
        let before = recorded.result.clone();
        let Replayed { result, differences, reason, unmatched, .. } = replay(&recording);
        let after = result.map(|ended| ended.output);
        // What it says to its log is no result.
        let differences: Vec<Difference> = differences
            .into_iter()
            .filter(|difference| matches!(difference.what, "error" | "write" | "send" | "letter" | "output"))
            .collect();
        let verdict = match (before.is_ok(), after.is_ok()) {
            _ if unmatched => Verdict::Unmatched,
            (false, true) => Verdict::Fixed,
            (true, false) => Verdict::Broken,
            (true, true) | (false, false) if differences.is_empty() => Verdict::Same,
            (true, true) | (false, false) => Verdict::Changed,
        };
        let letter = row.letter.filter(|letter| {
            self.archive.views.dead_letters().get(self.app.id, *letter).is_some_and(|letter| letter.is_open())
        });
        let attempt = recording.context.attempt;
        let execution = row.execution;
        let tested = Tested { execution, attempt, letter, verdict, before, after, differences, reason };
        Found::Tested(Box::new(tested))
    }

    /// What it found, under the name `id`; to be called when all threads have returned from [`Backtest::run`].
    ///
    /// # Errors
    /// When stored data could not be read.
    pub fn report(&self, id: BacktestId) -> Result<Report, NotReplayable> {
        let mut found = std::mem::take(&mut *self.found.lock());
        found.sort_by_key(|(at, _)| *at);
        let mut report = Report { cursor: self.cursor, id, lsn: self.lsn, ..Report::default() };
        for (_, one) in found {
            match one {
                Found::Tested(tested) => report.tested.push(*tested),
                Found::Skipped(execution, why) => report.skipped.push((execution, why)),
                Found::Failed(why) => return Err(why),
            }
        }
        Ok(report)
    }
}

impl Archive {
    fn chosen(
        &self,
        app: &App,
        asked: &BacktestAsked,
        limit: usize,
    ) -> Result<Vec<ExecutionRow>, NotReplayable> {
        if asked.dead_letters {
            return self.of_letters(app, asked, limit);
        }
        let mut filter = ExecutionFilter {
            status: asked.status,
            script: Some(asked.script.clone()),
            since: asked.since,
            until: asked.until,
            cursor: asked.cursor,
            limit: ROWS,
            ..ExecutionFilter::default()
        };
        let mut rows = Vec::new();
        loop {
            let page = self.views.executions().list(app.id, &filter).map_err(view_failed)?;
            let last = page.last().map(|row| row.execution);
            let full = page.len() == ROWS;
            rows.extend(page.into_iter().filter(|row| !row.status.is_open()));
            if rows.len() >= limit || !full {
                rows.truncate(limit);
                return Ok(rows);
            }
            filter.cursor = last;
        }
    }

    fn of_letters(
        &self,
        app: &App,
        asked: &BacktestAsked,
        limit: usize,
    ) -> Result<Vec<ExecutionRow>, NotReplayable> {
        let filter =
            LetterFilter { script: Some(asked.script.clone()), limit: usize::MAX, ..LetterFilter::default() };
        let mut executions: Vec<ExecutionId> = self
            .views
            .dead_letters()
            .list(app.id, &filter)
            .into_iter()
            .filter(|letter| letter.is_open())
            .map(|letter| letter.execution)
            .filter(|execution| asked.cursor.is_none_or(|cursor| *execution < cursor))
            .collect();
        executions.sort_unstable_by(|a, b| b.cmp(a));
        executions.dedup();
        let mut rows = Vec::new();
        for execution in executions {
            let row = self.row(app.id, execution)?;
            let at = row.enqueued.time;
            let within =
                asked.since.is_none_or(|since| at >= since) && asked.until.is_none_or(|until| at < until);
            if within {
                rows.push(row);
            }
            if rows.len() == limit {
                break;
            }
        }
        Ok(rows)
    }
}
