//! What readers may see: the durable end, the segments, the sparse index, open file handles.
//!
//! Owns: the boundary between durable and not. Never does: show a byte behind the durable end (L9).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::format::frame::FrameKey;
use crate::format::segment::segment_name;
use crate::format::{Geometry, SEGMENT_HEADER_LEN};
use crate::reader::index::{Mark, SparseIndex};
use crate::{FramePos, Lsn};

/// A segment, as far as it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentState {
    /// The LSN that the first event in it has or would have.
    pub(crate) first_lsn: Lsn,
    /// Offset behind the last durable group.
    pub(crate) end: u32,
}

/// Shared by the committer, which moves it forward, and all readers.
pub(crate) struct LogView {
    disk: Arc<dyn Disk>,
    log_dir: PathBuf,
    pub(crate) geometry: Geometry,
    pub(crate) key: FrameKey,
    pub(crate) first_lsn: Lsn,
    first_segment: u32,
    /// Packed [`FramePos`] behind the last durable group.
    end: AtomicU64,
    durable: AtomicU64,
    segments: RwLock<BTreeMap<u32, SegmentState>>,
    index: RwLock<SparseIndex>,
    files: RwLock<BTreeMap<u32, Arc<dyn DiskFile>>>,
    files_max: usize,
}

/// What recovery hands over.
pub(crate) struct ViewStart {
    pub(crate) first_lsn: Lsn,
    pub(crate) first_segment: u32,
    pub(crate) end: FramePos,
    pub(crate) durable: Lsn,
    pub(crate) segments: BTreeMap<u32, SegmentState>,
    pub(crate) index: SparseIndex,
    pub(crate) files_max: usize,
}

impl fmt::Debug for LogView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogView")
            .field("durable", &self.durable())
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

impl LogView {
    pub(crate) fn new(disk: Arc<dyn Disk>, log_dir: PathBuf, geometry: Geometry, start: ViewStart) -> Self {
        Self {
            disk,
            log_dir,
            geometry,
            key: FrameKey::new(&geometry),
            first_lsn: start.first_lsn,
            first_segment: start.first_segment,
            end: AtomicU64::new(start.end.to_u64()),
            durable: AtomicU64::new(start.durable.0),
            segments: RwLock::new(start.segments),
            index: RwLock::new(start.index),
            files: RwLock::new(BTreeMap::new()),
            files_max: start.files_max.max(2),
        }
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Behind the last durable group.
    pub(crate) fn end(&self) -> FramePos {
        FramePos::from_u64(self.end.load(Ordering::Acquire))
    }

    /// Where the first group of the log stands.
    pub(crate) const fn start(&self) -> FramePos {
        FramePos { segment: self.first_segment, offset: SEGMENT_HEADER_LEN }
    }

    /// A group became durable: it ends at `end`, its last LSN is `last`. The index and the segments come first, so
    /// that whoever sees the new end finds them.
    pub(crate) fn advance(&self, end: FramePos, last: Lsn, marks: &[Mark]) {
        let first_lsn = marks.first().map_or(last.next(), |mark| mark.first_lsn);
        {
            let mut segments = self.segments.write();
            let state = segments.entry(end.segment).or_insert(SegmentState { first_lsn, end: 0 });
            state.end = end.offset;
        }
        {
            let mut index = self.index.write();
            for mark in marks {
                index.offer(*mark);
            }
        }
        self.end.store(end.to_u64(), Ordering::Release);
        self.durable.store(last.0, Ordering::Release);
    }

    /// Offset behind the last durable group of a segment.
    pub(crate) fn segment_end(&self, segment: u32) -> Option<u32> {
        self.segments.read().get(&segment).map(|state| state.end)
    }

    pub(crate) fn segments(&self) -> Vec<(u32, SegmentState)> {
        self.segments.read().iter().map(|(&segment, &state)| (segment, state)).collect()
    }

    pub(crate) fn mark_before_lsn(&self, lsn: Lsn) -> Option<Mark> {
        self.index.read().before_lsn(lsn)
    }

    pub(crate) fn mark_before_time(&self, time: crate::UnixMicros) -> Option<Mark> {
        self.index.read().before_time(time)
    }

    /// A handle for reading; handles are kept, up to a bound.
    pub(crate) fn readable(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files.read().get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file: Arc<dyn DiskFile> = self.disk.open(&self.path(segment), OpenMode::Read)?.into();
        let mut files = self.files.write();
        while files.len() >= self.files_max {
            files.pop_first();
        }
        files.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// The handle that the committer writes with.
    pub(crate) fn writable(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.disk.open(&self.path(segment), OpenMode::ReadWrite)?.into())
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.log_dir.join(segment_name(segment))
    }
}
