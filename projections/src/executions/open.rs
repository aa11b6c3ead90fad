//! Reads of open work, where most rows may rest: what is known of them without the log, and the way back into it.
//!
//! Owns: [`OpenWork`], reading `enqueued` events back. Never does: read the log while it holds the outbox's lock, but
//! for the fold.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use relive_log::events::{Enqueued, Event, ExecutionEvent, Source};
use relive_log::{AppId, ExecutionId, FramePos, Lsn, UnixMicros};

use super::outbox::{enqueued, thin};
use super::resting::{Kind, RestingRow};
use super::row::{ExecutionRow, Status};
use super::{Executions, Wanted};
use crate::error::ReadError;
use crate::source::{At, ValueSource};

/// Open rows that a listing takes at once.
const PAGE: usize = 512;

/// Open work, as far as it is known without reading the log.
#[derive(Clone, Copy, Debug)]
pub struct OpenWork<'a> {
    /// Its app.
    pub app: AppId,
    /// Its id.
    pub execution: ExecutionId,
    /// Name of the script.
    pub script: &'a str,
    /// Where it came from.
    pub source: &'a Source,
    /// Where it stands.
    pub status: Status,
    /// Its `enqueued` event.
    pub lsn: Lsn,
    /// The frame of that.
    pub pos: FramePos,
    /// Not before.
    pub due_at: UnixMicros,
    /// Whether it stands in a line (D13).
    pub ordered: bool,
    /// The whole row; `None`: it rests, and [`Executions::open_row`] reads it back.
    pub row: Option<&'a ExecutionRow>,
}

