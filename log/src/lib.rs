//! The append-only log: the only data of Relive that cannot be recomputed.
//!
//! Owns: segments, frames, groups, MANIFEST, WATERMARK, LOCK, recovery, the disk seam, and the vocabulary of
//! events with its codec. Never does: decide what happens next, fold events into state, read a clock, draw
//! random numbers or start threads (all are handed in).

pub mod events;
mod ids;
mod types;

pub use ids::{AppId, ExecutionId, LetterId, PrincipalId, RouteId, TriggerId};
pub use types::{FramePos, Lsn, UnixMicros};
