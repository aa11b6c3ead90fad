//! Replay: a recorded attempt run again from the log alone, without any effect (T1 to T6).
//!
//! Owns: [`Archive`] (what replays read from), [`Recording`] (one attempt with all that its run depended on),
//! [`replay`], the comparison with what was recorded, the stepped replay, backtests, bisection. Never does: append,
//! enqueue, call out, or touch the sequencer; nothing in here holds anything that could.
//!
//! A run is a function of its script versions, input, snapshot, seed and journal (E40). A [`Recording`] gathers these
//! from the events `enqueued`, `claimed` and the one that ended the attempt; each kind of recorded answer is a field of
//! it with a source that hands the answers out again (`answers.rs`). Whoever holds a [`Recording`] needs neither
//! server nor log: a capsule is one, written down.
//!
//! Invariants: E120 a replay has no effect outside itself; E121 a replay of a recorded attempt with its own versions
//! equals the record, or names the first difference; E122 what a replay was not given in clear it says so
//! (`withheld_header`, `withheld_secret`), and never shows in clear what views mask; E123 an outgoing call is
//! never made, only answered from the journal.

mod answers;
mod archive;
mod backtest;
mod bisect;
mod capsule;
mod compare;
mod leaks;
mod recording;
mod run;
mod steps;

pub use archive::{Archive, NotReplayable, expired};
pub use backtest::{BACKTEST_MAX, Backtest, BacktestAsked, Report, Tested};
pub use bisect::{BISECT_VERSIONS_MAX, Bisected, TriedVersion, bisect};
pub use capsule::{CAPSULE_FORMAT, NoCapsule, capsule, opened};
pub use compare::Difference;
pub(crate) use leaks::Leaks;
pub use recording::{Candidate, Recorded, Recording, Sealed};
pub use relive_log::events::Verdict;
pub use run::{Ended, Replayed, WhyNotFaithful, replay};
pub use steps::{Direction, NoStep, STEPS_MAX, Stepped, StepsWanted, steps};
