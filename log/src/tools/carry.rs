//! What stands for the cut beginning of a log, taken over into a log made anew: the base and state snapshots.
//!
//! Owns: which of them a salvage or a fork takes over, and their copies: the same blocks behind a header that names the new
//! log and its places. A block of a base that is damaged stays damaged in the copy of a salvage, so that its reads are errors
//! there too (L41: nothing is held that was not held, and nothing damaged becomes sound); a fork takes over sound ones only,
//! because its blocks are sealed anew for the log that it is (L43). Never does: read an item.
//!
//! Items name places of the old log. They need no change: the new log begins with a segment number that the old one never
//! reached, and what names a place below a log's first segment is looked up by its LSN (`Reader`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{OpenError, SnapshotError};
use crate::format::Geometry;
use crate::format::snapshot::{
    BLOCK_LEN, FOOTER_LEN, SnapshotHeader, SnapshotKind, block_offset, snapshot_name,
};
use crate::recovery::gather::damaged;
use crate::recovery::io_error;
use crate::snapshot::{Opened, SNAPSHOTS_DIR, open_file, verify_file};
use crate::{FramePos, Gap, Lsn};

use super::build::Builder;
use super::offline::OfflineLog;
use super::survey::Survey;

/// What is taken over.
#[derive(Debug)]
pub(super) struct Carried {
    base: Opened,
    states: Vec<Opened>,
    /// What is damaged in the base, if anything: the events in those blocks cannot be read.
    pub(super) base_damage: Option<String>,
    /// State snapshots that stay behind, each with the reason.
    pub(super) left_behind: Vec<String>,
    /// Losses at or below every snapshot that is taken over: its state refers to events that are gone.
    pub(super) lost_below: Vec<Gap>,
}

/// Where the frame that ends with a snapshot's last event stands in the new log, and its checksum.
type Placed = (FramePos, u32);

