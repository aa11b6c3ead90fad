//! The append-only log: the only data of Relive that cannot be recomputed.
//!
//! Owns: segments, frames, groups, MANIFEST, WATERMARK, LOCK, recovery, the disk seam, and the vocabulary of
//! events with its codec. Never does: decide what happens next, fold events into state, read a clock, draw
//! random numbers or start threads (all are handed in).
//!
//! `docs/format.md` draws every byte and lists the invariants L1–L16; `docs/recovery.md` holds the recovery table.

mod batch;
pub mod disk;
mod error;
pub mod events;
pub mod evidence;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod ids;
mod options;
pub mod planted;
mod reader;
pub mod recovery;
pub mod snapshot;
mod sync;
pub mod tools;
mod types;
mod writer;

pub use batch::Batch;
pub use error::{AppendError, OpenError, Poisoned, ReadError, SnapshotError, TailError, WaitError};
pub use format::SEGMENT_ALIGNMENTS_MIN;
pub use ids::{AppId, BacktestId, ExecutionId, JobId, LetterId, PrincipalId, RouteId, TriggerId};
pub use options::{FreshIdentity, LogOptions, NetworkFilesystem, Recycle, SnapshotSyncErrors};
pub use reader::frame::{Frame, FrameInfo, RawRecord};
pub use reader::tail::Tail;
pub use reader::{DamagedSegment, RawEvent, Reader, Scan, SegmentInfo};
pub use recovery::{OpenedLog, RecoveryReport, open};
pub use types::{FramePos, Gap, Lsn, UnixMicros};
pub use writer::durability::{Durability, DurableListener};
pub use writer::layout::Appended;
pub use writer::supply::{Purpose, Room, Supply};
pub use writer::{Appender, Committer, PrepareOutcome, Preparer, StepOutcome, Urgency};
