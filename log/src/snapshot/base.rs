//! The base: the events below the start of a log that was cut, as far as something still refers to them: values of
//! keys, sources of scripts, sealed secrets. Whoever has an event's place and LSN reads it as if it had not been cut.
//!
//! ```text
//! item   | u64 lsn | u64 frame pos | u64 commit time | u16 type | u16 type version | body |      ascending by LSN
//! index  | u64 lsn | u64 place in the stream |                    one per ~64 KiB, behind the events
//! ```
//!
//! Owns: these items and the look-up by LSN. Never does: decide which events are kept.

use std::sync::OnceLock;

use crate::error::{ReadError, SnapshotError};
use crate::format::Fields;
use crate::format::snapshot::{BODY_LEN, SnapshotHeader};
use crate::reader::{RawEvent, Reader};
use crate::{FramePos, Lsn, UnixMicros};

use super::file::{Opened, Stream};
use super::writer::SnapshotWriter;
use super::{Cut, SnapshotInfo, SnapshotKind, Snapshots};

/// Bytes of an item before the event's body.
const EVENT_HEADER_LEN: u64 = 28;
/// Bytes of an index item.
const FENCE_LEN: u64 = 16;
/// Bytes of the length before every item.
const ITEM_LEN_BYTES: u64 = 4;

/// Events below the log's start, by LSN.
pub(crate) struct Base {
    opened: Opened,
    fences: OnceLock<Vec<(Lsn, u64)>>,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").field("last_lsn", &self.opened.header.last_lsn).finish_non_exhaustive()
    }
}

impl Base {
    pub(crate) const fn new(opened: Opened) -> Self {
        Self { opened, fences: OnceLock::new() }
    }

    pub(crate) fn info(&self) -> SnapshotInfo {
        self.opened.info()
    }

    pub(crate) fn opened(&self) -> Opened {
        self.opened.clone()
    }

    /// The event with that LSN, if it was kept.
    pub(crate) fn event(&self, lsn: Lsn) -> Result<Option<RawEvent>, ReadError> {
        self.find(lsn).map_err(|error| {
            if let SnapshotError::Damaged { path, check } = error {
                return ReadError::DamagedSnapshot { path, check };
            }
            ReadError::Snapshot { path: self.opened.path.clone(), message: error.to_string() }
        })
    }

    fn find(&self, lsn: Lsn) -> Result<Option<RawEvent>, SnapshotError> {
        let fences = self.fences()?;
        let n = fences.partition_point(|(first, _)| *first <= lsn);
        let Some((_, place)) = n.checked_sub(1).and_then(|n| fences.get(n)) else { return Ok(None) };
        let end = self.index_at();
        let mut stream = Stream::new(self.opened.clone());
        stream.seek(*place);
        let mut scratch = Vec::new();
        while stream.left() > self.opened.footer.body_bytes - end {
            let len = stream.item_len(&mut scratch)?;
            let header_len = EVENT_HEADER_LEN.min(len);
            scratch.clear();
            stream.read(header_len, &mut scratch)?;
            let short = || self.opened.damaged("an event is cut short");
            let mut f = Fields(&scratch);
            let header = (f.u64(), f.u64(), f.u64(), f.u16(), f.u16());
            let (Some(found), Some(pos), Some(commit), Some(type_), Some(version)) = header else {
                return Err(short());
            };
            if found > lsn.0 {
                return Ok(None);
            }
            if found < lsn.0 {
                stream.skip(len - header_len)?;
                continue;
            }
            let mut body = Vec::new();
            stream.read(len - header_len, &mut body)?;
            return Ok(Some(RawEvent {
                lsn,
                pos: FramePos::from_u64(pos),
                commit_time: UnixMicros(commit),
                type_,
                type_version: version,
                body,
            }));
        }
        Ok(None)
    }

    fn index_at(&self) -> u64 {
        let index = u64::from(self.opened.footer.index_items) * (ITEM_LEN_BYTES + FENCE_LEN);
        self.opened.footer.body_bytes.saturating_sub(index)
    }

