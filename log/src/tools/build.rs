//! A log written anew, batch by batch, into an empty directory: what a salvage (and a restore) makes.
//!
//! Owns: the order of the writes; MANIFEST comes last, so that a directory without one is not a log. Never does: choose
//! what is written. Upholds L2: a group claims what was synced before it, as the writer's do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::Batch;
use crate::disk::{Disk, DiskFile, OpenMode, ZeroPace, replace_small};
use crate::error::{AppendError, OpenError};
use crate::format::frame::{FrameKey, OpenNote};
use crate::format::manifest::Manifest;
use crate::format::segment::{SegmentHeader, segment_name};
use crate::format::watermark::{Clean, SLOT_STRIDE, Slot, WATERMARK_LEN};
use crate::format::{FRAME_HEADER_LEN, Geometry};
use crate::options::LogOptions;
use crate::recovery::gather::damaged;
use crate::recovery::{LOG_DIR, MANIFEST, MANIFEST_BAK, WATERMARK, io_error};
use crate::writer::layout::{Group, Layout, Limits, Resume};
use crate::writer::seal::seal;
use crate::writer::segment_file::publish;
use crate::writer::supply::{Purpose, Stock};
use crate::{FramePos, Gap, Lsn, UnixMicros};

/// Written and synced at once.
const GROUP_BYTES_MAX: u64 = 8 << 20;

/// Segments are made as they are needed.
const ENDLESS: Stock = Stock { ready_upto: u32::MAX, spares: 1, no_space: false, reserving: true };

/// A log in the making.
pub(super) struct Builder<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    manifest: Manifest,
    key: FrameKey,
    layout: Layout,
    software: &'a str,
    epoch: u32,
    chain: u32,
    durable: Lsn,
    end: FramePos,
    /// The segment that is written to.
    open: Option<(u32, Arc<dyn DiskFile>)>,
    /// The last segment that exists.
    published: u32,
}

impl<'a> Builder<'a> {
    /// Begins a log in an empty directory, with the parameters of `manifest`.
    pub(super) fn begin(
        disk: &'a dyn Disk,
        dir: &'a Path,
        manifest: Manifest,
        epoch: u32,
        options: &'a LogOptions,
    ) -> Result<Self, OpenError> {
        let log_dir = dir.join(LOG_DIR);
        disk.mkdir(&log_dir).map_err(io_error("make", &log_dir))?;
        disk.sync_dir(dir).map_err(io_error("sync directory", dir))?;
        let geometry = manifest.geometry;
        let start = FramePos { segment: manifest.first_seq, offset: geometry.first_offset() };
        let last_lsn = manifest.log_start_lsn.prev();
        let limits = Limits {
            group_bytes_max: GROUP_BYTES_MAX,
            batch_bytes_max: u64::from(geometry.max_payload),
            buffer_bytes_max: GROUP_BYTES_MAX,
        };
        let resume = Resume { end: start, last_lsn, last_commit: UnixMicros(0), epoch };
        let mut layout = Layout::new(geometry, limits, resume);
        let note = OpenNote::new(epoch, last_lsn, FramePos::default(), disk.boot_id(), &options.software);
        layout.open_epoch(&note.encode());
        Ok(Self {
            disk,
            dir,
            key: FrameKey::new(&geometry),
            layout,
            software: &options.software,
            epoch,
            chain: manifest.log_start_chain,
            durable: last_lsn,
            end: start,
            open: None,
            published: manifest.first_seq - 1,
            manifest,
        })
    }

    /// The LSN of whatever comes next.
    pub(super) const fn next_lsn(&self) -> Lsn {
        self.layout.next_lsn()
    }

