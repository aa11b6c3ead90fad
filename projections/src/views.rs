//! All views of one log, and the thread of work that keeps them on disk.
//!
//! Owns: [`Views`]: applying a batch to every view, cutting, and the order of maintenance. Never does: start
//! threads (maintenance is lent one), read a clock, or decide anything.
//!
//! `apply` is called by one caller at a time, in the order of LSNs; reads run beside it. What is written behind goes
//!
//! ```text
//! apply → active tables, dirty rows → cut → frozen tables, changed rows → durable → runs, one batch of the store
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use relive_log::events::{AppEvent, Event, decode_record};
use relive_log::{AppId, FramePos, Gap, Lsn, Reader, UnixMicros};

use crate::abandoned::Abandoned;
use crate::cron::CronView;
use crate::dead_letters::DeadLetters;
use crate::digest::Digest;
use crate::disk::{self, DiskLayer, Runs, Sealed, SealedQueue, State};
use crate::error::{ReadError, StoreError, ViewsError};
use crate::executions::{ExecutionRow, Executions, Folded, Whole};
use crate::holds::Holds;
use crate::horizon::{Horizon, Lowest};
use crate::idempotency::Idempotency;
use crate::index::Index;
use crate::jobs::Jobs;
use crate::kv::KvView;
use crate::layers::MemoryTable;
use crate::options::{Limits, Maintained, OpenedViews, ViewsOptions, Waiting};
use crate::registry::{App, Registry, RegistryView, app_as_of};
use crate::rows::tag;
use crate::run::RunKind;
use crate::snapshot::StateAt;
use crate::source::{At, FoldedBatch, ValueSource};

/// So many rounds of changed rows of the store are cut together at most.
const ROUNDS_AT_ONCE: usize = 8;
/// About what a changed row of the store takes in memory until it is written.
const ROW_BYTES: usize = 400;

/// See the module.
pub struct Views {
    kv: KvView,
    executions: Executions,
    index: Index,
    idempotency: Idempotency,
    dead_letters: DeadLetters,
    jobs: Jobs,
    abandoned: Abandoned,
    holds: Holds,
    registry: RegistryView,
    cron: CronView,
    horizon: Horizon,
    /// Held while something is made that reads the past, and while a cut is announced: one sees the other.
    cuts: Mutex<()>,
    /// Below here the log is being cut, or was.
    cut_floor: AtomicU64,
    applied: AtomicU64,
    /// [`Views::lag_bytes`], as it was lately.
    lag: AtomicUsize,
    applier: Mutex<Applier>,
    sealed: Mutex<SealedQueue>,
    layer: Option<DiskLayer>,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("applied", &self.applied()).finish_non_exhaustive()
    }
}

/// Held by whoever applies or cuts: a cut is between two batches (P1).
#[derive(Debug)]
struct Applier {
    last_cut: Lsn,
    unchecked: usize,
}

impl Views {
    /// Opens the views of a log, or begins them anew.
    ///
    /// # Errors
    /// [`ViewsError::AheadOfLog`] if the log lost something, [`ViewsError::Io`] and [`ViewsError::Store`] if not even
    /// a new generation can be written. Damage is no error: the views are rebuilt.
    pub fn open(
        options: ViewsOptions,
        source: Arc<dyn ValueSource>,
    ) -> Result<(Views, OpenedViews), ViewsError> {
        check_limits(&options.limits)?;
        disk::open(&options, |opened| {
            let disk::Opened { layer, runs, rows, report } = opened;
            let views = Views::assemble(Arc::clone(&source), runs, report.applied, Some(layer));
            views.set_horizon(options.first_lsn);
            for (key, value) in rows {
                views.load(&key, &value, &*source)?;
            }
            views.executions.load_waiting()?;
            views.kv.set_lines(views.registry.lines());
            Ok((views, report))
        })
    }

