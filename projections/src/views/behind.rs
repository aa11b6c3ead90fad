//! What is written behind: cuts of the memory layer, their way to disk, merges, checkpoints, and the checks of what is there.
//!
//! Owns: when a cut is due and the order of maintenance. Never does: write anything that is not durable in the log, or lay
//! out a file (`disk` does).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use relive_log::Lsn;

use super::{Applier, Views};
use crate::disk::{self, DiskLayer, Sealed, State};
use crate::error::{StoreError, ViewsError};
use crate::layers::MemoryTable;
use crate::options::{Limits, Maintained, Waiting};
use crate::run::RunKind;
use crate::snapshot::StateAt;

/// So many rounds of changed rows of the store are cut together at most.
const ROUNDS_AT_ONCE: usize = 8;
/// About what a changed row of the store takes in memory until it is written.
const ROW_BYTES: usize = 400;

impl Views {
    /// Reads every run in full and checks it (V5): after a process died, what it wrote last is in the page cache and
    /// trusted at once; this is done beside. Damage marks the generation: the next start makes it anew.
    ///
    /// # Errors
    /// A run is damaged or could not be read.
    pub fn verify(&self) -> Result<(), ViewsError> {
        let (kv, ended, index) = (self.kv.layers.now(), self.executions.ended.now(), self.index.layers.now());
        let (keyed, waiting) = (self.idempotency.layers.now(), self.executions.waiting.now());
        let runs = kv.runs.iter().chain(&ended.runs).chain(&index.runs);
        for run in runs.chain(&keyed.runs).chain(&waiting.runs) {
            run.verify()?;
        }
        Ok(())
    }

