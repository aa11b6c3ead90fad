//! The committer: group commit as a state machine, one group outstanding at a time.
//!
//! ```text
//!   nothing --take--> formed --write--> written --sync--> durable: acknowledge, note in WATERMARK --> nothing
//! ```
//!
//! Owns: every write and sync of a segment in use. Never does: retry a failed write or sync (L8), write group g+1
//! before group g's sync returned (L1), acknowledge before it (L1).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::error::Poisoned;
use crate::format::segment::segment_name;
use crate::format::watermark::{Clean, Slot};
use crate::planted::{self, Bug};
use crate::reader::index::Mark;
use crate::writer::Shared;
use crate::writer::layout::Group;
use crate::writer::seal::seal;
use crate::{FramePos, Lsn};

/// What one step of the committer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// Nothing to do.
    Idle,
    /// A group was written; the next step syncs it.
    Wrote {
        /// Bytes of the group.
        bytes: u64,
    },
    /// A group was synced and acknowledged.
    Synced {
        /// The durable LSN now.
        durable: Lsn,
    },
    /// The next group goes into a segment that is not prepared yet.
    WaitingForSegment {
        /// Which one.
        segment: u32,
    },
    /// The appender is gone and everything is durable.
    Closed,
    /// The log is poisoned.
    Poisoned,
}

#[derive(Debug)]
enum Stage {
    Nothing,
    Formed(Group),
    Written(Group, u32),
}