    /// Views that live in memory only: tests, simulation, a rebuild to compare with.
    #[must_use]
    pub fn in_memory(source: Arc<dyn ValueSource>) -> Views {
        Views::assemble(source, Runs::default(), Lsn::ZERO, None)
    }

    fn assemble(source: Arc<dyn ValueSource>, runs: Runs, applied: Lsn, layer: Option<DiskLayer>) -> Views {
        let horizon = Horizon::new(Lsn::FIRST);
        let limits = layer.as_ref().map(|layer| &layer.limits);
        Views {
            executions: Executions::new(
                (runs.ended, runs.waiting),
                horizon.clone(),
                Arc::clone(&source),
                limits,
            ),
            kv: KvView::new(source, runs.kv, horizon.clone()),
            index: Index::new(runs.index, horizon.clone()),
            idempotency: Idempotency::new(runs.keyed),
            horizon,
            dead_letters: DeadLetters::default(),
            jobs: Jobs::default(),
            abandoned: Abandoned::default(),
            holds: Holds::default(),
            registry: RegistryView::default(),
            cron: CronView::default(),
            cuts: Mutex::new(()),
            cut_floor: AtomicU64::new(0),
            applied: AtomicU64::new(applied.0),
            lag: AtomicUsize::new(0),
            applier: Mutex::new(Applier { last_cut: applied, unchecked: 0 }),
            sealed: Mutex::new(SealedQueue::new()),
            layer,
        }
    }

    fn load(&self, key: &[u8], value: &[u8], source: &dyn ValueSource) -> Result<(), ViewsError> {
        let taken = match key.first() {
            Some(&tag::OPEN_EXECUTION) => self.executions.load(value),
            Some(&tag::LETTER) => self.dead_letters.load(value),
            Some(&(tag::JOB | tag::JOB_EXECUTION)) => self.jobs.load(key, value),
            Some(&tag::ABANDONED) => self.abandoned.load(value),
            Some(&tag::HOLD) => self.holds.load(value),
            Some(&tag::CRON) => self.cron.load(value),
            _ => self.registry.load(key, value, source)?,
        };
        taken.ok_or(ViewsError::Store(StoreError::Damaged { check: "a row does not decode" }))
    }

    /// Folds the durable rest of the log, writing behind as it goes. Answers what is applied then.
    ///
    /// # Errors
    /// The log could not be read, or the views not be written.
    pub fn catch_up(&self, reader: &Reader, progress: &mut dyn FnMut(Lsn)) -> Result<Lsn, ViewsError> {
        self.catch_up_to(reader, Lsn::MAX, progress)
    }

    /// As [`Views::catch_up`], but only batches whose first LSN is at or below `upto`.
    ///
    /// # Errors
    /// The log could not be read, or the views not be written.
    pub fn catch_up_to(
        &self,
        reader: &Reader,
        upto: Lsn,
        progress: &mut dyn FnMut(Lsn),
    ) -> Result<Lsn, ViewsError> {
        let mut scan = reader.scan(self.applied().next())?;
        while let Some(frame) = scan.next() {
            if let Err(relive_log::ReadError::Gap { gap }) = frame {
                tracing::warn!(%gap, "the log lost these events; the views are what the rest says");
                self.pass_gap(gap);
                scan.pass_gap(gap);
                continue;
            }
            let frame = frame?;
            if frame.first_lsn > upto {
                break;
            }
            let mut events = Vec::new();
            for record in frame.records() {
                let event = decode_record(record.type_, record.type_version, record.body);
                events.push(event.map_err(|source| ViewsError::Decode { lsn: record.lsn, source })?);
            }
            self.apply(&FoldedBatch {
                first: frame.first_lsn,
                last: frame.last_lsn,
                commit_time: frame.commit_time,
                pos: frame.pos,
                events: &events,
            });
            self.write_ready(reader.durable())?;
            progress(self.applied());
        }
        self.finish_rebuild(reader.durable())?;
        Ok(self.applied())
    }

