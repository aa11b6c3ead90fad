//! The account of one script version: what its runs left allocated for ever, from what little is measured.
//!
//! Owns: which run is looked at closely, and what a look says of the runs before it. Never does: measure (`script/leaks`
//! does), or decide what follows (`node/leaks` pauses an app, `replay/leaks` replays no more).
//!
//! A run that may leak adds what its thread held more afterwards, its answer included. When that comes to a share of the
//! limit, the run at hand is made again and measured; the next look comes after twice as much, up to a quarter of the limit.
//! Of a script that leaks, what its runs since the last look left is at most what they held more, and at most as many
//! times what the measured one leaks.

use crate::script::PROOF_RUNS;

/// A script is looked at closely for the first time when its runs may have left this share of the limit…
const FIRST_LOOK_SHARE: u64 = 64;
/// …and from then on, however often it was looked at, when they may have left this one.
const LAST_LOOK_SHARE: u64 = 4;
/// A cycle has a cell, a closure and what holds it: no leak is smaller, bytes.
const LEAK_BYTES_MIN: u64 = 128;

/// What one version of a script left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    limit: u64,
    /// Of the runs since the last look.
    since: Suspicion,
    /// The next look comes when those hold that much more.
    look_at: u64,
    leaked: u64,
    proofs: u32,
}

/// Why a run is looked at closely: so many runs held so many bytes more afterwards, and that is in doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspicion {
    held: u64,
    runs: u64,
}

impl Account {
    /// `limit`: bytes that may be left.
    pub(crate) const fn new(limit: u64) -> Account {
        let since = Suspicion { held: 0, runs: 0 };
        Account { limit, since, look_at: limit / FIRST_LOOK_SHARE, leaked: 0, proofs: 0 }
    }

    /// Counts a run that held `held` bytes more afterwards; whether it is to be looked at closely.
    pub(crate) fn count(&mut self, held: u64) -> Option<Suspicion> {
        self.since.held += held;
        self.since.runs += 1;
        (self.since.held >= self.look_at).then(|| std::mem::take(&mut self.since))
    }

    /// What a close look came to: `leaked` is what one run leaves; `None`: that could not be told.
    pub(crate) fn looked(&mut self, suspicion: Suspicion, leaked: Option<u64>) {
        let Suspicion { held, runs } = suspicion;
        let Some(leaked) = leaked else {
            // The next run is looked at.
            self.since = Suspicion { held: self.since.held + held, runs: self.since.runs + runs };
            return;
        };
        // A look makes a leaking run several times more: they become rare, whatever is found.
        self.look_at = self.look_at.saturating_mul(2).min(self.limit / LAST_LOOK_SHARE);
        if leaked < LEAK_BYTES_MIN {
            return;
        }
        self.leaked += held.min(leaked.saturating_mul(runs)) + leaked * PROOF_RUNS;
        self.proofs += 1;
    }

    /// Bytes that it leaked.
    pub(crate) const fn leaked(&self) -> u64 {
        self.leaked
    }

    /// How often it was shown to.
    pub(crate) const fn proofs(&self) -> u32 {
        self.proofs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 64 << 20;
    const LOOK: u64 = LIMIT / FIRST_LOOK_SHARE;

    /// Counts runs that hold `held` bytes more until one is looked at: which that is, and the suspicion.
    fn until_suspect(account: &mut Account, held: u64) -> (u64, Suspicion) {
        (1..).find_map(|n| account.count(held).map(|suspicion| (n, suspicion))).expect("a run is looked at")
    }

    #[test]
    fn e169_what_leaks_nothing_is_looked_at_ever_less_and_owes_nothing() {
        let mut account = Account::new(LIMIT);
        let mut looks = Vec::new();
        for _ in 0..8 {
            let (runs, suspicion) = until_suspect(&mut account, 1 << 10);
            looks.push(runs);
            account.looked(suspicion, Some(LEAK_BYTES_MIN - 1));
        }
        let first = LOOK >> 10;
        assert_eq!(looks, [1, 2, 4, 8, 16, 16, 16, 16].map(|times| times * first));
        assert_eq!((account.leaked(), account.proofs()), (0, 0));
    }

    #[test]
    fn e170_a_small_leak_is_charged_by_the_runs_that_it_stands_for() {
        let mut account = Account::new(LIMIT);
        let mut runs = 0;
        // Each holds 2 KiB more afterwards, of which 500 bytes are leaked.
        while account.leaked() < LIMIT {
            let (n, suspicion) = until_suspect(&mut account, 2 << 10);
            runs += n;
            account.looked(suspicion, Some(500));
        }
        let (truly, charged) = (500 * runs, account.leaked());
        assert!(charged < LIMIT + LIMIT / LAST_LOOK_SHARE, "{charged}");
        assert!(truly <= charged && truly > charged - charged / 50, "{truly} of {charged}");
    }

    #[test]
    fn e170_one_large_leak_among_small_ones_is_charged_by_what_was_held() {
        let mut account = Account::new(LIMIT);
        for _ in 0..99 {
            assert_eq!(account.count(10), None);
        }
        let suspicion = account.count(LOOK).expect("it is looked at");
        account.looked(suspicion, Some(LOOK));
        assert_eq!(account.leaked(), LOOK + 990 + LOOK * PROOF_RUNS);
    }

    #[test]
    fn e169_what_could_not_be_told_counts_for_nothing_and_is_asked_again() {
        let mut account = Account::new(LIMIT);
        let (_, suspicion) = until_suspect(&mut account, LOOK);
        account.looked(suspicion, None);
        assert_eq!((account.leaked(), account.proofs()), (0, 0));
        assert_eq!(account.count(0), Some(Suspicion { held: LOOK, runs: 2 }));
    }
}
