//! The view `jobs`: bulk work on dead letters, and what became of what it redrove (D12).
//!
//! Owns: the rows of jobs, and which executions are under way on behalf of which. Never does: decide the next step.
//!
//! ```text
//! j | app | job            the job
//! i | app | job | execution    one that it redrove and that has not ended
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use bincode::{Decode, Encode};
use parking_lot::RwLock;
use relive_log::events::{
    AfterFailure, AppEvent, DeadLetterEvent, DeadLetterRedriven, ExecutionEvent, JobEvent, JobFilter,
    JobKind, JobOutcome, Principal,
};
use relive_log::{AppId, ExecutionId, JobId, LetterId, UnixMicros};

use crate::digest::Digest;
use crate::rows::{self, tag};
use crate::source::At;
use crate::store::Change;

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JobRow {
    /// The app.
    pub app: AppId,
    /// Its id.
    pub job: JobId,
    /// What it does.
    pub kind: JobKind,
    /// With which letters.
    pub filter: JobFilter,
    /// How many those were.
    pub total: u64,
    /// From one letter to the next, microseconds; 0: as fast as it goes.
    pub interval_us: u64,
    /// It ends after so many failures.
    pub stop_after_failures: Option<u64>,
    /// Who asked for it.
    pub by: Principal,
    /// Its `job_created` event: letters above it are none of its business.
    pub created: At,
    /// The last letter that it looked at.
    pub cursor: Option<LetterId>,
    /// Letters redriven or resolved.
    pub done: u64,
    /// Letters that could not be.
    pub skipped: u64,
    /// Redriven executions that completed.
    pub succeeded: u64,
    /// Redriven executions that ended otherwise.
    pub failed: u64,
    /// How it ended, and when.
    pub ended: Option<(JobOutcome, At)>,
}

impl JobRow {
    /// Redriven executions that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        match self.kind {
            JobKind::Redrive { .. } => self.done.saturating_sub(self.succeeded).saturating_sub(self.failed),
            JobKind::Resolve { .. } => 0,
        }
    }
}

type Key = (AppId, JobId);

/// A changed row of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey {
    Job(Key),
    InFlight(Key, ExecutionId),
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<Key, Box<JobRow>>,
    in_flight: BTreeMap<ExecutionId, Key>,
    /// Those that ended, by when.
    by_end: BTreeSet<(UnixMicros, AppId, JobId)>,
    dirty: BTreeSet<RowKey>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Jobs {
    state: RwLock<State>,
    /// How many executions are in flight: most of the time none, and then nobody looks further.
    watched: AtomicUsize,
}

impl Jobs {
    /// Folds one event of a job.
    pub(crate) fn fold(&self, event: &JobEvent, at: At) {
        let mut state = self.state.write();
        match event {
            JobEvent::Created(e) => {
                let row = JobRow {
                    app: e.app,
                    job: e.job,
                    kind: e.kind.clone(),
                    filter: e.filter.clone(),
                    total: e.total,
                    interval_us: e.interval_us,
                    stop_after_failures: e.stop_after_failures,
                    by: e.by.clone(),
                    created: at,
                    cursor: None,
                    done: 0,
                    skipped: 0,
                    succeeded: 0,
                    failed: 0,
                    ended: None,
                };
                state.rows.entry((e.app, e.job)).or_insert_with(|| Box::new(row));
                state.dirty.insert(RowKey::Job((e.app, e.job)));
            }
            JobEvent::Progressed(e) => state.change((e.app, e.job), |row| {
                row.cursor = Some(e.cursor);
                row.done = row.done.saturating_add(e.done);
                row.skipped = row.skipped.saturating_add(e.skipped);
            }),
            JobEvent::Ended(e) => {
                state.change((e.app, e.job), |row| row.ended = row.ended.or(Some((e.outcome, at))));
                state.note_end((e.app, e.job));
            }
            JobEvent::Expired(e) => self.drop_rows(&mut state, &[(e.app, e.job)]),
        }
    }

