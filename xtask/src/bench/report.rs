//! What was measured, as JSON and as a table: medians of the pairs, and ratios within each pair.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A bare loop of synced writes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Disk {
    size: u64,
    rate: f64,
    ms: Latency,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
    mean: f64,
}

/// What the load generator says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Load {
    connections: u64,
    seconds: f64,
    pub(crate) rate: f64,
    ms: Latency,
    statuses: BTreeMap<u16, u64>,
    errors: u64,
    first_error: Option<String>,
    pub(crate) windows: Vec<f64>,
    pub(crate) next: u64,
}

impl Load {
    /// Answers of 400 and above, and requests without an answer.
    pub(crate) fn problems(&self) -> u64 {
        let refused: u64 =
            self.statuses.iter().filter(|(status, _)| **status >= 400).map(|(_, count)| count).sum();
        refused + self.errors
    }
}

/// The names of the workloads.
pub(crate) const WRITE: &str = "write a fresh key, 64 connections";
pub(crate) const ALONE: &str = "write a fresh key, 1 connection";
pub(crate) const READ: &str = "read a key, 64 connections";

/// One side of a pair.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Usage {
    #[serde(flatten)]
    pub(crate) load: Load,
    pub(crate) cpu_us_per_answer: f64,
    pub(crate) rss_bytes: u64,
}

/// Two neighbours in time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pair {
    pub(crate) workload: String,
    pub(crate) ours: Usage,
    pub(crate) floor: Usage,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    pub(crate) cores: usize,
    pub(crate) disk: Vec<Disk>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) idle_rss_bytes: u64,
    pub(crate) end_rss_bytes: u64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) data_bytes: u64,
    pub(crate) read_first: Usage,
    pub(crate) read_last: Usage,
}

/// One figure beside what it should be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    what: String,
    value: f64,
    goal: f64,
    met: bool,
}

impl Goal {
    pub(crate) fn at_least(what: impl Into<String>, value: f64, goal: f64) -> Self {
        Self { what: what.into(), value, goal, met: value >= goal }
    }

    pub(crate) fn at_most(what: impl Into<String>, value: f64, goal: f64) -> Self {
        Self { what: what.into(), value, goal, met: value <= goal }
    }

    pub(crate) fn below(what: impl Into<String>, value: f64, goal: f64) -> Self {
        Self { what: what.into(), value, goal, met: value < goal }
    }
}

pub(crate) fn print_goals(goals: &[Goal]) {
    for Goal { what, value, goal, met } in goals {
        println!("{} {what}: {value:.2} (goal {goal})", if *met { "met   " } else { "MISSED" });
    }
}

/// A resident set that grows by no more than this under load is flat, MiB.
const FLAT_MIB: f64 = 256.0;
/// Reads at the end beside reads at the start: what two equal measurements may differ by.
const NO_SLOWER: f64 = 0.9;

impl Report {
    /// What calls promise: ratios within each pair, and how the process stood at the end.
    pub(crate) fn goals(&self) -> Vec<Goal> {
        let of = |workload: &str, value: &dyn Fn(&Pair) -> f64| {
            let pairs = self.pairs.iter().filter(|pair| pair.workload == workload);
            median(pairs.map(value).collect())
        };
        let rate = |pair: &Pair| pair.ours.load.rate / pair.floor.load.rate;
        let sync_ms = self.disk.first().map_or(f64::NAN, |disk| disk.ms.p50);
        let most = (self.peak_rss_bytes.saturating_sub(self.idle_rss_bytes)) as f64 / (1024.0 * 1024.0);
        vec![
            Goal::at_least("writes, 64 connections: of the floor", of(WRITE, &rate), 0.6),
            Goal::at_most(
                "a write, 1 connection: p50 ms",
                of(ALONE, &|pair| pair.ours.load.ms.p50),
                1.5 * sync_ms + 0.15,
            ),
            Goal::at_least("reads, 64 connections: of the floor", of(READ, &rate), 0.7),
            Goal::at_least(
                "reads at the end: of those at the start",
                self.read_last.load.rate / self.read_first.load.rate,
                NO_SLOWER,
            ),
            Goal::below("memory under load: MiB more than idle", most, FLAT_MIB),
        ]
    }

