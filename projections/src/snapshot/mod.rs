//! Snapshots of the whole state, and views that begin from one.
//!
//! Owns: what the items of a snapshot mean, the state that is taken ([`StateAt`]: that of a checkpoint, so that
//! one LSN stands for all of it), and the seam [`SnapshotSource`]. Never does: install or choose a snapshot (the log
//! does), hold values: rows say where the log has them.
//!
//! ```text
//! first item  'm' | bincode: schema, applied LSN, digest of the store's rows, list of runs (newest first)
//! store       's' | (u32 key length | u32 value length | key | value)*
//! run         'r' | kind | u64 number           one for each run of the list, in its order
//!             'k' | (u32 key length | u32 value length | u64 lsn | key | value)*
//! ```
//!
//! Invariants: P18 a snapshot is the state of one checkpoint: store and runs are taken while nothing is written. P19
//! views that begin from a snapshot hold what a rebuild from the first event would; one that does not add up is given
//! up, and the next older one is taken.

mod restore;
mod state;

use relive_log::snapshot::{SnapshotReader, Snapshots};
use relive_log::tools::OfflineSnapshots;
use relive_log::{Lsn, SnapshotError};

pub(crate) use restore::{Restored, Target, restore};
pub use state::StateAt;

use crate::rows::SCHEMA;
use crate::run::RunMeta;
use bincode::{Decode, Encode};

/// Shape of the items; a snapshot of another one is not used.
pub const SNAPSHOT_SCHEMA: u64 = SCHEMA;

/// Rows are gathered into items of about so many bytes.
const ITEM_BYTES: usize = 32 * 1024;

const META: u8 = b'm';
const STORE: u8 = b's';
const RUN: u8 = b'r';
const ROWS: u8 = b'k';

/// The first item.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SnapshotMeta {
    schema: u64,
    applied: Lsn,
    store_digest: u128,
    runs: Vec<RunMeta>,
}

/// Where snapshots come from: the [`Snapshots`] of an open log, the [`OfflineSnapshots`] of one that is only read and,
/// in tests, memory.
pub trait SnapshotSource: Send + Sync {
    /// The last LSNs of what is there.
    fn newest_first(&self) -> Vec<Lsn>;
    /// The items of one, and the digest of its rows.
    ///
    /// # Errors
    /// It cannot be read.
    fn open(&self, lsn: Lsn) -> Result<(Box<dyn SnapshotItems>, u128), SnapshotError>;
    /// It is damaged: it is not to be used again.
    fn give_up(&self, lsn: Lsn, why: &SnapshotError);
}

/// Items in order.
pub trait SnapshotItems {
    /// The next item, `None` at the end.
    ///
    /// # Errors
    /// Damaged, or not to be read.
    fn next_item(&mut self) -> Result<Option<Vec<u8>>, SnapshotError>;
}

impl SnapshotItems for SnapshotReader {
    fn next_item(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        SnapshotReader::next_item(self)
    }
}

/// What both sources have in common.
macro_rules! source_of_files {
    ($source:ty) => {
        impl SnapshotSource for $source {
            fn newest_first(&self) -> Vec<Lsn> {
                self.list().iter().rev().map(|info| info.last_lsn).collect()
            }

            fn open(&self, lsn: Lsn) -> Result<(Box<dyn SnapshotItems>, u128), SnapshotError> {
                let reader = self.read(lsn)?;
                let digest = reader.info().digest;
                Ok((Box::new(reader), digest))
            }

            fn give_up(&self, lsn: Lsn, why: &SnapshotError) {
                <$source>::give_up(self, lsn, why);
            }
        }
    };
}

source_of_files!(Snapshots);
source_of_files!(OfflineSnapshots);
