//! Snapshots: checksummed files that are installed whole or not at all, and the cut of the log that they allow.
//!
//! Owns: the container ([`SnapshotWriter`], [`SnapshotReader`]), which snapshots are in force ([`Snapshots`]), the
//! base (the events below the log's start that something still refers to), the cut of the log's beginning, the
//! scrubber. Never does: know what an item means, decide how much history is kept, start threads, read a clock.
//!
//! Upholds L13 (a snapshot counts only after it was synced, read back past the page cache and verified, and its name
//! is durable), L14 (the log is never cut above what the older of the two newest snapshots that verify needs, nor
//! before the base at the new start is installed) and L15 (what MANIFEST says comes before what is unlinked: a crash
//! in between leaves files that the next start removes, never a hole).

mod base;
mod cut;
mod file;
mod install;
mod scrub;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use crate::sync::Mutex;

pub use crate::format::snapshot::SnapshotKind;
pub(crate) use base::Base;
pub use base::BaseWriter;
pub use cut::{Cut, CutDone};
pub use file::SnapshotReader;
pub(crate) use file::{Opened, open_file, verify_file};
pub use scrub::{Damage, ScrubStatus, ScrubStep, Scrubber};
pub use writer::SnapshotWriter;

use crate::error::SnapshotError;
use crate::format::snapshot::{Footer, SnapshotHeader, snapshot_name};
use crate::reader::Reader;
use crate::writer::Shared;
use crate::{FramePos, Lsn, UnixMicros};

/// Directory of the snapshots in the data directory.
pub(crate) const SNAPSHOTS_DIR: &str = "snapshots";

/// A snapshot that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// What it holds.
    pub kind: SnapshotKind,
    /// It holds what follows from every event up to here, and from none above.
    pub last_lsn: Lsn,
    /// `hdr_crc` of the frame that ends with `last_lsn`.
    pub(crate) chain: u32,
    /// That frame.
    pub(crate) pos: FramePos,
    /// When it was begun.
    pub created: UnixMicros,
    /// Shape of its items, named by whoever wrote them.
    pub schema: u64,
    /// The first LSN of the log when it was begun.
    pub log_start: Lsn,
    /// Items in it.
    pub items: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Digest of the state, as whoever wrote it computes it.
    pub digest: u128,
}

impl SnapshotInfo {
    pub(crate) fn new(header: &SnapshotHeader, footer: &Footer) -> Self {
        Self {
            kind: header.kind,
            last_lsn: header.last_lsn,
            chain: header.chain,
            pos: header.pos,
            created: header.created,
            schema: header.schema,
            log_start: header.log_start,
            items: footer.items - u64::from(footer.index_items),
            bytes: footer.total_len,
            digest: footer.digest,
        }
    }
}

/// The snapshots of an open log. Cheap to clone; keep no clone longer than the log is open.
#[derive(Clone)]
pub struct Snapshots {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reader: Reader,
    pub(crate) in_force: Arc<Mutex<InForce>>,
}

/// State snapshots that MANIFEST names, ascending, as far as they are sound.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    pub(crate) states: Vec<SnapshotInfo>,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").finish_non_exhaustive()
    }
}

impl Snapshots {
    pub(crate) fn dir(&self) -> PathBuf {
        self.shared.dir.join(SNAPSHOTS_DIR)
    }

    /// The state snapshots in force, ascending by LSN.
    #[must_use]
    pub fn list(&self) -> Vec<SnapshotInfo> {
        self.in_force.lock().states.clone()
    }

    /// The last LSN of the newest state snapshot; 0 without one.
    #[must_use]
    pub fn newest(&self) -> Lsn {
        self.in_force.lock().states.last().map_or(Lsn::ZERO, |info| info.last_lsn)
    }

