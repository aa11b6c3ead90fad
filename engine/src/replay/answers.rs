//! Recorded answers, handed out again.
//!
//! Owns: the source of secrets of a replay, and its clock. Never does: make up an answer; what cannot be answered from
//! the record is a placeholder and is noted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use relive_log::UnixMicros;
use relive_log::events::{CallOutcome, CallRecord};

use super::recording::Recording;
use crate::script::{
    Asked, CallReply, CallStop, Calls, SecretLookup, SecretSource, StopCause, Stopwatch, Unhurried,
};
use crate::seams::Clock;

/// How long a run may take, at least, whose end no record tells, milliseconds.
pub(super) const UNTOLD_MS: u64 = 60_000;
/// How many times as long as the live run may take: beside other replays, and watched statement by statement.
const TIMES_LIVE: u64 = 6;

/// How long a run may take whose end no record tells, where the live one may take so long, milliseconds.
pub(super) fn untold_ms(live_ms: u64) -> u64 {
    live_ms.saturating_mul(TIMES_LIVE).max(UNTOLD_MS)
}

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

/// The recorded outcomes of outgoing calls, by position (E123).
pub(super) struct Journal {
    calls: Vec<CallRecord>,
    /// Placeholders with the values that stood there, of secrets that are still to be had.
    known: Vec<(String, String)>,
    /// How many calls an attempt may make.
    calls_max: usize,
    unmatched: AtomicBool,
}

impl Journal {
    pub(super) fn new(recording: &Recording) -> Arc<Journal> {
        let record = recording.recorded.as_ref().and_then(|recorded| recorded.record.as_ref());
        let calls = record.map(|record| record.calls.clone()).unwrap_or_default();
        let known = recording.secrets.answers.iter().filter_map(|(name, answer)| match answer {
            SecretAnswer::Known(_, value) => Some((secret_placeholder(name), value.clone())),
            SecretAnswer::Withheld(_) | SecretAnswer::Absent | SecretAnswer::KeyMissing => None,
        });
        let (known, calls_max) = (known.collect(), recording.limits.http_calls_max);
        Arc::new(Journal { calls, known, calls_max, unmatched: AtomicBool::new(false) })
    }

    /// Whether something was asked for that was not recorded.
    pub(super) fn unmatched(&self) -> bool {
        self.unmatched.load(Ordering::Relaxed)
    }

    /// The outcome as the script got it: secrets that were masked in the record are put back.
    fn unmasked(&self, outcome: &CallOutcome) -> CallOutcome {
        let mut outcome = outcome.clone();
        if let CallOutcome::Answered(answer) = &mut outcome
            && answer.masked
        {
            let unmask = |text: &str| {
                let put_back = |text: String, (shown, value): &(String, String)| text.replace(shown, value);
                self.known.iter().fold(text.to_owned(), put_back)
            };
            for (_, value) in &mut answer.headers {
                *value = unmask(value);
            }
            if let Ok(text) = std::str::from_utf8(&answer.body) {
                answer.body = unmask(text).into_bytes().into();
            }
        }
        outcome
    }
}

impl Calls for Journal {
    fn ask(&self, asked: Asked<'_>) -> CallReply {
        if asked.position >= self.calls_max {
            return CallReply::Stop(CallStop::TooMany { limit: self.calls_max });
        }
        if let Some(call) = self.calls.get(asked.position).filter(|call| call.digest == asked.digest) {
            return CallReply::Outcome { outcome: self.unmasked(&call.outcome), took_ms: call.took_ms };
        }
        self.unmatched.store(true, Ordering::Relaxed);
        CallReply::Stop(CallStop::Aside(format!(
            "unmatched: outgoing call {} ({} {}) was not recorded, and a replay never makes one",
            asked.position + 1,
            asked.request.method,
            asked.request.url
        )))
    }
}

/// Ends a run that takes far longer than a live one may, unless its record tells where it ends: then it takes as long as it
/// takes, within its operations.
pub(super) struct Deadline {
    clock: Arc<dyn Clock>,
    until: UnixMicros,
}

impl Deadline {
    pub(super) fn of(recording: &Recording) -> Arc<dyn Stopwatch> {
        let told = recording.recorded.as_ref().is_some_and(|recorded| recorded.record.is_some());
        if told && recording.runs_what_was_recorded() {
            return Arc::new(Unhurried);
        }
        let clock = Arc::clone(&recording.clock);
        let until = UnixMicros(clock.now().0.saturating_add(recording.untold_ms.saturating_mul(1000)));
        Arc::new(Deadline { clock, until })
    }
}

impl Stopwatch for Deadline {
    fn expired(&self) -> Option<StopCause> {
        (self.clock.now() > self.until).then_some(StopCause::Timeout)
    }
}
