//! The scrubber: reads what is sealed again, past the page cache, so that rot is found while there is still something
//! to restore from.
//!
//! Owns: the order of a pass (segments, base, snapshots), its rhythm, what it found. Never does: repair, read a clock,
//! start a thread: whoever lends one hands in time and how many bytes may be read now.
//!
//! Upholds L16 (whatever is damaged is an error of every read, marked, counted, and never served). The marks are what
//! the newest look at a segment found; one that is sound again, because somebody put it back, loses its mark.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{ReadError, SnapshotError};
use crate::format::frame::{FrameKind, GapNote};
use crate::format::segment::segment_name;
use crate::reader::walker::Walker;
use crate::{FramePos, Lsn, UnixMicros};

use super::{SnapshotReader, Snapshots};

/// A pass begins so long after the one before began, or when that one has ended: every byte is read at least once in
/// seven days, as long as a pass takes no more than half of that.
const PASS_EVERY: Duration = Duration::from_secs(7 * 24 * 3600 / 2);
/// Read at once.
const WINDOW_BYTES: u32 = 256 << 10;

/// Damage that the scrubber found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// Where in it, where that is known.
    pub offset: Option<u32>,
    /// First and last LSN that the damage may concern.
    pub lsns: Option<(Lsn, Lsn)>,
    /// The first check that failed.
    pub check: String,
}

/// What the scrubber did and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStatus {
    /// Bytes that were read, since the log was opened.
    pub bytes: u64,
    /// Damage that was found, since the log was opened.
    pub errors: u64,
    /// Passes that ended, since the log was opened.
    pub passes: u64,
    /// Everything that is sealed was verified after this time; `None` before the first pass ended.
    pub oldest_unverified: Option<UnixMicros>,
    /// What is damaged, as far as it is known.
    pub damage: Vec<Damage>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubStep {
    /// So many bytes were read; there is more to read.
    Read {
        /// How many.
        bytes: u64,
    },
    /// Nothing to do before this time.
    Idle {
        /// When the next pass is due.
        until: UnixMicros,
    },
    /// The log is poisoned: stop.
    Poisoned,
}

/// See the module. Owned by one thread, or stepped by a simulation.
#[derive(Debug)]
pub struct Scrubber {
    snapshots: Snapshots,
    stage: Stage,
    begun: UnixMicros,
    due: UnixMicros,
    status: Arc<Mutex<ScrubStatus>>,
    /// By file name.
    damage: BTreeMap<String, Damage>,
}

/// `hdr_crc` of the frame before, and the LSN that comes next.
type Expected = (u32, Lsn);
/// A file with its name.
type Reading = (String, Box<SnapshotReader>);

#[derive(Debug)]
enum Stage {
    Idle,
    /// A segment is being read; what the next frame must continue.
    Segment {
        segment: u32,
        walker: Walker,
        expected: Option<Expected>,
    },
    /// Snapshots that are still to be read, and the one that is being read.
    Files {
        left: Vec<Lsn>,
        reading: Option<Reading>,
        base: bool,
    },
}

impl Scrubber {
    pub(crate) fn new(snapshots: Snapshots) -> Self {
        Self {
            snapshots,
            stage: Stage::Idle,
            begun: UnixMicros(0),
            due: UnixMicros(0),
            status: Arc::default(),
            damage: BTreeMap::new(),
        }
    }

    /// Shares what it did and found.
    #[must_use]
    pub fn status(&self) -> Arc<Mutex<ScrubStatus>> {
        Arc::clone(&self.status)
    }

