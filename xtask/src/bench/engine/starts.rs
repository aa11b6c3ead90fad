//! Starts, idleness and the fold: what a process costs before anybody asks it for anything.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Bench;
use crate::Failure;
use crate::bench::process::{self, Server};
use crate::bench::report::{Goal, Load, median, mib};
use crate::bench::scenario;

/// Starts that are measured, the median counts.
const STARTS: usize = 5;
/// How long an idle process is watched.
const IDLE: Duration = Duration::from_secs(10);
/// Wake-ups per second of an idle process that are nothing to speak of: the store's own threads have eleven.
const WAKEUPS: f64 = 20.0;
/// Keys that one call writes.
const KEYS: u64 = 1000;
/// The longest time that writing the keys may take.
const FILL_MAX_SECONDS: u64 = 900;

/// What `relive-logbench fold` says.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Fold {
    events: u64,
    rate: f64,
    peak_rss_bytes: u64,
}

/// A process on an empty directory.
#[derive(Debug, Serialize)]
pub(super) struct Idle {
    /// From its start to its first answer, milliseconds.
    first_answer_ms: Vec<f64>,
    rss_bytes: u64,
    /// Voluntary switches of all threads, per second.
    wakeups: f64,
    cpu_seconds: f64,
}

/// An instance with many keys that was killed.
#[derive(Debug, Serialize)]
pub(super) struct AfterKill {
    keys: u64,
    fill_seconds: f64,
    rss_bytes: u64,
    data_bytes: u64,
    /// From the start to the first answer of a read of a key, milliseconds.
    first_answer_ms: Vec<f64>,
    /// What opening the log alone takes, milliseconds.
    recovery: Opened,
}

/// What `relive-logbench open` says.
#[derive(Debug, Deserialize, Serialize)]
struct Opened {
    ms: f64,
    last_lsn: u64,
    batches: u64,
}

impl Bench<'_> {
    pub(super) fn fold(&self) -> Result<Fold, Failure> {
        println!("fold: {} events", self.options.fold_events);
        let mut command = std::process::Command::new(self.bin.join("relive-logbench"));
        command.args(["fold", "--events", &self.options.fold_events.to_string()]);
        Ok(serde_json::from_str(&process::output(&mut command)?)?)
    }

    pub(super) fn idle(&self) -> Result<Idle, Failure> {
        println!("idle: {STARTS} starts, then {} s", IDLE.as_secs());
        let data = self.work.join("idle");
        let mut first_answer_ms = Vec::new();
        for _ in 0..STARTS {
            let begin = Instant::now();
            let relive = Server::relive(&self.bin, &data)?;
            relive.first_answer("/nothing/here")?;
            first_answer_ms.push(begin.elapsed().as_secs_f64() * 1e3);
            relive.stop()?;
            std::fs::remove_dir_all(&data)?;
        }
        let relive = Server::relive(&self.bin, &data)?;
        relive.first_answer("/nothing/here")?;
        std::thread::sleep(Duration::from_secs(3));
        let (before, switches) = (relive.usage()?, relive.voluntary_switches()?);
        std::thread::sleep(IDLE);
        let (after, more) = (relive.usage()?, relive.voluntary_switches()?);
        relive.stop()?;
        std::fs::remove_dir_all(&data)?;
        Ok(Idle {
            first_answer_ms,
            rss_bytes: after.rss_bytes,
            wakeups: more.saturating_sub(switches) as f64 / IDLE.as_secs_f64(),
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        })
    }

    pub(super) fn after_kill(&self) -> Result<AfterKill, Failure> {
        let data = self.work.join("keys");
        let mut relive = Server::relive(&self.bin, &data)?;
        scenario::deploy(&self.bin, &self.work.join("app"), &relive, &data)?;
        let keys = self.options.keys.next_multiple_of(KEYS);
        println!("keys: {keys} are written");
        let begin = Instant::now();
        let mut command = std::process::Command::new(self.bin.join("load"));
        command.args(["--address", &relive.data_plane, "--method", "POST", "--path", "/bench/fill/{n}"]);
        command.args(["--connections", "2", "--warmup", "0", "--requests", &(keys / KEYS).to_string()]);
        command.args(["--seconds", &FILL_MAX_SECONDS.to_string()]);
        let load: Load = serde_json::from_str(&process::output(&mut command)?)?;
        if load.problems() > 0 {
            return Err(format!("not every key was written: {load:?}").into());
        }
        let fill_seconds = begin.elapsed().as_secs_f64();
        let rss_bytes = relive.usage()?.rss_bytes;
        let mut first_answer_ms = Vec::new();
        for _ in 0..3 {
            relive.kill()?;
            let begin = Instant::now();
            relive = Server::relive(&self.bin, &data)?;
            relive.first_answer("/bench/read-filled/0")?;
            first_answer_ms.push(begin.elapsed().as_secs_f64() * 1e3);
            println!("keys: first answer after {:.0} ms", first_answer_ms.last().copied().unwrap_or(0.0));
        }
        relive.kill()?;
        let mut command = std::process::Command::new(self.bin.join("relive-logbench"));
        command.arg("open").arg("--dir").arg(&data);
        let recovery: Opened = serde_json::from_str(&process::output(&mut command)?)?;
        let data_bytes = process::bytes_below(&data)?;
        std::fs::remove_dir_all(&data)?;
        Ok(AfterKill { keys, fill_seconds, rss_bytes, data_bytes, first_answer_ms, recovery })
    }
}

impl Fold {
    pub(super) fn goals(&self) -> Vec<Goal> {
        vec![Goal::at_least("fold in memory: events per second", self.rate, 500_000.0)]
    }

    pub(super) fn print(&self) {
        println!(
            "fold: {} events at {:.0}/s, {} at the most",
            self.events,
            self.rate,
            mib(self.peak_rss_bytes)
        );
    }
}

impl Idle {
    pub(super) fn goals(&self) -> Vec<Goal> {
        vec![
            Goal::below("an empty directory, first answer: ms", median(self.first_answer_ms.clone()), 300.0),
            Goal::below("idle: MiB", self.rss_bytes as f64 / (1024.0 * 1024.0), 30.0),
            Goal::below("idle: wake-ups per second", self.wakeups, WAKEUPS),
        ]
    }

    pub(super) fn print(&self) {
        println!(
            "idle: {}, {:.1} wake-ups per second, {:.2} s of CPU in {} s",
            mib(self.rss_bytes),
            self.wakeups,
            self.cpu_seconds,
            IDLE.as_secs()
        );
    }
}

impl AfterKill {
    pub(super) fn goals(&self) -> Vec<Goal> {
        vec![
            Goal::below("first answer after a kill: ms", self.slowest(), 1500.0),
            Goal::below("the log's recovery: ms", self.recovery.ms, 1000.0),
        ]
    }

    fn slowest(&self) -> f64 {
        self.first_answer_ms.iter().copied().fold(0.0, f64::max)
    }

    pub(super) fn print(&self) {
        println!(
            "keys: {} written in {:.0} s, {} resident, {} on disk; first answers after kills {:.0?} ms; a log of {} events \
             opened in {:.0} ms ({} batches walked)",
            self.keys,
            self.fill_seconds,
            mib(self.rss_bytes),
            mib(self.data_bytes),
            self.first_answer_ms,
            self.recovery.last_lsn,
            self.recovery.ms,
            self.recovery.batches,
        );
    }
}
