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
    fn event(&self, pos: FramePos, lsn: Lsn) -> Result<Event, relive_log::ReadError> {
        let (mut events, _) = self.events(pos, &[lsn])?;
        events.pop().ok_or(relive_log::ReadError::NotInFrame { pos, lsn })
    }

    /// Some events of the frame at `pos`, in ascending order of their LSNs, and the frame's commit time.
    ///
    /// # Errors
    /// As for [`ValueSource::event`], for any of them.
    fn events(&self, pos: FramePos, lsns: &[Lsn]) -> Result<(Vec<Event>, UnixMicros), relive_log::ReadError>;

    /// Events up to this one can be read back.
    fn readable(&self) -> Lsn;

    /// Events from this one on can be read back; of earlier ones, only some.
    fn first(&self) -> Lsn;
}

impl ValueSource for Reader {
    fn events(&self, pos: FramePos, lsns: &[Lsn]) -> Result<(Vec<Event>, UnixMicros), relive_log::ReadError> {
        self.read_events(pos, lsns)
    }

    fn readable(&self) -> Lsn {
        self.durable()
    }

    fn first(&self) -> Lsn {
        self.first_lsn()
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
