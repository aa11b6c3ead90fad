//! Cutting the beginning of the log: whole segments, in an order that a crash may interrupt anywhere.
//!
//! ```text
//! base at the new start installed → MANIFEST names the new start, then its copy → readers → unlink, ascending → sync
//! ```
//!
//! Owns: that order (L14, L15). Never does: decide how much history is kept; the caller names the first LSN that it
//! needs.

use crate::Lsn;
use crate::error::SnapshotError;
use crate::format::manifest::Manifest;
use crate::format::segment::segment_name;
use crate::format::snapshot::SnapshotKind;
use crate::planted::{self, Bug};

use crate::writer::supply::Offered;

use super::{Base, Snapshots, verify_file};

/// A cut that could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first LSN that stays.
    pub start: Lsn,
    /// Bytes of the segments that go.
    pub bytes: u64,
    pub(crate) first_segment: u32,
    pub(crate) chain: u32,
}

/// A cut that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutDone {
    /// The first LSN of the log now.
    pub start: Lsn,
    /// Segments that went.
    pub segments: u32,
    /// Their bytes.
    pub bytes: u64,
}

impl Snapshots {
    /// The largest cut that keeps every event from `keep_from` on, and everything that the older of the two newest
    /// state snapshots needs (L14). Both are read in full first; `None` when there are no two, or nothing to cut.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn plan_cut(&self, keep_from: Lsn) -> Result<Option<Cut>, SnapshotError> {
        if self.candidate(keep_from).is_none() {
            return Ok(None);
        }
        let newest: Vec<Lsn> = self.list().iter().rev().take(2).map(|info| info.last_lsn).collect();
        for lsn in newest {
            match self.verify(lsn) {
                Ok(_) => {}
                Err(SnapshotError::Damaged { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let Some(first_segment) = self.candidate(keep_from) else { return Ok(None) };
        let view = &self.shared.view;
        let (start, chain) = self.reader.start_of(first_segment)?;
        let segments = u64::from(first_segment - view.start().segment);
        Ok(Some(Cut {
            start,
            first_segment,
            chain,
            bytes: segments * u64::from(self.shared.geometry.segment_bytes),
        }))
    }

    /// Whether a segment holds nothing from `keep_from` on, so that newer snapshots would let it go.
    #[must_use]
    pub fn waits_for_snapshots(&self, keep_from: Lsn) -> bool {
        let (first, end) = (self.shared.view.start().segment, self.shared.view.end().segment);
        let segments = self.shared.view.segments();
        let wanted = segments.iter().rev().find(|(n, state)| *n <= end && state.first_lsn <= keep_from);
        wanted.is_some_and(|(n, _)| *n > first && self.candidate(keep_from).is_none_or(|now| now < *n))
    }

    /// The segment that would be the first one.
    fn candidate(&self, keep_from: Lsn) -> Option<u32> {
        let states = self.list();
        let back = if planted::is(Bug::CutAboveOlder) { 1 } else { 2 };
        let older = states.len().checked_sub(back).and_then(|n| states.get(n))?;
        let keep_from = keep_from.min(older.last_lsn.next());
        let first = self.shared.view.start().segment;
        let segments = self.shared.view.segments();
        let below_end = self.shared.view.end().segment;
        let candidate = segments
            .iter()
            .rev()
            .find(|(segment, state)| *segment <= below_end && state.first_lsn <= keep_from)
            .map(|(segment, _)| *segment)?;
        (candidate > first).then_some(candidate)
    }

    /// Makes a cut whose base is installed.
    ///
    /// # Errors
    /// `Missing`: there is no base at its start. `Damaged`: the base is. `NoSpace`, `Io`: nothing was cut, or not
    /// everything was unlinked, which the next start does. `Poisoned`: exit.
    pub fn cut(&self, cut: &Cut) -> Result<CutDone, SnapshotError> {
        let mut manifest = self.shared.manifest.lock();
        if cut.first_segment <= manifest.first_seq {
            return Ok(CutDone { start: manifest.log_start_lsn, segments: 0, bytes: 0 });
        }
        let base = self.open(SnapshotKind::Base, cut.start.prev())?;
        verify_file(base.clone())?;
        let next = Manifest {
            first_seq: cut.first_segment,
            log_start_lsn: cut.start,
            log_start_chain: cut.chain,
            ..manifest.clone()
        };
        let before = manifest.first_seq;
        if planted::is(Bug::UnlinkBeforeManifest) {
            self.unlink(before, cut.first_segment)?;
        }
        self.replace_manifest(&next)?;
        *manifest = next;
        self.shared.view.cut(cut.first_segment, cut.start, Base::new(base));
        if !planted::is(Bug::UnlinkBeforeManifest) {
            self.unlink(before, cut.first_segment)?;
        }
        self.sweep(&manifest)?;
        let segments = cut.first_segment - before;
        Ok(CutDone {
            start: cut.start,
            segments,
            bytes: u64::from(segments) * u64::from(self.shared.geometry.segment_bytes),
        })
    }

    /// Removes the segments `from..to`, ascending; a few are kept to become spares (L21), and removed by the next start
    /// if they did not.
    fn unlink(&self, from: u32, to: u32) -> Result<(), SnapshotError> {
        let dir = self.shared.log_dir();
        for segment in from..to {
            let path = dir.join(segment_name(segment));
            let offered = self.shared.retire(segment);
            match offered.map_err(|source| SnapshotError::io("rename", &path, source))? {
                Offered::Kept => {}
                Offered::Declined => {
                    let removed = self.shared.disk.unlink(&path);
                    removed.map_err(|source| SnapshotError::io("remove", &path, source))?;
                }
            }
        }
        self.shared.disk.sync_dir(&dir).map_err(|source| {
            self.shared.poison("sync directory", &dir, &source);
            self.sync_failed("sync directory", &dir, &source)
        })
    }
}
