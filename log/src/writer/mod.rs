//! The writing half of an open log: one appender, one committer, one preparer, around one short lock.
//!
//! Owns: [`Shared`], what the three have in common, and the way to poison. Never does: start threads; the server
//! lends them, the simulation steps them.
//!
//! Lock order: `watermark_sync`, then `watermark`; `queue` is never held together with either. Neither `queue`
//! nor `watermark` is held during a write to a segment or any sync.

mod appender;
mod committer;
pub(crate) mod durability;
pub(crate) mod layout;
mod preparer;
pub(crate) mod seal;
pub(crate) mod segment_file;
pub(crate) mod supply;
pub(crate) mod watermark_file;

#[cfg(all(test, not(feature = "shuttle")))]
mod recycle_tests;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

use crate::disk::Disk;
use crate::error::Poisoned;
use crate::format::Geometry;
use crate::format::frame::FrameKey;
use crate::format::manifest::Manifest;
use crate::format::segment::{segment_name, segment_tmp_name};
use crate::options::{Recycle, SnapshotSyncErrors};
use crate::reader::view::LogView;

pub use appender::{Appender, Urgency};
pub use committer::{Committer, StepOutcome};
pub use preparer::{PrepareOutcome, Preparer};

use durability::Durability;
use layout::Layout;
use supply::{Offered, Retired, Stock, Supply};
use watermark_file::WatermarkFile;

/// What the three writers share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) geometry: Geometry,
    pub(crate) key: FrameKey,
    pub(crate) software: String,
    pub(crate) watermark_sync_every: Duration,
    /// Of this open.
    pub(crate) epoch: u32,
    pub(crate) snapshots_kept: u32,
    pub(crate) snapshot_sync_errors: SnapshotSyncErrors,
    /// What MANIFEST says. Held while it is replaced and while what it no longer names is removed; no other lock is
    /// taken before it but `in_force` and those of `view`, and never the other way round.
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) unhurried_wait: Duration,
    pub(crate) unhurried_bytes_max: u64,
    pub(crate) supplying: Supplying,
    pub(crate) queue: Mutex<Queue>,
    /// Something for the committer.
    pub(crate) work: Condvar,
    /// Something for the preparer.
    pub(crate) chores: Condvar,
    /// Something for the preparer while it waits for room on the disk.
    pub(crate) freed: Condvar,
    /// Something for whoever waits for room to append.
    pub(crate) room: Condvar,
    pub(crate) watermark: Mutex<WatermarkFile>,
    /// Held by whoever syncs WATERMARK, for as long as that takes.
    pub(crate) watermark_sync: Mutex<()>,
    pub(crate) view: Arc<LogView>,
    pub(crate) durability: Durability,
    /// Released when the last of the three is dropped.
    pub(crate) _lock: Box<dyn Any + Send + Sync>,
}

/// How segments are made.
#[derive(Debug)]
pub(crate) struct Supplying {
    pub(crate) recycle: Recycle,
    /// Bytes of the filesystem that new segments leave to others.
    pub(crate) free_bytes_min: u64,
    pub(crate) retry: Duration,
    pub(crate) retry_max: Duration,
    pub(crate) seen: Supply,
}

/// The state under the short lock.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) layout: Layout,
    pub(crate) stock: Stock,
    pub(crate) retired: Retired,
    /// Counts whatever may let an append go better than before.
    pub(crate) room_turns: u64,
    /// The appender is gone.
    pub(crate) closed: bool,
    /// Nothing is left to write and nothing will come.
    pub(crate) drained: bool,
    pub(crate) watermark_dirty: bool,
    /// Somebody waits for something in the buffer: the committer takes it as soon as it can.
    pub(crate) urgent: bool,
    /// The committer knows that something is in the buffer for which nobody waits.
    pub(crate) unhurried: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.dir.join(crate::recovery::LOG_DIR)
    }

    /// Somebody waits for what is in the buffer.
    pub(crate) fn hurry(&self) {
        let mut queue = self.queue.lock();
        if !std::mem::replace(&mut queue.urgent, true) {
            drop(queue);
            self.work.notify_all();
        }
    }

    /// Ends this writer (L8): fails every waiter and wakes everybody.
    pub(crate) fn poison(&self, op: &'static str, path: &Path, error: &io::Error) {
        tracing::error!(op, path = %path.display(), %error, "log poisoned");
        let message = Arc::from(error.to_string().as_str());
        self.durability.poison(Poisoned { op, path: Arc::new(path.to_owned()), message });
        self.wake_all();
    }

    /// Wakes all threads of the writer, so that they see what changed.
    fn wake_all(&self) {
        self.queue.lock().room_turns += 1;
        self.work.notify_all();
        self.chores.notify_all();
        self.freed.notify_all();
        self.room.notify_all();
    }

    /// Offers the file of a segment that the log no longer needs to the preparer: it is below the first segment that
    /// MANIFEST names, durably, and no reader is handed it any more. A file that is kept gets the name of an unfinished
    /// one. One caller at a time.
    pub(crate) fn retire(&self, segment: u32) -> io::Result<Offered> {
        if !self.queue.lock().retired.has_room() {
            return Ok(Offered::Declined);
        }
        let log_dir = self.log_dir();
        self.disk.rename(&log_dir.join(segment_name(segment)), &log_dir.join(segment_tmp_name(segment)))?;
        self.queue.lock().retired.put(segment);
        self.freed.notify_all();
        Ok(Offered::Kept)
    }
}
