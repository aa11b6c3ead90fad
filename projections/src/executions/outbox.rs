//! The `outbox`: executions that are accepted and not yet ended, each the fold of its events.
//!
//! Owns: the fold of the family `execution`. Never does: decide (an event for a row that is not there, or that
//! would not be legal, changes nothing).
//!
//! Invariants: P6 a row that came and went between two cuts leaves no trace on disk; P25 what the store has no run has,
//! and the other way round; P22 a row rests only while
//! its `enqueued` is all that ever happened to it, and can be read back.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use relive_log::events::{
    AbandonReason, Abandoned, AfterFailure, AloneEnded, AttemptFailed, Claimed, Completed, DepthExceeded,
    Dropped, Enqueued, ErrorKind, ExecutionEvent, Input, Released,
};
use relive_log::{AppId, ExecutionId, Lsn};

use super::ended::{EndedTable, Patch};
use super::open::{OpenWork, read_back};
use super::resting::{Kind, Kinds, Resting, RestingRow, Stands};
use super::row::{AttemptRef, Delivery, ExecutionRow, Status};
use super::waiting::{self, WaitingRow};
use super::whole::{Folded, Whole};
use crate::options::Limits;
use crate::rows::{self, tag};
use crate::source::{At, ValueSource};
use crate::store::Change;

/// An open execution, and what the store knows of it.
#[derive(Debug)]
struct OpenRow {
    row: Box<ExecutionRow>,
    /// Changed since the last cut.
    dirty: bool,
    /// Where a cut put it.
    stands: Stands,
}

/// Whether rows are given to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persists {
    /// At the cuts: a row rests only after that, so that it stands on disk in full.
    Yes,
    /// These views live in memory only.
    No,
}

/// See the module.
pub(super) struct Outbox {
    source: Arc<dyn ValueSource>,
    open: BTreeMap<ExecutionId, OpenRow>,
    resting: Resting,
    kinds: Kinds,
    /// Rows in full that had not begun when they were added, oldest first: the next ones to rest.
    waiting: VecDeque<ExecutionId>,
    /// How many stay in full, and from how many on those that wait become a run.
    limits: Limits,
    persists: Persists,
    /// Ids that became dirty since the last cut; some may be gone again.
    touched: Vec<ExecutionId>,
    /// Rows on disk that are gone since the last cut.
    removed: Vec<(ExecutionId, Stands)>,
    /// Rows that the next cut takes.
    dirty: usize,
    /// The kind of the row that was read last.
    last_kind: Option<u32>,
}

impl Outbox {
    pub(super) fn new(source: Arc<dyn ValueSource>, limits: Limits, persists: Persists) -> Outbox {
        Outbox {
            source,
            open: BTreeMap::new(),
            resting: Resting::default(),
            kinds: Kinds::default(),
            waiting: VecDeque::new(),
            limits,
            persists,
            touched: Vec::new(),
            removed: Vec::new(),
            dirty: 0,
            last_kind: None,
        }
    }

