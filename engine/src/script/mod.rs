//! The script runtime: compiles Rhai source and runs it as a pure function of what it is given.
//!
//! Owns: the language (which packages and modules exist), the budgets, the `ctx` value, the mapping between
//! script values and JSON, the shape of answers, and what one run reads, writes, logs and takes.
//! Never does: read a clock, a file or a socket, draw randomness, commit anything, know about HTTP servers.
//!
//! Invariants:
//! * **E40** [`run`] is a function of [`Run`] alone: the same `Run` twice gives the same [`Finished`].
//! * **E41** A budget that was used up ends the run; no `catch` of the script turns it into success.
//! * **E42** No script reaches a clock, randomness, a file or `stdout` except through what `Run` hands in.
//! * **E43** Everything that a script can grow has a named bound in [`Limits`].
//! * **E44** What a run read is recorded once per key, absence included, as of one snapshot.
//! * **E45** [`run`] never panics; a panic below it is an `internal` error of this run.

mod blob;
mod calls;
mod compile;
mod context;
mod convert;
mod engine;
mod errors;
mod host;
mod imports;
mod leaks;
pub mod memory;
mod modules;
mod needs;
mod pace;
mod response;
mod run;
mod show;
#[cfg(test)]
mod tests;
mod types;
mod watch;

pub use calls::{Asked, CallReply, CallRequest, CallStop, Calls, NoCalls};
pub use compile::{CompileCache, CompileError, Compiled, compile};
pub use context::{Context, ContextInput, CronTick, DeadLetter, KvEvent, QueueMessage, Request, SDK_VERSION};
pub use imports::{Import, Imports};
pub use leaks::PROOF_RUNS;
pub use pace::Pace;
pub use response::{Response, Returned, to_json, to_response};
pub(crate) use run::mask_call;
pub use run::{
    Finished, LetterEffect, LetterVerb, Run, SendEffect, WriteEffect, run, run_measured, run_watched,
};
pub use types::{
    Lapsed, Limits, ListItem, ListPage, ListQuery, Moment, NoPast, OPERATIONS_UPPER_BOUND, PastVersion,
    ReadFailed, SCRIPT_STACK_BYTES, STOPWATCH_EVERY_OPERATIONS, SecretLookup, SecretSource, Slot, Snapshot,
    StopCause, Stopwatch, Unhurried,
};
pub use watch::{
    EndsAt, Frame, HeaderProbe, STEP_EFFECTS_MAX, STEP_FRAMES_MAX, STEPS_BYTES_MAX, ScriptLine, Step, Tracer,
    Walked, Wanted, Watch,
};
