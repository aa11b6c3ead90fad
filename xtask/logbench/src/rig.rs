//! A log with its threads, as the server lends them.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use relive_log::disk::{Disk, RealDisk};
use relive_log::snapshot::Snapshots;
use relive_log::{
    AppendError, Appended, Appender, Batch, Durability, FreshIdentity, LogOptions, OpenedLog, Poisoned,
    Reader, RecoveryReport, UnixMicros, open,
};

use crate::Failure;

/// An open log whose threads run.
pub(crate) struct Rig {
    pub(crate) appender: Appender,
    pub(crate) reader: Reader,
    pub(crate) durability: Durability,
    pub(crate) snapshots: Snapshots,
    pub(crate) report: RecoveryReport,
    pub(crate) committer: JoinHandle<Result<(), Poisoned>>,
    pub(crate) preparer: JoinHandle<()>,
}

pub(crate) fn now() -> UnixMicros {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    UnixMicros(u64::try_from(micros).unwrap_or(u64::MAX))
}

impl Rig {
    /// Opens the log with the options that a server has by default.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let identity = FreshIdentity { log_id: *b"measured log 001", frame_magic: [0x5a, 1, 2, 3] };
        let log = open(disk, dir, &LogOptions::default(), identity, now())?;
        let OpenedLog {
            appender, reader, mut committer, mut preparer, durability, report, snapshots, ..
        } = log;
        let committer = std::thread::spawn(move || {
            committer.run();
            committer.close()
        });
        let preparer = std::thread::spawn(move || preparer.run());
        Ok(Self { appender, reader, durability, snapshots, report, committer, preparer })
    }

    /// Appends, waiting for room.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<Appended, AppendError> {
        append(&mut self.appender, batch)
    }

    /// Makes everything durable and ends the threads.
    pub(crate) fn close(self) -> Result<(), Failure> {
        let Self { appender, committer, preparer, .. } = self;
        drop(appender);
        committer.join().map_err(|_| "the committer panicked")??;
        preparer.join().map_err(|_| "the preparer panicked")?;
        Ok(())
    }
}

/// Appends, waiting for room.
pub(crate) fn append(appender: &mut Appender, batch: &Batch) -> Result<Appended, AppendError> {
    loop {
        match appender.append(batch, now()) {
            Err(AppendError::Busy) => appender.wait_for_room(),
            done => return done,
        }
    }
}

/// The most memory that this process had, in bytes.
pub(crate) fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}