impl<'a> OpenWork<'a> {
    pub(super) fn of(row: &'a ExecutionRow) -> OpenWork<'a> {
        OpenWork {
            app: row.app,
            execution: row.execution,
            script: &row.script,
            source: &row.source,
            status: row.status,
            lsn: row.enqueued.lsn,
            pos: row.enqueued.pos,
            due_at: row.due_at,
            ordered: row.ordering_key.is_some(),
            row: Some(row),
        }
    }

    pub(super) fn resting(row: RestingRow, kind: &'a Kind) -> OpenWork<'a> {
        OpenWork {
            app: kind.app,
            execution: row.execution,
            script: &kind.script,
            source: &kind.source,
            status: Status::Pending,
            lsn: row.lsn,
            pos: row.pos,
            due_at: row.due_at,
            ordered: row.ordered,
            row: None,
        }
    }

    fn rests(&self) -> Rests {
        Rests { execution: self.execution, lsn: self.lsn, pos: self.pos }
    }
}

/// A row that has to be read back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rests {
    pub(super) execution: ExecutionId,
    pub(super) lsn: Lsn,
    pub(super) pos: FramePos,
}

impl From<RestingRow> for Rests {
    fn from(row: RestingRow) -> Rests {
        Rests { execution: row.execution, lsn: row.lsn, pos: row.pos }
    }
}

/// Open work of a page: its row, or where it is read back.
#[derive(Debug)]
pub(crate) struct Chosen {
    row: Option<ExecutionRow>,
    rests: Rests,
}

/// An `enqueued` event, and where it stands.
pub(super) type ReadBack = Result<(Box<Enqueued>, At), ReadError>;

/// Reads rows back, in the order in which they are given; each frame is read once for neighbours.
pub(super) fn read_back(source: &dyn ValueSource, rows: &[impl Into<Rests> + Copy]) -> Vec<ReadBack> {
    let rows: Vec<Rests> = rows.iter().map(|row| (*row).into()).collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let place = |at: &usize| rows.get(*at).map(|row| (row.pos, row.lsn));
    order.sort_unstable_by_key(place);
    let mut found: Vec<Option<ReadBack>> = rows.iter().map(|_| None).collect();
    for group in order.chunk_by(|a, b| rows.get(*a).map(|row| row.pos) == rows.get(*b).map(|row| row.pos)) {
        let wanted: Vec<Rests> = group.iter().filter_map(|at| rows.get(*at).copied()).collect();
        for (at, read) in group.iter().zip(read_frame(source, &wanted)) {
            if let Some(slot) = found.get_mut(*at) {
                *slot = Some(read);
            }
        }
    }
    found.into_iter().flatten().collect()
}

/// Rows of one frame, by ascending LSN.
fn read_frame(source: &dyn ValueSource, rows: &[Rests]) -> Vec<ReadBack> {
    let Some(pos) = rows.first().map(|row| row.pos) else { return Vec::new() };
    let lsns: Vec<Lsn> = rows.iter().map(|row| row.lsn).collect();
    let (events, time) = match (source.events(pos, &lsns), rows) {
        (Ok(read), _) => read,
        (Err(source), [one]) => return vec![Err(ReadError::Log { lsn: one.lsn, source })],
        // What cannot be read must not keep its neighbours from being read.
        (Err(_), _) => {
            return rows.iter().flat_map(|row| read_frame(source, std::slice::from_ref(row))).collect();
        }
    };
    let read = rows.iter().zip(events).map(|(row, event)| {
        let wrong = Err(ReadError::WrongEvent { lsn: row.lsn });
        let Event::Execution(ExecutionEvent::Enqueued(event)) = event else { return wrong };
        if event.execution != row.execution {
            return wrong;
        }
        Ok((event, At { lsn: row.lsn, pos, time }))
    });
    read.collect()
}

/// A row that is about to begin.
#[derive(Clone, Debug)]
pub struct Woken {
    /// The row.
    pub row: ExecutionRow,
    /// Its `enqueued`, if it was read back just now: its input need not be read again.
    pub enqueued: Option<Box<Enqueued>>,
}

impl Executions {
    /// One row of the outbox.
    ///
    /// # Errors
    /// It rests, and the log could not be read.
    pub fn open_row(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, ReadError> {
        let rests = match self.outbox.read().get(execution) {
            None => return Ok(None),
            Some(OpenWork { row: Some(row), .. }) => return Ok(Some(row.clone())),
            Some(work) => work.rests(),
        };
        let Some(read) = read_back(&*self.source, &[rests]).pop() else { return Ok(None) };
        read.map(|(event, at)| Some(enqueued(&event, at)))
    }

    /// Looks at open work without reading the log. `look` must be short: the fold waits for it.
    pub fn with_open<T>(&self, execution: ExecutionId, look: impl FnOnce(OpenWork<'_>) -> T) -> Option<T> {
        self.outbox.read().get(execution).map(look)
    }

    /// Looks at all open work, the highest id first. `visit` must be short: the fold waits for it.
    pub fn visit_open(&self, mut visit: impl FnMut(OpenWork<'_>) -> ControlFlow<()>) {
        let outbox = self.outbox.read();
        for work in outbox.below(None) {
            if visit(work).is_break() {
                return;
            }
        }
    }

    /// Rows that are about to begin, in the order of `executions`, `None` for what is not open; those that rest are
    /// read back and stay in full. To be called by whoever applies events: nothing happens to them meanwhile.
    pub fn wake(&self, executions: &[ExecutionId]) -> Vec<Result<Option<Woken>, ReadError>> {
        let mut rests = Vec::new();
        let mut woken: Vec<_> = {
            let outbox = self.outbox.read();
            let look = |(at, execution): (usize, &ExecutionId)| match outbox.get(*execution) {
                Some(OpenWork { row: Some(row), .. }) => Ok(Some(Woken { row: row.clone(), enqueued: None })),
                Some(work) => {
                    rests.push((at, work.rests()));
                    Ok(None)
                }
                None => Ok(None),
            };
            executions.iter().enumerate().map(look).collect()
        };
        let rows: Vec<Rests> = rests.iter().map(|(_, rests)| *rests).collect();
        for ((at, _), read) in rests.iter().zip(read_back(&*self.source, &rows)) {
            let read = read.map(|(event, place)| {
                let row = enqueued(&event, place);
                self.outbox.write().wake(row.clone());
                Some(Woken { row, enqueued: Some(event) })
            });
            if let Some(slot) = woken.get_mut(*at) {
                *slot = read;
            }
        }
        woken
    }

    /// The outbox, of one app or of all, by due time, then by age. Reads back what rests: for tests and small ones.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn open(&self, app: Option<AppId>) -> Result<Vec<ExecutionRow>, ReadError> {
        self.chosen(self.choose(app, None, Lsn::MAX, usize::MAX))
    }

    /// Open work by due time, then by age: what is behind `after`, enqueued at or below `up_to`, at most `limit`.
    pub(crate) fn choose(
        &self,
        app: Option<AppId>,
        after: Option<(UnixMicros, Lsn)>,
        up_to: Lsn,
        limit: usize,
    ) -> Vec<Chosen> {
        let outbox = self.outbox.read();
        let mut first = BinaryHeap::new();
        for work in outbox.below(None) {
            let place = (work.due_at, work.lsn);
            let wanted = app.is_none_or(|app| work.app == app) && work.lsn <= up_to;
            if wanted && after.is_none_or(|after| place > after) {
                first.push((place, work.execution));
                if first.len() > limit {
                    first.pop();
                }
            }
        }
        let chosen = first.into_sorted_vec().into_iter().filter_map(|(_, execution)| outbox.get(execution));
        chosen.map(|work| Chosen { row: work.row.cloned(), rests: work.rests() }).collect()
    }

    /// The rows of what was chosen, as they were then.
    pub(crate) fn chosen(&self, chosen: Vec<Chosen>) -> Result<Vec<ExecutionRow>, ReadError> {
        let resting = chosen.iter().filter(|chosen| chosen.row.is_none());
        let rests: Vec<Rests> = resting.map(|chosen| chosen.rests).collect();
        let mut read = read_back(&*self.source, &rests).into_iter();
        let mut out = Vec::with_capacity(chosen.len());
        for Chosen { row, rests } in chosen {
            match row {
                Some(row) => out.push(row),
                None => match read.next() {
                    Some(Ok((event, at))) => out.push(enqueued(&event, at)),
                    // It ended meanwhile, and the log was cut above it.
                    Some(Err(_)) if rests.lsn < self.source.first() => {}
                    Some(Err(error)) => return Err(error),
                    None => {}
                },
            }
        }
        Ok(out)
    }

    /// Open rows of an app that a listing wants, highest id first.
    pub(super) fn open_wanted(
        &self,
        app: AppId,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<ExecutionRow>, ReadError> {
        let mut cursor = wanted.filter.cursor;
        let mut out = Vec::new();
        while out.len() < wanted.filter.limit {
            let page: Vec<(ExecutionId, Option<ExecutionRow>, Rests)> = {
                let outbox = self.outbox.read();
                let of_app = outbox.below(cursor).filter(|work| work.app == app);
                let may = of_app.filter(|work| match work.row {
                    Some(row) => wanted.matches(row),
                    None => wanted.may_rest(work),
                });
                may.take(PAGE).map(|work| (work.execution, work.row.cloned(), work.rests())).collect()
            };
            let Some((last, ..)) = page.last() else { break };
            cursor = Some(*last);
            let resting = page.iter().filter(|(_, row, _)| row.is_none());
            let rests: Vec<Rests> = resting.map(|(_, _, rests)| *rests).collect();
            let mut read = read_back(&*self.source, &rests).into_iter();
            for (_, row, _) in page {
                let row = match row {
                    Some(row) => row,
                    None => {
                        let Some(read) = read.next() else { break };
                        let (event, at) = read?;
                        enqueued(&event, at)
                    }
                };
                if wanted.matches(&row) && out.len() < wanted.filter.limit {
                    out.push(row);
                }
            }
        }
        Ok(out)
    }

    /// Calls with every open row, read back where it rests.
    pub(super) fn each_open_row(&self, mut each: impl FnMut(&ExecutionRow)) {
        let outbox = self.outbox.read();
        for work in outbox.below(None) {
            match work.row {
                Some(row) => each(row),
                None => match read_back(&*self.source, &[work.rests()]).pop() {
                    Some(Ok((event, at))) => each(&enqueued(&event, at)),
                    Some(Err(_)) | None => each(&thin(&work)),
                },
            }
        }
    }
}
