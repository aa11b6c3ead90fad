//! Makes one run of several that are neighbours in time.

use std::sync::Arc;

use relive_log::Lsn;

use super::block::RowRef;
use super::cursor::Cursor;
use super::reader::Run;
use super::writer::RunWriter;
use crate::error::ViewsError;

/// What becomes of several rows of one key.
#[derive(Clone, Copy)]
pub(crate) enum Collapse<'a> {
    /// All stay: every version of a key is history.
    KeepAll,
    /// Those stay that this says; of none at least the last, since no run is empty.
    Where(&'a dyn Fn(&[u8]) -> bool),
    /// One row with the newest LSN; its value is made of all, newest first.
    Into(fn(&[Vec<u8>]) -> Vec<u8>),
}

/// Writes the rows of `runs` to `writer`, in order.
pub(crate) fn merge(
    runs: &[Arc<Run>],
    writer: &mut RunWriter<'_>,
    collapse: Collapse<'_>,
) -> Result<(), ViewsError> {
    let mut cursors = Vec::with_capacity(runs.len());
    for run in runs {
        let mut cursor = Cursor::scanning(run);
        cursor.seek(&[], Lsn::MAX)?;
        cursors.push(cursor);
    }
    let mut same = Same::default();
    let (mut kept, mut dropped) = (false, None);
    while let Some(cursor) = first(&mut cursors) {
        if let Some(row) = cursor.row() {
            match collapse {
                Collapse::KeepAll => writer.push(row)?,
                Collapse::Where(keeps) => {
                    if keeps(row.key) {
                        writer.push(row)?;
                        kept = true;
                    }
                    dropped = Some((row.key.to_vec(), row.lsn, row.value.to_vec()));
                }
                Collapse::Into(make) => {
                    if same.key != row.key {
                        same.flush(writer, make)?;
                        same.key.extend_from_slice(row.key);
                        same.newest = row.lsn;
                    }
                    same.values.push(row.value.to_vec());
                }
            }
        }
        cursor.advance()?;
    }
    if let Some((key, lsn, value)) = dropped.filter(|_| !kept) {
        writer.push(RowRef { key: &key, lsn, value: &value })?;
    }
    match collapse {
        Collapse::KeepAll | Collapse::Where(_) => Ok(()),
        Collapse::Into(make) => same.flush(writer, make),
    }
}

/// Rows of one key, newest first.
#[derive(Default)]
struct Same {
    key: Vec<u8>,
    newest: Lsn,
    values: Vec<Vec<u8>>,
}

impl Same {
    fn flush(
        &mut self,
        writer: &mut RunWriter<'_>,
        make: fn(&[Vec<u8>]) -> Vec<u8>,
    ) -> Result<(), ViewsError> {
        if !self.values.is_empty() {
            let value = make(&self.values);
            writer.push(RowRef { key: &self.key, lsn: self.newest, value: &value })?;
        }
        self.key.clear();
        self.values.clear();
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
