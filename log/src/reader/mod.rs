//! Reading the durable log: by position, by LSN, by time, and in order.
//!
//! Owns: [`Reader`], [`Scan`] and [`Tail`](tail::Tail). Never does: return anything that is not durable (L9) or whose
//! checksum was not checked; go on over lost events without being told to (L19); cache payloads. Upholds L42.

pub(crate) mod frame;
pub(crate) mod index;
pub(crate) mod tail;
pub(crate) mod view;
pub(crate) mod walker;

use std::sync::Arc;

use crate::error::ReadError;
use crate::events::{self, Event};
use crate::format::FRAME_HEADER_LEN;
use crate::format::frame::{FrameHeader, FrameKind, GapNote};
use crate::{FramePos, Gap, Lsn, UnixMicros};

pub use view::DamagedSegment;

use frame::{Frame, FrameInfo, records_are_sound};
use index::{Mark, SparseIndex};
use view::LogView;
use walker::Walker;

/// Read at once by a scan.
const SCAN_WINDOW_BYTES: u32 = 256 << 10;
/// Read at once when only headers matter, or one frame.
const POINT_WINDOW_BYTES: u32 = 4 << 10;
/// Read at once while walking from a mark.
const WALK_WINDOW_BYTES: u32 = 64 << 10;

/// A segment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its sequence number.
    pub segment: u32,
    /// The LSN that its first event has or would have.
    pub first_lsn: Lsn,
    /// Bytes up to the end of its last durable group, header included.
    pub used_bytes: u64,
    /// Size of the file.
    pub file_bytes: u64,
}

/// One event as it stands in the log, or in the base of a log that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// Its LSN.
    pub lsn: Lsn,
    /// Where its frame stands, or stood.
    pub pos: FramePos,
    /// Commit time of its batch.
    pub commit_time: UnixMicros,
    /// Its type code.
    pub type_: u16,
    /// Version of that type's encoding.
    pub type_version: u16,
    /// Its encoded body.
    pub body: Vec<u8>,
}

/// Reads the log. Cheap to clone; any number may be used at once.
#[derive(Clone, Debug)]
pub struct Reader {
    view: Arc<LogView>,
}

impl Reader {
    pub(crate) const fn new(view: Arc<LogView>) -> Self {
        Self { view }
    }

    /// The batch whose frame stands at `pos`.
    ///
    /// # Errors
    /// `NotDurable`, `Damaged`, `Io`.
    pub fn read_frame(&self, pos: FramePos) -> Result<Frame, ReadError> {
        let mut walker = Walker::new(Arc::clone(&self.view), pos, POINT_WINDOW_BYTES);
        let not_durable = || ReadError::NotDurable { wanted: pos.to_string(), durable: self.durable() };
        if pos.segment < self.view.start().segment {
            return Err(ReadError::Cut { pos, first: self.first_lsn() });
        }
        if pos >= self.view.end() || pos < self.view.start() {
            return Err(not_durable());
        }
        let (header, found) = walker.next_header()?.ok_or_else(not_durable)?;
        if found != pos || header.kind != FrameKind::Batch {
            // The caller's position is wrong, or what stands there is; nothing shows that the segment is damaged.
            return Err(ReadError::Damaged {
                pos,
                check: "no batch starts here",
                lsns: self.view.lsns_behind(pos),
            });
        }
        load(&mut walker, &header, pos)
    }

    /// The batch with the event `lsn`, whose frame stands at `pos`. A place in a segment below the log's first one is that
    /// of an earlier timeline if the event is not cut (a salvaged log begins above them): then it is looked up by its LSN (L42).
    ///
    /// # Errors
    /// As for `read_frame`; `Cut` when the event is; `Gap` when it is lost.
    pub fn read_frame_of(&self, pos: FramePos, lsn: Lsn) -> Result<Frame, ReadError> {
        match self.read_frame(pos) {
            Err(ReadError::Cut { .. }) if lsn >= self.first_lsn() => self.read_frame(self.frame_of(lsn)?.pos),
            read => read,
        }
    }

    /// The event `lsn` out of the batch at `pos`, with the batch's commit time. Below the start of the log, it is read
    /// from the base.
    ///
    /// # Errors
    /// As for `read_frame`; `NotInFrame` when the batch does not hold that LSN; `Decode`; `Cut` when the event was not
    /// kept.
    pub fn read_event(&self, pos: FramePos, lsn: Lsn) -> Result<(Event, UnixMicros), ReadError> {
        let frame = match self.read_frame_of(pos, lsn) {
            Ok(frame) => frame,
            Err(cut @ ReadError::Cut { .. }) => {
                let kept = self.kept(lsn, cut)?;
                let event = events::decode_record(kept.type_, kept.type_version, &kept.body)
                    .map_err(|source| ReadError::Decode { lsn, source })?;
                return Ok((event, kept.commit_time));
            }
            Err(error) => return Err(error),
        };
        let record = frame.records().find(|r| r.lsn == lsn).ok_or(ReadError::NotInFrame { pos, lsn })?;
        let event = events::decode_record(record.type_, record.type_version, record.body)
            .map_err(|source| ReadError::Decode { lsn, source })?;
        Ok((event, frame.commit_time))
    }

