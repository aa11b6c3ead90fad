//! Background work: how soon it starts, how much of it goes through, what it costs to wait.
//!
//! How late a job is, and at what rate jobs end, is read from the log afterwards (`relive-logbench jobs`): the commit
//! times of its events, in microseconds. From `enqueued` to `completed` there are two syncs and the run itself, so it
//! is more than the time from the acknowledgement to the start.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Bench;
use crate::Failure;
use crate::bench::process::{self, Server};
use crate::bench::report::{Goal, Load, mib};
use crate::bench::scenario;

/// Requests per second of the measurement of latency.
const RATE: f64 = 200.0;
/// Messages that one call sends.
const MESSAGES: u64 = 1000;
/// The longest wait for work to end.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// Memory that a waiting job may cost in all.
const BACKLOG_MIB: f64 = 100.0;

/// What `relive-logbench jobs` says.
#[derive(Debug, Deserialize, Serialize)]
struct Jobs {
    enqueued: u64,
    completed: u64,
    seconds: f64,
    rate: f64,
    claimed: Late,
    ended: Late,
}

#[derive(Debug, Deserialize, Serialize)]
struct Late {
    p50: f64,
    p99: f64,
    max: f64,
}

/// Latency and throughput.
#[derive(Debug, Serialize)]
pub(super) struct Work {
    /// Jobs of a trigger on a key, asked for at a rate.
    late: Jobs,
    /// Jobs of an async route, asked for by 64 connections as fast as they are accepted.
    asked: Jobs,
    /// What those connections saw.
    accepted: Load,
    cpu_us_per_job: f64,
    /// Jobs that a trigger fired, one for each call of 64 connections.
    fired: Jobs,
}

/// Many jobs that wait.
#[derive(Debug, Serialize)]
pub(super) struct Backlog {
    jobs: u64,
    before_rss_bytes: u64,
    waiting_rss_bytes: u64,
    /// The answer of `GET /instance` while they wait.
    open_while_waiting: u64,
    drained: Jobs,
    cpu_us_per_job: f64,
}