    /// Reads about `bytes_max`, or says until when there is nothing to do.
    pub fn step(&mut self, now: UnixMicros, bytes_max: u64) -> ScrubStep {
        if self.snapshots.shared.durability.is_poisoned() {
            return ScrubStep::Poisoned;
        }
        if matches!(self.stage, Stage::Idle) {
            if now < self.due {
                return ScrubStep::Idle { until: self.due };
            }
            self.begun = now;
            let first = self.snapshots.shared.view.start().segment;
            let chain = {
                let manifest = self.snapshots.shared.manifest.lock();
                (manifest.first_seq == first).then_some((manifest.log_start_chain, manifest.log_start_lsn))
            };
            self.stage = self.segment(first, chain);
        }
        let bytes_max = bytes_max.max(1);
        let mut read = 0;
        while read < bytes_max {
            match std::mem::replace(&mut self.stage, Stage::Idle) {
                Stage::Idle => break,
                Stage::Segment { segment, walker, expected } => {
                    read += self.read_segment(segment, walker, expected, bytes_max - read);
                }
                Stage::Files { left, reading, base } => {
                    read += self.read_files(left, reading, base, bytes_max - read)
                }
            }
            if matches!(self.stage, Stage::Idle) {
                self.end_pass(now);
                break;
            }
        }
        let mut status = self.status.lock();
        status.bytes += read;
        status.damage = self.damage.values().cloned().collect();
        ScrubStep::Read { bytes: read }
    }

    fn end_pass(&mut self, now: UnixMicros) {
        let every = u64::try_from(PASS_EVERY.as_micros()).unwrap_or(u64::MAX);
        self.due = UnixMicros(self.begun.0.saturating_add(every).max(now.0));
        // What was cut or replaced since it was found damaged is not there any more.
        let first = self.snapshots.shared.view.start().segment;
        self.damage.retain(|file, _| !file.starts_with("seg-") || *file >= segment_name(first));
        let mut status = self.status.lock();
        status.passes += 1;
        status.oldest_unverified = Some(self.begun);
    }

    /// The next stage: a segment below the one that is being written, or the files.
    fn segment(&self, segment: u32, expected: Option<Expected>) -> Stage {
        let view = &self.snapshots.shared.view;
        let segment = segment.max(view.start().segment);
        if segment >= view.end().segment {
            let left = self.snapshots.list().iter().map(|info| info.last_lsn).collect();
            return Stage::Files { left, reading: None, base: view.base().is_some() };
        }
        if let Ok(file) = view.readable(segment) {
            // A hint: what it does not drop is read from memory, and found the next time.
            drop(file.drop_cache());
        }
        let start = FramePos { segment, offset: view.geometry.first_offset() };
        Stage::Segment { segment, walker: Walker::new(Arc::clone(view), start, WINDOW_BYTES), expected }
    }

