//! The oracle: what was appended, what was shown to be durable, and what a recovery may therefore show.
//!
//! Checks I1 (acknowledged batches are present and identical), I2 (beyond them, a prefix of what was submitted, in
//! whole batches), I3 (nothing else), I4 (LSNs gap-free), I5 (what was seen stays).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use relive_log::disk::Disk;
use relive_log::disk::sim::SimDisk;
use relive_log::{
    AppendError, Batch, FramePos, FreshIdentity, LogOptions, Lsn, OpenError, OpenedLog, Reader, UnixMicros,
    open,
};

/// A batch as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What must, and what may, be found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// Shown to somebody: acknowledged, or found by a recovery that completed.
    pub(crate) exposed: Vec<Stored>,
    /// Appended and not acknowledged, in order.
    pub(crate) submitted: Vec<Stored>,
    serial: u64,
}

impl Model {
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

    /// Appends to the log and to the model.
    pub(crate) fn append(
        &mut self,
        log: &mut OpenedLog,
        sizes: &[usize],
        now: UnixMicros,
    ) -> Result<(), String> {
        let (batch, bodies) = self.make_batch(sizes);
        let expected = log.appender.next_lsn();
        match log.appender.append(&batch, now) {
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
                Ok(())
            }
            Err(AppendError::Busy | AppendError::NoSpace | AppendError::Poisoned(_)) => {
                if log.appender.next_lsn() == expected {
                    Ok(())
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
