//! A place in a run, with the block around it.

use std::sync::Arc;

use relive_log::Lsn;

use super::block::{Block, RowRef};
use super::reader::{Access, Run};
use crate::error::RunError;

/// Moves over the rows of a run.
pub(crate) struct Cursor {
    run: Arc<Run>,
    number: usize,
    block: Arc<Block>,
    at: usize,
    access: Access,
}

impl Cursor {
    /// A cursor that stands nowhere yet.
    pub(crate) fn new(run: &Arc<Run>) -> Cursor {
        Cursor::with(run, Access::Point)
    }

    /// As [`Cursor::new`], for a reader that goes over the whole run once.
    pub(crate) fn scanning(run: &Arc<Run>) -> Cursor {
        Cursor::with(run, Access::Scan)
    }

    fn with(run: &Arc<Run>, access: Access) -> Cursor {
        Cursor { run: Arc::clone(run), number: usize::MAX, block: Arc::default(), at: 0, access }
    }

    fn load(&mut self, number: usize) -> Result<(), RunError> {
        if self.number != number {
            self.block = self.run.block(number, self.access)?.unwrap_or_default();
            self.number = number;
        }
        Ok(())
    }

    /// The row at the cursor.
    pub(crate) fn row(&self) -> Option<RowRef<'_>> {
        self.block.row(self.at)
    }

    /// Moves to the first row that is not before `(key, lsn)`.
    pub(crate) fn seek(&mut self, key: &[u8], lsn: Lsn) -> Result<Option<RowRef<'_>>, RunError> {
        self.load(self.run.block_of(key, lsn))?;
        self.at = self.block.lower_bound(key, lsn);
        self.skip_ends()?;
        Ok(self.row())
    }

    /// Moves to the last row before `(key, lsn)`.
    pub(crate) fn seek_before(&mut self, key: &[u8], lsn: Lsn) -> Result<Option<RowRef<'_>>, RunError> {
        let number = self.run.block_of(key, lsn);
        self.load(number)?;
        match self.block.lower_bound(key, lsn).checked_sub(1) {
            Some(at) => self.at = at,
            None => match number.checked_sub(1) {
                Some(before) => {
                    self.load(before)?;
                    self.at = self.block.len().saturating_sub(1);
                }
                None => self.at = self.block.len(),
            },
        }
        Ok(self.row())
    }

    /// Moves to the next row.
    pub(crate) fn advance(&mut self) -> Result<(), RunError> {
        self.at = self.at.saturating_add(1);
        self.skip_ends()
    }

    fn skip_ends(&mut self) -> Result<(), RunError> {
        while self.at >= self.block.len() && self.number.saturating_add(1) < self.run.block_count() {
            self.load(self.number + 1)?;
            self.at = 0;
        }
        Ok(())
    }
}
