//! The oracle: what was appended, what was shown to be durable, and what a recovery may therefore show.
//!
//! Checks I1 (acknowledged batches are present and identical), I2 (beyond them, a prefix of what was submitted, in
//! whole batches), I3 (nothing else), I4 (LSNs gap-free), I5 (what was seen stays), I9 (an installed snapshot stays and
//! reads as it was written), I10 (nothing is cut that was not to be; what was kept of the rest reads as before).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relive_log::disk::Disk;
use relive_log::disk::sim::SimDisk;
use relive_log::snapshot::Snapshots;
use relive_log::{
    AppendError, Appended, Batch, FramePos, FreshIdentity, LogOptions, Lsn, OpenError, OpenedLog,
    PrepareOutcome, Purpose, ReadError, Reader, SnapshotError, UnixMicros, Urgency, open,
};

/// A batch as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) first: Lsn,
    pub(crate) commit: UnixMicros,
    pub(crate) pos: FramePos,
    pub(crate) bodies: Vec<Vec<u8>>,
}

impl Stored {
    pub(crate) fn last(&self) -> Lsn {
        Lsn(self.first.0 + self.bodies.len() as u64 - 1)
    }
}

/// Appends a batch for a purpose.
pub(crate) fn append_for(
    log: &mut OpenedLog,
    purpose: Purpose,
    batch: &Batch,
    now: UnixMicros,
) -> Result<Appended, AppendError> {
    log.appender.append_with(batch, now, purpose, Urgency::Now)
}

/// What must, and what may, be found.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Model {
    /// Shown to somebody: acknowledged, or found by a recovery that completed.
    pub(crate) exposed: Vec<Stored>,
    /// Appended and not acknowledged, in order.
    pub(crate) submitted: Vec<Stored>,
    serial: u64,
    /// What was cut, by the LSN of each event.
    cut: BTreeMap<Lsn, (FramePos, Vec<u8>)>,
    /// Which of it was kept.
    kept: Vec<Lsn>,
    /// A cut that was begun: it may be found or not.
    pending: Option<(Lsn, Vec<Lsn>)>,
    /// Items of every snapshot that was begun.
    written: BTreeMap<Lsn, Vec<Vec<u8>>>,
    /// The newest snapshot whose installation returned.
    installed: Lsn,
}

/// What a model's snapshot holds: sizes around the edges of blocks.
fn snapshot_items(lsn: Lsn) -> Vec<Vec<u8>> {
    let size = [0, 1, 1000, 65_519, 65_520, 65_521, 70_000];
    let big = size[usize::try_from(lsn.0).unwrap() % size.len()];
    vec![lsn.0.to_le_bytes().to_vec(), vec![lsn.0.to_le_bytes()[0]; big], Vec::new(), b"last".to_vec()]
}

impl Model {
    /// Takes a snapshot as of what is durable.
    pub(crate) fn snapshot(&mut self, snapshots: &Snapshots) -> Result<bool, String> {
        let Some(lsn) = self.exposed.last().map(Stored::last) else { return Ok(false) };
        let items = snapshot_items(lsn);
        self.written.insert(lsn, items.clone());
        let taken = snapshots.begin(lsn, 7, UnixMicros(1)).and_then(|mut writer| {
            for item in &items {
                writer.push(item)?;
            }
            writer.finish(u128::from(lsn.0))
        });
        match taken {
            Ok(info) if info.last_lsn == lsn && info.items == 4 => self.installed = lsn,
            Ok(info) => return Err(format!("I9: {info:?}")),
            Err(
                SnapshotError::Exists { .. }
                | SnapshotError::Io { .. }
                | SnapshotError::Poisoned(_)
                | SnapshotError::NoSpace { .. }
                | SnapshotError::Log(ReadError::Io { .. }),
            ) => return Ok(false),
            Err(error) => return Err(format!("I9: {error}")),
        }
        Ok(true)
    }

