//! Reading a log without opening it for writing.
//!
//! Owns: [`OfflineLog`]: what an open would hand out for reading, and whether an open would happen. Never does: write
//! (L40).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Lsn;
use crate::disk::Disk;
use crate::error::{OpenError, SnapshotError};
use crate::format::Geometry;
use crate::format::snapshot::{SnapshotKind, snapshot_name};
use crate::options::LogOptions;
use crate::reader::Reader;
use crate::reader::view::LogView;
use crate::recovery::RecoveryReport;
use crate::recovery::open::{judge, view_start};
use crate::recovery::walk::drop_proven;
use crate::snapshot::{Opened, SNAPSHOTS_DIR, SnapshotInfo, SnapshotReader, open_file};
use crate::sync::Mutex;

use super::{Held, hold, no_manifest};

/// A log that is only read. Locked against engines for as long as it lives.
pub struct OfflineLog {
    /// Reads what an open would keep, or what is proven: as it was asked for.
    pub reader: Reader,
    /// What an open would find.
    pub report: RecoveryReport,
    /// Why an open would refuse; then the reader ends where the log stops being whole.
    pub refusal: Option<OpenError>,
    /// State snapshots to begin a fold from; a log whose beginning was cut cannot be folded without one.
    pub snapshots: OfflineSnapshots,
    /// Identity of the log. Secret: never expose it.
    pub log_id: [u8; 16],
    /// Grows with every restore and salvage.
    pub timeline: u32,
    pub(super) geometry: Geometry,
    _held: Held,
}

impl std::fmt::Debug for OfflineLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfflineLog").field("report", &self.report).finish_non_exhaustive()
    }
}

/// The state snapshots of an [`OfflineLog`] that are sound as far as a start looks. Cheap to clone.
#[derive(Clone)]
pub struct OfflineSnapshots {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    geometry: Geometry,
    states: Arc<Mutex<Vec<SnapshotInfo>>>,
}

impl std::fmt::Debug for OfflineSnapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfflineSnapshots").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl OfflineSnapshots {
    /// Ascending by LSN.
    #[must_use]
    pub fn list(&self) -> Vec<SnapshotInfo> {
        self.states.lock().clone()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn open(&self, kind: SnapshotKind, last_lsn: Lsn) -> Result<Opened, SnapshotError> {
        let path = self.folder.join(snapshot_name(kind, last_lsn));
        open_file(self.disk.as_ref(), &path, &self.geometry, kind, last_lsn)
    }

    /// Opens one for reading from its first item.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Io`.
    pub fn read(&self, last_lsn: Lsn) -> Result<SnapshotReader, SnapshotError> {
        if !self.states.lock().iter().any(|info| info.last_lsn == last_lsn) {
            return Err(SnapshotError::Missing { lsn: last_lsn });
        }
        Ok(SnapshotReader::new(self.open(SnapshotKind::State, last_lsn)?))
    }

    /// One that turned out to be damaged is not offered again.
    pub fn give_up(&self, last_lsn: Lsn, why: &SnapshotError) {
        tracing::error!(lsn = last_lsn.0, %why, "snapshot is damaged; the older one is used");
        self.states.lock().retain(|info| info.last_lsn != last_lsn);
    }
}

/// How far an [`OfflineLog`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// Everything that the next start keeps, proven durable or not.
    Valid,
    /// What is proven durable: whoever keeps something of it claims no more than is true (L2).
    Proven,
}

impl OfflineLog {
    /// The first moment as of which the state can be folded: that of the oldest state snapshot of a log whose beginning was
    /// cut, 0 of any other one. `None`: it was cut, and has no snapshot.
    #[must_use]
    pub fn foldable_from(&self) -> Option<Lsn> {
        let start = self.reader.first_lsn();
        if start <= Lsn::FIRST {
            return Some(Lsn::ZERO);
        }
        self.snapshots.list().iter().map(|info| info.last_lsn).find(|lsn| lsn.next() >= start)
    }

    /// Opens the log in `dir` for reading.
    ///
    /// # Errors
    /// `Locked`, `NoLog`, `Format`, `Io`; `Damaged` only when the structure is (MANIFEST, WATERMARK, a segment's file).
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, upto: Upto) -> Result<OfflineLog, OpenError> {
        let held = hold(&disk, dir)?;
        let judged =
            judge(&disk, dir, LogOptions::default().walk_bytes_min)?.ok_or_else(|| no_manifest(dir))?;
        let mut gathered = judged.gathered;
        let geometry = gathered.manifest.geometry;
        if upto == Upto::Proven {
            let proven = gathered.facts().proven();
            let walked = &mut gathered.walked;
            drop_proven(&mut walked.unproven, proven);
            if let Some(group) = walked.unproven.front() {
                walked.end = group.pos;
                walked.valid = group.first_lsn.prev();
                walked.segments.retain(|segment, _| *segment <= group.pos.segment);
            }
        }
        let log_dir = dir.join(crate::recovery::LOG_DIR);
        let options = LogOptions::default();
        let start = view_start(&options, &gathered.manifest, &mut gathered.walked, gathered.snapshots.base);
        let snapshots = OfflineSnapshots {
            disk: Arc::clone(&disk),
            folder: dir.join(SNAPSHOTS_DIR),
            geometry,
            states: Arc::new(Mutex::new(gathered.snapshots.states)),
        };
        let view = LogView::new(disk, log_dir, geometry, start);
        Ok(OfflineLog {
            snapshots,
            reader: Reader::new(Arc::new(view)),
            report: judged.report,
            refusal: judged.refusal,
            log_id: geometry.log_id,
            timeline: geometry.timeline,
            geometry,
            _held: held,
        })
    }
}
