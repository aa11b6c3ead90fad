//! Deliberate nondeterminism, to show that a replay would notice and name it.
//!
//! Owns: the list, which one is switched on, and what each gives to scripts instead. Never does: exist in an ordinary
//! build; without the feature `planted-bugs` every question is answered `false` at compile time.
#![cfg_attr(
    feature = "planted-bugs",
    expect(
        clippy::disallowed_methods,
        reason = "the clock and the hashes of the process are what is planted"
    )
)]

/// A way in which a run could depend on more than it is handed (E40).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// `time::now` reads the clock of the process.
    UnrecordedClock,
    /// `kv::list` gives its items in the order of a hash table.
    HashOrder,
    /// `random` and `uuid` draw from a seed that is not the recorded one.
    UnrecordedSeed,
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;
    use std::collections::HashMap;
    use std::collections::hash_map::RandomState;
    use std::hash::{BuildHasher, Hash};
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches one of them on for the scripts that run on this thread, or all of them off.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Milliseconds (and, so that two looks differ, microseconds as if they were) of the process's clock.
    pub(crate) fn clock() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    pub(crate) fn seed() -> [u8; 16] {
        let number =
            u128::from(RandomState::new().hash_one(0)) << 64 | u128::from(RandomState::new().hash_one(1));
        number.to_le_bytes()
    }

    pub(crate) fn shuffled<K: Eq + Hash, V>(items: Vec<(K, V)>) -> Vec<(K, V)> {
        items.into_iter().collect::<HashMap<K, V, RandomState>>().into_iter().collect()
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod switch {
    use super::Bug;

    pub(crate) const fn is(_bug: Bug) -> bool {
        false
    }

    pub(crate) const fn clock() -> i64 {
        0
    }

    pub(crate) const fn seed() -> [u8; 16] {
        [0; 16]
    }

    pub(crate) const fn shuffled<K, V>(items: Vec<(K, V)>) -> Vec<(K, V)> {
        items
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::plant;
pub(crate) use switch::{clock, is, seed, shuffled};
