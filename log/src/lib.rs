//! The append-only log: the only data of Relive that cannot be recomputed.
//!
//! Owns: segments, frames, groups, MANIFEST, WATERMARK, LOCK, recovery, the disk seam, and the vocabulary of
//! events with its codec. Never does: decide what happens next, fold events into state, read a clock, draw
//! random numbers or start threads (all are handed in).

mod api_skeleton;
mod batch;
pub mod disk;
mod error;
pub mod events;
pub mod evidence;
mod format;
mod ids;
mod options;
pub mod recovery;
mod types;

pub use api_skeleton::*;
pub use batch::Batch;
pub use error::{AppendError, OpenError, Poisoned, ReadError};
pub use ids::{AppId, ExecutionId, LetterId, PrincipalId, RouteId, TriggerId};
pub use options::{FreshIdentity, LogOptions};
pub use recovery::RecoveryReport;
pub use types::{FramePos, Lsn, UnixMicros};
