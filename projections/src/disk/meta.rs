//! The row `!meta`: what the store, with the runs that it lists, is the fold of. It is written in the same batch as
//! the rows that it speaks of (V2), so that this batch is the single point at which a checkpoint happens.

use bincode::{Decode, Encode};
use relive_log::Lsn;

use crate::digest::Digest;
use crate::rows::{self, SCHEMA};
use crate::run::{RunKind, RunMeta};
use crate::store::Change;

/// Key of the row; sorts before every other.
pub(crate) const META_KEY: &[u8] = b"!meta";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Meta {
    /// Shape of the rows.
    pub(crate) schema: u64,
    /// Identity of the log.
    pub(crate) log_id: [u8; 16],
    /// Its timeline.
    pub(crate) timeline: u32,
    /// Store and runs hold everything up to here, and nothing above.
    pub(crate) applied: Lsn,
    /// Runs in force, newest first.
    pub(crate) runs: Vec<RunMeta>,
    /// Sum over all rows of the store but this one (V8).
    pub(crate) digest: u128,
}

impl Meta {
    /// Of a generation that holds nothing.
    pub(crate) fn new(log_id: [u8; 16], timeline: u32) -> Meta {
        Meta {
            schema: SCHEMA,
            log_id,
            timeline,
            applied: Lsn::ZERO,
            runs: Vec::new(),
            digest: Digest::default().0,
        }
    }

    /// The row that writes it.
    pub(crate) fn change(&self) -> Change {
        (META_KEY.to_vec(), Some(rows::encode(self)))
    }

    /// Runs of one kind, newest first.
    pub(crate) fn of_kind(&self, kind: RunKind) -> impl Iterator<Item = &RunMeta> {
        self.runs.iter().filter(move |run| run.kind == kind)
    }
}