/// Makes groups durable. Owned by one thread that calls [`Committer::run`], or stepped by a simulation.
pub struct Committer {
    shared: Arc<Shared>,
    stage: Stage,
    /// `hdr_crc` of the last frame written.
    chain: u32,
    marks: Vec<Mark>,
    current: Option<(u32, Arc<dyn DiskFile>)>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, chain: u32) -> Self {
        Self { shared, stage: Stage::Nothing, chain, marks: Vec::new(), current: None }
    }

    /// Works until the appender is dropped and everything is durable, or until poison.
    pub fn run(&mut self) {
        loop {
            if matches!(self.stage, Stage::Nothing) {
                self.wait_for_work();
            }
            match self.step() {
                StepOutcome::Wrote { .. } | StepOutcome::Synced { .. } | StepOutcome::Idle => {}
                StepOutcome::WaitingForSegment { segment } => self.wait_for_segment(segment),
                StepOutcome::Closed | StepOutcome::Poisoned => return,
            }
        }
    }

    /// Waits until somebody waits for what is in the buffer, or it has been there for `unhurried_wait`.
    fn wait_for_work(&self) {
        let mut queue = self.shared.queue.lock();
        while !queue.closed && !self.shared.durability.is_poisoned() {
            if !queue.layout.has_work() {
                // Whoever hurried what is durable by now must not keep the next append from waking this thread.
                queue.urgent = false;
                queue.unhurried = false;
                self.shared.work.wait(&mut queue);
            } else if queue.urgent
                || self.shared.work.wait_for(&mut queue, self.shared.unhurried_wait).timed_out()
            {
                break;
            }
        }
    }

    fn wait_for_segment(&self, segment: u32) {
        let mut queue = self.shared.queue.lock();
        while queue.stock.ready_upto < segment && !self.shared.durability.is_poisoned() {
            if queue.closed && queue.stock.no_space {
                drop(queue);
                let full = io::Error::from(io::ErrorKind::StorageFull);
                self.shared.poison("prepare a segment during shutdown in", &self.shared.log_dir(), &full);
                return;
            }
            self.shared.work.wait(&mut queue);
        }
    }

    /// Does one unit of work; never waits. Writing and syncing are separate steps, so that a simulation
    /// interleaves other things between them.
    pub fn step(&mut self) -> StepOutcome {
        if self.shared.durability.is_poisoned() {
            return StepOutcome::Poisoned;
        }
        match std::mem::replace(&mut self.stage, Stage::Nothing) {
            Stage::Nothing => self.take(),
            Stage::Formed(group) => self.write(group),
            Stage::Written(group, chain) => self.sync(group, chain),
        }
    }

    fn take(&mut self) -> StepOutcome {
        let mut queue = self.shared.queue.lock();
        let Some(group) = queue.layout.take() else {
            if !queue.closed {
                return StepOutcome::Idle;
            }
            queue.drained = true;
            drop(queue);
            self.shared.chores.notify_all();
            return StepOutcome::Closed;
        };
        if !queue.layout.has_work() {
            queue.urgent = false;
            queue.unhurried = false;
        }
        drop(queue);
        self.write(group)
    }

    fn write(&mut self, mut group: Group) -> StepOutcome {
        let segment = group.segment;
        if self.shared.queue.lock().stock.ready_upto < segment {
            self.stage = Stage::Formed(group);
            return StepOutcome::WaitingForSegment { segment };
        }
        let file = match self.file(segment) {
            Ok(file) => file,
            Err(error) => return self.poison("open", segment, &error),
        };
        self.marks.clear();
        let durable = if planted::is(Bug::DurableOverclaimed) {
            group.last_lsn
        } else {
            self.shared.durability.durable()
        };
        let chain = seal(&mut group, &self.shared.key, durable, self.chain, &mut self.marks);
        if let Err(error) = file.write_all_at(&group.bytes, u64::from(group.start))
            && !planted::is(Bug::WriteErrorIgnored)
        {
            return self.poison("write", segment, &error);
        }
        let bytes = group.bytes.len() as u64;
        if planted::is(Bug::WatermarkBeforeSync)
            && let Err(error) = self.note_in_watermark(&group, chain)
        {
            return self.poison_watermark("write", &error);
        }
        if planted::is(Bug::AckBeforeSync) {
            self.acknowledge(&group);
        }
        self.stage = Stage::Written(group, chain);
        StepOutcome::Wrote { bytes }
    }

    fn sync(&mut self, group: Group, chain: u32) -> StepOutcome {
        let file = match self.file(group.segment) {
            Ok(file) => file,
            Err(error) => return self.poison("open", group.segment, &error),
        };
        let skipped = planted::is(Bug::SyncEveryOther) && group.last_lsn.0.is_multiple_of(2);
        let mut synced = if skipped { Ok(()) } else { file.sync_data() };
        if synced.is_err() && planted::is(Bug::RetrySync) {
            synced = file.sync_data();
        }
        if let Err(error) = synced
            && !planted::is(Bug::SyncErrorIgnored)
        {
            return self.poison("sync", group.segment, &error);
        }
        self.chain = chain;
        let durable = group.last_lsn;
        self.acknowledge(&group);
        if let Err(error) = self.note_in_watermark(&group, chain) {
            return self.poison_watermark("write", &error);
        }
        let mut queue = self.shared.queue.lock();
        let was_dirty = std::mem::replace(&mut queue.watermark_dirty, true);
        queue.layout.give_back(group);
        queue.room_turns += 1;
        drop(queue);
        self.shared.room.notify_all();
        if !was_dirty {
            self.shared.chores.notify_all();
        }
        StepOutcome::Synced { durable }
    }

    /// Shows the group to readers, then to waiters and listeners.
    fn acknowledge(&self, group: &Group) {
        self.shared.view.advance(end_of(group), group.last_lsn, &self.marks);
        let acknowledged = if planted::is(Bug::AckTooMuch) {
            self.shared.queue.lock().layout.next_lsn().prev()
        } else {
            group.last_lsn
        };
        self.shared.durability.advance(acknowledged);
    }

    fn note_in_watermark(&self, group: &Group, chain: u32) -> io::Result<()> {
        let shared = &self.shared;
        let mut watermark = shared.watermark.lock();
        let slot = Slot { durable: group.last_lsn, end: end_of(group), chain, ..*watermark.last() };
        watermark.write(slot)
    }

    fn file(&mut self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some((current, file)) = &self.current
            && *current == segment
        {
            return Ok(Arc::clone(file));
        }
        let file = self.shared.view.writable(segment)?;
        self.current = Some((segment, Arc::clone(&file)));
        Ok(file)
    }

    fn poison(&self, op: &'static str, segment: u32, error: &io::Error) -> StepOutcome {
        self.shared.poison(op, &self.shared.log_dir().join(segment_name(segment)), error);
        StepOutcome::Poisoned
    }

    fn poison_watermark(&self, op: &'static str, error: &io::Error) -> StepOutcome {
        self.shared.poison(op, &self.watermark_path(), error);
        StepOutcome::Poisoned
    }

    fn watermark_path(&self) -> PathBuf {
        self.shared.dir.join(crate::recovery::WATERMARK)
    }

    /// Stops in order: makes everything durable that was appended, then says so in WATERMARK. Call it after the
    /// appender was dropped and `run` returned. Calling it again does nothing.
    ///
    /// # Errors
    /// When the log is or becomes poisoned, or the last groups have no segment to go to.
    pub fn close(&mut self) -> Result<(), Poisoned> {
        self.shared.queue.lock().closed = true;
        loop {
            match self.step() {
                StepOutcome::Closed | StepOutcome::Poisoned => break,
                StepOutcome::WaitingForSegment { .. } => {
                    let missing =
                        io::Error::other("the next segment was not prepared before the log was closed");
                    self.shared.poison("close", &self.shared.log_dir(), &missing);
                }
                StepOutcome::Idle | StepOutcome::Wrote { .. } | StepOutcome::Synced { .. } => {}
            }
        }
        self.note_clean_stop();
        self.shared.durability.close();
        self.shared.wake_all();
        self.shared.durability.poisoned().map_or(Ok(()), Err)
    }

    /// Syncs what stands in WATERMARK, then writes and syncs the clean mark in the other slot.
    fn note_clean_stop(&self) {
        sync_watermark(&self.shared);
        let gate = self.shared.watermark_sync.lock();
        if self.shared.durability.is_poisoned() {
            return;
        }
        let mut watermark = self.shared.watermark.lock();
        if watermark.last().clean == Clean::Yes {
            return;
        }
        let slot = Slot { clean: Clean::Yes, ..*watermark.last() };
        let written = watermark.write(slot);
        drop(watermark);
        drop(gate);
        if let Err(error) = written {
            self.poison_watermark("write", &error);
            return;
        }
        sync_watermark(&self.shared);
    }
}

/// Syncs WATERMARK when it changed; any error poisons. Whether it did something.
pub(crate) fn sync_watermark(shared: &Shared) -> bool {
    let _gate = shared.watermark_sync.lock();
    if shared.durability.is_poisoned() {
        return false;
    }
    let Some(file) = shared.watermark.lock().begin_sync() else { return false };
    let path = shared.dir.join(crate::recovery::WATERMARK);
    if let Err(error) = file.sync_data() {
        shared.poison("sync", &path, &error);
        return true;
    }
    let ended = shared.watermark.lock().end_sync();
    if let Err(error) = ended {
        shared.poison("write", &path, &error);
    }
    true
}

fn end_of(group: &Group) -> FramePos {
    FramePos { segment: group.segment, offset: group.start + crate::format::len32(group.bytes.len()) }
}

impl Drop for Committer {
    /// Without a committer nothing becomes durable any more: unless it was closed in order, whoever waits is told (L8).
    fn drop(&mut self) {
        self.shared.queue.lock().drained = true;
        self.shared.durability.poison(Poisoned {
            op: "commit to",
            path: Arc::new(self.shared.log_dir()),
            message: Arc::from("the committer ended before the log was closed"),
        });
        self.shared.wake_all();
    }
}
