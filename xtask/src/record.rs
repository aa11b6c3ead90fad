//! What a job leaves behind: `target/xtask/<job>.json`, and the verdict over all of them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failure;

/// The outcome of one job.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub(crate) struct Record {
    pub(crate) job: String,
    pub(crate) ok: bool,
    pub(crate) seconds: f64,
    /// Tests (or checks) that ran and passed.
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) floor: u64,
    pub(crate) budget_seconds: f64,
    /// Why it is not ok, or what is worth knowing; empty otherwise.
    pub(crate) note: String,
}

impl Record {
    pub(crate) fn write(&self, records: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(records.join(format!("{}.json", self.job)), text + "\n")?;
        Ok(())
    }

    fn read(records: &Path, job: &str) -> Option<Self> {
        let text = std::fs::read_to_string(records.join(format!("{job}.json"))).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Stands for a job that left nothing.
    fn missing(job: &str) -> Self {
        Self {
            job: job.to_owned(),
            ok: false,
            seconds: 0.0,
            passed: 0,
            failed: 1,
            floor: 0,
            budget_seconds: 0.0,
            note: "left no record".to_owned(),
        }
    }
}

/// Forgets what an earlier run left, so that a job that does not run cannot pass on it.
pub(crate) fn clear(records: &Path, jobs: &[&str]) -> Result<(), Failure> {
    for job in jobs {
        match std::fs::remove_file(records.join(format!("{job}.json"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Reads every record back from disk, prints the table and the closing line; whether all is well.
pub(crate) fn verdict(records: &Path, jobs: &[&str]) -> bool {
    let found: Vec<Record> =
        jobs.iter().map(|job| Record::read(records, job).unwrap_or_else(|| Record::missing(job))).collect();
    println!(
        "\n{:<16} {:>6} {:>8} {:>7} {:>7} {:>8} {:>8}",
        "job", "", "passed", "failed", "floor", "time", "budget"
    );
    for record in &found {
        println!(
            "{:<16} {:>6} {:>8} {:>7} {:>7} {:>7.0}s {:>7.0}s  {}",
            record.job,
            if record.ok { "ok" } else { "FAILED" },
            record.passed,
            record.failed,
            record.floor,
            record.seconds,
            record.budget_seconds,
            record.note
        );
    }
    let passed: u64 = found.iter().map(|record| record.passed).sum();
    let failed: u64 = found.iter().map(failures).sum();
    println!("{passed} passed, {failed} failed");
    failed == 0
}

/// A job that is not ok counts at least once, whatever its tests say.
fn failures(record: &Record) -> u64 {
    if record.ok { record.failed } else { record.failed.max(1) }
}
