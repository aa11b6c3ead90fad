//! The views `outbox` (accepted, not ended) and `executions` (history, by id).
//!
//! Owns: reads of both, and their fold of the families `execution` and `dead_letter`. Never does: choose what runs
//! next, or hold inputs and outputs.

mod ended;
mod open;
mod outbox;
mod resting;
mod row;
mod waiting;
mod whole;

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::RwLock;
use relive_log::events::{DeadLetterEvent, ExecutionEvent};
use relive_log::{AppId, ExecutionId, LetterId, Lsn};

use crate::horizon::Horizon;
use ended::{Columns, Gathered, Patch, Slot, Wanted, Which, key_of};
pub(crate) use ended::{EndedTable, collapse};
pub use open::{OpenWork, Woken};
use outbox::{Outbox, Persists};
pub use row::{AttemptRef, Delivery, ExecutionFilter, ExecutionRow, Status};
pub(crate) use waiting::{WaitingTable, is_gone};
pub(crate) use whole::{Folded, Whole};

use crate::digest::Digest;
use crate::error::{ReadError, StoreError, ViewsError};
use crate::layers::{Direction, KeyMerge, LayerCursor, LayerSet};
use crate::options::Limits;
use crate::rows::{self, tag};
use crate::run::{Cursor, Run, each_newest};
use crate::source::{At, ValueSource};
use crate::store::Change;

/// See the module.
pub struct Executions {
    outbox: RwLock<Outbox>,
    source: Arc<dyn ValueSource>,
    pub(crate) ended: LayerSet<EndedTable>,
    /// Only written, and read by a start.
    pub(crate) waiting: LayerSet<WaitingTable>,
    horizon: Horizon,
}

impl std::fmt::Debug for Executions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executions").field("open", &self.open_count()).finish_non_exhaustive()
    }
}

impl Executions {
    /// `limits`: of views that are written to disk. Runs of what ended, and of what waits.
    pub(crate) fn new(
        (ended, waiting): (Vec<Arc<Run>>, Vec<Arc<Run>>),
        horizon: Horizon,
        source: Arc<dyn ValueSource>,
        limits: Option<&Limits>,
    ) -> Executions {
        let (limits, persists) = match limits {
            Some(limits) => (*limits, Persists::Yes),
            None => (Limits::default(), Persists::No),
        };
        let outbox = RwLock::new(Outbox::new(Arc::clone(&source), limits, persists));
        let (ended, waiting) = (LayerSet::new(ended), LayerSet::new(waiting));
        Executions { outbox, source, ended, waiting, horizon }
    }

    /// Folds one event. What ends moves under the outbox's lock: a reader finds it in one of both.
    pub(crate) fn fold(&self, event: &ExecutionEvent, at: At) {
        let mut outbox = self.outbox.write();
        outbox.fold(event, at, &self.ended.now().active);
    }

    /// Folds the three events of an execution that began and ended in one batch, as [`Executions::fold`] would one by one.
    pub(crate) fn fold_whole(&self, whole: &Whole<'_>) -> Folded {
        self.outbox.write().fold_whole(whole, &self.ended.now().active)
    }

    /// Folds one event of a dead letter.
    pub(crate) fn fold_dead_letter(&self, event: &DeadLetterEvent, at: At) {
        match event {
            DeadLetterEvent::DeadLettered(e) => {
                let patch = Patch { lsn: at.lsn, abandoned: None, letter: Some(e.letter) };
                self.outbox.write().patch(e.app, e.execution, patch, &self.ended.now().active);
            }
            DeadLetterEvent::HandlerFailed(_)
            | DeadLetterEvent::Redriven(_)
            | DeadLetterEvent::Resolved(_)
            | DeadLetterEvent::Expired(_) => {}
        }
    }

    /// Takes a row of the store.
    pub(crate) fn load(&self, bytes: &[u8]) -> Option<()> {
        self.outbox.write().load(rows::decode(bytes)?);
        Some(())
    }

    /// Takes what waits from its runs, row by row: nearly all of it rests at once.
    ///
    /// # Errors
    /// A run could not be read, or a row is none.
    pub(crate) fn load_waiting(&self) -> Result<(), ViewsError> {
        let layers = self.waiting.now();
        let (mut outbox, mut decodes) = (self.outbox.write(), true);
        each_newest(&layers.runs, |row| {
            decodes &= is_gone(row.value) || outbox.load_waiting(row.value).is_some();
            Ok(())
        })?;
        if decodes {
            Ok(())
        } else {
            Err(StoreError::Damaged { check: "a waiting row does not decode" }.into())
        }
    }

    /// The oldest input of open work, and the letters that open work refers to.
    pub(crate) fn needed(&self) -> (Option<Lsn>, Vec<(AppId, LetterId)>) {
        let (mut oldest, mut letters) = (None, Vec::new());
        self.visit_open(|work| {
            oldest = Some(oldest.map_or(work.lsn, |lsn: Lsn| lsn.min(work.lsn)));
            let letter = work.row.and_then(ExecutionRow::refers_to);
            letters.extend(letter.map(|letter| (work.app, letter)));
            ControlFlow::Continue(())
        });
        (oldest, letters)
    }

    pub(crate) fn dirty(&self) -> usize {
        self.outbox.read().dirty()
    }

    /// The changes of the store since the last cut.
    pub(crate) fn cut(&self, last: Lsn, out: &mut Vec<Change>) {
        let waiting = self.outbox.write().cut(last, out);
        self.waiting.now().active.fill(waiting);
    }