    /// Folds one event of a dead letter: what a job redrives is watched.
    pub(crate) fn fold_dead_letter(&self, event: &DeadLetterEvent) {
        match event {
            DeadLetterEvent::Redriven(DeadLetterRedriven { app, execution, job: Some(job), .. }) => {
                let mut state = self.state.write();
                let key = (*app, *job);
                if state.rows.contains_key(&key) && state.in_flight.insert(*execution, key).is_none() {
                    state.dirty.insert(RowKey::InFlight(key, *execution));
                    self.watched.fetch_add(1, Ordering::Release);
                }
            }
            DeadLetterEvent::Redriven(_)
            | DeadLetterEvent::DeadLettered(_)
            | DeadLetterEvent::HandlerFailed(_)
            | DeadLetterEvent::Resolved(_)
            | DeadLetterEvent::Expired(_) => {}
        }
    }

    /// Folds one event of an execution: the end of one that a job redrove.
    pub(crate) fn fold_execution(&self, event: &ExecutionEvent) {
        if self.watched.load(Ordering::Acquire) == 0 {
            return;
        }
        match event {
            ExecutionEvent::Completed(e) => self.ended(e.app, e.execution, |row| row.succeeded += 1),
            ExecutionEvent::AttemptFailed(e) => match e.then {
                AfterFailure::Retry { .. } => {}
                AfterFailure::DeadLetter | AfterFailure::End => {
                    self.ended(e.app, e.execution, |row| row.failed += 1);
                }
            },
            ExecutionEvent::Dropped(e) => self.ended(e.app, e.execution, |row| row.failed += 1),
            ExecutionEvent::Abandoned(_)
            | ExecutionEvent::Enqueued(_)
            | ExecutionEvent::Claimed(_)
            | ExecutionEvent::AloneEnded(_)
            | ExecutionEvent::Released(_)
            | ExecutionEvent::DepthExceeded(_) => {}
        }
    }

    fn ended(&self, app: AppId, execution: ExecutionId, count: impl FnOnce(&mut JobRow)) {
        let mut state = self.state.write();
        let Some(key) = state.in_flight.get(&execution).copied().filter(|key| key.0 == app) else { return };
        state.in_flight.remove(&execution);
        state.dirty.insert(RowKey::InFlight(key, execution));
        self.watched.fetch_sub(1, Ordering::Release);
        state.change(key, count);
    }

    /// Folds one event of an app: jobs of an app that is gone are gone.
    pub(crate) fn fold_app(&self, event: &AppEvent) {
        let AppEvent::Deleted(e) = event else { return };
        let mut state = self.state.write();
        let of_app = (e.app, JobId::default())..=(e.app, JobId::from_bytes([0xff; 16]));
        let gone: Vec<Key> = state.rows.range(of_app).map(|(key, _)| *key).collect();
        self.drop_rows(&mut state, &gone);
    }

    /// Forgets jobs, and whatever is still under way on their behalf.
    fn drop_rows(&self, state: &mut State, gone: &[Key]) {
        for key in gone {
            let Some(row) = state.rows.remove(key) else { continue };
            if let Some((_, at)) = row.ended {
                state.by_end.remove(&(at.time, key.0, key.1));
            }
            state.dirty.insert(RowKey::Job(*key));
        }
        let of_gone = state.in_flight.iter().filter(|(_, key)| gone.contains(key));
        let watched: Vec<(ExecutionId, Key)> = of_gone.map(|(id, key)| (*id, *key)).collect();
        for (execution, key) in watched {
            state.in_flight.remove(&execution);
            state.dirty.insert(RowKey::InFlight(key, execution));
            self.watched.fetch_sub(1, Ordering::Release);
        }
    }