    /// What of the views on disk is damaged, if anything was found (V5): reads that meet it are errors, and the next start makes
    /// the views anew.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        self.layer.as_ref()?.damage()
    }

    /// The state of the newest checkpoint; `None` if there is none, or these views are not in force.
    ///
    /// # Errors
    /// The store cannot be read, or these views are broken.
    pub fn state_at_checkpoint(&self) -> Result<Option<StateAt>, ViewsError> {
        let Some(layer) = &self.layer else { return Ok(None) };
        // P18: whoever writes runs or rows holds this lock.
        let mut state = layer.state.lock();
        layer.check(&mut state)?;
        if !state.is_in_force() || state.meta.applied == Lsn::ZERO {
            return Ok(None);
        }
        let (kv, ended, index) = (self.kv.layers.now(), self.executions.ended.now(), self.index.layers.now());
        let (keyed, waiting) = (self.idempotency.layers.now(), self.executions.waiting.now());
        let open = |number: u64, kind: RunKind| {
            let runs = match kind {
                RunKind::Kv => &kv.runs,
                RunKind::Ended => &ended.runs,
                RunKind::Index => &index.runs,
                RunKind::Keyed => &keyed.runs,
                RunKind::Waiting => &waiting.runs,
            };
            runs.iter().find(|run| run.meta().number == number).cloned()
        };
        let runs: Option<Vec<_>> = state.meta.runs.iter().map(|run| open(run.number, run.kind)).collect();
        let runs = runs.ok_or(StoreError::Damaged { check: "a run of the list is not open" })?;
        let mut rows = layer.rows()?;
        rows.retain(|(key, _)| !disk::is_meta(key));
        Ok(Some(StateAt::new(state.meta.applied, state.meta.digest, rows, runs)))
    }

    /// Puts a generation in force that has caught up with the log.
    pub(super) fn finish_rebuild(&self, durable: Lsn) -> Result<(), ViewsError> {
        let Some(layer) = &self.layer else { return Ok(()) };
        if layer.state.lock().is_in_force() {
            return Ok(());
        }
        self.cut();
        self.write_ready(durable)
    }

    /// What is in memory and not on disk yet, about, in bytes: admissions slow down by it.
    #[must_use]
    pub fn lag_bytes(&self) -> usize {
        self.kv.layers.lag_bytes()
            + self.executions.ended.lag_bytes()
            + self.index.layers.lag_bytes()
            + self.idempotency.layers.lag_bytes()
            + self.executions.waiting.lag_bytes()
            + self.sealed.lock().iter().map(|sealed| sealed.rows.len() * ROW_BYTES).sum::<usize>()
    }

    /// [`Views::lag_bytes`] as of a moment ago, for the cost of one load.
    #[must_use]
    pub fn lag(&self) -> usize {
        self.lag.load(Ordering::Relaxed)
    }

    pub(super) fn is_cut_due(&self, limits: &Limits) -> bool {
        let (kv, ended) = (&self.kv.layers.now().active, &self.executions.ended.now().active);
        let (index, keyed) = (&self.index.layers.now().active, &self.idempotency.layers.now().active);
        kv.rows() + ended.rows() + index.rows() + keyed.rows() >= limits.seal_rows
            || kv.bytes() + ended.bytes() + index.bytes() + keyed.bytes() >= limits.seal_bytes
            || self.is_round_due(limits)
    }

    /// Whether enough rows of the store changed. While an earlier cut is still to be written they gather: one batch of
    /// the store costs less than several, and what comes and goes meanwhile costs nothing (P6).
    fn is_round_due(&self, limits: &Limits) -> bool {
        let dirty = self.executions.dirty()
            + self.dead_letters.dirty()
            + self.jobs.dirty()
            + self.abandoned.dirty()
            + self.holds.dirty()
            + self.registry.dirty()
            + self.cron.dirty();
        dirty >= limits.round_rows
            && (dirty >= limits.round_rows.saturating_mul(ROUNDS_AT_ONCE) || self.sealed.lock().is_empty())
    }

    /// Cuts the memory layer at the end of the last batch.
    fn cut(&self) {
        self.cut_locked(&mut self.applier.lock());
    }

    pub(super) fn cut_locked(&self, applier: &mut Applier) {
        let last = self.applied();
        if last <= applier.last_cut {
            return;
        }
        let mut rows = Vec::new();
        self.registry.cut(&mut rows);
        self.executions.cut(last, &mut rows);
        self.dead_letters.cut(&mut rows);
        self.jobs.cut(&mut rows);
        self.abandoned.cut(&mut rows);
        self.holds.cut(&mut rows);
        self.cron.cut(&mut rows);
        let sealed = Sealed {
            last,
            kv: self.kv.layers.freeze(),
            ended: self.executions.ended.freeze(),
            index: self.index.layers.freeze(),
            keyed: self.idempotency.layers.freeze(),
            waiting: self.executions.waiting.freeze(),
            rows,
        };
        self.sealed.lock().push_back(Arc::new(sealed));
        applier.last_cut = last;
    }

    /// One step of what is written behind: a cut whose LSNs are durable, or a merge. Without either, and if nothing
    /// was applied since the last step that found nothing to do, what there is is cut: call it again after a quiet
    /// second.
    ///
    /// # Errors
    /// The disk or the store failed. After [`ViewsError::Broken`] nothing is written any more; reads and `apply` go
    /// on, the next start rebuilds.
    pub fn maintain(&self, durable: Lsn) -> Result<Maintained, ViewsError> {
        let Some(layer) = &self.layer else { return Ok(Maintained::default()) };
        let mut state = layer.state.lock();
        let done = self.step(layer, &mut state, durable)?;
        if done != Maintained::default() {
            return Ok(done);
        }
        if layer.too_many_runs(&state) || self.sealed.lock().is_empty() {
            let merged = layer.merge_one(&mut state, self)?;
            if merged > 0 {
                return Ok(Maintained { more: true, merged, ..Maintained::default() });
            }
        }
        let applied = self.applied();
        if state.quiet_at == applied && self.sealed.lock().is_empty() {
            self.cut();
        }
        state.quiet_at = applied;
        let more = self.sealed.lock().front().is_some_and(|sealed| sealed.last <= durable);
        Ok(Maintained { more, ..Maintained::default() })
    }

    /// Writes the oldest cut, if it may be written.
    fn step(&self, layer: &DiskLayer, state: &mut State, durable: Lsn) -> Result<Maintained, ViewsError> {
        layer.check(state)?;
        let next = self.sealed.lock().front().cloned();
        let Some(sealed) = next else { return Ok(Maintained::default()) };
        let waiting = |waiting| Maintained { waiting: Some(waiting), ..Maintained::default() };
        if sealed.last > durable {
            return Ok(waiting(Waiting::Durable(sealed.last)));
        }
        if let Some(free) = layer.short_of_space() {
            return Ok(waiting(Waiting::Space(free)));
        }
        if layer.too_many_runs(state) {
            let merged = layer.merge_one(state, self)?;
            if merged > 0 {
                return Ok(Maintained { more: true, merged, ..Maintained::default() });
            }
        }
        layer.write(state, self, &sealed)?;
        self.sealed.lock().pop_front();
        self.lag.store(self.lag_bytes(), Ordering::Relaxed);
        layer.announce(state)?;
        Ok(Maintained { more: true, checkpoint: Some(sealed.last), ..Maintained::default() })
    }

    /// Writes every cut that may be written.
    pub(super) fn write_ready(&self, durable: Lsn) -> Result<(), ViewsError> {
        let Some(layer) = &self.layer else { return Ok(()) };
        while !self.sealed.lock().is_empty() && self.step(layer, &mut layer.state.lock(), durable)?.more {}
        Ok(())
    }

    /// Cuts, and writes every cut that may be written.
    pub(crate) fn checkpoint(&self, durable: Lsn) -> Result<(), ViewsError> {
        self.cut();
        self.write_ready(durable)
    }

    /// A tidy stop: cuts, writes what is durable, and hands it to the system.
    ///
    /// # Errors
    /// The disk or the store failed; nothing is lost, the next start folds the log further or rebuilds.
    pub fn close(&self, durable: Lsn) -> Result<(), ViewsError> {
        let Some(layer) = &self.layer else { return Ok(()) };
        self.cut();
        self.write_ready(durable)?;
        layer.flush()
    }
}
