//! Latencies in buckets that grow with the value, so that percentiles are exact to about 1 % at any scale.

use serde::Serialize;

/// Each power of two is cut into this many buckets.
const STEPS_LOG2: u32 = 7;
const STEPS: u64 = 1 << STEPS_LOG2;
/// Values above 2^42 ns (73 minutes) fall into the last bucket.
const POWERS: u32 = 42;
const BUCKETS: usize = (POWERS as usize - STEPS_LOG2 as usize + 2) << STEPS_LOG2;

/// Counts of values in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
    sum_ns: u128,
}

/// What is worth saying about a histogram, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
pub struct Summary {
    /// Half of all are faster.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// The slowest one.
    pub max: f64,
    /// The average.
    pub mean: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max_ns: 0, sum_ns: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, ns: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(ns)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns += u128::from(ns);
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.sum_ns += other.sum_ns;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The percentiles; all zero when nothing was counted.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mean_ns = self.sum_ns.checked_div(u128::from(self.count)).unwrap_or(0);
        Summary {
            p50: ms(self.at(0.5)),
            p90: ms(self.at(0.9)),
            p99: ms(self.at(0.99)),
            p999: ms(self.at(0.999)),
            max: ms(self.max_ns),
            mean: ms(u64::try_from(mean_ns).unwrap_or(u64::MAX)),
        }
    }

    /// The value below which this share of all counted values lies, in nanoseconds.
    fn at(&self, share: f64) -> u64 {
        let wanted = self.count as f64 * share;
        let mut seen = 0_u64;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return upper_end(index).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

fn ms(ns: u64) -> f64 {
    (ns as f64 / 1e3).round() / 1e3
}

/// Values below `STEPS` have a bucket each; above, the leading bits of a value choose it.
fn bucket_of(ns: u64) -> usize {
    let power = ns.max(1).ilog2();
    let index = if power < STEPS_LOG2 {
        ns
    } else {
        let shift = power - STEPS_LOG2;
        (u64::from(shift) + 1) * STEPS + ((ns >> shift) - STEPS)
    };
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    ((index % STEPS + STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket_of, upper_end};

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        for ns in (0..2_000).chain((0..40).map(|power| (1_u64 << power) + 12_345)) {
            let end = upper_end(bucket_of(ns));
            assert!(
                end >= ns && (end - ns) as f64 <= ns as f64 / 100.0,
                "{ns} lies in a bucket that ends at {end}"
            );
            assert_eq!(bucket_of(end + 1), bucket_of(ns) + 1, "{ns}");
        }
    }

    #[test]
    fn percentiles_of_a_ramp() {
        let mut histogram = Histogram::default();
        (1..=1_000_u64).for_each(|us| histogram.record(us * 1_000));
        let summary = histogram.summary();
        let check =
            |found: f64, expected: f64| assert!((found - expected).abs() <= expected / 99.0, "{summary:?}");
        check(summary.p50, 0.5);
        check(summary.p99, 0.99);
        check(summary.max, 1.0);
        check(summary.mean, 0.5);
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!((twice.count(), twice.summary()), (2_000, summary));
    }
}
