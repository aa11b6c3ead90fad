//! Where values come from: views hold positions, the log holds the bytes.
//!
//! Owns: the seam [`ValueSource`], [`At`] (where and when an event stands) and [`FoldedBatch`] (one commit as the
//! views take it). Never does: cache.

use bincode::{Decode, Encode};
use relive_log::events::Event;
use relive_log::{FramePos, Lsn, Reader, UnixMicros};

/// Gives back an event by its place. Two implementations: the log's [`Reader`] and, in tests, a log in memory.
pub trait ValueSource: Send + Sync {
    /// The event `lsn`, which stands in the frame at `pos`.
    ///
    /// # Errors
    /// As the log says: not durable, damaged, not there.
    fn event(&self, pos: FramePos, lsn: Lsn) -> Result<Event, relive_log::ReadError>;
}

impl ValueSource for Reader {
    fn event(&self, pos: FramePos, lsn: Lsn) -> Result<Event, relive_log::ReadError> {
        self.read_event(pos, lsn).map(|(event, _)| event)
    }
}

/// Where an event stands in the log, and the commit time of its batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct At {
    /// The event.
    pub lsn: Lsn,
    /// Its frame.
    pub pos: FramePos,
    /// The commit time of the batch.
    pub time: UnixMicros,
}

/// One batch of the log: event `i` has the LSN `first + i`.
#[derive(Clone, Copy, Debug)]
pub struct FoldedBatch<'a> {
    /// LSN of the first event.
    pub first: Lsn,
    /// LSN of the last event.
    pub last: Lsn,
    /// Commit time of the batch.
    pub commit_time: UnixMicros,
    /// Where its frame stands.
    pub pos: FramePos,
    /// The events, in order.
    pub events: &'a [Event],
}