    pub(super) fn get(&self, execution: ExecutionId) -> Option<OpenWork<'_>> {
        match self.open.get(&execution) {
            Some(open) => Some(OpenWork::of(&open.row)),
            None => self.resting.get(execution).and_then(|row| self.work(row)),
        }
    }

    fn work<'a>(&'a self, row: &RestingRow) -> Option<OpenWork<'a>> {
        Some(OpenWork::resting(*row, self.kinds.get(row.kind)?))
    }

    pub(super) fn len(&self) -> usize {
        self.open.len() + self.resting.len()
    }

    /// What is open with an id below the cursor, highest first.
    pub(super) fn below(&self, cursor: Option<ExecutionId>) -> impl Iterator<Item = OpenWork<'_>> {
        let end = cursor.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let rows = self.open.range((std::ops::Bound::Unbounded, end)).rev();
        let mut rows = rows.map(|(_, open)| OpenWork::of(&open.row)).peekable();
        let mut resting = self.resting.below(cursor).filter_map(|row| self.work(row)).peekable();
        std::iter::from_fn(move || match (rows.peek(), resting.peek()) {
            (Some(row), Some(rests)) if row.execution < rests.execution => resting.next(),
            (None, _) => resting.next(),
            (Some(_), _) => rows.next(),
        })
    }

    /// Rows that the next cut writes.
    pub(super) fn dirty(&self) -> usize {
        self.dirty + self.removed.len()
    }

    /// Takes a row that the store had; it rests if it can be read back.
    pub(super) fn load(&mut self, row: ExecutionRow) {
        let (execution, enqueued) = (row.execution, row.enqueued.lsn);
        self.open.insert(execution, OpenRow { row: Box::new(row), dirty: false, stands: Stands::Store });
        // The log may have been cut above what ends behind this state (P22).
        if enqueued >= self.source.first() {
            self.waiting.push_back(execution);
            if self.waiting.len() > 2 * self.limits.rest_above {
                self.let_rest();
            }
        }
    }

    /// Takes a row of a run of what waits: it rests at once if it can be read back. `None`: it is no such row.
    pub(super) fn load_waiting(&mut self, value: &[u8]) -> Option<()> {
        let head = waiting::head(value)?;
        let (execution, At { lsn, pos, .. }) = (head.execution, head.enqueued);
        let readable = lsn >= self.source.first() && lsn <= self.source.readable();
        if let Some(kind) = self.kinds.number_of(&head, self.last_kind).filter(|_| readable) {
            self.last_kind = Some(kind);
            let (due_at, ordered) = (head.due_at, head.ordering_key.is_some());
            self.resting.insert(RestingRow {
                execution,
                lsn,
                pos,
                due_at,
                kind,
                ordered,
                stands: Stands::Run,
            });
        } else {
            let row = Box::new(waiting::full(value)?);
            self.open.insert(execution, OpenRow { row, dirty: false, stands: Stands::Run });
        }
        Some(())
    }

    /// The changes of the store since the last cut; answers those of the runs of what waits.
    pub(super) fn cut(&mut self, last: Lsn, out: &mut Vec<Change>) -> Vec<WaitingRow> {
        let mut waiting = Vec::new();
        let mut leave = |execution, stands, waiting: &mut Vec<WaitingRow>| match stands {
            Stands::Store => out.push((store_key(execution), None)),
            Stands::Run => waiting.push(WaitingRow::gone(execution, last)),
            Stands::Nowhere => {}
        };
        for (execution, stands) in std::mem::take(&mut self.removed) {
            match self.open.get_mut(&execution).filter(|open| open.stands == Stands::Nowhere) {
                // A key stands once in a batch: the id was used again, its new row replaces the old one.
                Some(again) => again.stands = stands,
                None => leave(execution, stands, &mut waiting),
            }
        }
        let mut changed = std::mem::take(&mut self.touched);
        changed.retain(|execution| self.open.get(execution).is_some_and(|open| open.dirty));
        let waits =
            |execution: &&ExecutionId| self.open.get(execution).is_some_and(|open| may_wait(&open.row));
        let to_run = changed.iter().filter(waits).count() >= self.limits.waiting_run_rows;
        let mut rows = Vec::new();
        for execution in changed {
            let Some(open) = self.open.get_mut(&execution).filter(|open| open.dirty) else { continue };
            let before = open.stands;
            open.dirty = false;
            if to_run && may_wait(&open.row) {
                open.stands = Stands::Run;
                waiting.push(WaitingRow::waits(&open.row, last));
            } else {
                open.stands = Stands::Store;
                rows.push((store_key(execution), Some(rows::encode(&*open.row))));
            }
            if before != open.stands {
                leave(execution, before, &mut waiting);
            }
        }
        out.append(&mut rows);
        self.dirty = 0;
        waiting
    }

    /// Lets the oldest rows rest that have not begun: all but so many, as far as the log gives them back (P22).
    fn let_rest(&mut self) {
        let readable = self.source.readable();
        let mut resting = Vec::new();
        for _ in self.limits.rest_above..self.waiting.len() {
            let Some(execution) = self.waiting.pop_front() else { break };
            let Some(open) = self.open.get(&execution).filter(|open| is_untouched(&open.row)) else {
                continue;
            };
            let unwritten = open.dirty && self.persists == Persists::Yes;
            if open.row.enqueued.lsn > readable || unwritten {
                self.waiting.push_front(execution);
                break;
            }
            let Some(kind) = Kind::of(&open.row).and_then(|kind| self.kinds.number(kind)) else { continue };
            let At { lsn, pos, .. } = open.row.enqueued;
            resting.push(RestingRow {
                execution,
                lsn,
                pos,
                due_at: open.row.due_at,
                kind,
                ordered: open.row.ordering_key.is_some(),
                stands: open.stands,
            });
            self.open.remove(&execution);
        }
        // In the order of their ids leaves fill up.
        resting.sort_unstable_by_key(|row| row.execution);
        resting.into_iter().for_each(|row| self.resting.insert(row));
    }

    /// Puts a row that was read back in the place of the one that rests.
    pub(super) fn wake(&mut self, row: ExecutionRow) {
        if let Some(RestingRow { stands, .. }) = self.resting.remove(row.execution) {
            self.open.insert(row.execution, OpenRow { row: Box::new(row), dirty: false, stands });
        }
    }

    /// Something happens to an execution of this app that may rest: its row is needed in full. Where the log does not
    /// give it back, what is known of it has to do: a fold goes on.
    fn wake_for_fold(&mut self, app: AppId, execution: ExecutionId) {
        let Some(row) = self.resting.get(execution).copied() else { return };
        let Some(kind) = self.kinds.get(row.kind).filter(|kind| kind.app == app) else { return };
        let row = match read_back(&*self.source, &[row]).pop() {
            Some(Ok((event, at))) => enqueued(&event, at),
            failed => {
                let why = failed.map_or_else(|| Ok(()), |read| read.map(drop));
                tracing::error!(%execution, ?why, "an open execution cannot be read back; its record stays thin");
                thin(&OpenWork::resting(row, kind))
            }
        };
        self.wake(row);
    }

    /// Folds one event; what ends goes to `ended`.
    pub(super) fn fold(&mut self, event: &ExecutionEvent, at: At, ended: &EndedTable) {
        match event {
            ExecutionEvent::Enqueued(e) => self.enqueued(e, at),
            ExecutionEvent::Claimed(e) => self.change(e.app, e.execution, |row| claimed(row, e, at)),
            ExecutionEvent::AloneEnded(e) => self.change(e.app, e.execution, |row| alone_ended(row, e)),
            ExecutionEvent::Released(e) => self.change(e.app, e.execution, |row| released(row, e)),
            ExecutionEvent::Completed(e) => self.completed(e, at, ended),
            ExecutionEvent::AttemptFailed(e) => self.attempt_failed(e, at, ended),
            ExecutionEvent::Abandoned(e) => self.abandoned(e, at, ended),
            ExecutionEvent::Dropped(e) => self.dropped(e, at, ended),
            ExecutionEvent::DepthExceeded(e) => ended.put(&depth_exceeded(e, at)),
        }
    }

    /// Folds an execution that began and ended in one batch, unless its id is open already. Its row is never among the
    /// open ones: what the events one by one come to.
    pub(super) fn fold_whole(&mut self, whole: &Whole<'_>, ended: &EndedTable) -> Folded {
        if self.get(whole.enqueued.0.execution).is_some() {
            return Folded::No;
        }
        let mut row = enqueued(whole.enqueued.0, whole.enqueued.1);
        row.attempts.reserve_exact(1);
        claimed(&mut row, whole.claimed.0, whole.claimed.1);
        complete(&mut row, whole.completed.1);
        ended.put(&row);
        Folded::Yes
    }

    fn enqueued(&mut self, event: &Enqueued, at: At) {
        if self.resting.get(event.execution).is_some() {
            return;
        }
        let Entry::Vacant(entry) = self.open.entry(event.execution) else { return };
        entry.insert(OpenRow { row: Box::new(enqueued(event, at)), dirty: true, stands: Stands::Nowhere });
        self.touched.push(event.execution);
        self.dirty += 1;
        if !event.source.reply_to() {
            self.waiting.push_back(event.execution);
            if self.waiting.len() > 2 * self.limits.rest_above {
                self.let_rest();
            }
        }
    }

    /// Changes a row of this app that is there.
    pub(super) fn change(
        &mut self,
        app: AppId,
        execution: ExecutionId,
        change: impl FnOnce(&mut ExecutionRow),
    ) {
        self.wake_for_fold(app, execution);
        let Some(open) = self.open.get_mut(&execution).filter(|open| open.row.app == app) else { return };
        change(&mut open.row);
        if !open.dirty {
            open.dirty = true;
            self.touched.push(execution);
            self.dirty += 1;
        }
    }

    /// Takes a row of this app out.
    fn take(&mut self, app: AppId, execution: ExecutionId) -> Option<Box<ExecutionRow>> {
        self.wake_for_fold(app, execution);
        let open = match self.open.entry(execution) {
            Entry::Occupied(entry) if entry.get().row.app == app => entry.remove(),
            Entry::Occupied(_) | Entry::Vacant(_) => return None,
        };
        self.dirty -= usize::from(open.dirty);
        if open.stands != Stands::Nowhere {
            self.removed.push((execution, open.stands));
        }
        Some(open.row)
    }

    fn completed(&mut self, event: &Completed, at: At, ended: &EndedTable) {
        let Some(mut row) = self.take(event.app, event.execution) else { return };
        complete(&mut row, at);
        ended.put(&row);
    }

    fn attempt_failed(&mut self, event: &AttemptFailed, at: At, ended: &EndedTable) {
        let status = match event.then {
            AfterFailure::Retry { due_at } => {
                self.change(event.app, event.execution, |row| {
                    failed(row, event, at);
                    row.status = Status::Retrying;
                    row.due_at = due_at;
                });
                return;
            }
            AfterFailure::DeadLetter => Status::DeadLettered,
            AfterFailure::End => Status::Failed,
        };
        let Some(mut row) = self.take(event.app, event.execution) else { return };
        failed(&mut row, event, at);
        end(&mut row, status, at);
        ended.put(&row);
    }

    fn abandoned(&mut self, event: &Abandoned, at: At, ended: &EndedTable) {
        let record = (event.reason, at.time);
        match event.reason {
            AbandonReason::Crash => {
                let Some(mut row) = self.take(event.app, event.execution) else { return };
                end_attempt(&mut row, at);
                row.abandoned = Some(record);
                end(&mut row, Status::Abandoned, at);
                ended.put(&row);
            }
            AbandonReason::ClientGone => {
                let patch = Patch { lsn: at.lsn, abandoned: Some(record), letter: None };
                self.patch(event.app, event.execution, patch, ended);
            }
        }
    }

    /// Adds to a row wherever it is: here, or among those that ended (P5).
    pub(super) fn patch(&mut self, app: AppId, execution: ExecutionId, patch: Patch, ended: &EndedTable) {
        if self.get(execution).is_some_and(|open| open.app == app) {
            self.change(app, execution, |row| patch.apply(row));
        } else {
            ended.patch(app, execution, patch);
        }
    }

    fn dropped(&mut self, event: &Dropped, at: At, ended: &EndedTable) {
        let Some(mut row) = self.take(event.app, event.execution) else { return };
        end_attempt(&mut row, at);
        row.drop_reason = Some(event.reason.clone());
        end(&mut row, Status::Dropped, at);
        ended.put(&row);
    }
}

