//! `cargo xtask bench log`: the log alone beside the bare disk, in pairs that alternate, and what it promises.
//!
//! Every participant is a process of its own (`xtask/logbench`). The floor writes the bytes that the log writes for one
//! event: frame and record headers, padded to the alignment.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::process;
use super::report::{Goal, median, print_goals};
use crate::{Failure, Places, cargo};

/// Headers of a frame and of its one record.
const OVERHEAD_BYTES: usize = 64 + 8;
/// Groups are padded to this.
const ALIGN_BYTES: usize = 512;
const SMALL: usize = 256;
const LARGE: usize = 64 << 10;

#[derive(Clone, Copy, Debug)]
struct Options {
    seconds: f64,
    pairs: usize,
    /// Size of the log that is opened, MiB.
    mib: u64,
    events: u64,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let mut options = Self { seconds: 4.0, pairs: 3, mib: 10 << 10, events: 4_000_000 };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--quick" => options = Self { seconds: 1.5, pairs: 1, mib: 512, events: 1_000_000 },
                "--seconds" => options.seconds = value()?.parse()?,
                "--pairs" => options.pairs = value()?.parse()?,
                "--mib" => options.mib = value()?.parse()?,
                other => {
                    return Err(format!(
                        "unknown option `{other}`: --quick, --seconds N, --pairs N, --mib N"
                    )
                    .into());
                }
            }
        }
        if options.pairs == 0 || options.seconds <= 0.0 {
            return Err("at least one pair and some time".into());
        }
        Ok(options)
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Floor {
    rate: f64,
    mib_per_second: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Produced {
    rate: f64,
    syncs: f64,
    /// Of events.
    mib_per_second: f64,
    /// With headers and padding, as the floor's.
    disk_mib_per_second: f64,
    peak_rss_bytes: u64,
    log_bytes: u64,
}

/// Two neighbours in time.
#[derive(Clone, Debug, Serialize)]
struct Pair {
    producers: usize,
    event_bytes: usize,
    log: Produced,
    floor: Floor,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Read {
    rate: f64,
    mib_per_second: f64,
    peak_rss_bytes: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Opened {
    ms: f64,
    batches: u64,
    peak_rss_bytes: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Filled {
    log_bytes: u64,
    snapshot_lsn: u64,
    peak_rss_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    pairs: Vec<Pair>,
    /// Batches of one event, and of four.
    reads: [Read; 2],
    filled: Filled,
    opened: Vec<Opened>,
    goals: Vec<Goal>,
}

struct Bench {
    bin: PathBuf,
    work: PathBuf,
    options: Options,
}

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let options = Options::parse(arguments)?;
    let built = cargo::cargo(&places.root).args(["build", "--release", "-p", "relive-logbench"]).status()?;
    if !built.success() {
        return Err("relive-logbench does not build".into());
    }
    let work = super::empty(places.records.join("bench-log"))?;
    let bench = Bench { bin: places.target.join("release/relive-logbench"), work, options };
    let report = bench.measure();
    std::fs::remove_dir_all(&bench.work)?;
    let report = report?;
    std::fs::write(places.records.join("bench-log.json"), serde_json::to_string_pretty(&report)? + "\n")?;
    print(&report);
    Ok(true)
}

impl Bench {
    fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        mode: &str,
        dir: &str,
        rest: &[(&str, String)],
    ) -> Result<T, Failure> {
        process::ask(&self.bin, mode, &self.work.join(dir), rest)
    }

    fn measure(&self) -> Result<Report, Failure> {
        let mut pairs = Vec::new();
        for round in 0..self.options.pairs {
            for (producers, event_bytes) in [(1, SMALL), (64, SMALL), (256, SMALL), (1, LARGE)] {
                println!("round {}: {producers} producers, {event_bytes} B", round + 1);
                pairs.push(self.pair(producers, event_bytes, round)?);
            }
        }
        let read = |batch: u64| -> Result<Read, Failure> {
            println!("reading: {} events, batches of {batch}", self.options.events);
            let dir = format!("read-{batch}");
            let read = self.ask(
                "read",
                &dir,
                &[("--events", self.options.events.to_string()), ("--batch", batch.to_string())],
            )?;
            std::fs::remove_dir_all(self.work.join(dir))?;
            Ok(read)
        };
        let reads = [read(1)?, read(4)?];
        println!("opening: a log of {} MiB", self.options.mib);
        let filled: Filled = self.ask("fill", "open", &[("--mib", self.options.mib.to_string())])?;
        let opened = (0..3).map(|_| self.ask("open", "open", &[])).collect::<Result<Vec<Opened>, _>>()?;
        let goals = goals(&pairs, &reads, &opened);
        let cores = std::thread::available_parallelism()?.get();
        Ok(Report { cores, pairs, reads, filled, opened, goals })
    }

    /// The log and the floor, one right after the other; who begins alternates.
    fn pair(&self, producers: usize, event_bytes: usize, round: usize) -> Result<Pair, Failure> {
        let seconds = self.options.seconds.to_string();
        let log = || -> Result<Produced, Failure> {
            let options = [
                ("--producers", producers.to_string()),
                ("--size", event_bytes.to_string()),
                ("--seconds", seconds.clone()),
            ];
            let produced = self.ask("produce", "log", &options)?;
            std::fs::remove_dir_all(self.work.join("log"))?;
            Ok(produced)
        };
        let floor = || {
            let size = (event_bytes + OVERHEAD_BYTES).next_multiple_of(ALIGN_BYTES);
            self.ask("floor", "floor", &[("--size", size.to_string()), ("--seconds", seconds.clone())])
        };
        let (log, floor) = if round.is_multiple_of(2) {
            let floor = floor()?;
            (log()?, floor)
        } else {
            (log()?, floor()?)
        };
        Ok(Pair { producers, event_bytes, log, floor })
    }
}

fn goals(pairs: &[Pair], reads: &[Read; 2], opened: &[Opened]) -> Vec<Goal> {
    let of = |producers: usize, bytes: usize, value: &dyn Fn(&Pair) -> f64| {
        let chosen = pairs.iter().filter(|pair| pair.producers == producers && pair.event_bytes == bytes);
        median(chosen.map(value).collect())
    };
    let rate = |producers| of(producers, SMALL, &|pair| pair.log.rate);
    let alone = rate(1);
    vec![
        Goal::at_least(
            "1 producer, 256 B: of the floor's syncs",
            of(1, SMALL, &|pair| pair.log.syncs / pair.floor.rate),
            0.9,
        ),
        Goal::at_least("64 producers: times the rate of one", rate(64) / alone, 20.0),
        Goal::at_least("256 producers: times the rate of one", rate(256) / alone, 20.0),
        Goal::at_least("256 producers: acknowledged events/s", rate(256), 300_000.0),
        Goal::at_least(
            "64 KiB events: of the floor's MiB/s on disk",
            of(1, LARGE, &|pair| pair.log.disk_mib_per_second / pair.floor.mib_per_second),
            0.8,
        ),
        Goal::at_least("reading, batches of 1: events/s", reads[0].rate, 2_000_000.0),
        Goal::at_least("reading, batches of 4: events/s", reads[1].rate, 2_000_000.0),
        Goal::at_most("opening: ms", median(opened.iter().map(|open| open.ms).collect()), 300.0),
    ]
}

fn print(report: &Report) {
    println!("\n{} cores; every line a process of its own\n", report.cores);
    for Pair { producers, event_bytes, log, floor } in &report.pairs {
        println!(
            "{producers:>4} × {event_bytes:>5} B  {:>8.0} acked/s {:>6.0} syncs/s {:>6.1} MiB/s ({:.1} on disk) {:>4} MiB RSS | floor \
             {:>6.0} syncs/s {:>6.1} MiB/s",
            log.rate,
            log.syncs,
            log.mib_per_second,
            log.disk_mib_per_second,
            log.peak_rss_bytes >> 20,
            floor.rate,
            floor.mib_per_second,
        );
    }
    for (batch, read) in ["1", "4"].iter().zip(&report.reads) {
        println!(
            "read, batches of {batch}: {:.2} M events/s, {:.0} MiB/s, {} MiB RSS",
            read.rate / 1e6,
            read.mib_per_second,
            read.peak_rss_bytes >> 20
        );
    }
    let filled = &report.filled;
    println!(
        "filled: {} MiB, snapshot at LSN {}, {} MiB RSS",
        filled.log_bytes >> 20,
        filled.snapshot_lsn,
        filled.peak_rss_bytes >> 20
    );
    for open in &report.opened {
        println!(
            "opened: {:.1} ms, {} batches walked, {} MiB RSS",
            open.ms,
            open.batches,
            open.peak_rss_bytes >> 20
        );
    }
    println!();
    print_goals(&report.goals);
}