    /// Several events out of the batch at `pos`, for the price of reading it once; by ascending LSN. With the batch's
    /// commit time.
    ///
    /// # Errors
    /// As for `read_event`, for any of them.
    pub fn read_events(&self, pos: FramePos, lsns: &[Lsn]) -> Result<(Vec<Event>, UnixMicros), ReadError> {
        let near = lsns.first().copied().unwrap_or_default();
        let frame = match self.read_frame_of(pos, near) {
            Ok(frame) => frame,
            Err(ReadError::Cut { .. }) => {
                let mut events = Vec::with_capacity(lsns.len());
                let mut time = UnixMicros(0);
                for lsn in lsns {
                    let (event, committed) = self.read_event(pos, *lsn)?;
                    events.push(event);
                    time = committed;
                }
                return Ok((events, time));
            }
            Err(error) => return Err(error),
        };
        let mut records = frame.records();
        let mut events = Vec::with_capacity(lsns.len());
        for lsn in lsns {
            let lsn = *lsn;
            let record = records.find(|r| r.lsn == lsn).ok_or(ReadError::NotInFrame { pos, lsn })?;
            let event = events::decode_record(record.type_, record.type_version, record.body)
                .map_err(|source| ReadError::Decode { lsn, source })?;
            events.push(event);
        }
        Ok((events, frame.commit_time))
    }

    /// The event `lsn` out of the batch at `pos`, not decoded.
    ///
    /// # Errors
    /// As for `read_event`.
    pub fn raw_event(&self, pos: FramePos, lsn: Lsn) -> Result<RawEvent, ReadError> {
        let frame = match self.read_frame_of(pos, lsn) {
            Ok(frame) => frame,
            Err(cut @ ReadError::Cut { .. }) => return self.kept(lsn, cut),
            Err(error) => return Err(error),
        };
        let record = frame.records().find(|r| r.lsn == lsn).ok_or(ReadError::NotInFrame { pos, lsn })?;
        Ok(RawEvent {
            lsn,
            pos: frame.pos,
            commit_time: frame.commit_time,
            type_: record.type_,
            type_version: record.type_version,
            body: record.body.to_vec(),
        })
    }

    /// The event `lsn`, wherever its batch stands.
    ///
    /// # Errors
    /// As for `read_event` and `frame_of`; `BelowStart` when it was cut and not kept.
    pub fn event_at(&self, lsn: Lsn) -> Result<(Event, UnixMicros), ReadError> {
        let (pos, _) = self.place_of(lsn)?;
        self.read_event(pos, lsn)
    }

    /// Where the batch with the event `lsn` stands or stood, and its commit time.
    ///
    /// # Errors
    /// As for `frame_of`; `BelowStart` when it was cut and not kept.
    pub fn place_of(&self, lsn: Lsn) -> Result<(FramePos, UnixMicros), ReadError> {
        match self.frame_of(lsn) {
            Ok(frame) => Ok((frame.pos, frame.commit_time)),
            Err(below @ (ReadError::BelowStart { .. } | ReadError::Cut { .. })) => {
                self.kept(lsn, below).map(|event| (event.pos, event.commit_time))
            }
            Err(error) => Err(error),
        }
    }

    fn kept(&self, lsn: Lsn, cut: ReadError) -> Result<RawEvent, ReadError> {
        let kept = match self.view.base() {
            Some(base) => base.event(lsn)?,
            None => None,
        };
        kept.ok_or(cut)
    }

    /// All batches from the one that contains `from` (an LSN that is not there yet is waited for by asking again).
    /// `None` means the durable end; asking again later goes on from there.
    ///
    /// # Errors
    /// `BelowStart`.
    pub fn scan(&self, from: Lsn) -> Result<Scan, ReadError> {
        let from = from.max(Lsn::FIRST);
        Ok(Scan { walker: self.walker_before(from, SCAN_WINDOW_BYTES)?, from, since: UnixMicros(0) })
    }

    /// All batches that were committed at `since` or later, in order; as [`Reader::scan`] otherwise.
    #[must_use]
    pub fn scan_from_time(&self, since: UnixMicros) -> Scan {
        // Before that time, not at it: of batches with one commit time, a mark may be any.
        let before = UnixMicros(since.0.saturating_sub(1));
        let pos = match self.view.segment_before_time(before) {
            Some(segment) => {
                let start = FramePos { segment, offset: self.view.geometry.first_offset() };
                self.marks_of(segment).before_time(before).map_or(start, |mark| mark.pos)
            }
            None => self.view.start(),
        };
        let walker = Walker::new(Arc::clone(&self.view), pos, SCAN_WINDOW_BYTES);
        Scan { walker, from: self.first_lsn(), since }
    }