    /// Takes a row of the store.
    pub(crate) fn load(&self, key: &[u8], value: &[u8]) -> Option<()> {
        let mut state = self.state.write();
        let (&kind, mut rest) = key.split_first()?;
        if kind == tag::JOB {
            let row: JobRow = rows::decode(value)?;
            let key = (row.app, row.job);
            state.rows.insert(key, Box::new(row));
            state.note_end(key);
            return Some(());
        }
        let mut id = || {
            let (id, left) = rest.split_first_chunk::<16>()?;
            rest = left;
            Some(*id)
        };
        let key = (AppId::from_bytes(id()?), JobId::from_bytes(id()?));
        state.in_flight.insert(ExecutionId::from_bytes(id()?), key);
        self.watched.fetch_add(1, Ordering::Release);
        Some(())
    }

    /// Rows of the store that the next cut writes.
    pub(crate) fn dirty(&self) -> usize {
        self.state.read().dirty.len()
    }

    /// The changes of the store since the last cut.
    pub(crate) fn cut(&self, out: &mut Vec<Change>) {
        let mut state = self.state.write();
        for key in std::mem::take(&mut state.dirty) {
            out.push((store_key(key), state.row(key)));
        }
    }

    /// Adds every row to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        let state = self.state.read();
        let jobs = state.rows.keys().map(|key| RowKey::Job(*key));
        let in_flight = state.in_flight.iter().map(|(execution, key)| RowKey::InFlight(*key, *execution));
        for key in jobs.chain(in_flight) {
            digest.add(&store_key(key), &state.row(key).unwrap_or_default());
        }
    }

    /// One job of this app.
    #[must_use]
    pub fn get(&self, app: AppId, job: JobId) -> Option<JobRow> {
        self.state.read().rows.get(&(app, job)).map(|row| JobRow::clone(row))
    }

    /// Jobs of an app, newest first, below the cursor.
    #[must_use]
    pub fn list(&self, app: AppId, cursor: Option<JobId>, limit: usize) -> Vec<JobRow> {
        let end = cursor.unwrap_or(JobId::from_bytes([0xff; 16]));
        let state = self.state.read();
        let range = state.rows.range((app, JobId::default())..(app, end));
        range.rev().take(limit).map(|(_, row)| JobRow::clone(row)).collect()
    }

    /// When the job ended that ended first, of all apps.
    #[must_use]
    pub fn oldest_end(&self) -> Option<UnixMicros> {
        self.state.read().by_end.first().map(|(at, ..)| *at)
    }

    /// Jobs that ended before a time, the first first.
    #[must_use]
    pub fn ended_before(&self, time: UnixMicros, limit: usize) -> Vec<(AppId, JobId)> {
        let state = self.state.read();
        let old = state.by_end.iter().take_while(|(at, ..)| *at < time);
        old.take(limit).map(|(_, app, job)| (*app, *job)).collect()
    }

    /// Jobs that have not ended, of all apps.
    #[must_use]
    pub fn running(&self) -> Vec<(AppId, JobId)> {
        self.state
            .read()
            .rows
            .values()
            .filter(|row| row.ended.is_none())
            .map(|row| (row.app, row.job))
            .collect()
    }
}

impl State {
    /// Changes a job that is there; what it redrove may end after it did.
    fn change(&mut self, key: Key, change: impl FnOnce(&mut JobRow)) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        change(row);
        self.dirty.insert(RowKey::Job(key));
    }

    /// Remembers when a job ended, if it did.
    fn note_end(&mut self, key: Key) {
        if let Some((_, at)) = self.rows.get(&key).and_then(|row| row.ended) {
            self.by_end.insert((at.time, key.0, key.1));
        }
    }

    fn row(&self, key: RowKey) -> Option<Vec<u8>> {
        match key {
            RowKey::Job(key) => self.rows.get(&key).map(|row| rows::encode(&**row)),
            RowKey::InFlight(key, execution) => (self.in_flight.get(&execution) == Some(&key)).then(Vec::new),
        }
    }
}

fn store_key(key: RowKey) -> Vec<u8> {
    match key {
        RowKey::Job((app, job)) => rows::key(tag::JOB, &[app.as_bytes(), job.as_bytes()]),
        RowKey::InFlight((app, job), execution) => {
            rows::key(tag::JOB_EXECUTION, &[app.as_bytes(), job.as_bytes(), execution.as_bytes()])
        }
    }
}
