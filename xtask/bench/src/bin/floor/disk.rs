//! The disk's part of the floors: a preallocated file, written in place, synced.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use relive_bench::histogram::{Histogram, Summary};
use rustix::fs::fdatasync;
use serde::Serialize;
use tokio::sync::oneshot;

/// Length of the file; writes start again at its begin when they reach its end.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// What one request commits.
pub(crate) const RECORD_BYTES: usize = 200;
/// Alignment of a group, as in a log that never writes a synced sector again.
const ALIGN_BYTES: usize = 512;
/// Requests that may wait for the committer.
const WAITING_MAX: usize = 4_096;

/// What a loop of synced writes reached.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    size: usize,
    rate: f64,
    ms: Summary,
}

/// One thread: write, sync, again.
pub(crate) fn measure(dir: &Path, size: usize, seconds: f64) -> io::Result<Measured> {
    let file = zeroed(&dir.join("floor-fdatasync"))?;
    let data = vec![0x5a; size];
    let mut latencies = Histogram::default();
    let (mut offset, started) = (0, Instant::now());
    while started.elapsed() < Duration::from_secs_f64(seconds) {
        let before = Instant::now();
        file.write_all_at(&data, offset)?;
        fdatasync(&file)?;
        latencies.record(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
        offset = next_offset(offset, size);
    }
    let rate = (latencies.count() as f64 / started.elapsed().as_secs_f64()).round();
    Ok(Measured { size, rate, ms: latencies.summary() })
}

fn next_offset(offset: u64, size: usize) -> u64 {
    let next = offset + size as u64;
    if next + size as u64 > FILE_BYTES { 0 } else { next }
}

/// A file whose blocks exist and hold zeroes on disk, so that a sync of data need not touch metadata.
fn zeroed(path: &Path) -> io::Result<File> {
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    let zeroes = vec![0; 1024 * 1024];
    for _ in 0..FILE_BYTES / zeroes.len() as u64 {
        file.write_all(&zeroes)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// One record and whom to tell when it is on disk.
type Waiting = (Vec<u8>, oneshot::Sender<()>);

/// A group commit: one thread that writes and syncs whatever has come in since its last sync.
#[derive(Clone, Debug)]
pub(crate) struct Commits {
    queue: SyncSender<Waiting>,
}

impl Commits {
    pub(crate) fn start(dir: &Path) -> io::Result<Self> {
        let file = zeroed(&dir.join("floor-commit"))?;
        let (queue, waiting) = sync_channel(WAITING_MAX);
        std::thread::spawn(move || commit(&file, &waiting));
        Ok(Self { queue })
    }

    /// Returns when the record is on disk; whether it is.
    pub(crate) async fn commit(&self, record: Vec<u8>) -> bool {
        let (tell, told) = oneshot::channel();
        self.queue.try_send((record, tell)).is_ok() && told.await.is_ok()
    }
}

/// Ends when the queue is closed or a write fails; whoever waits then is not told, which counts as a failure.
fn commit(file: &File, waiting: &Receiver<Waiting>) {
    let (mut offset, mut group, mut tells) = (0, Vec::new(), Vec::new());
    while let Ok(first) = waiting.recv() {
        for (record, tell) in std::iter::once(first).chain(waiting.try_iter()) {
            group.extend_from_slice(&record);
            tells.push(tell);
        }
        group.resize(group.len().next_multiple_of(ALIGN_BYTES), 0);
        if offset + group.len() as u64 > FILE_BYTES {
            offset = 0;
        }
        if file.write_all_at(&group, offset).is_err() || fdatasync(file).is_err() {
            return;
        }
        offset += group.len() as u64;
        group.clear();
        for tell in tells.drain(..) {
            // A caller that went away needs no answer.
            let _ = tell.send(());
        }
    }
}
