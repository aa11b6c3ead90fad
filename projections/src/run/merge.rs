//! Makes one run of several that are neighbours in time.

use std::sync::Arc;

use relive_log::Lsn;

use super::block::RowRef;
use super::cursor::Cursor;
use super::reader::Run;
use super::writer::RunWriter;
use crate::error::{RunError, ViewsError};

/// What becomes of several rows of one key.
#[derive(Clone, Copy)]
pub(crate) enum Collapse<'a> {
    /// All at or above the horizon stay, since every version of a key is history, and the newest one below it.
    Versions {
        /// The first LSN that the log holds.
        horizon: Lsn,
        /// Whether a row's value says that the key was deleted.
        is_deleted: fn(&[u8]) -> bool,
    },
    /// Those stay that this says.
    Where(&'a dyn Fn(&[u8]) -> bool),
    /// The newest row of each key, unless it says that the key is gone and no older run is left.
    Newest {
        /// Whether a row's value says so.
        is_gone: fn(&[u8]) -> bool,
    },
    /// One row with the newest LSN; its value is made of all, newest first. `None`: the horizon has passed it.
    Into {
        /// The first LSN that the log holds.
        horizon: Lsn,
        /// Makes it.
        make: MakeOne<'a>,
    },
}

/// One value of all values of a key, newest first, and the first LSN that the log holds.
pub(crate) type MakeOne<'a> = &'a dyn Fn(&[Vec<u8>], Lsn) -> Option<Vec<u8>>;

/// Which runs are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The oldest run is among them: a deletion below the horizon hides nothing any more.
    Oldest,
    /// Older runs stay.
    OlderStay,
}

/// Writes the rows of `runs` to `writer`, in order.
pub(crate) fn merge(
    runs: &[Arc<Run>],
    writer: &mut RunWriter<'_>,
    collapse: Collapse<'_>,
    reach: Reach,
) -> Result<(), ViewsError> {
    let mut cursors = Vec::with_capacity(runs.len());
    for run in runs {
        let mut cursor = Cursor::scanning(run);
        cursor.seek(&[], Lsn::MAX)?;
        cursors.push(cursor);
    }
    let mut same = Same::default();
    while let Some(cursor) = first(&mut cursors) {
        if let Some(row) = cursor.row() {
            if same.key != row.key || same.rows == 0 {
                same.flush(writer, collapse)?;
                same.key.extend_from_slice(row.key);
                same.newest = row.lsn;
            }
            same.rows += 1;
            match collapse {
                Collapse::Versions { horizon, is_deleted } => {
                    if same.keeps(row.lsn, horizon, || is_deleted(row.value) && reach == Reach::Oldest) {
                        writer.push(row)?;
                    }
                }
                Collapse::Where(keeps) => {
                    if keeps(row.key) {
                        writer.push(row)?;
                    }
                }
                Collapse::Newest { is_gone } => {
                    if same.rows == 1 && !(reach == Reach::Oldest && is_gone(row.value)) {
                        writer.push(row)?;
                    }
                }
                Collapse::Into { .. } => same.values.push(row.value.to_vec()),
            }
        }
        cursor.advance()?;
    }
    same.flush(writer, collapse)
}

/// Calls with the newest row of each key, in order.
pub(crate) fn each_newest(
    runs: &[Arc<Run>],
    mut each: impl FnMut(RowRef<'_>) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let mut cursors = Vec::with_capacity(runs.len());
    for run in runs {
        let mut cursor = Cursor::scanning(run);
        cursor.seek(&[], Lsn::MAX)?;
        cursors.push(cursor);
    }
    let mut last: Option<Vec<u8>> = None;
    while let Some(cursor) = first(&mut cursors) {
        if let Some(row) = cursor.row()
            && last.as_deref() != Some(row.key)
        {
            each(row)?;
            let last = last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(row.key);
        }
        cursor.advance()?;
    }
    Ok(())
}

/// Rows of one key, newest first.
#[derive(Default)]
struct Same {
    key: Vec<u8>,
    rows: usize,
    newest: Lsn,
    /// A version below the horizon was seen.
    below: bool,
    values: Vec<Vec<u8>>,
}

impl Same {
    /// Whether the next older version stays.
    fn keeps(&mut self, lsn: Lsn, horizon: Lsn, forgettable: impl FnOnce() -> bool) -> bool {
        if lsn >= horizon {
            return true;
        }
        !std::mem::replace(&mut self.below, true) && !forgettable()
    }

    fn flush(&mut self, writer: &mut RunWriter<'_>, collapse: Collapse<'_>) -> Result<(), ViewsError> {
        if let Collapse::Into { horizon, make } = collapse
            && self.rows > 0
            && let Some(value) = make(&self.values, horizon)
        {
            writer.push(RowRef { key: &self.key, lsn: self.newest, value: &value })?;
        }
        self.key.clear();
        self.values.clear();
        self.rows = 0;
        self.below = false;
        Ok(())
    }
}

/// The cursor whose row is first in the order of rows.
fn first(cursors: &mut [Cursor]) -> Option<&mut Cursor> {
    cursors.iter_mut().filter(|cursor| cursor.row().is_some()).min_by(|a, b| match (a.row(), b.row()) {
        (Some(a), Some(b)) => super::block::row_order((a.key, a.lsn), (b.key, b.lsn)),
        (None, _) | (_, None) => std::cmp::Ordering::Equal,
    })
}
