//! Executions that wait for their first attempt, on disk: a backlog grows with traffic, and so stands in sorted runs.
//!
//! Owns: [`WaitingTable`], the bytes of its rows, and reading all of them back at a start. Never does: serve a read of
//! the outbox, which has all of it in memory.
//!
//! ```text
//! key    execution, 16 bytes                    LSN   the last one of the cut
//! value  u8 1 | bincode of the row              it waits, as its `enqueued` made it
//!        u8 0                                   it does not any more: it ended, or the store has what it became
//! ```
//! Of several rows of one key the newest counts; merges keep it alone, and drop a `0` once no older run is left.
//!
//! Invariant: P25 an open execution stands in the store or, by its newest row here, in a run, never in both: what a
//! start reads is what was open.

use std::ops::Range;

use bincode::BorrowDecode;
use parking_lot::RwLock;
use relive_log::events::Source;
use relive_log::{AppId, ExecutionId, Lsn, UnixMicros};

use super::row::{ExecutionRow, Status};
use crate::error::ViewsError;
use crate::layers::MemoryTable;
use crate::rows;
use crate::run::{RowRef, RunWriter};
use crate::source::At;

const GONE: u8 = 0;
const WAITS: u8 = 1;
/// About what a row costs besides its bytes.
const ROW_BYTES: usize = 64;

/// What a cut says of one execution.
#[derive(Debug)]
pub(super) struct WaitingRow {
    execution: ExecutionId,
    lsn: Lsn,
    value: Box<[u8]>,
}

impl WaitingRow {
    /// It waits.
    pub(super) fn waits(row: &ExecutionRow, lsn: Lsn) -> WaitingRow {
        let mut value = vec![WAITS];
        rows::encode_to(row, &mut value);
        WaitingRow { execution: row.execution, lsn, value: value.into() }
    }

    /// It waits no more.
    pub(super) fn gone(execution: ExecutionId, lsn: Lsn) -> WaitingRow {
        WaitingRow { execution, lsn, value: [GONE].into() }
    }
}

/// Whether the value says that its execution waits no more.
pub(crate) fn is_gone(value: &[u8]) -> bool {
    value.first() == Some(&GONE)
}

/// The full row of a value; `None` if it is none.
pub(super) fn full(value: &[u8]) -> Option<ExecutionRow> {
    match value.split_first() {
        Some((&WAITS, row)) => rows::decode(row),
        _ => None,
    }
}

/// The first fields of an [`ExecutionRow`], in its order: what is kept of one that rests.
#[derive(Debug, BorrowDecode)]
pub(super) struct Head<'a> {
    pub(super) app: AppId,
    pub(super) execution: ExecutionId,
    _root: ExecutionId,
    _depth: u16,
    _caused_by: Option<ExecutionId>,
    _cause: Option<Lsn>,
    pub(super) script: &'a str,
    pub(super) source: Source,
    _status: Status,
    pub(super) enqueued: At,
    pub(super) due_at: UnixMicros,
    pub(super) ordering_key: Option<&'a str>,
}

/// The beginning of a value's row; `None` if it is none.
pub(super) fn head(value: &[u8]) -> Option<Head<'_>> {
    match value.split_first() {
        Some((&WAITS, row)) => rows::decode_prefix(row),
        _ => None,
    }
}

/// What one cut says, by execution.
#[derive(Debug, Default)]
pub(crate) struct WaitingTable {
    rows: RwLock<Vec<WaitingRow>>,
}

impl WaitingTable {
    /// Takes what a cut says: each execution once.
    pub(super) fn fill(&self, mut rows: Vec<WaitingRow>) {
        rows.sort_unstable_by_key(|row| row.execution);
        *self.rows.write() = rows;
    }

    /// Writes a frozen table.
    pub(crate) fn write_run(&self, writer: &mut RunWriter<'_>) -> Result<(), ViewsError> {
        for row in self.rows.read().iter() {
            writer.push(RowRef { key: row.execution.as_bytes(), lsn: row.lsn, value: &row.value })?;
        }
        Ok(())
    }

    fn key(&self, choose: impl FnOnce(&[WaitingRow]) -> Option<&WaitingRow>) -> Option<Vec<u8>> {
        choose(&self.rows.read()).map(|row| row.execution.as_bytes().to_vec())
    }
}

impl MemoryTable for WaitingTable {
    fn rows(&self) -> usize {
        self.rows.read().len()
    }

    fn bytes(&self) -> usize {
        self.rows.read().iter().map(|row| ROW_BYTES + row.value.len()).sum()
    }

    fn key_from(&self, bound: &[u8]) -> Option<Vec<u8>> {
        self.key(|rows| rows.get(below(rows, bound).end))
    }

    fn key_before(&self, bound: &[u8]) -> Option<Vec<u8>> {
        self.key(|rows| rows.get(below(rows, bound)).and_then(<[WaitingRow]>::last))
    }
}

fn below(rows: &[WaitingRow], bound: &[u8]) -> Range<usize> {
    0..rows.partition_point(|row| row.execution.as_bytes().as_slice() < bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executions::outbox::enqueued;
    use crate::tests::generator;
    use relive_log::FramePos;
    use relive_log::events::{Event, ExecutionEvent};

    #[test]
    fn p25_the_head_of_a_row_is_what_its_first_fields_are() {
        let at = At { lsn: Lsn(9), pos: FramePos { segment: 3, offset: 77 }, time: UnixMicros(5) };
        for source in [
            Source::Direct,
            Source::Kv { trigger: generator::trigger(4) },
            Source::Route { route: relive_log::RouteId::from_bytes([8; 16]), sync: false },
        ] {
            let event = generator::enqueued(generator::app(1), generator::execution(2), source);
            let Event::Execution(ExecutionEvent::Enqueued(mut event)) = event else { panic!() };
            event.ordering_key = Some("line".into());
            event.due_at = UnixMicros(4711);
            let row = enqueued(&event, at);
            let value = WaitingRow::waits(&row, Lsn(10)).value;
            let head = head(&value).unwrap();
            assert_eq!(
                (head.app, head.execution, head.script),
                (row.app, row.execution, row.script.as_str())
            );
            assert_eq!((&head.source, head.enqueued, head.due_at), (&row.source, at, UnixMicros(4711)));
            assert_eq!(head.ordering_key, Some("line"));
            assert_eq!(full(&value), Some(row));
        }
        let gone = WaitingRow::gone(generator::execution(2), Lsn(10)).value;
        assert!(is_gone(&gone) && full(&gone).is_none() && head(&gone).is_none());
    }
}
