//! The floor: the same bytes in one `pwrite` + `fdatasync` loop on a preallocated, zeroed file, over and over.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Failure;

/// Size of the file, as of a segment.
const FILE_BYTES: u64 = 64 << 20;
/// Zeros written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Syncs per second.
    rate: f64,
    mib_per_second: f64,
}

pub(crate) fn measure(dir: &Path, size: usize, seconds: f64) -> Result<Report, Failure> {
    std::fs::create_dir_all(dir)?;
    let file =
        OpenOptions::new().create(true).truncate(true).read(true).write(true).open(dir.join("floor"))?;
    let zeros = vec![0; CHUNK_BYTES];
    for chunk in 0..FILE_BYTES / CHUNK_BYTES as u64 {
        file.write_all_at(&zeros, chunk * CHUNK_BYTES as u64)?;
    }
    file.sync_all()?;
    let bytes = vec![0x5a; size];
    let until = Duration::from_secs_f64(seconds);
    let begin = Instant::now();
    let (mut offset, mut count) = (0_u64, 0_u64);
    while begin.elapsed() < until {
        if offset + size as u64 > FILE_BYTES {
            offset = 0;
        }
        file.write_all_at(&bytes, offset)?;
        file.sync_data()?;
        offset += size as u64;
        count += 1;
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    Ok(Report { rate, mib_per_second: rate * size as f64 / f64::from(1 << 20) })
}