    /// Cuts below `keep_from`, keeping every third event.
    pub(crate) fn cut(&mut self, snapshots: &Snapshots, keep_from: Lsn) -> Result<bool, String> {
        let io = |error: &SnapshotError| {
            matches!(
                error,
                SnapshotError::Io { .. }
                    | SnapshotError::NoSpace { .. }
                    | SnapshotError::Poisoned(_)
                    | SnapshotError::Log(ReadError::Io { .. })
            )
        };
        let cut = match snapshots.plan_cut(keep_from) {
            Ok(Some(cut)) => cut,
            Ok(None) => return Ok(false),
            Err(error) if io(&error) => return Ok(false),
            Err(error) => return Err(format!("I10: {error}")),
        };
        let older = snapshots.list().iter().rev().nth(1).map_or(Lsn::ZERO, |info| info.last_lsn);
        if cut.start > keep_from || cut.start > older.next() {
            return Err(format!("I10: a cut at {} for {keep_from}, older snapshot {older}", cut.start));
        }
        let mut keep: Vec<Lsn> = self.kept.iter().copied().filter(|lsn| lsn.0 % 2 == 0).collect();
        let below = self.exposed.iter().flat_map(|stored| stored.first.0..=stored.last().0);
        keep.extend(below.filter(|lsn| *lsn < cut.start.0 && lsn % 3 == 0).map(Lsn));
        self.pending = Some((cut.start, keep.clone()));
        let done = snapshots.begin_base(&cut, UnixMicros(2)).and_then(|mut base| {
            for lsn in keep {
                let pos = self.pos_of(lsn);
                base.keep(pos, lsn)?;
            }
            base.finish()?;
            snapshots.cut(&cut)
        });
        match done {
            Ok(_) => self.note_cut(cut.start),
            Err(error) if io(&error) => return Ok(false),
            Err(error) => return Err(format!("I10: {error}")),
        }
        Ok(true)
    }

    fn pos_of(&self, lsn: Lsn) -> FramePos {
        let here = self.exposed.iter().find(|stored| stored.first <= lsn && lsn <= stored.last());
        here.map_or_else(|| self.cut[&lsn].0, |stored| stored.pos)
    }

    /// The log begins at `start` now.
    fn note_cut(&mut self, start: Lsn) {
        if let Some((_, kept)) = self.pending.take() {
            self.kept = kept;
        }
        let gone = self.exposed.iter().take_while(|stored| stored.first < start).count();
        for stored in self.exposed.drain(..gone) {
            for (n, body) in stored.bodies.into_iter().enumerate() {
                self.cut.insert(Lsn(stored.first.0 + n as u64), (stored.pos, body));
            }
        }
    }

    /// I9, I10: what is in force after an open, and what was kept.
    pub(crate) fn check_snapshots(&mut self, snapshots: &Snapshots, reader: &Reader) -> Result<(), String> {
        if snapshots.newest() < self.installed {
            return Err(format!("I9: snapshot {} is not in force", self.installed));
        }
        self.installed = snapshots.newest();
        for info in snapshots.list() {
            let mut found = Vec::new();
            let mut items = snapshots.read(info.last_lsn).map_err(|e| format!("I9: {e}"))?;
            while let Some(item) = items.next_item().map_err(|e| format!("I9: {e}"))? {
                found.push(item);
            }
            if Some(&found) != self.written.get(&info.last_lsn) {
                return Err(format!("I9: snapshot {} is not what was written", info.last_lsn));
            }
        }
        self.check_kept(reader)
    }

    pub(crate) fn check_kept(&self, reader: &Reader) -> Result<(), String> {
        for (lsn, (pos, body)) in &self.cut {
            match reader.raw_event(*pos, *lsn) {
                Ok(event) if self.kept.contains(lsn) && event.body == *body && event.pos == *pos => {}
                Err(ReadError::Cut { .. }) if !self.kept.contains(lsn) => {}
                other => return Err(format!("I10: event {lsn} below the start: {other:?}")),
            }
        }
        Ok(())
    }

    /// A batch whose bodies exist nowhere else.
    pub(crate) fn make_batch(&mut self, sizes: &[usize]) -> (Batch, Vec<Vec<u8>>) {
        let mut batch = Batch::new();
        let mut bodies = Vec::new();
        for &size in sizes {
            self.serial += 1;
            let mut body = self.serial.to_le_bytes().to_vec();
            let fill = (self.serial % 251) as u8;
            body.resize(size.max(8), fill);
            batch.push_raw(7, 1, &body);
            bodies.push(body);
        }
        (batch, bodies)
    }

    /// Appends new work to the log and to the model.
    pub(crate) fn append(
        &mut self,
        log: &mut OpenedLog,
        sizes: &[usize],
        now: UnixMicros,
    ) -> Result<(), String> {
        self.append_for(log, Purpose::NewWork, sizes, now).map(drop)
    }

    /// Appends new work, preparing segments as long as it takes.
    pub(crate) fn append_with_room(&mut self, log: &mut OpenedLog, sizes: &[usize], now: UnixMicros) {
        while self.append_for(log, Purpose::NewWork, sizes, now).unwrap().is_err() {
            assert!(matches!(log.preparer.step(), PrepareOutcome::Prepared { .. }));
        }
    }