    /// Puts a generation in force that has caught up with the log.
    fn finish_rebuild(&self, durable: Lsn) -> Result<(), ViewsError> {
        let Some(layer) = &self.layer else { return Ok(()) };
        if layer.state.lock().is_in_force() {
            return Ok(());
        }
        self.cut();
        self.write_ready(durable)
    }

    /// Applies a batch to every view. Total and silent; events at or below [`Views::applied`] are skipped (V4).
    pub fn apply(&self, batch: &FoldedBatch<'_>) {
        let mut applier = self.applier.lock();
        let applied = self.applied();
        if batch.last <= applied {
            return;
        }
        let mut at = At { lsn: batch.first, pos: batch.pos, time: batch.commit_time };
        let whole = Whole::of(batch).filter(|_| batch.first > applied);
        let whole = whole.filter(|whole| self.executions.fold_whole(whole) == Folded::Yes);
        for event in batch.events {
            if at.lsn > applied {
                let folded = whole.as_ref().is_some_and(|whole| whole.has(at.lsn));
                self.fold(event, at, if folded { Folded::Yes } else { Folded::No });
            }
            at.lsn = at.lsn.next();
        }
        self.applied.store(batch.last.0, Ordering::Release);
        let Some(limits) = self.layer.as_ref().map(|layer| &layer.limits) else { return };
        applier.unchecked += batch.events.len();
        if applier.unchecked >= limits.check_events {
            applier.unchecked = 0;
            self.lag.store(self.lag_bytes(), Ordering::Relaxed);
            if self.is_cut_due(limits) {
                self.cut_locked(&mut applier);
            }
        }
    }

    /// Counts lost events as applied. What was open then is the engine's to settle.
    fn pass_gap(&self, gap: Gap) {
        let _applier = self.applier.lock();
        self.applied.fetch_max(gap.to.0, Ordering::AcqRel);
    }

    /// Folds an event into every view; `executions` says whether that one has it already.
    fn fold(&self, event: &Event, at: At, executions: Folded) {
        match event {
            Event::App(e) => {
                self.registry.fold_app(e, at);
                if let AppEvent::Forked(_) | AppEvent::Deleted(_) = e {
                    self.kv.set_lines(self.registry.lines());
                }
                self.dead_letters.fold_app(e);
                self.jobs.fold_app(e);
                self.abandoned.fold_app(e);
                self.cron.fold_app(e);
            }
            Event::Script(e) => self.registry.fold_script(e, at),
            Event::Route(e) => self.registry.fold_route(e, at),
            Event::Trigger(e) => {
                self.registry.fold_trigger(e, at);
                self.cron.fold_trigger(e, at);
            }
            Event::Token(e) => self.registry.fold_token(e, at),
            Event::Secret(e) => self.registry.fold_secret(e, at),
            Event::Kv(e) => {
                self.kv.fold(e, at);
                self.index.fold_kv(e, at);
            }
            Event::Execution(e) => {
                self.idempotency.fold(e, at);
                self.jobs.fold_execution(e);
                self.abandoned.fold(e, at);
                if executions == Folded::No {
                    self.executions.fold(e, at);
                }
                self.index.fold_execution(e, at);
            }
            Event::DeadLetter(e) => {
                self.dead_letters.fold(e, at);
                self.executions.fold_dead_letter(e, at);
                self.jobs.fold_dead_letter(e);
            }
            Event::Job(e) => self.jobs.fold(e, at),
            Event::Retention(e) => {
                self.abandoned.fold_retention(e);
                self.holds.fold(e, at);
            }
            Event::Cron(e) => self.cron.fold(e),
        }
    }

    /// The first LSN that the log still holds: what is below is not shown any more (P17).
    #[must_use]
    pub fn horizon(&self) -> Lsn {
        self.horizon.get()
    }

    /// The log begins at `first` now.
    pub fn set_horizon(&self, first: Lsn) {
        self.horizon.rise(first);
    }

