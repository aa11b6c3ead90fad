//! Reading a log without opening it for writing.
//!
//! Owns: [`OfflineLog`]: what an open would hand out for reading, and whether an open would happen. Never does: write
//! (L40).

use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::Geometry;
use crate::options::LogOptions;
use crate::reader::Reader;
use crate::reader::view::LogView;
use crate::recovery::RecoveryReport;
use crate::recovery::open::{judge, view_start};
use crate::recovery::walk::drop_proven;

use super::{Held, hold, no_manifest};

/// A log that is only read. Locked against engines for as long as it lives.
pub struct OfflineLog {
    /// Reads what an open would keep, or what is proven: as it was asked for.
    pub reader: Reader,
    /// What an open would find.
    pub report: RecoveryReport,
    /// Why an open would refuse; then the reader ends where the log stops being whole.
    pub refusal: Option<OpenError>,
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

/// How far an [`OfflineLog`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// Everything that the next start keeps, proven durable or not.
    Valid,
    /// What is proven durable: whoever keeps something of it claims no more than is true (L2).
    Proven,
}

impl OfflineLog {
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
        let view = LogView::new(disk, log_dir, geometry, start);
        Ok(OfflineLog {
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