    /// Appends to the log and to the model. The outer error is a violation, the inner one a refusal.
    pub(crate) fn append_for(
        &mut self,
        log: &mut OpenedLog,
        purpose: Purpose,
        sizes: &[usize],
        now: UnixMicros,
    ) -> Result<Result<(), AppendError>, String> {
        let (batch, bodies) = self.make_batch(sizes);
        let expected = log.appender.next_lsn();
        match append_for(log, purpose, &batch, now) {
            Ok(done) => {
                if done.first != expected || done.last.0 - done.first.0 + 1 != bodies.len() as u64 {
                    return Err(format!("I4: appended {done:?}, expected to start at {expected}"));
                }
                self.submitted.push(Stored {
                    first: done.first,
                    commit: done.commit_time,
                    pos: done.pos,
                    bodies,
                });
                Ok(Ok(()))
            }
            Err(error @ (AppendError::Busy | AppendError::NoSpace | AppendError::Poisoned(_))) => {
                if log.appender.next_lsn() == expected {
                    Ok(Err(error))
                } else {
                    Err("L3: a refusal used LSNs".to_owned())
                }
            }
            Err(error) => Err(format!("append: {error}")),
        }
    }

    /// Notes what the log says is durable.
    pub(crate) fn note_durable(&mut self, durable: Lsn) {
        let n = self.submitted.iter().take_while(|stored| stored.last() <= durable).count();
        self.exposed.extend(self.submitted.drain(..n));
    }

    /// Compares an open log with what must be there; then everything found counts as shown.
    pub(crate) fn check(&mut self, reader: &Reader) -> Result<(), String> {
        let first = reader.first_lsn();
        let expected = self.exposed.first().or(self.submitted.first()).map_or(first, |stored| stored.first);
        match &self.pending {
            Some((start, _)) if *start == first => self.note_cut(first),
            _ if first == expected => self.pending = None,
            _ => return Err(format!("I10: the log begins at {first}, expected {expected}")),
        }
        let found = read_all(reader)?;
        for (i, expect) in self.exposed.iter().enumerate() {
            match found.get(i) {
                Some(got) if got == expect => {}
                Some(got) => {
                    return Err(format!("I1: LSN {} differs: {} {:?}", expect.first, got.first, got.pos));
                }
                None => {
                    let ends = found.last().map_or(Lsn::ZERO, Stored::last);
                    return Err(format!("I1: LSN {} was acknowledged, the log ends at {ends}", expect.first));
                }
            }
        }
        for (got, expect) in found.iter().skip(self.exposed.len()).zip(&self.submitted) {
            if got != expect {
                return Err(format!("I2: LSN {} is not what was submitted as {}", got.first, expect.first));
            }
        }
        if found.len() > self.exposed.len() + self.submitted.len() {
            return Err(format!("I3: {} batches were never submitted", found.len()));
        }
        self.exposed = found;
        self.submitted.clear();
        Ok(())
    }
}

/// Every batch of the log, by scanning.
pub(crate) fn read_all(reader: &Reader) -> Result<Vec<Stored>, String> {
    let mut next = reader.first_lsn();
    let mut all = Vec::new();
    for frame in reader.scan(next).map_err(|e| e.to_string())? {
        let frame = frame.map_err(|e| format!("scan: {e}"))?;
        if frame.first_lsn != next {
            return Err(format!("I4: expected LSN {next}, found {}", frame.first_lsn));
        }
        let bodies: Vec<_> = frame.records().map(|record| record.body.to_vec()).collect();
        let stored = Stored { first: frame.first_lsn, commit: frame.commit_time, pos: frame.pos, bodies };
        if stored.last() != frame.last_lsn {
            return Err(format!("I4: batch at {next} has fewer records than LSNs"));
        }
        if all.last().is_some_and(|before: &Stored| before.commit > stored.commit) {
            return Err(format!("L10: the commit time steps back at LSN {next}"));
        }
        next = stored.last().next();
        all.push(stored);
    }
    if next.prev() != reader.durable() {
        return Err(format!("I4: scan ended before {next}, durable is {}", reader.durable()));
    }
    Ok(all)
}

/// Where simulated logs live.
pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/data")
}

/// A segment's path.
pub(crate) fn segment(n: u32) -> PathBuf {
    dir().join("log").join(format!("seg-{n:016x}.log"))
}

/// Small everything.
pub(crate) fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 16 << 10,
        group_bytes_max: 4 << 10,
        buffer_bytes_max: 64 << 10,
        spares: 1,
        software: "sim".to_owned(),
        ..LogOptions::default()
    }
}

/// Opens the simulated log.
pub(crate) fn open_sim(disk: &SimDisk, options: &LogOptions, now: u64) -> Result<OpenedLog, OpenError> {
    let identity = FreshIdentity { log_id: *b"simulated log id", frame_magic: [0x5a, 1, 2, 3] };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    open(disk, &dir(), options, identity, UnixMicros(now))
}

/// Everything on the disk but the lock, whose content means nothing.
pub(crate) fn image(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = disk.files();
    files.retain(|(path, _)| path != Path::new("/data/LOCK"));
    files
}
