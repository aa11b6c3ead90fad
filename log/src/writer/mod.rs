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
pub(crate) mod watermark_file;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::disk::Disk;
use crate::error::Poisoned;
use crate::format::Geometry;
use crate::format::frame::FrameKey;
use crate::format::manifest::Manifest;
use crate::options::SnapshotSyncErrors;
use crate::reader::view::LogView;

pub use appender::Appender;
pub use committer::{Committer, StepOutcome};
pub use preparer::{PrepareOutcome, Preparer};

use durability::Durability;
use layout::Layout;
use watermark_file::WatermarkFile;

/// What the three writers share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) geometry: Geometry,
    pub(crate) key: FrameKey,
    pub(crate) software: String,
    pub(crate) spares: u32,
    pub(crate) watermark_sync_every: Duration,
    pub(crate) no_space_retry: Duration,
    /// Of this open.
    pub(crate) epoch: u32,
    pub(crate) snapshots_kept: u32,
    pub(crate) snapshot_sync_errors: SnapshotSyncErrors,
    /// What MANIFEST says. Held while it is replaced and while what it no longer names is removed; no other lock is
    /// taken before it but `in_force` and those of `view`, and never the other way round.
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) unhurried_wait: Duration,
    pub(crate) unhurried_bytes_max: u64,
    pub(crate) queue: Mutex<Queue>,
    /// Something for the committer.
    pub(crate) work: Condvar,
    /// Something for the preparer.
    pub(crate) chores: Condvar,
    pub(crate) watermark: Mutex<WatermarkFile>,
    /// Held by whoever syncs WATERMARK, for as long as that takes.
    pub(crate) watermark_sync: Mutex<()>,
    pub(crate) view: Arc<LogView>,
    pub(crate) durability: Durability,
    /// Released when the last of the three is dropped.
    pub(crate) _lock: Box<dyn Any + Send + Sync>,
}

/// The state under the short lock.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) layout: Layout,
    /// The last segment that is published and durable.
    pub(crate) ready_upto: u32,
    /// The disk had no room for the next segment when last asked.
    pub(crate) no_space: bool,
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
        drop(self.queue.lock());
        self.work.notify_all();
        self.chores.notify_all();
    }
}
