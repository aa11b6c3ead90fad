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
pub(crate) enum Collapse {
    /// All stay: every version of a key is history.
    KeepAll,
    /// One row with the newest LSN; its value is made of all, newest first.
    Into(fn(&[Vec<u8>]) -> Vec<u8>),
}

/// Writes the rows of `runs` to `writer`, in order.
pub(crate) fn merge(
    runs: &[Arc<Run>],
    writer: &mut RunWriter<'_>,
    collapse: Collapse,
) -> Result<(), ViewsError> {
    let mut cursors = Vec::with_capacity(runs.len());
    for run in runs {
        let mut cursor = Cursor::new(run);
        cursor.seek(&[], Lsn::MAX)?;
        cursors.push(cursor);
    }
    let mut same = Same::default();
    while let Some(cursor) = first(&mut cursors) {
        if let Some(row) = cursor.row() {
            match collapse {
                Collapse::KeepAll => writer.push(row)?,
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
    match collapse {
        Collapse::KeepAll => Ok(()),
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