    /// One execution of this app.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn get(&self, app: AppId, execution: ExecutionId) -> Result<Option<ExecutionRow>, ReadError> {
        if self.with_open(execution, |work| work.app == app) == Some(true)
            && let Some(row) = self.open_row(execution)?
        {
            return Ok(Some(row));
        }
        let layers = self.ended.now();
        let key = key_of(app, execution);
        let mut gathered = Gathered::default();
        for table in std::iter::once(&layers.active).chain(&layers.frozen) {
            if table.slot(&key).is_some_and(|slot| gathered.take(slot)) {
                return Ok(self.seen(gathered.row));
            }
        }
        for run in layers.runs.iter().filter(|run| run.may_contain(&key)) {
            if slot_in_run(&mut Cursor::new(run), &key)?.is_some_and(|slot| gathered.take(slot)) {
                break;
            }
        }
        Ok(self.seen(gathered.row))
    }

    /// The record of an execution that ended below the horizon is gone (P17).
    fn seen(&self, row: Option<Box<ExecutionRow>>) -> Option<ExecutionRow> {
        row.map(|row| *row).filter(|row| !ended_below(row, self.horizon.get()))
    }

    /// Executions of an app, the highest id first.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn list(&self, app: AppId, filter: &ExecutionFilter) -> Result<Vec<ExecutionRow>, ReadError> {
        self.list_where(app, Wanted { filter, which: Which::All })
    }

    /// Executions with an abandoned record (D5), the highest id first.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn abandoned(
        &self,
        app: AppId,
        limit: usize,
        cursor: Option<ExecutionId>,
    ) -> Result<Vec<ExecutionRow>, ReadError> {
        let filter = ExecutionFilter { limit, cursor, ..ExecutionFilter::default() };
        self.list_where(app, Wanted { filter: &filter, which: Which::Abandoned })
    }

    /// How many executions are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.outbox.read().len()
    }

    fn list_where(&self, app: AppId, wanted: Wanted<'_>) -> Result<Vec<ExecutionRow>, ReadError> {
        let filter = wanted.filter;
        // Open ones first: a row that ends in between is found twice, never not at all.
        let open = self.open_wanted(app, &wanted)?;
        let mut open = open.into_iter().peekable();
        let layers = self.ended.now();
        let end = filter.cursor.map_or_else(
            || [app.as_bytes().as_slice(), &[0xff; 17]].concat(),
            |cursor| key_of(app, cursor).to_vec(),
        );
        let mut keys = KeyMerge::new(&layers, app.as_bytes().to_vec()..end, Direction::Down, Lsn::MAX)?;
        let mut out = Vec::new();
        while out.len() < filter.limit {
            let mut gathered = Gathered::default();
            let Some((key, _)) = keys.next(|layer, key| look(layer, key, &wanted, &mut gathered))? else {
                break;
            };
            while let Some(row) = open.next_if(|row| key_of(app, row.execution).as_slice() >= key.as_slice())
            {
                out.push(row);
            }
            let ended =
                gathered.row.filter(|row| wanted.matches(row) && !ended_below(row, self.horizon.get()));
            let seen = |row: &ExecutionRow| out.last().is_some_and(|last| last.execution == row.execution);
            if let Some(row) = ended.filter(|row| !seen(row)) {
                out.push(*row);
            }
        }
        out.extend(open);
        out.truncate(filter.limit);
        Ok(out)
    }

    /// Adds every execution to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) -> Result<(), ReadError> {
        self.each_open_row(|row| {
            digest.add(&rows::key(tag::OPEN_EXECUTION, &[row.execution.as_bytes()]), &rows::encode(row));
        });
        let layers = self.ended.now();
        let mut keys = KeyMerge::new(&layers, Vec::new()..vec![0xff; 33], Direction::Up, Lsn::MAX)?;
        let filter = ExecutionFilter::default();
        let wanted = Wanted { filter: &filter, which: Which::All };
        loop {
            let mut gathered = Gathered::default();
            let Some((key, _)) = keys.next(|layer, key| look(layer, key, &wanted, &mut gathered))? else {
                return Ok(());
            };
            if let Some(row) = self.seen(gathered.row) {
                digest.add(&key, &rows::encode(&row));
            }
        }
    }
}

/// Adds what a layer holds of an execution. An answer ends the search: a row was found, or one that is not wanted.
fn look(
    layer: &mut LayerCursor<'_, EndedTable>,
    key: &[u8],
    wanted: &Wanted<'_>,
    gathered: &mut Gathered,
) -> Result<Option<()>, ReadError> {
    let patched = gathered.patch.is_some();
    // Nothing of a row that is not wanted.
    let read = |bytes: &[u8]| {
        let unwanted = !patched && Columns::peek(bytes).is_some_and(|columns| !columns.may_match(wanted));
        (!unwanted).then(|| Slot::decode(bytes))
    };
    let (lsn, found) = match layer {
        LayerCursor::Table(table) => (Lsn::ZERO, table.with_bytes(key, read)),
        LayerCursor::Run(cursor) => match cursor.seek(key, Lsn::MAX)?.filter(|row| row.key == key) {
            Some(row) => (row.lsn, Some(read(row.value))),
            None => (Lsn::ZERO, None),
        },
    };
    let slot = match found {
        None => None,
        Some(None) => return Ok(Some(())),
        Some(Some(slot)) => Some(slot.ok_or(ReadError::WrongEvent { lsn })?),
    };
    Ok(slot.is_some_and(|slot| gathered.take(slot)).then_some(()))
}

fn ended_below(row: &ExecutionRow, horizon: Lsn) -> bool {
    row.ended_at.is_some_and(|at| at.lsn < horizon)
}

fn slot_in_run(cursor: &mut Cursor, key: &[u8]) -> Result<Option<Slot>, ReadError> {
    match cursor.seek(key, Lsn::MAX)?.filter(|row| row.key == key) {
        Some(row) => Slot::decode(row.value).map(Some).ok_or(ReadError::WrongEvent { lsn: row.lsn }),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
