//! The preparer: keeps prepared segments ahead of the writer and syncs WATERMARK, both off the commit path.
//!
//! Owns: making segments while the log is open; the rhythm of WATERMARK syncs. Never does: touch a segment in
//! use. A full disk is not poison here: appends are refused once the spares are used up, and it tries again.

use std::sync::Arc;

use crate::format::segment::SegmentHeader;
use crate::writer::committer::sync_watermark;
use crate::writer::segment_file::publish;
use crate::writer::{Queue, Shared};

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
}

enum Need {
    Segment(u32),
    Nothing,
    Closed,
}

impl Preparer {
    /// Works until the log is closed or poisoned. Waits on condition variables, with a timeout only while
    /// WATERMARK is waiting for its sync or the disk is full.
    pub fn run(&mut self) {
        loop {
            match self.prepare() {
                PrepareOutcome::Prepared { .. } => {
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

    fn prepare(&self) -> PrepareOutcome {
        if self.shared.durability.is_poisoned() {
            return PrepareOutcome::Poisoned;
        }
        let need = self.need(&self.shared.queue.lock());
        match need {
            Need::Closed => PrepareOutcome::Closed,
            Need::Nothing => PrepareOutcome::Idle,
            Need::Segment(segment) => self.make(segment),
        }
    }

    fn need(&self, queue: &Queue) -> Need {
        if queue.drained {
            return Need::Closed;
        }
        // While closing, only what the last groups need.
        let ahead = if queue.closed { 0 } else { self.shared.spares };
        if queue.ready_upto < queue.layout.segment().saturating_add(ahead) {
            Need::Segment(queue.ready_upto + 1)
        } else {
            Need::Nothing
        }
    }

    fn make(&self, segment: u32) -> PrepareOutcome {
        let shared = &self.shared;
        let created = shared.queue.lock().layout.last_commit();
        let header = SegmentHeader::new(shared.geometry, segment, created, &shared.software);
        let made = publish(shared.disk.as_ref(), &shared.log_dir(), &header);
        let mut queue = shared.queue.lock();
        match made {
            Ok(()) => {
                queue.ready_upto = segment;
                queue.no_space = false;
                drop(queue);
                shared.work.notify_all();
                PrepareOutcome::Prepared { segment }
            }
            Err(failed) if failed.is_no_space() => {
                if !queue.no_space {
                    tracing::warn!(segment, "no space left to prepare a segment");
                }
                queue.no_space = true;
                drop(queue);
                shared.work.notify_all();
                PrepareOutcome::NoSpace
            }
            Err(failed) => {
                drop(queue);
                shared.poison(failed.op, &failed.path, &failed.source);
                PrepareOutcome::Poisoned
            }
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

    /// Waits before the disk is asked for room again.
    fn pause(&self) {
        let mut queue = self.shared.queue.lock();
        if !queue.drained && !self.shared.durability.is_poisoned() {
            self.shared.chores.wait_for(&mut queue, self.shared.no_space_retry);
        }
    }
}
