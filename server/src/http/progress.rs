//! How far a rebuild of the views is (V10): what has been folded, how fast, how long it will take.
//!
//! Owns: [`Progress`] and its figures. Never does: fold, or wait.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use relive_log::Lsn;
use serde_json::Value;

/// Written by whoever folds, read by whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// When the first report came, and how far the views were then.
    began: OnceLock<(Instant, u64)>,
    folded: AtomicU64,
    target: AtomicU64,
}

/// Progress at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progressed {
    /// The last event that was folded.
    pub(crate) folded: u64,
    /// The event to reach.
    pub(crate) target: u64,
    /// Events a second, since the first report; 0 until there is something to count.
    pub(crate) per_second: u64,
    /// How long the rest takes at that rate; `None` while it is not known.
    pub(crate) seconds_left: Option<u64>,
}

impl Progressed {
    /// As every answer says it.
    pub(crate) fn fields(self) -> [(&'static str, Value); 4] {
        [
            ("folded_lsn", self.folded.into()),
            ("target_lsn", self.target.into()),
            ("events_per_second", self.per_second.into()),
            ("seconds_left", self.seconds_left.into()),
        ]
    }

    /// The same as an object.
    pub(crate) fn to_json(self) -> Value {
        self.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl Progress {
    /// The views reach `lsn` of `target`.
    pub(crate) fn report(&self, lsn: Lsn, target: Lsn) {
        let _began = self.began.get_or_init(|| (Instant::now(), lsn.0));
        self.folded.store(lsn.0, Ordering::Relaxed);
        self.target.store(target.0, Ordering::Relaxed);
    }

    /// How far it is.
    pub(crate) fn now(&self) -> Progressed {
        let (folded, target) = (self.folded.load(Ordering::Relaxed), self.target.load(Ordering::Relaxed));
        let (ms, from) = self.began.get().map_or((0, folded), |(at, from)| (at.elapsed().as_millis(), *from));
        figures(folded, target, folded.saturating_sub(from), u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

/// `done`: events folded in so many milliseconds.
fn figures(folded: u64, target: u64, done: u64, ms: u64) -> Progressed {
    let per_second = done.saturating_mul(1000).checked_div(ms).unwrap_or(0);
    let seconds_left = target.saturating_sub(folded).div_ceil(per_second.max(1));
    Progressed { folded, target, per_second, seconds_left: (per_second > 0).then_some(seconds_left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v10_progress_says_how_fast_and_how_long() {
        for (folded, target, done, ms, per_second, seconds_left) in [
            (0, 1000, 0, 0, 0, None),
            (500, 1000, 0, 20, 0, None),
            (500, 1000, 500, 250, 2000, Some(1)),
            (1000, 21_001, 1000, 1000, 1000, Some(21)),
            (1000, 1000, 1000, 1000, 1000, Some(0)),
        ] {
            let want = Progressed { folded, target, per_second, seconds_left };
            assert_eq!(figures(folded, target, done, ms), want);
        }
        let progress = Progress::default();
        progress.report(Lsn(7), Lsn(9));
        assert_eq!((progress.now().folded, progress.now().target, progress.now().per_second), (7, 9, 0));
    }
}
