//! One checkpoint: what a cut took becomes runs and one batch of the store.
//!
//! Invariants: P1 a cut is at the end of a batch, and takes from every view what it is at that LSN. P2 nothing of a
//! cut is written before its last LSN is durable (V3). P7 the batch that writes `!meta` is the only point at which a
//! checkpoint happens: before it the new runs are orphans, after it the views on disk are those of its LSN.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use relive_log::Lsn;
use relive_log::evidence::Applied;

use super::meta::Meta;
use super::{DiskLayer, State, generation};
use crate::digest::Digest;
use crate::error::ViewsError;
use crate::executions::{EndedTable, WaitingTable};
use crate::idempotency::KeyedTable;
use crate::index::IndexTable;
use crate::kv::{self, Table};
use crate::run::{Run, RunKind, RunWriter};
use crate::snapshot::{Restored, SnapshotItems, Target, restore};
use crate::store::Change;
use crate::views::Views;

/// What one cut took, oldest first in the queue.
pub(crate) struct Sealed {
    /// Every event up to here, and none above, is in this cut or in an earlier one.
    pub(crate) last: Lsn,
    pub(crate) kv: Option<Arc<Table>>,
    pub(crate) ended: Option<Arc<EndedTable>>,
    pub(crate) index: Option<Arc<IndexTable>>,
    pub(crate) keyed: Option<Arc<KeyedTable>>,
    pub(crate) waiting: Option<Arc<WaitingTable>>,
    pub(crate) rows: Vec<Change>,
}

impl DiskLayer {
    /// Writes a cut whose last LSN is durable, and gives its tables up.
    pub(crate) fn write(&self, state: &mut State, views: &Views, sealed: &Sealed) -> Result<(), ViewsError> {
        let kv = match &sealed.kv {
            Some(table) => {
                self.write_run(state, RunKind::Kv, |w| kv::write_run(table, w))?.map(|run| (table, run))
            }
            None => None,
        };
        let ended = match &sealed.ended {
            Some(table) => {
                self.write_run(state, RunKind::Ended, |w| table.write_run(w))?.map(|run| (table, run))
            }
            None => None,
        };
        let index = match &sealed.index {
            Some(table) => {
                self.write_run(state, RunKind::Index, |w| table.write_run(w))?.map(|run| (table, run))
            }
            None => None,
        };
        let keyed = match &sealed.keyed {
            Some(table) => {
                self.write_run(state, RunKind::Keyed, |w| table.write_run(w))?.map(|run| (table, run))
            }
            None => None,
        };
        let waiting = match &sealed.waiting {
            Some(table) => {
                self.write_run(state, RunKind::Waiting, |w| table.write_run(w))?.map(|run| (table, run))
            }
            None => None,
        };
        let mut meta = Meta { applied: sealed.last, ..state.meta.clone() };
        let written = [
            kv.as_ref().map(|(_, run)| *run.meta()),
            ended.as_ref().map(|(_, run)| *run.meta()),
            index.as_ref().map(|(_, run)| *run.meta()),
            keyed.as_ref().map(|(_, run)| *run.meta()),
            waiting.as_ref().map(|(_, run)| *run.meta()),
        ];
        meta.runs.splice(0..0, written.into_iter().flatten());
        self.commit(state, meta, &sealed.rows)?;
        if let Some((table, run)) = kv {
            views.kv().layers.written(table, run);
        }
        if let Some((table, run)) = ended {
            views.executions().ended.written(table, run);
        }
        if let Some((table, run)) = index {
            views.index().layers.written(table, run);
        }
        if let Some((table, run)) = keyed {
            views.idempotency().layers.written(table, run);
        }
        if let Some((table, run)) = waiting {
            views.executions().waiting.written(table, run);
        }
        Ok(())
    }

    /// Fills a generation that holds nothing with what a snapshot holds. The views on disk are then those of its LSN.
    pub(super) fn restore(
        &self,
        dir: &Path,
        lsn: Lsn,
        items: &mut dyn SnapshotItems,
        digest: u128,
    ) -> Result<Restored, ViewsError> {
        let mut state = self.state.lock();
        let target = Target {
            disk: &self.disk,
            dir,
            store: &*self.store,
            empty: state.meta.clone(),
            block_bytes: self.limits.block_bytes,
            common: &self.common,
        };
        let restored = restore(&target, lsn, items, digest)?;
        state.next_number = restored.meta.runs.iter().map(|run| run.number).max().unwrap_or(0) + 1;
        state.quiet_at = lsn;
        state.meta = restored.meta.clone();
        self.announce(&mut state)?;
        Ok(restored)
    }

    /// Writes one run and opens it; `None` if it has no rows.
    pub(super) fn write_run(
        &self,
        state: &mut State,
        kind: RunKind,
        rows: impl FnOnce(&mut RunWriter<'_>) -> Result<(), ViewsError>,
    ) -> Result<Option<Arc<Run>>, ViewsError> {
        let id = self.run_id(&state.meta, kind, state.next_number);
        state.next_number += 1;
        let mut writer = RunWriter::create(&*self.disk, &self.dir, id, self.limits.block_bytes)?;
        rows(&mut writer)?;
        let Some(meta) = writer.finish()? else { return Ok(None) };
        Ok(Some(Arc::new(Run::open(&self.disk, &self.dir, id, meta, Arc::clone(&self.common))?)))
    }

    /// The single point at which anything happens (P7).
    pub(super) fn commit(
        &self,
        state: &mut State,
        mut meta: Meta,
        rows: &[Change],
    ) -> Result<(), ViewsError> {
        let mut digest = Digest(meta.digest);
        let mut batch = Vec::with_capacity(rows.len() + 1);
        for change in rows {
            let (key, value) = change;
            let old = self.store.get(key).map_err(|e| self.break_off(state, e.into()))?;
            if let Some(old) = &old {
                digest.remove(key, old);
            }
            if let Some(value) = value {
                digest.add(key, value);
            }
            if old.is_some() || value.is_some() {
                batch.push(change.clone());
            }
        }
        meta.digest = digest.0;
        batch.push(meta.change());
        self.store.apply(&batch).map_err(|e| self.break_off(state, e.into()))?;
        state.meta = meta;
        Ok(())
    }

    /// Tells the log how far the views on disk are, and puts a generation in force that caught up (P10).
    pub(crate) fn announce(&self, state: &mut State) -> Result<(), ViewsError> {
        let Meta { log_id, timeline, applied, .. } = state.meta;
        let evidence = Applied { log_id, timeline, applied_lsn: applied };
        generation::write_applied(&*self.disk, &self.dir, &evidence)?;
        if state.pending.is_some_and(|until| applied >= until) {
            generation::switch(&*self.disk, &self.views, self.number)?;
            state.pending = None;
        }
        Ok(())
    }
}

/// Cuts that wait to be written, oldest first.
pub(crate) type SealedQueue = VecDeque<Arc<Sealed>>;
