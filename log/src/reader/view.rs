//! What readers may see: the durable end, the segments, the sparse index, open file handles.
//!
//! Owns: the boundaries between durable and not, and between what was cut and what is there. Never does: show a byte
//! behind the durable end (L9).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::format::Geometry;
use crate::format::frame::FrameKey;
use crate::format::segment::segment_name;
use crate::reader::index::{Indexes, Mark, SparseIndex};
use crate::snapshot::Base;
use crate::{FramePos, Gap, Lsn, UnixMicros};

/// A segment, as far as it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentState {
    /// The LSN that the first event in it has or would have.
    pub(crate) first_lsn: Lsn,
    /// The commit time in its first frame.
    pub(crate) first_commit: UnixMicros,
    /// Offset behind the last durable group.
    pub(crate) end: u32,
}

/// Shared by the committer, which moves it forward, and all readers.
pub(crate) struct LogView {
    disk: Arc<dyn Disk>,
    log_dir: PathBuf,
    pub(crate) geometry: Geometry,
    pub(crate) key: FrameKey,
    /// The first LSN and the first segment; they move when the log is cut.
    first_lsn: AtomicU64,
    first_segment: AtomicU32,
    /// What is left of the events below `first_lsn`.
    base: RwLock<Option<Arc<Base>>>,
    /// Packed [`FramePos`] behind the last durable group.
    end: AtomicU64,
    durable: AtomicU64,
    segments: RwLock<BTreeMap<u32, SegmentState>>,
    index: RwLock<Indexes>,
    files: RwLock<BTreeMap<u32, Arc<dyn DiskFile>>>,
    files_max: usize,
    gaps: Vec<Gap>,
    /// Segments of which a read failed for good, with the first failure of each.
    damaged: Mutex<BTreeMap<u32, DamagedSegment>>,
}

/// A segment that holds damage which a read met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedSegment {
    /// Where the first failure was.
    pub pos: FramePos,
    /// The events that may be affected.
    pub lsns: Gap,
    /// What failed.
    pub reason: String,
}

/// What recovery hands over.
pub(crate) struct ViewStart {
    pub(crate) first_lsn: Lsn,
    pub(crate) first_segment: u32,
    pub(crate) end: FramePos,
    pub(crate) durable: Lsn,
    pub(crate) segments: BTreeMap<u32, SegmentState>,
    pub(crate) index: BTreeMap<u32, SparseIndex>,
    pub(crate) base: Option<Base>,
    pub(crate) gaps: Vec<Gap>,
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
            first_lsn: AtomicU64::new(start.first_lsn.0),
            first_segment: AtomicU32::new(start.first_segment),
            base: RwLock::new(start.base.map(Arc::new)),
            end: AtomicU64::new(start.end.to_u64()),
            durable: AtomicU64::new(start.durable.0),
            segments: RwLock::new(start.segments),
            index: RwLock::new(Indexes::new(start.index)),
            files: RwLock::new(BTreeMap::new()),
            files_max: start.files_max.max(2),
            gaps: start.gaps,
            damaged: Mutex::new(BTreeMap::new()),
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
    pub(crate) fn start(&self) -> FramePos {
        FramePos { segment: self.first_segment.load(Ordering::Acquire), offset: self.geometry.first_offset() }
    }

    /// The first LSN that the log holds or will hold.
    pub(crate) fn first_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.load(Ordering::Acquire))
    }

    /// What is left of the events below the first LSN.
    pub(crate) fn base(&self) -> Option<Arc<Base>> {
        self.base.read().clone()
    }

    /// The log begins at `start` now. The base comes first, so that whoever finds an event cut finds it there.
    pub(crate) fn cut(&self, first_segment: u32, start: Lsn, base: Base) {
        *self.base.write() = Some(Arc::new(base));
        self.first_lsn.store(start.0, Ordering::Release);
        self.first_segment.store(first_segment, Ordering::Release);
        self.segments.write().retain(|segment, _| *segment >= first_segment);
        self.index.write().cut(first_segment);
        self.files.write().retain(|segment, _| *segment >= first_segment);
    }

    /// A group became durable: it ends at `end`, its last LSN is `last`. The index and the segments come first, so
    /// that whoever sees the new end finds them.
    pub(crate) fn advance(&self, end: FramePos, last: Lsn, marks: &[Mark]) {
        let first_lsn = marks.first().map_or(last.next(), |mark| mark.first_lsn);
        {
            let mut segments = self.segments.write();
            // A group without a batch has no commit time of its own: that of the segment before is a lower bound.
            let before = segments.last_key_value().map_or(UnixMicros(0), |(_, state)| state.first_commit);
            let first_commit = marks.first().map_or(before, |mark| mark.commit_time);
            let new = SegmentState { first_lsn, first_commit, end: 0 };
            let state = segments.entry(end.segment).or_insert(new);
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

    /// The last segment whose first event is at or before that LSN.
    pub(crate) fn segment_before_lsn(&self, lsn: Lsn) -> Option<u32> {
        self.last_segment_where(|state| state.first_lsn <= lsn)
    }

    /// The last segment that may hold a batch that was committed at or before that time; else an earlier one does.
    pub(crate) fn segment_before_time(&self, time: UnixMicros) -> Option<u32> {
        self.last_segment_where(|state| state.first_commit <= time)
    }

    /// Segments have contiguous numbers, and what they begin with never decreases.
    fn last_segment_where(&self, holds: impl Fn(&SegmentState) -> bool) -> Option<u32> {
        let segments = self.segments.read();
        let (first, last) = (*segments.first_key_value()?.0, *segments.last_key_value()?.0);
        let (mut low, mut high) = (first, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if segments.get(&middle).is_some_and(&holds) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low > first).then(|| low - 1)
    }

    /// The marks of a segment, if they are in memory.
    pub(crate) fn marks(&self, segment: u32) -> Option<Arc<SparseIndex>> {
        self.index.read().get(segment)
    }

    /// Keeps the marks of a segment that is complete.
    pub(crate) fn keep_marks(&self, segment: u32, index: Arc<SparseIndex>) {
        if segment < self.end().segment {
            self.index.write().put(segment, index);
        }
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

    pub(crate) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The events that may stand at or behind `pos` in its segment.
    pub(crate) fn lsns_behind(&self, pos: FramePos) -> Gap {
        let segments = self.segments.read();
        let of_segment = segments.get(&pos.segment).map_or(self.first_lsn(), |state| state.first_lsn);
        let next = segments.range(pos.segment.saturating_add(1)..).next().map(|(_, state)| state.first_lsn);
        drop(segments);
        let mark = self.marks(pos.segment).and_then(|marks| marks.before_pos(pos));
        let before = mark.map_or(of_segment, |mark| mark.first_lsn);
        let to = next.map_or_else(|| self.durable(), Lsn::prev);
        Gap { from: before.max(of_segment).min(to), to }
    }

    /// Marks a segment as damaged, once: reads of it failed and will.
    pub(crate) fn mark_damaged(&self, pos: FramePos, lsns: Gap, reason: &str) {
        let mut damaged = self.damaged.lock();
        if damaged.contains_key(&pos.segment) {
            return;
        }
        tracing::error!(
            segment = pos.segment,
            offset = pos.offset,
            from = lsns.from.0,
            to = lsns.to.0,
            reason,
            "log segment is damaged"
        );
        damaged.insert(pos.segment, DamagedSegment { pos, lsns, reason: reason.to_owned() });
    }

    pub(crate) fn damaged(&self) -> Vec<DamagedSegment> {
        self.damaged.lock().values().cloned().collect()
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.log_dir.join(segment_name(segment))
    }
}
