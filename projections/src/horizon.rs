//! The horizon: the first LSN that the log still holds. What it hides is dropped from the runs by later merges.
//!
//! Owns: the number, shared by the views, and the rule which versions of a key it hides. Never does: move by itself;
//! whoever cuts the log tells it.
//!
//! Invariant: P17 what a view shows depends on the horizon, never on whether a merge has dropped it already.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive_log::{FramePos, Lsn};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Horizon(Arc<AtomicU64>);

impl Horizon {
    pub(crate) fn new(first: Lsn) -> Horizon {
        Horizon(Arc::new(AtomicU64::new(first.0)))
    }

    pub(crate) fn get(&self) -> Lsn {
        Lsn(self.0.load(Ordering::Acquire))
    }

    /// Moves it up, never down.
    pub(crate) fn rise(&self, first: Lsn) {
        self.0.fetch_max(first.0, Ordering::AcqRel);
    }
}

/// Which versions of one key are to be seen: those at or above the horizon, and the one that was current just below
/// it, unless that is a deletion. Versions come newest first.
#[derive(Debug)]
pub(crate) struct Visible {
    horizon: Lsn,
    ended: bool,
}

impl Visible {
    pub(crate) const fn new(horizon: Lsn) -> Visible {
        Visible { horizon, ended: false }
    }

    /// Whether the next older version is to be seen.
    pub(crate) fn take(&mut self, lsn: Lsn, deleted: bool) -> bool {
        if self.ended {
            return false;
        }
        if lsn >= self.horizon {
            return true;
        }
        self.ended = true;
        !deleted
    }
}

/// The lowest events above a bound, with their places: as many as memory is given for.
#[derive(Debug)]
pub(crate) struct Lowest {
    after: Lsn,
    limit: usize,
    found: BTreeMap<Lsn, FramePos>,
}

impl Lowest {
    pub(crate) const fn above(after: Lsn, limit: usize) -> Lowest {
        Lowest { after, limit, found: BTreeMap::new() }
    }

    pub(crate) fn offer(&mut self, lsn: Lsn, pos: FramePos) {
        let full = self.found.len() >= self.limit;
        let too_high = full && self.found.last_key_value().is_some_and(|(last, _)| lsn > *last);
        if lsn <= self.after || too_high {
            return;
        }
        self.found.insert(lsn, pos);
        if self.found.len() > self.limit {
            self.found.pop_last();
        }
    }

    /// By LSN.
    pub(crate) fn into_sorted(self) -> Vec<(Lsn, FramePos)> {
        self.found.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(horizon: u64, versions: &[(u64, bool)], expected: &[u64]) {
        let mut visible = Visible::new(Lsn(horizon));
        let seen: Vec<u64> = versions
            .iter()
            .filter(|(lsn, deleted)| visible.take(Lsn(*lsn), *deleted))
            .map(|(lsn, _)| *lsn)
            .collect();
        assert_eq!(seen, expected, "horizon {horizon}, {versions:?}");
    }

    #[test]
    fn p17_the_version_that_is_current_at_the_horizon_stays() {
        let versions = [(9, false), (7, true), (5, false), (2, false)];
        check(0, &versions, &[9, 7, 5, 2]);
        check(5, &versions, &[9, 7, 5, 2]);
        check(6, &versions, &[9, 7, 5]);
        check(8, &versions, &[9]);
        check(10, &versions, &[9]);
        check(10, &[(7, true), (5, false)], &[]);
    }
}