fn complete(row: &mut ExecutionRow, at: At) {
    end_attempt(row, at);
    row.crashes = 0;
    end(row, Status::Completed, at);
}

fn store_key(execution: ExecutionId) -> Vec<u8> {
    rows::key(tag::OPEN_EXECUTION, &[execution.as_bytes()])
}

/// Whether a run of what waits may have the row.
fn may_wait(row: &ExecutionRow) -> bool {
    is_untouched(row) && Kind::may_rest(row)
}

/// Whether the row is what its `enqueued` made of it (P22).
fn is_untouched(row: &ExecutionRow) -> bool {
    row.status == Status::Pending
        && row.attempts.is_empty()
        && (row.failures_counted, row.crashes) == (0, 0)
        && row.last_error.is_none()
        && row.abandoned.is_none()
        && row.delivery.is_none()
        && row.letter.is_none()
}

/// The row as its `enqueued` makes it.
pub(super) fn enqueued(event: &Enqueued, at: At) -> ExecutionRow {
    ExecutionRow {
        root: event.root,
        depth: event.depth,
        caused_by: event.caused_by,
        cause: event.cause,
        due_at: event.due_at,
        ordering_key: event.ordering_key.clone(),
        principal: event.principal.clone(),
        redrive_of: event.redrive_of,
        keyed: event.idempotency.is_some(),
        pinned_version: event.pinned_version,
        recorded: match &event.input {
            Input::Mutation(_)
            | Input::Letter(_)
            | Input::SameAs(_)
            | Input::Request(_)
            | Input::Payload(_)
            | Input::Tick { .. }
            | Input::Message { .. } => true,
            Input::NotRecorded => false,
        },
        ..ExecutionRow::new((event.app, event.execution), &event.script, &event.source, at)
    }
}