    /// Announces that the log will begin at `start`. `false`: something needs what is below, and it must not.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn announce_cut(&self, start: Lsn) -> Result<bool, ReadError> {
        let _held = self.cuts.lock();
        if self.oldest_needed()?.is_some_and(|needed| needed < start) {
            return Ok(false);
        }
        self.cut_floor.fetch_max(start.0, Ordering::AcqRel);
        Ok(true)
    }

    /// Keeps cuts from being announced while something is decided and applied that will need the past.
    pub fn hold_cuts(&self) -> MutexGuard<'_, ()> {
        self.cuts.lock()
    }

    /// The first LSN that will still be there when every announced cut is done.
    #[must_use]
    pub fn cut_floor(&self) -> Lsn {
        Lsn(self.cut_floor.load(Ordering::Acquire)).max(self.horizon())
    }

    /// What a log that begins at `start` must keep of the events below: what the views refer to there, above `after`,
    /// by LSN, at most `limit`. Everything that is shown at or above the horizon is read from these or from the log.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn needed_below(
        &self,
        start: Lsn,
        after: Lsn,
        limit: usize,
    ) -> Result<Vec<(Lsn, FramePos)>, ReadError> {
        let mut lowest = Lowest::above(after, limit);
        let registry = self.registry.now();
        // A fork reads what its base held, also when the base's app is gone.
        let bases: BTreeSet<AppId> =
            registry.apps.values().flat_map(|app| &app.line).map(|fork| fork.base.app).collect();
        let is_live = |key: &[u8]| {
            let app = key.first_chunk::<16>().map(|bytes| AppId::from_bytes(*bytes));
            app.is_some_and(|app| registry.apps.contains_key(&app) || bases.contains(&app))
        };
        for app in registry.apps.values() {
            let versions = app.scripts.values().flat_map(|script| &script.versions);
            let sources = versions.map(|version| (version.lsn, version.pos));
            let secrets = app.secrets.values().map(|secret| (secret.lsn, secret.pos));
            let changes = app.changes.iter().copied();
            let below = sources.chain(secrets).chain(changes).filter(|(lsn, _)| *lsn < start);
            below.for_each(|(lsn, pos)| lowest.offer(lsn, pos));
        }
        self.kv.current_below(start, is_live, &mut lowest)?;
        Ok(lowest.into_sorted())
    }

    /// Whether a call with an `Idempotency-Key` may have come at or after `since` (D14).
    #[must_use]
    pub fn keyed_since(&self, since: Lsn) -> bool {
        self.idempotency.any_since(since)
    }

    /// The lowest event that open work, an open dead letter or a fork still needs: the log is not cut above it. Where an
    /// input is that of earlier work (a redrive, a handler), that of the earliest counts; of a fork, the moment of which
    /// it reads its base.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn oldest_needed(&self) -> Result<Option<Lsn>, ReadError> {
        let (mut oldest, mut letters) = self.executions.needed();
        let registry = self.registry.now();
        let bases = registry.apps.values().flat_map(|app| &app.line).map(|fork| fork.base.lsn);
        oldest = oldest.into_iter().chain(bases).min();
        letters.extend(self.dead_letters.open_letters());
        let mut seen = BTreeSet::new();
        while let Some((app, letter)) = letters.pop() {
            if !seen.insert((app, letter)) {
                continue;
            }
            let Some(row) = self.dead_letters.get(app, letter) else { continue };
            oldest = Some(oldest.map_or(row.enqueued, |lsn| lsn.min(row.enqueued)));
            let execution = self.executions.get(app, row.execution)?;
            letters.extend(execution.and_then(|row| row.refers_to()).map(|letter| (app, letter)));
        }
        Ok(oldest)
    }

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

    /// The last LSN that was applied.
    #[must_use]
    pub fn applied(&self) -> Lsn {
        Lsn(self.applied.load(Ordering::Acquire))
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

    fn is_cut_due(&self, limits: &Limits) -> bool {
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

    fn cut_locked(&self, applier: &mut Applier) {
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
    fn write_ready(&self, durable: Lsn) -> Result<(), ViewsError> {
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

    /// Rows of the outbox by due time, then by age: those behind `after`, enqueued at or below `up_to`, at most `limit`.
    /// They are as of the LSN in the answer, between two batches: work that ends and what its end sets off are never
    /// both missing.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn outbox_page(
        &self,
        app: Option<AppId>,
        after: Option<(UnixMicros, Lsn)>,
        up_to: Option<Lsn>,
        limit: usize,
    ) -> Result<(Lsn, Vec<ExecutionRow>), ReadError> {
        let (applied, chosen) = {
            let _applier = self.applier.lock();
            let applied = self.applied();
            (applied, self.executions.choose(app, after, up_to.unwrap_or(applied), limit))
        };
        Ok((applied, self.executions.chosen(chosen)?))
    }

    /// A digest of all that the views hold, positions included; independent of layers. Visits every row, while
    /// nothing may be applied.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn digest(&self) -> Result<u128, ReadError> {
        let _applier = self.applier.lock();
        let mut digest = Digest::default();
        self.registry.digest(&mut digest);
        self.executions.digest(&mut digest)?;
        self.idempotency.digest(&mut digest)?;
        self.dead_letters.digest(&mut digest);
        self.jobs.digest(&mut digest);
        self.abandoned.digest(&mut digest);
        self.holds.digest(&mut digest);
        self.cron.digest(&mut digest);
        self.index.digest(&mut digest)?;
        self.kv.for_each_version(|key, version| {
            let mut value = version.lsn.0.to_le_bytes().to_vec();
            value.extend_from_slice(&version.pos.to_u64().to_le_bytes());
            value.push(u8::from(version.deleted));
            value.extend_from_slice(&version.expires_at.map_or(0, |end| end.0).to_le_bytes());
            digest.add(key, &value);
        })?;
        Ok(digest.0)
    }

    /// The configuration as it is now: an immutable snapshot.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.now()
    }

    /// The scripts, routes and triggers of an app as they were after the event `lsn`; whether they were paused, secrets
    /// and the app's name are not part of it.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn app_as_of(&self, app: &App, lsn: Lsn) -> Result<App, ReadError> {
        app_as_of(app, lsn, self.kv.source())
    }

    /// Keys and values.
    #[must_use]
    pub fn kv(&self) -> &KvView {
        &self.kv
    }

    /// Outbox and history.
    #[must_use]
    pub fn executions(&self) -> &Executions {
        &self.executions
    }

    /// Positions of schedules.
    #[must_use]
    pub fn cron(&self) -> &CronView {
        &self.cron
    }

    /// What is found by something else than its key.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Bulk work on dead letters.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Outcomes that nobody took.
    #[must_use]
    pub fn abandoned(&self) -> &Abandoned {
        &self.abandoned
    }

    /// Which history has to stay.
    #[must_use]
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Calls with an `Idempotency-Key`.
    #[must_use]
    pub fn idempotency(&self) -> &Idempotency {
        &self.idempotency
    }

    /// Dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }
}

fn check_limits(limits: &Limits) -> Result<(), ViewsError> {
    let rules = [
        (
            limits.seal_rows > 0 && limits.seal_bytes > 0 && limits.round_rows > 0,
            "a cut needs a positive bound",
        ),
        (limits.merge_ratio >= 2, "merge_ratio is at least 2"),
        (limits.runs_max > limits.merge_ratio, "runs_max is above merge_ratio"),
        (limits.block_bytes >= 512 && limits.block_bytes <= 1 << 20, "block_bytes is 512 to 1048576"),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, reason)) => Err(ViewsError::Options { reason }),
        None => Ok(()),
    }
}