impl Carried {
    /// Finds what a cut log needs.
    ///
    /// # Errors
    /// `Damaged`: the base or every state snapshot is, and without them nobody knows what the log's first events follow
    /// on. `Io`.
    pub(super) fn find(disk: &Arc<dyn Disk>, dir: &Path, survey: &Survey) -> Result<Self, OpenError> {
        let start = survey.log_start;
        let folder = dir.join(SNAPSHOTS_DIR);
        let geometry = &survey.manifest.geometry;
        let open =
            |kind, lsn| open_file(disk.as_ref(), &folder.join(snapshot_name(kind, lsn)), geometry, kind, lsn);
        let base = open(SnapshotKind::Base, start.prev()).map_err(|error| {
            let what =
                "what was kept of the events below it stands in that file alone; restore it from a backup";
            unusable(dir, &format!("the log begins at LSN {start}, and {error}: {what}"), error)
        })?;
        let base_damage = match verify_file(base.clone()) {
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        let (mut states, mut left_behind) = (Vec::new(), Vec::new());
        for &lsn in &survey.manifest.snapshots {
            match open(SnapshotKind::State, lsn)
                .and_then(|opened| verify_file(opened.clone()).map(|_| opened))
            {
                Ok(opened) if lsn.next() >= start => states.push(opened),
                Ok(_) => left_behind.push(format!(
                    "{}: it ends before the log begins",
                    snapshot_name(SnapshotKind::State, lsn)
                )),
                Err(error) => left_behind.push(error.to_string()),
            }
        }
        let mut lost_below = Vec::new();
        if let Some(first) = survey.losses.first() {
            // A fold from below the first loss passes over every gap and treats what it leaves open as it must. One that
            // begins above it never sees it.
            let (below, above): (Vec<_>, Vec<_>) =
                states.into_iter().partition(|state| state.header.last_lsn < first.from);
            states = if below.is_empty() {
                let newest = above.iter().map(|state| state.header.last_lsn).max().unwrap_or_default();
                lost_below = survey.losses.iter().filter(|gap| gap.from <= newest).copied().collect();
                above
            } else {
                left_behind.extend(above.iter().map(|state| {
                    let (file, from) =
                        (snapshot_name(SnapshotKind::State, state.header.last_lsn), first.from);
                    format!("{file}: it holds what followed from LSN {from}, which is lost")
                }));
                below
            };
        }
        if states.is_empty() {
            let why = left_behind.join("; ");
            let what = "its first events follow on a state that stands in snapshots alone; restore one of these files from \
                        a backup";
            return Err(damaged(
                dir,
                format!("the log begins at LSN {start}, and no snapshot is sound ({why}): {what}"),
            ));
        }
        Ok(Self { base, states, base_damage, left_behind, lost_below })
    }

    /// Finds what a fork as of `upto` of a cut log needs.
    ///
    /// # Errors
    /// `Damaged`: the base is, or every state snapshot that does not lie above `upto`. `Io`.
    pub(super) fn as_of(from: &OfflineLog, upto: Lsn) -> Result<Self, OpenError> {
        let start = from.reader.first_lsn();
        let sound = |kind, lsn| {
            let opened = from.snapshots.open(kind, lsn)?;
            verify_file(opened.clone()).map(|_| opened)
        };
        let dir = from.snapshots.folder();
        let base = sound(SnapshotKind::Base, start.prev()).map_err(|error| {
            let what = "`relive log salvage` keeps what is left of it";
            unusable(dir, &format!("the log begins at LSN {start}, and {error}: {what}"), error)
        })?;
        let (mut states, mut left_behind) = (Vec::new(), Vec::new());
        for info in from.snapshots.list().iter().filter(|info| info.last_lsn <= upto) {
            match sound(SnapshotKind::State, info.last_lsn) {
                Ok(opened) if info.last_lsn.next() >= start => states.push(opened),
                Ok(_) => {}
                Err(error) => left_behind.push(error.to_string()),
            }
        }
        if states.is_empty() {
            let why = left_behind.join("; ");
            return Err(damaged(
                dir,
                format!("the log begins at LSN {start}, and no snapshot up to LSN {upto} is sound: {why}"),
            ));
        }
        Ok(Self { base, states, base_damage: None, left_behind, lost_below: Vec::new() })
    }

    /// What the first frame of the log follows on.
    pub(super) const fn chain(&self) -> u32 {
        self.base.header.chain
    }

    /// The highest segment that a place in them can name: a snapshot names the frame of its last event.
    pub(super) fn last_segment(&self) -> u32 {
        self.states.iter().map(|state| state.header.pos.segment).max().unwrap_or_default()
    }

    /// The last LSNs of the state snapshots, ascending.
    pub(super) fn lsns(&self) -> Vec<Lsn> {
        self.states.iter().map(|state| state.header.last_lsn).collect()
    }

    /// Installs the copies, for a log that is that one and starts there; `ends` says where the frames stand that end with
    /// a snapshot's last event. MANIFEST, which comes last, will name them.
    pub(super) fn install(
        &self,
        disk: &dyn Disk,
        out: &Path,
        (geometry, start): (&Geometry, FramePos),
        ends: &BTreeMap<Lsn, FramePos>,
        builder: &mut Builder<'_>,
    ) -> Result<(), OpenError> {
        let mut placed: BTreeMap<Lsn, Placed> = BTreeMap::new();
        for (&lsn, &pos) in ends {
            placed.insert(lsn, (pos, builder.chain_at(pos)?));
        }
        self.write(disk, out, (geometry, start), &placed)?;
        builder.set_snapshots(self.lsns());
        Ok(())
    }

    fn write(
        &self,
        disk: &dyn Disk,
        out: &Path,
        (geometry, start): (&Geometry, FramePos),
        placed: &BTreeMap<Lsn, Placed>,
    ) -> Result<(), OpenError> {
        let folder = out.join(SNAPSHOTS_DIR);
        disk.mkdir(&folder).map_err(io_error("make", &folder))?;
        let Geometry { log_id, timeline, .. } = *geometry;
        let header = |opened: &Opened, (pos, chain)| SnapshotHeader {
            log_id,
            timeline,
            pos,
            chain,
            ..opened.header.clone()
        };
        copy(disk, &folder, &self.base, &header(&self.base, (start, self.base.header.chain)))?;
        for state in &self.states {
            // Where its last event is lost, or lies below the log's start, it names no place: segments count from 1.
            let nowhere = (FramePos::default(), state.header.chain);
            let at = placed.get(&state.header.last_lsn).copied().unwrap_or(nowhere);
            copy(disk, &folder, state, &header(state, at))?;
        }
        disk.sync_dir(&folder).map_err(io_error("sync directory", &folder))?;
        disk.sync_dir(out).map_err(io_error("sync directory", out))
    }
}

fn unusable(dir: &Path, what: &str, error: SnapshotError) -> OpenError {
    if let SnapshotError::Io { op, path, source } = error {
        return io_error(op, &path)(source);
    }
    damaged(dir, what.to_owned())
}

enum SealFailed {
    Read(SnapshotError),
    Write(std::io::Error),
}

/// Writes what sound blocks hold and the footer with the checksums of another log.
fn seal_anew(
    file: &dyn DiskFile,
    from: &Opened,
    header: &SnapshotHeader,
    bytes: &mut Vec<u8>,
) -> Result<(), SealFailed> {
    let salt = header.salt();
    for number in 0..from.footer.blocks {
        let body = from.body(number, bytes).map_err(SealFailed::Read)?;
        // A block whose number does not fit was refused as damaged.
        let block = salt.block(u32::try_from(number).unwrap_or(u32::MAX), body);
        file.write_all_at(&block, block_offset(number)).map_err(SealFailed::Write)?;
    }
    let footer = salt.encode_footer(&from.footer);
    file.write_all_at(&footer, block_offset(from.footer.blocks)).map_err(SealFailed::Write)
}

/// The same blocks and footer behind another header.
fn copy(disk: &dyn Disk, folder: &Path, from: &Opened, header: &SnapshotHeader) -> Result<(), OpenError> {
    let path = folder.join(snapshot_name(header.kind, header.last_lsn));
    let write = |error| io_error("write", &path)(error);
    let file = disk.open(&path, OpenMode::CreateNew).map_err(io_error("create", &path))?;
    file.write_all_at(&header.encode(), 0).map_err(write)?;
    let mut bytes = Vec::with_capacity(BLOCK_LEN);
    if header.log_id != from.header.log_id {
        seal_anew(&*file, from, header, &mut bytes).map_err(|failed| match failed {
            SealFailed::Read(error) => unusable(folder, &error.to_string(), error),
            SealFailed::Write(error) => write(error),
        })?;
        return file.sync_all().map_err(io_error("sync", &path));
    }
    let behind = block_offset(from.footer.blocks) + FOOTER_LEN as u64;
    let mut at = block_offset(0);
    while at < behind {
        let len = usize::try_from(behind - at).unwrap_or(usize::MAX).min(BLOCK_LEN);
        bytes.resize(len, 0);
        if from.file.read_exact_at(&mut bytes, at).is_err() {
            // What the disk does not give is no block in the copy either: zeros never validate.
            bytes.fill(0);
        }
        file.write_all_at(&bytes, at).map_err(write)?;
        at += len as u64;
    }
    file.sync_all().map_err(io_error("sync", &path))
}
