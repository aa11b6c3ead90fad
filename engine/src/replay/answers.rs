//! Recorded answers, handed out again.
//!
//! Owns: the source of secrets of a replay, and its clock. Never does: make up an answer; what cannot be answered from
//! the record is a placeholder and is noted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use relive_log::UnixMicros;

use crate::script::{SecretLookup, SecretSource, StopCause, Stopwatch};
use crate::seams::Clock;

/// Longest time that one replay may take, milliseconds; the recorded attempt had less.
pub(super) const REPLAY_MS_MAX: u64 = 60_000;

/// What stands for a secret's value.
pub(super) fn secret_placeholder(name: &str) -> String {
    format!("‹secret:{name}›")
}

/// What stands for a header's value.
pub(super) fn header_placeholder(name: &str) -> String {
    format!("‹header:{name}›")
}

/// One secret as a replay answers it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SecretAnswer {
    /// This version, with its value.
    Known(u32, String),
    /// This version, whose value is not to be had.
    Withheld(u32),
    /// There was none.
    Absent,
    /// It was sealed with a key that was not there.
    KeyMissing,
}

/// The secrets of a recorded attempt.
pub(crate) struct Secrets {
    answers: BTreeMap<String, SecretAnswer>,
    /// What names get that the record does not have.
    others: SecretAnswer,
    withheld: AtomicBool,
}

impl Secrets {
    pub(super) fn new(answers: BTreeMap<String, SecretAnswer>, others: SecretAnswer) -> Arc<Secrets> {
        Arc::new(Secrets { answers, others, withheld: AtomicBool::new(false) })
    }

    /// Whether a placeholder was handed out.
    pub(super) fn withheld(&self) -> bool {
        self.withheld.load(Ordering::Relaxed)
    }
}

impl SecretSource for Secrets {
    fn get(&self, name: &str) -> SecretLookup {
        match self.answers.get(name).unwrap_or(&self.others) {
            SecretAnswer::Known(version, value) => {
                SecretLookup::Found { version: *version, value: value.clone() }
            }
            SecretAnswer::Withheld(version) => {
                self.withheld.store(true, Ordering::Relaxed);
                SecretLookup::Found { version: *version, value: secret_placeholder(name) }
            }
            SecretAnswer::Absent => SecretLookup::Absent,
            SecretAnswer::KeyMissing => SecretLookup::KeyMissing,
        }
    }
}

/// Ends a replay that takes far longer than any attempt may.
pub(super) struct Deadline {
    clock: Arc<dyn Clock>,
    until: UnixMicros,
}

impl Deadline {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Arc<Deadline> {
        let until = UnixMicros(clock.now().0.saturating_add(REPLAY_MS_MAX * 1000));
        Arc::new(Deadline { clock: Arc::clone(clock), until })
    }
}

impl Stopwatch for Deadline {
    fn expired(&self) -> Option<StopCause> {
        (self.clock.now() > self.until).then_some(StopCause::Timeout)
    }
}