    /// What the log is known to have lost, in order; as far as its last open walked.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        self.view.gaps()
    }

    /// Segments of which a read failed for good since this log was opened.
    #[must_use]
    pub fn damaged(&self) -> Vec<DamagedSegment> {
        self.view.damaged()
    }

    fn walker_before(&self, lsn: Lsn, window_bytes: u32) -> Result<Walker, ReadError> {
        let first = self.first_lsn();
        if lsn < first {
            return Err(ReadError::BelowStart { lsn, first, durable: self.durable() });
        }
        let segment = self.view.segment_before_lsn(lsn);
        let mark = segment.and_then(|segment| self.marks_of(segment).before_lsn(lsn));
        let pos = match (mark, segment) {
            (Some(mark), _) => mark.pos,
            (None, Some(segment)) => FramePos { segment, offset: self.view.geometry.first_offset() },
            (None, None) => self.view.start(),
        };
        Ok(Walker::new(Arc::clone(&self.view), pos, window_bytes))
    }

    /// The marks of a segment; those that are not in memory are made by walking over its headers. Where they cannot
    /// be read, the marks end: whoever walks on from the last one meets the damage.
    fn marks_of(&self, segment: u32) -> Arc<SparseIndex> {
        if let Some(index) = self.view.marks(segment) {
            return index;
        }
        let start = FramePos { segment, offset: self.view.geometry.first_offset() };
        let mut walker = Walker::new(Arc::clone(&self.view), start, WALK_WINDOW_BYTES);
        let mut index = SparseIndex::default();
        loop {
            match walker.next_header() {
                Ok(Some((header, pos))) if pos.segment == segment => {
                    if header.kind == FrameKind::Batch {
                        let (first_lsn, commit_time) = (header.first_lsn, header.commit_time);
                        index.offer(Mark { first_lsn, commit_time, pos });
                    }
                }
                Ok(_) => break,
                Err(_) => return Arc::new(index),
            }
        }
        let index = Arc::new(index);
        self.view.keep_marks(segment, Arc::clone(&index));
        index
    }

    /// The batch that contains `lsn`, and its `hdr_crc`.
    pub(crate) fn frame_and_chain_of(&self, lsn: Lsn) -> Result<(FrameInfo, u32), ReadError> {
        let pos = self.frame_of(lsn)?.pos;
        let mut walker = Walker::new(Arc::clone(&self.view), pos, POINT_WINDOW_BYTES);
        let not_durable = || ReadError::NotDurable { wanted: pos.to_string(), durable: self.durable() };
        let (header, pos) = walker.next_header()?.ok_or_else(not_durable)?;
        Ok((info(&header, pos), header.hdr_crc))
    }

    /// The first LSN of a segment, and the `hdr_crc` of the frame before it.
    pub(crate) fn start_of(&self, segment: u32) -> Result<(Lsn, u32), ReadError> {
        let pos = FramePos { segment, offset: self.view.geometry.first_offset() };
        let mut walker = Walker::new(Arc::clone(&self.view), pos, POINT_WINDOW_BYTES);
        let not_durable = || ReadError::NotDurable { wanted: pos.to_string(), durable: self.durable() };
        let (header, found) = walker.next_header()?.ok_or_else(not_durable)?;
        if found != pos || header.kind != FrameKind::SegmentStart {
            return Err(walker.damaged(pos, "no segment starts here"));
        }
        Ok((header.first_lsn, header.prev_hdr_crc))
    }

    /// The batch that contains `lsn`. Checks headers only.
    ///
    /// # Errors
    /// `NotDurable`, `BelowStart`, `Gap`, `Damaged`, `Io`.
    pub fn frame_of(&self, lsn: Lsn) -> Result<FrameInfo, ReadError> {
        let durable = self.durable();
        if lsn > durable {
            return Err(ReadError::NotDurable { wanted: format!("LSN {lsn}"), durable });
        }
        let mut walker = self.walker_before(lsn, WALK_WINDOW_BYTES)?;
        while let Some((header, pos)) = walker.next_header()? {
            if header.kind == FrameKind::Batch && header.last_lsn() >= lsn {
                return Ok(info(&header, pos));
            }
            if header.kind == FrameKind::Gap {
                let gap = gap_at(&mut walker, &header, pos)?;
                if lsn <= gap.to {
                    return Err(ReadError::Gap { gap });
                }
            }
        }
        Err(ReadError::NotDurable { wanted: format!("LSN {lsn}"), durable })
    }

    /// The last durable batch that was committed at or before `t`. Checks headers only.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn frame_at_time(&self, t: UnixMicros) -> Result<Option<FrameInfo>, ReadError> {
        let Some(last) = self.view.segment_before_time(t) else { return Ok(None) };
        for segment in (self.view.start().segment..=last).rev() {
            let start = FramePos { segment, offset: self.view.geometry.first_offset() };
            let pos = self.marks_of(segment).before_time(t).map_or(start, |mark| mark.pos);
            let mut walker = Walker::new(Arc::clone(&self.view), pos, WALK_WINDOW_BYTES);
            let mut found = None;
            while let Some((header, pos)) = walker.next_header()? {
                if header.commit_time > t {
                    break;
                }
                if header.kind == FrameKind::Batch {
                    found = Some(info(&header, pos));
                }
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first LSN that the log holds or will hold.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.view.first_lsn()
    }

    /// The durable LSN, as far as reading goes.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.view.durable()
    }

    /// Behind the last durable frame: every position below it may be read.
    #[must_use]
    pub fn durable_end(&self) -> FramePos {
        self.view.end()
    }

    /// Bytes that the durable log takes up in its segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.view.segments().iter().map(|(_, state)| u64::from(state.end)).sum()
    }

    /// Groups start at multiples of it, bytes.
    #[must_use]
    pub fn align_bytes(&self) -> u32 {
        1 << self.view.geometry.align_log2
    }

    /// The segments that hold durable frames, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let file_bytes = u64::from(self.view.geometry.segment_bytes);
        let info = |(segment, state): (u32, view::SegmentState)| SegmentInfo {
            segment,
            first_lsn: state.first_lsn,
            used_bytes: u64::from(state.end),
            file_bytes,
        };
        self.view.segments().into_iter().map(info).collect()
    }
}

