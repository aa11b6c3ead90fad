//! The state of a checkpoint, and its way into a snapshot.

use std::sync::Arc;

use relive_log::snapshot::{SnapshotInfo, Snapshots};
use relive_log::{Lsn, SnapshotError, UnixMicros};

use super::{ITEM_BYTES, META, ROWS, RUN, SNAPSHOT_SCHEMA, STORE, SnapshotMeta};
use crate::digest::Digest;
use crate::error::ViewsError;
use crate::rows;
use crate::run::{Cursor, Run, len32};
use crate::store::Rows;
use crate::views::Views;

/// What the views on disk were at one checkpoint. What it refers to stays until it is dropped.
pub struct StateAt {
    pub(crate) meta: SnapshotMeta,
    pub(crate) rows: Rows,
    /// In the order of the list.
    pub(crate) runs: Vec<Arc<Run>>,
}

impl std::fmt::Debug for StateAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateAt").field("lsn", &self.lsn()).finish_non_exhaustive()
    }
}

impl StateAt {
    pub(crate) fn new(applied: Lsn, store_digest: u128, rows: Rows, runs: Vec<Arc<Run>>) -> StateAt {
        let list = runs.iter().map(|run| *run.meta()).collect();
        let meta = SnapshotMeta { schema: SNAPSHOT_SCHEMA, applied, store_digest, runs: list };
        StateAt { meta, rows, runs }
    }

    /// The last event that it holds.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.meta.applied
    }

    /// About how many bytes a snapshot of it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.meta.runs.iter().map(|run| run.bytes).sum()
    }

    /// Hands every item to `push`; the digest of all rows. Every block of every run is checked on the way (P8).
    ///
    /// # Errors
    /// A run is damaged, or `push` failed.
    pub fn write(
        &self,
        push: &mut dyn FnMut(&[u8]) -> Result<(), SnapshotError>,
    ) -> Result<u128, ViewsError> {
        let mut item = vec![META];
        item.extend_from_slice(&rows::encode(&self.meta));
        push(&item)?;
        let mut digest = Digest::default();
        let mut items = Items { push, kind: STORE, item: Vec::new() };
        for (key, value) in &self.rows {
            digest.add(key, value);
            items.add(key, None, value)?;
        }
        items.end()?;
        for run in &self.runs {
            let mut head = vec![RUN];
            head.extend_from_slice(&rows::encode(&(run.meta().kind, run.meta().number)));
            (items.push)(&head)?;
            items.kind = ROWS;
            let mut cursor = Cursor::scanning(run);
            cursor.seek(&[], Lsn::MAX)?;
            while let Some(row) = cursor.row() {
                digest.add_versioned(row.key, row.lsn.0, row.value);
                items.add(row.key, Some(row.lsn), row.value)?;
                cursor.advance()?;
            }
            items.end()?;
        }
        Ok(digest.0)
    }
}

/// Gathers rows.
struct Items<'a> {
    push: &'a mut dyn FnMut(&[u8]) -> Result<(), SnapshotError>,
    kind: u8,
    item: Vec<u8>,
}

impl Items<'_> {
    fn add(&mut self, key: &[u8], lsn: Option<Lsn>, value: &[u8]) -> Result<(), SnapshotError> {
        if self.item.is_empty() {
            self.item.push(self.kind);
        }
        self.item.extend_from_slice(&len32(key.len()).to_le_bytes());
        self.item.extend_from_slice(&len32(value.len()).to_le_bytes());
        if let Some(lsn) = lsn {
            self.item.extend_from_slice(&lsn.0.to_le_bytes());
        }
        self.item.extend_from_slice(key);
        self.item.extend_from_slice(value);
        if self.item.len() >= ITEM_BYTES { self.end() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), SnapshotError> {
        if !self.item.is_empty() {
            (self.push)(&self.item)?;
            self.item.clear();
        }
        Ok(())
    }
}

impl Views {
    /// Makes a checkpoint of what is durable, and installs a snapshot of it. `None`: there is none, or a snapshot of it
    /// is there already.
    ///
    /// # Errors
    /// The views cannot be read, or the snapshot not be written; the views and what is in force are as before.
    pub fn snapshot(
        &self,
        snapshots: &Snapshots,
        durable: Lsn,
        now: UnixMicros,
    ) -> Result<Option<SnapshotInfo>, ViewsError> {
        self.checkpoint(durable)?;
        let Some(state) = self.state_at_checkpoint()? else { return Ok(None) };
        if state.lsn() <= snapshots.newest() {
            return Ok(None);
        }
        let mut writer = snapshots.begin(state.lsn(), SNAPSHOT_SCHEMA, now)?;
        let digest = state.write(&mut |item| writer.push(item))?;
        Ok(Some(writer.finish(digest)?))
    }
}
