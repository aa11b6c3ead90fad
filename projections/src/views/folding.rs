//! How events get into the views: batch by batch as they are appended, and from the log at a start.
//!
//! Owns: [`Views::apply`], [`Views::catch_up`], and which view folds which family. Never does: refuse an event. Events at or
//! below what is applied are skipped (V4).

use std::sync::atomic::Ordering;

use relive_log::events::{AppEvent, Event, decode_record};
use relive_log::{Gap, Lsn, Reader};

use super::Views;
use crate::error::ViewsError;
use crate::executions::{Folded, Whole};
use crate::source::{At, FoldedBatch};

impl Views {
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
}