const fn info(header: &FrameHeader, pos: FramePos) -> FrameInfo {
    FrameInfo {
        first_lsn: header.first_lsn,
        last_lsn: header.last_lsn(),
        commit_time: header.commit_time,
        pos,
    }
}

fn load(walker: &mut Walker, header: &FrameHeader, pos: FramePos) -> Result<Frame, ReadError> {
    let payload = walker.payload(header, pos)?;
    if !records_are_sound(header.record_count, payload.bytes()) {
        return Err(walker.damaged(pos, "record lengths"));
    }
    let FrameInfo { first_lsn, last_lsn, commit_time, pos } = info(header, pos);
    Ok(Frame { first_lsn, last_lsn, commit_time, pos, payload })
}

/// The batches of the log in order; see [`Reader::scan`]. After an error it stays where it is.
///
/// Upholds L19: over lost events it stops with [`ReadError::Gap`], again and again, until [`Scan::pass_gap`] says that
/// the reader knows.
#[derive(Debug)]
pub struct Scan {
    walker: Walker,
    from: Lsn,
    since: UnixMicros,
}

impl Scan {
    /// Goes on behind lost events that [`ReadError::Gap`] named.
    pub fn pass_gap(&mut self, gap: Gap) {
        self.from = self.from.max(gap.to.next());
    }

    /// The next batch; `None` at the durable end.
    fn step(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            let Some((header, pos)) = self.walker.next_header()? else { return Ok(None) };
            match header.kind {
                FrameKind::Batch if header.last_lsn() >= self.from && header.commit_time >= self.since => {
                    return load(&mut self.walker, &header, pos).map(Some);
                }
                FrameKind::Gap => self.stop_at_gap(&header, pos)?,
                FrameKind::Batch
                | FrameKind::SegmentStart
                | FrameKind::Open
                | FrameKind::Ignorable(_)
                | FrameKind::Unknown(_) => {}
            }
        }
    }

    fn stop_at_gap(&mut self, header: &FrameHeader, pos: FramePos) -> Result<(), ReadError> {
        let gap = gap_at(&mut self.walker, header, pos)?;
        let wanted = gap.to >= self.from && header.commit_time >= self.since;
        if wanted { Err(ReadError::Gap { gap }) } else { Ok(()) }
    }
}

/// What a Gap frame says.
fn gap_at(walker: &mut Walker, header: &FrameHeader, pos: FramePos) -> Result<Gap, ReadError> {
    let payload = walker.payload(header, pos)?;
    let note = GapNote::decode(payload.bytes()).ok_or_else(|| walker.damaged(pos, "gap payload"))?;
    Ok(Gap { from: note.from, to: note.to })
}

impl Iterator for Scan {
    type Item = Result<Frame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = self.walker.clone();
        let found = self.step();
        if found.is_err() {
            self.walker = before;
        }
        found.transpose()
    }
}

const _: () = assert!(POINT_WINDOW_BYTES as usize > FRAME_HEADER_LEN);
