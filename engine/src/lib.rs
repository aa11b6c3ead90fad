//! Decisions and scripts: what happens next.
//!
//! Owns: the sequencer (decide, append, apply, sync, act), transactions, the dispatcher, dead letters, the
//! inbox, and scripts. Never does: touch a socket, a file, the wall clock, a source of randomness or a thread;
//! all of them are handed in ([`seams`]) or lent ([`node`]).

pub mod command;
pub mod cron;
mod decide;
mod dispatch;
mod leaks;
pub mod names;
pub mod node;
pub mod planted;
pub mod refusal;
pub mod replay;
pub mod script;
pub mod seams;
pub mod secrets;
pub mod settings;
