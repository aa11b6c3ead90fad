//! Whether a script may be expected to be brief.
//!
//! Owns: [`Pace`], one per compiled script. Never does: measure time; its caller says what a run was.

use std::sync::atomic::{AtomicU32, Ordering};

/// After a run that was not brief, so many later ones are not even tried on their caller's thread.
const NOT_TRIED: u32 = 256;
/// A run that took long without doing much may have had a busy processor: only another one within so many counts.
const LATE_WITHIN: u32 = 16;

/// What the last runs of a script say about the next one. Only a guess: being wrong costs one run's time.
#[derive(Debug, Default)]
pub struct Pace {
    not_tried: AtomicU32,
    /// Tries for which a late run is still remembered.
    late: AtomicU32,
}

impl Pace {
    /// Whether the next run is worth a try on its caller's thread.
    #[must_use]
    pub fn try_brief(&self) -> bool {
        let left = self.not_tried.load(Ordering::Relaxed);
        // Lost updates between threads only shift when the next try comes.
        self.not_tried.store(left.saturating_sub(1), Ordering::Relaxed);
        let late = self.late.load(Ordering::Relaxed);
        self.late.store(late.saturating_sub(1), Ordering::Relaxed);
        left == 0
    }

    /// A try held its thread too long, however little it did.
    pub fn was_late(&self) {
        if self.late.swap(LATE_WITHIN, Ordering::Relaxed) > 0 {
            self.was_long();
        }
    }

    /// A try was not brief.
    pub fn was_long(&self) {
        self.not_tried.store(NOT_TRIED, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_followed_by_runs_that_are_not_tried() {
        let pace = Pace::default();
        assert!(pace.try_brief() && pace.try_brief());
        pace.was_long();
        let tries = (0..NOT_TRIED).filter(|_| pace.try_brief()).count();
        assert_eq!(tries, 0);
        assert!(pace.try_brief());
    }

    #[test]
    fn one_late_run_is_forgiven_and_two_close_ones_are_not() {
        let pace = Pace::default();
        pace.was_late();
        assert_eq!((0..LATE_WITHIN).filter(|_| pace.try_brief()).count(), LATE_WITHIN as usize);
        pace.was_late();
        assert!(pace.try_brief());
        pace.was_late();
        assert!(!pace.try_brief());
    }
}