    fn read_segment(
        &mut self,
        segment: u32,
        mut walker: Walker,
        mut expected: Option<Expected>,
        bytes_max: u64,
    ) -> u64 {
        let mut read = 0;
        while read < bytes_max {
            let (len, next) = match check_next(&mut walker, segment, expected) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.damage.remove(&segment_name(segment));
                    self.leave(segment);
                    self.stage = self.segment(segment + 1, expected);
                    return read;
                }
                Err(ReadError::Cut { .. }) => {
                    self.stage = self.segment(segment + 1, None);
                    return read;
                }
                Err(error) => {
                    self.found_in_segment(segment, &error);
                    self.leave(segment);
                    self.stage = self.segment(segment + 1, None);
                    return read;
                }
            };
            read += len;
            expected = Some(next);
        }
        self.stage = Stage::Segment { segment, walker, expected };
        read
    }

    /// What was read only to be checked need not stay in memory.
    fn leave(&self, segment: u32) {
        if let Ok(file) = self.snapshots.shared.view.readable(segment) {
            drop(file.drop_cache());
        }
    }

    fn found_in_segment(&mut self, segment: u32, error: &ReadError) {
        let (offset, check) = if let ReadError::Damaged { pos, check, .. } = error {
            (Some(pos.offset), (*check).to_owned())
        } else if let ReadError::Io { pos, source, .. } = error {
            (Some(pos.offset), source.to_string())
        } else {
            (None, error.to_string())
        };
        let segments = self.snapshots.shared.view.segments();
        let at = segments.iter().position(|(number, _)| *number == segment);
        let lsns = at.and_then(|n| {
            let (from, to) = (segments.get(n)?.1.first_lsn, segments.get(n + 1)?.1.first_lsn);
            Some((from, to.prev()))
        });
        self.found(Damage { file: segment_name(segment), offset, lsns, check });
    }

    fn found(&mut self, damage: Damage) {
        tracing::error!(file = damage.file, offset = ?damage.offset, lsns = ?damage.lsns, check = damage.check,
            "stored data is damaged");
        self.status.lock().errors += 1;
        self.damage.insert(damage.file.clone(), damage);
    }

    fn read_files(
        &mut self,
        mut left: Vec<Lsn>,
        reading: Option<Reading>,
        mut base: bool,
        bytes_max: u64,
    ) -> u64 {
        let next = reading.or_else(|| self.next_file(&mut left, &mut base));
        let Some((name, mut reader)) = next else {
            self.stage = if left.is_empty() && !base {
                Stage::Idle
            } else {
                Stage::Files { left, reading: None, base }
            };
            return 0;
        };
        let before = reader.read_bytes();
        while reader.read_bytes() - before < bytes_max {
            match reader.verify_next() {
                Ok(true) => {}
                Ok(false) => {
                    self.damage.remove(&name);
                    drop(reader.drop_cache());
                    self.stage = Stage::Files { left, reading: None, base };
                    return reader.read_bytes() - before;
                }
                Err(error) => {
                    self.found_in_snapshot(&name, &reader, &error);
                    self.stage = Stage::Files { left, reading: None, base };
                    return reader.read_bytes() - before;
                }
            }
        }
        let read = reader.read_bytes() - before;
        self.stage = Stage::Files { left, reading: Some((name, reader)), base };
        read
    }

    /// Opens the base, then the snapshots that are still in force.
    fn next_file(&mut self, left: &mut Vec<Lsn>, base: &mut bool) -> Option<Reading> {
        let opened = if std::mem::take(base) {
            Ok(SnapshotReader::new(self.snapshots.shared.view.base()?.opened()))
        } else {
            self.snapshots.read(left.pop()?)
        };
        match opened {
            Ok(reader) => {
                drop(reader.drop_cache());
                let info = reader.info();
                Some((crate::format::snapshot::snapshot_name(info.kind, info.last_lsn), Box::new(reader)))
            }
            Err(SnapshotError::Damaged { path, check }) => {
                let file =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                self.found(Damage { file, offset: None, lsns: None, check });
                None
            }
            // It was replaced since the pass began.
            Err(_) => None,
        }
    }

    fn found_in_snapshot(&mut self, name: &str, reader: &SnapshotReader, error: &SnapshotError) {
        let info = reader.info();
        if info.kind == super::SnapshotKind::State {
            self.snapshots.give_up(info.last_lsn, error);
        }
        let check =
            if let SnapshotError::Damaged { check, .. } = error { check.clone() } else { error.to_string() };
        self.found(Damage { file: name.to_owned(), offset: None, lsns: None, check });
    }
}

/// Checks the next frame of a segment: its checksums, its chain, its LSN. Its bytes, and what must follow.
fn check_next(
    walker: &mut Walker,
    segment: u32,
    expected: Option<Expected>,
) -> Result<Option<(u64, Expected)>, ReadError> {
    let Some((header, pos)) = walker.next_header()? else { return Ok(None) };
    if pos.segment != segment {
        return Ok(None);
    }
    let payload = walker.payload(&header, pos)?;
    if let Some((chain, lsn)) = expected {
        if header.prev_hdr_crc != chain {
            return Err(walker.damaged(pos, "chain"));
        }
        if header.first_lsn != lsn {
            return Err(walker.damaged(pos, "first LSN"));
        }
    }
    let next = match header.kind {
        FrameKind::Gap => {
            let note = GapNote::decode(payload.bytes());
            note.ok_or_else(|| walker.damaged(pos, "gap payload"))?.to.next()
        }
        FrameKind::Batch
        | FrameKind::SegmentStart
        | FrameKind::Open
        | FrameKind::Ignorable(_)
        | FrameKind::Unknown(_) => header.first_lsn.plus(u64::from(header.record_count)),
    };
    Ok(Some((u64::from(header.frame_len()), (header.hdr_crc, next))))
}
