//! Following the log: what is there, then what becomes durable.
//!
//! Owns: [`Tail`]. Never does: poll; it sleeps on the durable LSN. Show what is not durable (L9).

use crate::error::{ReadError, TailError};
use crate::reader::frame::Frame;
use crate::reader::{Reader, Scan};
use crate::writer::durability::Durability;
use crate::{Gap, Lsn};

/// The batches of the log in order, without an end: at the durable end it waits.
#[derive(Debug)]
pub struct Tail {
    scan: Scan,
    reader: Reader,
    durability: Durability,
}

impl Reader {
    /// Follows the log from the batch that contains `from`.
    ///
    /// # Errors
    /// `BelowStart`.
    pub fn tail(&self, from: Lsn, durability: &Durability) -> Result<Tail, ReadError> {
        let scan = self.scan(from)?;
        Ok(Tail { scan, reader: self.clone(), durability: durability.clone() })
    }
}

impl Tail {
    /// The next batch; blocks until there is one.
    ///
    /// # Errors
    /// [`TailError::Read`]: as for a scan; it stays where it is. [`TailError::Ended`]: the log has ended, and
    /// everything durable was handed out.
    pub fn wait_next(&mut self) -> Result<Frame, TailError> {
        loop {
            // Asked before the scan: what becomes durable in between is not waited for.
            let durable = self.reader.durable();
            if let Some(frame) = self.scan.next() {
                return Ok(frame?);
            }
            self.durability.wait(durable.next())?;
        }
    }

    /// Goes on behind lost events, as [`Scan::pass_gap`].
    pub fn pass_gap(&mut self, gap: Gap) {
        self.scan.pass_gap(gap);
    }
}