impl Bench<'_> {
    fn served(&self, name: &str) -> Result<(Server, std::path::PathBuf), Failure> {
        let data = self.work.join(name);
        let relive = Server::relive(&self.bin, &data)?;
        scenario::deploy(&self.bin, &self.work.join("app"), &relive, &data)?;
        Ok((relive, data))
    }

    fn post(&self, relive: &Server, path: &str, options: &[(&str, String)]) -> Result<Load, Failure> {
        let mut command = std::process::Command::new(self.bin.join("load"));
        command.args(["--address", &relive.data_plane, "--method", "POST", "--path", path]);
        command.args(["--body", r#"{"order":{n}}"#]);
        for (option, value) in options {
            command.args([*option, value]);
        }
        let load: Load = serde_json::from_str(&process::output(&mut command)?)?;
        if load.problems() > 0 {
            return Err(format!("{path}: not every request was answered well: {load:?}").into());
        }
        Ok(load)
    }

    /// All jobs of a script but the first ones.
    fn jobs(&self, data: &std::path::Path, script: &str, skip: u64) -> Result<Jobs, Failure> {
        let mut command = std::process::Command::new(self.bin.join("relive-logbench"));
        command.arg("jobs").arg("--dir").arg(data).args(["--script", script]);
        command.args(["--skip", &skip.to_string()]);
        let jobs: Jobs = serde_json::from_str(&process::output(&mut command)?)?;
        if jobs.completed == 0 || jobs.completed != jobs.enqueued {
            return Err(format!("not every job of {script} was completed: {jobs:?}").into());
        }
        Ok(jobs)
    }

    pub(super) fn work(&self) -> Result<Work, Failure> {
        let (relive, data) = self.served("work")?;
        let seconds = self.options.seconds;
        // Everything warm that a first job warms.
        self.post(
            &relive,
            "/bench/warm/{n}",
            &[("--connections", "4".into()), ("--requests", "200".into())],
        )?;
        println!("work: {RATE}/s, {seconds:.0} s");
        let at_rate = [
            ("--connections", "16".into()),
            ("--rate", RATE.to_string()),
            ("--seconds", seconds.to_string()),
        ];
        self.post(&relive, "/bench/late/{n}", &at_rate)?;
        let many = [("--connections", "64".into()), ("--seconds", seconds.to_string())];
        println!("work: an async route, 64 connections, {seconds:.0} s");
        let before = relive.usage()?;
        let accepted = self.post(&relive, "/bench/asked/{n}", &many)?;
        drained(&relive, &data)?;
        let cpu = relive.usage()?.cpu_seconds - before.cpu_seconds;
        println!("work: a trigger, 64 connections, {seconds:.0} s");
        self.post(&relive, "/bench/fired/{n}", &many)?;
        drained(&relive, &data)?;
        relive.stop()?;
        let (late, asked) = (self.jobs(&data, "on_late", 0)?, self.jobs(&data, "asked", 0)?);
        let fired = self.jobs(&data, "on_fired", 0)?;
        std::fs::remove_dir_all(&data)?;
        let cpu_us_per_job = cpu * 1e6 / asked.completed as f64;
        Ok(Work { late, asked, accepted, cpu_us_per_job, fired })
    }

    pub(super) fn backlog(&self) -> Result<Backlog, Failure> {
        let (relive, data) = self.served("backlog")?;
        let jobs = self.options.backlog.next_multiple_of(MESSAGES);
        let send = |jobs: u64| {
            let calls = (jobs / MESSAGES).to_string();
            let options = [
                ("--connections", "4".to_owned()),
                ("--requests", calls),
                ("--seconds", DRAIN_MAX.as_secs().to_string()),
            ];
            self.post(&relive, "/bench/send/{n}", &options)
        };
        println!("backlog: warm");
        let warm = (jobs / 10).next_multiple_of(MESSAGES);
        send(warm)?;
        drained(&relive, &data)?;
        written_behind(&relive, &data)?;
        scenario::switch_trigger(&self.bin, &relive, &data, "pause", "sent")?;
        let before = relive.usage()?;
        println!("backlog: {jobs} jobs");
        send(jobs)?;
        written_behind(&relive, &data)?;
        let waiting = relive.usage()?;
        let open_while_waiting = open(&relive, &data)?;
        println!("backlog: drained");
        scenario::switch_trigger(&self.bin, &relive, &data, "resume", "sent")?;
        let begin = relive.usage()?;
        drained(&relive, &data)?;
        let cpu = relive.usage()?.cpu_seconds - begin.cpu_seconds;
        relive.stop()?;
        let drained = self.jobs(&data, "on_sent", warm)?;
        std::fs::remove_dir_all(&data)?;
        Ok(Backlog {
            jobs,
            before_rss_bytes: before.rss_bytes,
            waiting_rss_bytes: waiting.rss_bytes,
            open_while_waiting,
            cpu_us_per_job: cpu * 1e6 / jobs as f64,
            drained,
        })
    }
}

/// How many executions have not ended.
fn open(relive: &Server, data: &std::path::Path) -> Result<u64, Failure> {
    let shown = scenario::ask_control(relive, data, "/instance")?;
    shown
        .get("open_executions")
        .and_then(serde_json::Value::as_u64)
        .ok_or_else(|| "no open_executions".into())
}

/// Waits until the views have nothing left to write.
fn written_behind(relive: &Server, data: &std::path::Path) -> Result<(), Failure> {
    let begin = Instant::now();
    while begin.elapsed() < DRAIN_MAX {
        let shown = scenario::ask_control(relive, data, "/instance")?;
        if shown.pointer("/views/lag_bytes").and_then(serde_json::Value::as_u64) == Some(0) {
            std::thread::sleep(Duration::from_secs(2));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    Err("the views are not written".into())
}

/// Waits until nothing is left to do.
fn drained(relive: &Server, data: &std::path::Path) -> Result<(), Failure> {
    let begin = Instant::now();
    while begin.elapsed() < DRAIN_MAX {
        if open(relive, data)? == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    Err("work does not end".into())
}

impl Work {
    pub(super) fn goals(&self) -> Vec<Goal> {
        vec![
            Goal::below("a job at 200/s, enqueued to completed: p50 ms", self.late.ended.p50, 1.0),
            Goal::below("a job at 200/s, enqueued to completed: p99 ms", self.late.ended.p99, 10.0),
            Goal::at_least("jobs of an async route, end to end: per second", self.asked.rate, 20_000.0),
            Goal::at_least("jobs of a trigger, one for each call: per second", self.fired.rate, 20_000.0),
        ]
    }

    pub(super) fn print(&self) {
        let late = |name: &str, jobs: &Jobs| {
            println!(
                "{name}: {} jobs, {:.0}/s; claimed after p50 {:.2} p99 {:.2} ms, completed after p50 {:.2} p99 {:.2} max {:.1} ms",
                jobs.completed,
                jobs.rate,
                jobs.claimed.p50,
                jobs.claimed.p99,
                jobs.ended.p50,
                jobs.ended.p99,
                jobs.ended.max
            );
        };
        late("trigger at 200/s", &self.late);
        late("async route", &self.asked);
        println!(
            "  accepted {:.0}/s; {:.1} µs of CPU a job, its acceptance included",
            self.accepted.rate, self.cpu_us_per_job
        );
        late("trigger, one a call", &self.fired);
    }
}

impl Backlog {
    fn cost_mib(&self) -> f64 {
        let cost = self.waiting_rss_bytes.saturating_sub(self.before_rss_bytes);
        cost as f64 / (1024.0 * 1024.0) * 1e6 / self.jobs as f64
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        vec![
            Goal::below("a million jobs that wait: MiB", self.cost_mib(), BACKLOG_MIB),
            Goal::at_least("a backlog drained: jobs per second", self.drained.rate, 20_000.0),
        ]
    }

    pub(super) fn print(&self) {
        println!(
            "backlog of {}: {} before, {} while {} wait ({:.0} bytes each); drained at {:.0}/s, {:.1} µs of CPU a job",
            self.jobs,
            mib(self.before_rss_bytes),
            mib(self.waiting_rss_bytes),
            self.open_while_waiting,
            self.waiting_rss_bytes.saturating_sub(self.before_rss_bytes) as f64 / self.jobs as f64,
            self.drained.rate,
            self.cpu_us_per_job,
        );
    }
}
