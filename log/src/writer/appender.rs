//! The appender: puts batches into the buffer. One owner; appending makes no system call and waits for no I/O.
//!
//! Owns: nothing but its place at the lock. Never does: I/O; block on anything but the short lock, unless asked to
//! wait for room.

use std::sync::Arc;

use crate::batch::Batch;
use crate::error::AppendError;
use crate::writer::Shared;
use crate::writer::layout::Appended;
use crate::writer::supply::{Purpose, Supply};
use crate::{Lsn, UnixMicros};

/// Whether somebody waits for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It is committed as soon as the disk is free.
    Now,
    /// Nobody does yet.
    Later,
}

/// Appends batches. There is exactly one per open log; dropping it lets the committer finish.
#[derive(Debug)]
pub struct Appender {
    pub(crate) shared: Arc<Shared>,
    /// What the last append knew of the room.
    pub(crate) turns_seen: u64,
}

impl Appender {
    /// The LSN that the next event will get.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.shared.queue.lock().layout.next_lsn()
    }

    /// How often the clock had stepped back and was clamped, since the log was opened.
    #[must_use]
    pub fn clamps(&self) -> u64 {
        self.shared.queue.lock().layout.clamps()
    }

    /// The commit time of the last batch of the log.
    #[must_use]
    pub fn last_commit_time(&self) -> UnixMicros {
        self.shared.queue.lock().layout.last_commit()
    }

    /// Puts a batch of new work into the buffer. Its LSNs, time and position are final; it is durable once
    /// [`crate::Durability`] says so, and not before.
    ///
    /// # Errors
    /// `TooLarge`, `Empty`: fix the batch. `Busy`: [`Appender::wait_for_room`], then again. `NoSpace`: free space.
    /// `Poisoned`, `Closed`: exit. In all cases no LSN was used.
    pub fn append(&mut self, batch: &Batch, now: UnixMicros) -> Result<Appended, AppendError> {
        self.append_with(batch, now, Purpose::NewWork, Urgency::Now)
    }

    /// As [`Appender::append`], for batches that end what was admitted or let the log shrink.
    ///
    /// # Errors
    /// As for `append`.
    pub fn append_ending(&mut self, batch: &Batch, now: UnixMicros) -> Result<Appended, AppendError> {
        self.append_with(batch, now, Purpose::Ending, Urgency::Now)
    }

    /// As [`Appender::append`], for a purpose (while the disk is low, a reserve is kept for endings: L20), and with an
    /// urgency. A batch for [`Urgency::Later`] rides with the next one that somebody waits for, and is committed by
    /// itself only after `LogOptions::unhurried_wait`, or once `LogOptions::unhurried_bytes_max` have gathered. Whoever
    /// waits for it later hurries it ([`crate::Durability::hurry`]).
    ///
    /// # Errors
    /// As for `append`.
    pub fn append_with(
        &mut self,
        batch: &Batch,
        now: UnixMicros,
        purpose: Purpose,
        urgency: Urgency,
    ) -> Result<Appended, AppendError> {
        if let Some(poison) = self.shared.durability.poisoned() {
            return Err(AppendError::Poisoned(poison));
        }
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            return Err(AppendError::Closed);
        }
        self.turns_seen = queue.room_turns;
        let stock = queue.stock;
        let before = queue.layout.segment();
        let appended = queue.layout.append(batch, now, purpose, &stock)?;
        let rolled = queue.layout.segment() != before;
        let gathered = queue.layout.pending_bytes() > self.shared.unhurried_bytes_max;
        let wake = match urgency {
            Urgency::Later if !gathered => !std::mem::replace(&mut queue.unhurried, true) && !queue.urgent,
            Urgency::Now | Urgency::Later => !std::mem::replace(&mut queue.urgent, true),
        };
        let urgent = queue.urgent;
        drop(queue);
        if urgent {
            self.shared.durability.hurried(appended.last);
        }
        if wake {
            self.shared.work.notify_all();
        }
        if rolled {
            self.shared.chores.notify_one();
        }
        Ok(appended)
    }
}

impl Appender {
    /// Waits, after `Busy`, until an append may go better: something became durable, a segment was prepared or cannot
    /// be, or the log ended.
    pub fn wait_for_room(&self) {
        let mut queue = self.shared.queue.lock();
        while queue.room_turns == self.turns_seen && !queue.closed && !self.shared.durability.has_ended() {
            self.shared.room.wait(&mut queue);
        }
    }

    /// What there is to say about room for new work.
    #[must_use]
    pub fn supply(&self) -> Supply {
        self.shared.supplying.seen.clone()
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake_all();
    }
}
