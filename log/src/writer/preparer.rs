//! The preparer: keeps prepared segments ahead of the writer and syncs WATERMARK, both off the commit path.
//!
//! Owns: making segments while the log is open, from retired ones where there are any; the rhythm of WATERMARK syncs.
//! Never does: touch a segment in use. A disk that is low is not poison here (L20): new work is refused once the spares
//! are used up, and it tries again, after longer and longer waits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::UnixMicros;
use crate::disk::ZeroPace;
use crate::format::segment::SegmentHeader;
use crate::writer::committer::sync_watermark;
use crate::writer::segment_file::{StepFailed, publish, republish};
use crate::writer::supply::Source;
use crate::writer::{Queue, Shared};

/// Segments are zeroed at a swift pace while one is filled in less than this: 1 s.
const SWIFT_BELOW_MICROS: u64 = 1_000_000;

/// What one step of the preparer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepareOutcome {
    /// Nothing to do.
    Idle,
    /// A segment was prepared and may be used.
    Prepared {
        /// Which one.
        segment: u32,
    },
    /// The disk is full; try again later.
    NoSpace,
    /// WATERMARK was synced.
    SyncedWatermark,
    /// The log is closed.
    Closed,
    /// The log is poisoned.
    Poisoned,
}

/// Does the log's chores. Owned by one thread that calls [`Preparer::run`], or stepped by a simulation.
#[derive(Debug)]
pub struct Preparer {
    pub(crate) shared: Arc<Shared>,
    /// How long it waits before it asks a disk that is low again.
    retry: Duration,
    /// When the segment that was made before began to be made.
    last_began: Option<UnixMicros>,
}

enum Need {
    Segment(u32),
    Nothing,
    Closed,
}