/// What is known of a row that rests.
pub(super) fn thin(work: &OpenWork<'_>) -> ExecutionRow {
    let at = At { lsn: work.lsn, pos: work.pos, time: work.due_at };
    ExecutionRow::new((work.app, work.execution), work.script, work.source, at)
}

fn depth_exceeded(event: &DepthExceeded, at: At) -> ExecutionRow {
    ExecutionRow {
        root: event.root,
        depth: event.depth,
        caused_by: event.caused_by,
        cause: Some(event.cause),
        status: Status::Dropped,
        ended_at: Some(at),
        drop_reason: Some(DEPTH_EXCEEDED.to_owned()),
        ..ExecutionRow::new((event.app, event.execution), &event.script, &event.source, at)
    }
}

/// The reason that a `depth_exceeded` execution shows.
const DEPTH_EXCEEDED: &str = "depth_exceeded";

fn claimed(row: &mut ExecutionRow, event: &Claimed, at: At) {
    row.status = Status::Running;
    row.attempts.push(AttemptRef {
        attempt: event.attempt,
        version: event.version,
        claimed: at,
        claim_time: event.at,
        snapshot: event.snapshot,
        alone_ms: event.alone_ms,
        alone_ended: false,
        ended: None,
        counted: false,
        failed: false,
    });
}

