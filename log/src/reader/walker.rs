//! Walking the durable log frame by frame, through one window of bytes.
//!
//! Owns: the order of frames (group padding, segment changes). Never does: read behind the durable end (L9), hand
//! out a byte whose checksum was not checked.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::error::ReadError;
use crate::format::frame::{FrameHeader, check_payload};
use crate::format::{FRAME_HEADER_BYTES, at, pad8};
use crate::reader::view::LogView;
use crate::{FramePos, Gap};

/// Checked bytes within a shared window.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    window: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Slice {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.window.get(self.range.clone()).unwrap_or_default()
    }
}

/// A position in the log that moves forward.
#[derive(Clone, Debug)]
pub(crate) struct Walker {
    view: Arc<LogView>,
    pos: FramePos,
    window: Arc<Vec<u8>>,
    window_at: FramePos,
    window_bytes: u32,
}

impl Walker {
    /// Starts at a frame (or at the durable end). `window_bytes` are read at once.
    pub(crate) fn new(view: Arc<LogView>, pos: FramePos, window_bytes: u32) -> Self {
        Self { view, pos, window: Arc::default(), window_at: pos, window_bytes }
    }

    /// The next frame's header and position; `None` at the durable end, where it may be asked again later.
    pub(crate) fn next_header(&mut self) -> Result<Option<(FrameHeader, FramePos)>, ReadError> {
        loop {
            let end = self.view.end();
            if self.pos >= end {
                return Ok(None);
            }
            self.check_not_cut()?;
            let bound = self.bound(end);
            if self.pos.offset < bound {
                return self.header(bound).map(Some);
            }
            let offset = self.view.geometry.first_offset();
            self.pos = FramePos { segment: self.pos.segment + 1, offset };
        }
    }

    /// A segment that was cut is not there any more, and must not be stepped over.
    fn check_not_cut(&self) -> Result<(), ReadError> {
        if self.pos.segment < self.view.start().segment {
            return Err(ReadError::Cut { pos: self.pos, first: self.view.first_lsn() });
        }
        Ok(())
    }

    /// How far the current segment is durable.
    fn bound(&self, end: FramePos) -> u32 {
        if self.pos.segment == end.segment {
            return end.offset;
        }
        self.view.segment_end(self.pos.segment).unwrap_or(0)
    }

    fn header(&mut self, bound: u32) -> Result<(FrameHeader, FramePos), ReadError> {
        let pos = self.pos;
        let header = self.checked(FRAME_HEADER_BYTES, bound, |view, bytes| view.key.parse(pos, bytes))?;
        let end = pos.offset + header.frame_len();
        if end > bound {
            return Err(damaged(&self.view, pos, "frame is longer than what is durable"));
        }
        let next = if header.is_last() { self.view.geometry.align_up(end) } else { end };
        self.pos.offset = next;
        Ok((header, pos))
    }

    /// The padded payload of the frame that was returned last.
    pub(crate) fn payload(&mut self, header: &FrameHeader, pos: FramePos) -> Result<Slice, ReadError> {
        let next = self.pos;
        self.pos = FramePos { offset: pos.offset + FRAME_HEADER_BYTES, ..pos };
        let len = pad8(header.payload_len);
        let bound = self.bound(self.view.end());
        let checked = self.checked(len, bound, |_, bytes| check_payload(header, bytes));
        let start = at(self.pos.offset - self.window_at.offset);
        self.pos = next;
        checked.map_err(|error| {
            if let ReadError::Damaged { check, lsns, .. } = error {
                // The header is sound and names the first event that is affected.
                ReadError::Damaged { pos, check, lsns: Gap { from: header.first_lsn.min(lsns.to), ..lsns } }
            } else {
                error
            }
        })?;
        Ok(Slice { window: Arc::clone(&self.window), range: start..start + at(header.payload_len) })
    }

    /// Applies a check to `len` bytes at the current position. When it fails, the bytes are read once more past
    /// the page cache, and the check decides.
    fn checked<T>(
        &mut self,
        len: u32,
        bound: u32,
        check: impl Fn(&LogView, &[u8]) -> Result<T, &'static str>,
    ) -> Result<T, ReadError> {
        let pos = self.pos;
        if !self.holds(len) {
            self.fill(len, bound)?;
        }
        if let Ok(value) = check(&self.view, self.window_slice(len)) {
            return Ok(value);
        }
        self.forget_cached(pos)?;
        self.fill(len, bound)?;
        check(&self.view, self.window_slice(len)).map_err(|check| {
            // A cut that came in between made another segment of the file.
            self.check_not_cut().err().unwrap_or_else(|| damaged(&self.view, pos, check))
        })
    }

    /// The next read of this segment asks the device.
    fn forget_cached(&self, pos: FramePos) -> Result<(), ReadError> {
        let dropped = self.view.readable(pos.segment).and_then(|file| file.drop_cache());
        dropped.map_err(|source| {
            self.check_not_cut().err().unwrap_or_else(|| unreadable(&self.view, pos, source))
        })
    }

    /// Bytes that are not what was written, found by whoever reads what they mean.
    pub(crate) fn damaged(&self, pos: FramePos, check: &'static str) -> ReadError {
        damaged(&self.view, pos, check)
    }

    fn holds(&self, len: u32) -> bool {
        self.window_at.segment == self.pos.segment
            && self.window_at.offset <= self.pos.offset
            && at(self.pos.offset - self.window_at.offset) + at(len) <= self.window.len()
    }

    fn window_slice(&self, len: u32) -> &[u8] {
        let start = at(self.pos.offset.saturating_sub(self.window_at.offset));
        self.window.get(start..start + at(len)).unwrap_or_default()
    }

    /// Reads at the current position. What the disk refuses is asked for once more, past the page cache and no more
    /// than is needed; then the segment counts as damaged.
    fn fill(&mut self, len: u32, bound: u32) -> Result<(), ReadError> {
        let pos = self.pos;
        let available = bound.saturating_sub(pos.offset);
        let want = self.window_bytes.max(len).min(available);
        // A cut that came in between took the file away.
        let failed = |source| match self.check_not_cut() {
            Err(cut) => cut,
            Ok(()) => unreadable(&self.view, pos, source),
        };
        let file = self.view.readable(pos.segment).map_err(failed)?;
        let mut bytes = vec![0; at(want)];
        if file.read_exact_at(&mut bytes, u64::from(pos.offset)).is_err() {
            self.forget_cached(pos)?;
            bytes.truncate(at(len.min(available)));
            file.read_exact_at(&mut bytes, u64::from(pos.offset)).map_err(failed)?;
        }
        self.window = Arc::new(bytes);
        self.window_at = pos;
        Ok(())
    }
}

/// Bytes that are not what was written: the segment is marked.
fn damaged(view: &LogView, pos: FramePos, check: &'static str) -> ReadError {
    let lsns = view.lsns_behind(pos);
    view.mark_damaged(pos, lsns, check);
    ReadError::Damaged { pos, check, lsns }
}

/// Bytes that the disk does not give: the segment is marked.
fn unreadable(view: &LogView, pos: FramePos, source: io::Error) -> ReadError {
    let lsns = view.lsns_behind(pos);
    view.mark_damaged(pos, lsns, &source.to_string());
    ReadError::Io { pos, lsns, source }
}