impl Preparer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let retry = shared.supplying.retry;
        Self { shared, retry, last_began: None }
    }

    /// Works until the log is closed or poisoned. Waits on condition variables, with a timeout only while
    /// WATERMARK is waiting for its sync or the disk is full.
    pub fn run(&mut self) {
        loop {
            match self.prepare() {
                PrepareOutcome::Prepared { .. } => {
                    self.retry = self.shared.supplying.retry;
                    self.sync_watermark();
                }
                PrepareOutcome::NoSpace => self.pause(),
                PrepareOutcome::Idle | PrepareOutcome::SyncedWatermark => self.wait(),
                PrepareOutcome::Closed | PrepareOutcome::Poisoned => return,
            }
        }
    }

    /// Does one unit of work; never waits: a segment if one is missing, else a sync of WATERMARK if it changed.
    pub fn step(&mut self) -> PrepareOutcome {
        let prepared = self.prepare();
        if prepared != PrepareOutcome::Idle {
            return prepared;
        }
        let did = self.sync_watermark();
        if self.shared.durability.is_poisoned() {
            return PrepareOutcome::Poisoned;
        }
        if did { PrepareOutcome::SyncedWatermark } else { PrepareOutcome::Idle }
    }

    fn prepare(&mut self) -> PrepareOutcome {
        if self.shared.durability.is_poisoned() {
            return PrepareOutcome::Poisoned;
        }
        let need = self.need(&self.shared.queue.lock());
        match need {
            Need::Closed => PrepareOutcome::Closed,
            Need::Nothing => {
                self.shared.queue.lock().stock.reserving = true;
                PrepareOutcome::Idle
            }
            Need::Segment(segment) => self.make(segment),
        }
    }

    fn need(&self, queue: &Queue) -> Need {
        if queue.drained {
            return Need::Closed;
        }
        // While closing, only what the last groups need.
        let ahead = if queue.closed { 0 } else { queue.stock.spares };
        if queue.stock.ready_upto < queue.layout.segment().saturating_add(ahead) {
            Need::Segment(queue.stock.ready_upto + 1)
        } else {
            Need::Nothing
        }
    }

    fn make(&mut self, segment: u32) -> PrepareOutcome {
        match self.try_make(segment) {
            Ok(source) => {
                let was_low = self.shared.supplying.seen.note_prepared(source);
                if was_low {
                    tracing::info!(segment, "there is room again: new work is admitted");
                }
                self.tell(|queue| {
                    queue.stock.ready_upto = segment;
                    queue.stock.no_space = false;
                });
                PrepareOutcome::Prepared { segment }
            }
            Err(failed) if failed.is_no_space() => {
                if self.shared.supplying.seen.note_low() {
                    let error = &failed.source;
                    tracing::warn!(segment, %error, "the disk is low: no room for another segment of the log");
                }
                self.tell(|queue| queue.stock.no_space = true);
                PrepareOutcome::NoSpace
            }
            Err(failed) => {
                self.shared.poison(failed.op, &failed.path, &failed.source);
                PrepareOutcome::Poisoned
            }
        }
    }

    /// Changes the stock and wakes whoever waits for it.
    fn tell(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.shared.queue.lock();
        change(&mut queue);
        queue.room_turns += 1;
        drop(queue);
        self.shared.work.notify_all();
        self.shared.room.notify_all();
    }

    fn try_make(&mut self, segment: u32) -> Result<Source, StepFailed> {
        let (created, retired) = {
            let mut queue = self.shared.queue.lock();
            (queue.layout.last_commit(), queue.retired.take())
        };
        let pace = pace(self.last_began.replace(created), created);
        let shared = &self.shared;
        let header = SegmentHeader::new(shared.geometry, segment, created, &shared.software);
        let log_dir = shared.log_dir();
        if let Some(retired) = retired {
            // A disk that takes no rewrite either (copy on write) is asked for a new file, and says so again.
            match republish(
                shared.disk.as_ref(),
                &log_dir,
                retired,
                header.clone(),
                shared.supplying.recycle,
                pace,
            ) {
                Ok(()) => return Ok(Source::Retired),
                Err(failed) if failed.is_no_space() => {}
                Err(failed) => return Err(failed),
            }
        }
        self.check_free_space()?;
        publish(shared.disk.as_ref(), &log_dir, &header, pace)?;
        Ok(Source::New)
    }

    /// Whether a segment leaves enough of the filesystem to others. One that does not tell its size is tried.
    fn check_free_space(&self) -> Result<(), StepFailed> {
        let shared = &self.shared;
        let wanted = u64::from(shared.geometry.segment_bytes).saturating_add(shared.supplying.free_bytes_min);
        match shared.disk.free_space(&shared.dir) {
            Ok(free) if free < wanted => Err(StepFailed {
                op: "find room in",
                path: shared.log_dir(),
                source: io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("{free} bytes are free; {wanted} are wanted for a segment and for others"),
                ),
            }),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn sync_watermark(&self) -> bool {
        self.shared.queue.lock().watermark_dirty = false;
        let did = sync_watermark(&self.shared);
        if self.shared.watermark.lock().is_dirty() {
            // Written again while the sync was under way.
            self.shared.queue.lock().watermark_dirty = true;
        }
        did
    }

    /// Waits for a chore. A changed WATERMARK is synced after its interval.
    fn wait(&self) {
        let mut queue = self.shared.queue.lock();
        loop {
            if self.shared.durability.is_poisoned() || !matches!(self.need(&queue), Need::Nothing) {
                return;
            }
            if !queue.watermark_dirty {
                self.shared.chores.wait(&mut queue);
                continue;
            }
            if self.shared.chores.wait_for(&mut queue, self.shared.watermark_sync_every).timed_out() {
                drop(queue);
                self.sync_watermark();
                return;
            }
        }
    }

    /// Waits before the disk is asked for room again, unless room is made before. WATERMARK keeps its rhythm.
    fn pause(&mut self) {
        let shared = &self.shared;
        let mut left = self.retry;
        while !left.is_zero() {
            let slice = left.min(shared.watermark_sync_every);
            left = left.saturating_sub(slice);
            let mut queue = shared.queue.lock();
            if queue.drained || shared.durability.has_ended() || queue.retired.holds_any() {
                return;
            }
            let freed = !shared.freed.wait_for(&mut queue, slice).timed_out();
            drop(queue);
            if freed {
                break;
            }
            self.sync_watermark();
        }
        self.retry = self.retry.saturating_mul(2).min(shared.supplying.retry_max);
    }
}

/// A log that fills a segment within a moment wants the next one with the fewest stalls in sum; any other wants short
/// ones. `before` and `began` are the log's time when this segment and the one before it were asked for.
fn pace(before: Option<UnixMicros>, began: UnixMicros) -> ZeroPace {
    match before {
        Some(before) if before < began && began.0 - before.0 < SWIFT_BELOW_MICROS => ZeroPace::Swift,
        Some(_) | None => ZeroPace::Gentle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_in_a_hurry_gets_its_segments_swiftly() {
        let check = |before: Option<u64>, began, expect| {
            assert_eq!(pace(before.map(UnixMicros), UnixMicros(began)), expect, "{before:?}, {began}");
        };
        check(None, 5, ZeroPace::Gentle);
        check(Some(5), 5, ZeroPace::Gentle);
        check(Some(5), 6, ZeroPace::Swift);
        check(Some(5), 5 + SWIFT_BELOW_MICROS, ZeroPace::Gentle);
    }
}