    /// Whether every answer was a good one; a rate of refusals is no rate.
    pub(crate) fn is_clean(&self) -> bool {
        let sides = self.pairs.iter().flat_map(|pair| [&pair.ours, &pair.floor]);
        sides.chain([&self.read_first, &self.read_last]).all(|side| side.load.problems() == 0)
    }

    fn workloads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for pair in &self.pairs {
            if !names.contains(&pair.workload.as_str()) {
                names.push(&pair.workload);
            }
        }
        names
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, workload: &str) -> fmt::Result {
        let pairs: Vec<&Pair> = self.pairs.iter().filter(|pair| pair.workload == workload).collect();
        let of = |value: fn(&Pair) -> f64| median(pairs.iter().map(|pair| value(pair)).collect());
        writeln!(f, "{workload}, median of {} pairs", pairs.len())?;
        side(f, "relive", &pairs.iter().map(|pair| &pair.ours).collect::<Vec<_>>())?;
        side(f, "floor", &pairs.iter().map(|pair| &pair.floor).collect::<Vec<_>>())?;
        writeln!(
            f,
            "  ratio   {:>9.2} {:>9.2} {:>9.2}",
            of(|pair| pair.ours.load.rate / pair.floor.load.rate),
            of(|pair| pair.ours.load.ms.p50 / pair.floor.load.ms.p50),
            of(|pair| pair.ours.load.ms.p99 / pair.floor.load.ms.p99),
        )
    }
}

fn side(f: &mut fmt::Formatter<'_>, name: &str, sides: &[&Usage]) -> fmt::Result {
    let of = |value: fn(&Usage) -> f64| median(sides.iter().map(|side| value(side)).collect());
    let problems: u64 = sides.iter().map(|side| side.load.problems()).sum();
    let decline = of(|side| {
        let (first, last) = (side.load.windows.first(), side.load.windows.last());
        last.copied().unwrap_or(0.0) / first.copied().unwrap_or(1.0).max(1.0)
    });
    writeln!(
        f,
        "  {name:<7} {:>7.0}/s {:>6.3} ms {:>6.3} ms  CPU {:>5.1} µs an answer, last tenth / first {decline:.2}, {problems} bad",
        of(|side| side.load.rate),
        of(|side| side.load.ms.p50),
        of(|side| side.load.ms.p99),
        of(|side| side.cpu_us_per_answer),
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} cores, {} s; load generator on the same machine\n", self.cores, self.seconds)?;
        for disk in &self.disk {
            let Disk { size, rate, ms } = disk;
            writeln!(
                f,
                "{size:>6} B pwrite + fdatasync {rate:>7.0}/s, p50 {:.3} ms, p99 {:.3} ms",
                ms.p50, ms.p99
            )?;
        }
        writeln!(f, "\n  {:<7} {:>9} {:>9} {:>9}", "", "rate", "p50", "p99")?;
        for workload in self.workloads() {
            self.row(f, workload)?;
        }
        let (first, last) = (self.read_first.load.rate, self.read_last.load.rate);
        writeln!(
            f,
            "\nreads: {first:.0}/s at the start, {last:.0}/s at the end ({:.2})",
            last / first.max(1.0)
        )?;
        writeln!(
            f,
            "memory: {} idle, {} at the end, {} at the most; data directory {}",
            mib(self.idle_rss_bytes),
            mib(self.end_rss_bytes),
            mib(self.peak_rss_bytes),
            mib(self.data_bytes)
        )
    }
}

pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// The middle one; of two middle ones the lower.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    quartiles(values)[1]
}

/// The values below which a quarter, a half and three quarters of them are; between two the lower.
pub(crate) fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3]
        .map(|quarter| values.get(values.len().saturating_sub(1) * quarter / 4).copied().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::{median, quartiles};

    #[test]
    fn medians() {
        let check =
            |values: &[f64], expected: f64| assert_eq!(median(values.to_vec()).to_bits(), expected.to_bits());
        check(&[3.0, 1.0, 2.0], 2.0);
        check(&[1.0, 2.0], 1.0);
        check(&[7.0], 7.0);
        assert!(median(Vec::new()).is_nan());
        assert_eq!(quartiles(vec![5.0, 1.0, 4.0, 2.0, 3.0]), [2.0, 3.0, 4.0]);
    }
}
