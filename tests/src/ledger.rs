//! What the clients of a run know: what was acknowledged, and what was sent without an answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is known of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Sent, no whole answer: it happened or it did not.
    Unknown,
    /// Answered with success; the LSN that the answer named.
    Acknowledged(u64),
    /// Answered with a refusal: it must not have happened.
    Refused(u16),
}

/// Requests by key, over all connections and all lives of the process.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, Known>>>);

impl Ledger {
    /// Before a request leaves.
    pub fn sent(&self, key: &str) {
        self.lock().insert(key.to_owned(), Known::Unknown);
    }

    /// When its answer is there.
    pub fn answered(&self, key: &str, known: Known) {
        self.lock().insert(key.to_owned(), known);
    }

    /// Everything.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Known> {
        self.lock().clone()
    }

    /// How many were acknowledged, refused, and are unknown.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let all = self.lock();
        let count = |want: fn(&Known) -> bool| all.values().filter(|known| want(known)).count();
        (
            count(|known| matches!(known, Known::Acknowledged(_))),
            count(|known| matches!(known, Known::Refused(_))),
            count(|known| matches!(known, Known::Unknown)),
        )
    }

    /// The same knowledge in a ledger of its own.
    #[must_use]
    pub fn deep_copy(&self) -> Ledger {
        Ledger(Arc::new(Mutex::new(self.all())))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