    /// Adds a batch; its first event gets [`Builder::next_lsn`]. Where its frame will stand.
    pub(super) fn batch(&mut self, batch: &Batch, commit: UnixMicros) -> Result<FramePos, OpenError> {
        match self.layout.append(batch, commit, Purpose::NewWork, &ENDLESS) {
            Ok(appended) => Ok(appended.pos),
            Err(AppendError::Busy) => {
                self.flush()?;
                let appended = self.layout.append(batch, commit, Purpose::NewWork, &ENDLESS);
                appended.map(|appended| appended.pos).map_err(|error| self.refused(&error))
            }
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// Adds a gap up to `to`.
    pub(super) fn gap(&mut self, to: Lsn) {
        let gap = Gap { from: self.next_lsn(), to };
        self.layout.append_gap(gap, UnixMicros(0));
    }

    fn refused(&self, error: &AppendError) -> OpenError {
        OpenError::Io {
            op: "write",
            path: self.dir.to_owned(),
            source: std::io::Error::other(error.to_string()),
        }
    }

    /// Writes what is buffered, a sync after each group.
    fn flush(&mut self) -> Result<(), OpenError> {
        while let Some(mut group) = self.layout.take() {
            self.chain = seal(&mut group, &self.key, self.durable, self.chain, &mut Vec::new());
            self.write(&group)?;
            self.durable = group.last_lsn;
            let len = crate::format::len32(group.bytes.len());
            self.end = FramePos { segment: group.segment, offset: group.start + len };
            self.layout.give_back(group);
        }
        Ok(())
    }

    fn write(&mut self, group: &Group) -> Result<(), OpenError> {
        let path = self.path(group.segment);
        let file = self.segment(group.segment)?;
        file.write_all_at(&group.bytes, u64::from(group.start)).map_err(io_error("write", &path))?;
        file.sync_data().map_err(io_error("sync", &path))
    }

    fn segment(&mut self, seq: u32) -> Result<Arc<dyn DiskFile>, OpenError> {
        if let Some((_, file)) = self.open.as_ref().filter(|(open, _)| *open == seq) {
            return Ok(Arc::clone(file));
        }
        self.publish_upto(seq)?;
        let path = self.path(seq);
        let file: Arc<dyn DiskFile> =
            self.disk.open(&path, OpenMode::ReadWrite).map_err(io_error("open", &path))?.into();
        self.open = Some((seq, Arc::clone(&file)));
        Ok(file)
    }

    fn publish_upto(&mut self, seq: u32) -> Result<(), OpenError> {
        let geometry: Geometry = self.manifest.geometry;
        while self.published < seq {
            let next = self.published + 1;
            let header = SegmentHeader::new(geometry, next, self.layout.last_commit(), self.software);
            publish(self.disk, &self.dir.join(LOG_DIR), &header, ZeroPace::Swift).map_err(|failed| {
                OpenError::Io { op: failed.op, path: failed.path, source: failed.source }
            })?;
            self.published = next;
        }
        Ok(())
    }

    fn path(&self, seq: u32) -> PathBuf {
        self.dir.join(LOG_DIR).join(segment_name(seq))
    }

    /// Writes what is buffered; the `hdr_crc` of the frame at a place that [`Builder::batch`] named.
    pub(super) fn chain_at(&mut self, pos: FramePos) -> Result<u32, OpenError> {
        self.flush()?;
        let path = self.path(pos.segment);
        let file = self.disk.open(&path, OpenMode::Read).map_err(io_error("open", &path))?;
        let mut bytes = [0; FRAME_HEADER_LEN];
        file.read_exact_at(&mut bytes, u64::from(pos.offset)).map_err(io_error("read", &path))?;
        let header = self
            .key
            .parse(pos, &bytes)
            .map_err(|check| damaged(self.dir, format!("{pos}: {check}, in what was just written")))?;
        Ok(header.hdr_crc)
    }

    /// Snapshots that the new log has from its beginning, ascending; their files are installed already.
    pub(super) fn set_snapshots(&mut self, snapshots: Vec<Lsn>) {
        self.manifest.snapshots = snapshots;
    }

    /// Writes the rest, WATERMARK, and MANIFEST last.
    pub(super) fn finish(mut self) -> Result<(), OpenError> {
        self.flush()?;
        self.publish_upto(self.manifest.first_seq)?;
        let geometry = self.manifest.geometry;
        let slot = Slot {
            log_id: geometry.log_id,
            timeline: geometry.timeline,
            counter: 1,
            epoch: self.epoch,
            durable: self.durable,
            end: self.end,
            chain: self.chain,
            boot_id: [0; 16],
            clean: Clean::Yes,
        };
        let mut bytes = vec![0; usize::try_from(WATERMARK_LEN).unwrap_or(usize::MAX)];
        let encoded = slot.encode();
        let other = usize::try_from(SLOT_STRIDE).unwrap_or(usize::MAX);
        for start in [0, other] {
            if let Some(place) = bytes.get_mut(start..start + encoded.len()) {
                place.copy_from_slice(&encoded);
            }
        }
        self.install(WATERMARK, &bytes)?;
        let manifest = self.manifest.encode();
        self.install(MANIFEST_BAK, &manifest)?;
        self.install(MANIFEST, &manifest)
    }

    fn install(&self, name: &str, bytes: &[u8]) -> Result<(), OpenError> {
        replace_small(self.disk, self.dir, name, bytes).map_err(io_error("install", &self.dir.join(name)))
    }
}