    /// The index, read at its first use.
    fn fences(&self) -> Result<&Vec<(Lsn, u64)>, SnapshotError> {
        if let Some(fences) = self.fences.get() {
            return Ok(fences);
        }
        let mut stream = Stream::new(self.opened.clone());
        stream.seek(self.index_at());
        let mut bytes = Vec::new();
        stream.read(stream.left(), &mut bytes)?;
        let mut f = Fields(&bytes);
        let mut fences = Vec::new();
        for _ in 0..self.opened.footer.index_items {
            let (Some(_), Some(lsn), Some(place)) = (f.u32(), f.u64(), f.u64()) else {
                return Err(self.opened.damaged("index is cut short"));
            };
            fences.push((Lsn(lsn), place));
        }
        Ok(self.fences.get_or_init(|| fences))
    }
}

/// Writes the base of a cut.
#[derive(Debug)]
pub struct BaseWriter {
    writer: SnapshotWriter,
    reader: Reader,
    cut: Cut,
    last: Lsn,
    fences: Vec<(Lsn, u64)>,
}

impl Snapshots {
    /// Begins the base of a cut: what is kept of the events below its start.
    ///
    /// # Errors
    /// As for [`Snapshots::begin`].
    pub fn begin_base(&self, cut: &Cut, now: UnixMicros) -> Result<BaseWriter, SnapshotError> {
        let header = SnapshotHeader {
            chain: cut.chain,
            epoch: self.shared.epoch,
            created: now,
            log_start: cut.start,
            pos: FramePos { segment: cut.first_segment, offset: self.shared.geometry.first_offset() },
            ..SnapshotHeader::new(
                &self.shared.geometry,
                SnapshotKind::Base,
                cut.start.prev(),
                &self.shared.software,
            )
        };
        Ok(BaseWriter {
            writer: SnapshotWriter::create(self.clone(), header)?,
            reader: self.reader.clone(),
            cut: cut.clone(),
            last: Lsn::ZERO,
            fences: Vec::new(),
        })
    }
}

impl BaseWriter {
    /// Keeps the event `lsn`, which stands in the frame at `pos`. Events come in the order of LSNs; the same one
    /// again, or one that is not cut, changes nothing.
    ///
    /// # Errors
    /// It cannot be read, or not be written.
    ///
    /// # Panics
    /// When the events do not come in order.
    pub fn keep(&mut self, pos: FramePos, lsn: Lsn) -> Result<(), SnapshotError> {
        assert!(lsn >= self.last, "events of a base come in order");
        if lsn == self.last || lsn >= self.cut.start {
            return Ok(());
        }
        let event = self.reader.raw_event(pos, lsn)?;
        let place = self.writer.at();
        let far = self.fences.last().is_none_or(|(_, last)| place - last >= BODY_LEN as u64);
        if far {
            self.fences.push((lsn, place));
        }
        let mut item = Vec::with_capacity(event.body.len() + 28);
        item.extend_from_slice(&lsn.0.to_le_bytes());
        item.extend_from_slice(&event.pos.to_u64().to_le_bytes());
        item.extend_from_slice(&event.commit_time.0.to_le_bytes());
        item.extend_from_slice(&event.type_.to_le_bytes());
        item.extend_from_slice(&event.type_version.to_le_bytes());
        item.extend_from_slice(&event.body);
        self.writer.push(&item)?;
        self.last = lsn;
        Ok(())
    }

    /// Installs the base; then the cut may be made.
    ///
    /// # Errors
    /// As for [`SnapshotWriter::finish`].
    pub fn finish(mut self) -> Result<SnapshotInfo, SnapshotError> {
        for (lsn, place) in std::mem::take(&mut self.fences) {
            let mut item = lsn.0.to_le_bytes().to_vec();
            item.extend_from_slice(&place.to_le_bytes());
            self.writer.push_index(&item)?;
        }
        self.writer.finish(0)
    }
}
