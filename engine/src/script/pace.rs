//! Whether a script may be expected to be brief.
//!
//! Owns: [`Pace`], one per compiled script. Never does: measure time; a run is brief or not by its operations.

use std::sync::atomic::{AtomicU32, Ordering};

/// After a run that was not brief, so many later ones are not even tried on their caller's thread.
const NOT_TRIED: u32 = 256;

/// What the last runs of a script say about the next one. Only a guess: being wrong costs one run's time.
#[derive(Debug, Default)]
pub struct Pace {
    not_tried: AtomicU32,
}

impl Pace {
    /// Whether the next run is worth a try on its caller's thread.
    #[must_use]
    pub fn try_brief(&self) -> bool {
        let left = self.not_tried.load(Ordering::Relaxed);
        // Lost updates between threads only shift when the next try comes.
        self.not_tried.store(left.saturating_sub(1), Ordering::Relaxed);
        left == 0
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
}