    /// Bytes of log behind the newest state snapshot, about: segments are counted whole.
    #[must_use]
    pub fn bytes_since_newest(&self) -> u64 {
        let end = self.reader.durable_end();
        let from =
            self.in_force.lock().states.last().map_or_else(|| self.shared.view.start(), |info| info.pos);
        let segments = u64::from(end.segment.saturating_sub(from.segment));
        let segment_bytes = u64::from(self.shared.geometry.segment_bytes);
        (segments * segment_bytes + u64::from(end.offset)).saturating_sub(u64::from(from.offset))
    }

    /// Size of a segment.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        u64::from(self.shared.geometry.segment_bytes)
    }

    /// Bytes free where the log is.
    ///
    /// # Errors
    /// As the system says.
    pub fn free_space(&self) -> std::io::Result<u64> {
        self.shared.disk.free_space(&self.shared.dir)
    }

    /// What stands at the start of a log that was cut, if it was.
    #[must_use]
    pub fn base(&self) -> Option<SnapshotInfo> {
        self.shared.view.base().map(|base| base.info())
    }

    /// Begins a snapshot of the state as of `last_lsn`, which is durable and ends a batch.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing that is in force is touched.
    pub fn begin(
        &self,
        last_lsn: Lsn,
        schema: u64,
        now: UnixMicros,
    ) -> Result<SnapshotWriter, SnapshotError> {
        let durable = self.reader.durable();
        if last_lsn > durable || last_lsn == Lsn::ZERO {
            return Err(SnapshotError::NotDurable { lsn: last_lsn, durable });
        }
        if self.in_force.lock().states.iter().any(|info| info.last_lsn == last_lsn) {
            return Err(SnapshotError::Exists { lsn: last_lsn });
        }
        let (frame, chain) = self.reader.frame_and_chain_of(last_lsn)?;
        if frame.last_lsn != last_lsn {
            return Err(SnapshotError::InsideBatch { lsn: last_lsn, ends: frame.last_lsn });
        }
        let header = SnapshotHeader {
            chain,
            epoch: self.shared.epoch,
            created: now,
            schema,
            log_start: self.reader.first_lsn(),
            pos: frame.pos,
            ..SnapshotHeader::new(&self.shared.geometry, SnapshotKind::State, last_lsn, &self.shared.software)
        };
        SnapshotWriter::create(self.clone(), header)
    }

    /// Opens a state snapshot in force for reading from its first item.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Io`.
    pub fn read(&self, last_lsn: Lsn) -> Result<SnapshotReader, SnapshotError> {
        if !self.in_force.lock().states.iter().any(|info| info.last_lsn == last_lsn) {
            return Err(SnapshotError::Missing { lsn: last_lsn });
        }
        let opened = self.open(SnapshotKind::State, last_lsn)?;
        Ok(SnapshotReader::new(opened))
    }

    /// Reads every byte of a state snapshot past the page cache. One that is damaged is no longer in force.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Io`.
    pub fn verify(&self, last_lsn: Lsn) -> Result<SnapshotInfo, SnapshotError> {
        let opened = self.read(last_lsn).and_then(|reader| {
            reader.drop_cache()?;
            verify_file(reader.into_opened())
        });
        if let Err(error @ SnapshotError::Damaged { .. }) = &opened {
            self.give_up(last_lsn, error);
        }
        opened
    }

    /// Takes a damaged snapshot out of force, in memory: its file stays for whoever looks into it.
    pub fn give_up(&self, last_lsn: Lsn, why: &SnapshotError) {
        tracing::error!(lsn = last_lsn.0, %why, "snapshot is damaged; the older one is used");
        self.in_force.lock().states.retain(|info| info.last_lsn != last_lsn);
    }

    pub(crate) fn open(&self, kind: SnapshotKind, last_lsn: Lsn) -> Result<Opened, SnapshotError> {
        let path = self.dir().join(snapshot_name(kind, last_lsn));
        open_file(self.shared.disk.as_ref(), &path, &self.shared.geometry, kind, last_lsn)
    }
}
