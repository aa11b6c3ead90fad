//! The appender: puts batches into the buffer. One owner, no system call, no waiting for I/O.
//!
//! Owns: nothing but its place at the lock. Never does: I/O, block on anything but the short lock.

use std::sync::Arc;

use crate::batch::Batch;
use crate::error::AppendError;
use crate::writer::Shared;
use crate::writer::layout::Appended;
use crate::{Lsn, UnixMicros};

/// Whether somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    Now,
    Later,
}

/// Appends batches. There is exactly one per open log; dropping it lets the committer finish.
#[derive(Debug)]
pub struct Appender {
    pub(crate) shared: Arc<Shared>,
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

    /// Puts a batch into the buffer. Its LSNs, time and position are final; it is durable once
    /// [`crate::Durability`] says so, and not before.
    ///
    /// # Errors
    /// `TooLarge`, `Empty`: fix the batch. `Busy`: wait until something became durable. `NoSpace`: free space.
    /// `Poisoned`: exit. In all cases no LSN was used.
    pub fn append(&mut self, batch: &Batch, now: UnixMicros) -> Result<Appended, AppendError> {
        self.append_as(batch, now, Urgency::Now)
    }

    /// As [`Appender::append`], for a batch that nobody waits for yet: it rides with the next one that somebody
    /// waits for, and is committed by itself only after `LogOptions::unhurried_wait`, or once
    /// `LogOptions::unhurried_bytes_max` have gathered. Whoever waits for it later hurries it
    /// ([`crate::Durability::hurry`]).
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn append_unhurried(&mut self, batch: &Batch, now: UnixMicros) -> Result<Appended, AppendError> {
        self.append_as(batch, now, Urgency::Later)
    }

    fn append_as(
        &mut self,
        batch: &Batch,
        now: UnixMicros,
        urgency: Urgency,
    ) -> Result<Appended, AppendError> {
        if let Some(poison) = self.shared.durability.poisoned() {
            return Err(AppendError::Poisoned(poison));
        }
        let mut queue = self.shared.queue.lock();
        let bound = queue.no_space.then_some(queue.ready_upto);
        let before = queue.layout.segment();
        let appended = queue.layout.append(batch, now, bound)?;
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

impl Drop for Appender {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.work.notify_all();
        self.shared.chores.notify_all();
    }
}