fn alone_ended(row: &mut ExecutionRow, event: &AloneEnded) {
    if let Some(attempt) = row.attempts.iter_mut().rev().find(|attempt| attempt.attempt == event.attempt) {
        attempt.alone_ended = true;
    }
}

fn released(row: &mut ExecutionRow, event: &Released) {
    row.attempts.retain(|attempt| attempt.attempt != event.attempt || attempt.ended.is_some());
    row.status = Status::Pending;
}

fn failed(row: &mut ExecutionRow, event: &AttemptFailed, at: At) {
    if let Some(attempt) = row.attempts.iter_mut().rev().find(|attempt| attempt.attempt == event.attempt) {
        attempt.ended = Some(at);
        attempt.counted = event.counted;
        attempt.failed = true;
    }
    if event.counted {
        row.failures_counted = row.failures_counted.saturating_add(1);
        row.crashes = 0;
    } else if event.error.kind == ErrorKind::Crashed {
        row.crashes = row.crashes.saturating_add(1);
    }
    row.last_error = Some(event.error.clone());
}

fn end_attempt(row: &mut ExecutionRow, at: At) {
    if let Some(attempt) = row.attempts.last_mut().filter(|attempt| attempt.ended.is_none()) {
        attempt.ended = Some(at);
    }
}

/// The outcome of reply-to work was delivered unless its caller went away before; a crash leaves no outcome.
fn end(row: &mut ExecutionRow, status: Status, at: At) {
    row.status = status;
    row.ended_at = Some(at);
    let has_outcome = matches!(status, Status::Completed | Status::Failed);
    if has_outcome && row.source.reply_to() && row.delivery.is_none() {
        row.delivery = Some(Delivery::Delivered);
    }
}
