//! A replay, statement by statement (T3).
//!
//! Owns: [`steps`]: a window of numbered steps of a run, or the window at the next or last breakpoint. Never does: keep
//! anything between two windows: each is a run from the start, so that a run of any length is walked both ways in
//! bounded memory (E125).

use std::collections::BTreeSet;

use super::recording::Recording;
use super::run::{Replayed, replay_watched};
use crate::script::{Compiled, ScriptLine, Step, Tracer, Walked, Wanted, Watch};

/// Most steps of one window.
pub const STEPS_MAX: usize = 1000;

/// Which way to look for a breakpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From `from` on.
    #[default]
    Forwards,
    /// Before `from`.
    Backwards,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepsWanted {
    /// The first step, from 1; `None`: the first (or, backwards, the end).
    pub from: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// Lines to stop at; empty: `from` itself.
    pub breakpoints: BTreeSet<ScriptLine>,
    /// Which way to look for them.
    pub direction: Direction,
}

/// Why there is no such step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStep {
    /// The run is shorter.
    #[error("from: there is no step {from}; the run has {total} steps")]
    OutOfRange {
        /// What was asked for.
        from: u64,
        /// How many there are.
        total: u64,
    },
    /// The run imports no such script.
    #[error("breakpoints: the attempt imports no script `{script}`")]
    NoScript {
        /// Its name.
        script: String,
    },
    /// No statement begins on this line.
    #[error("breakpoints: line {line}{} has no code{}", of_text(.script.as_ref()), next_text(.next.as_ref()))]
    NoCode {
        /// The imported script; `None`: the script itself.
        script: Option<String>,
        /// The line.
        line: u32,
        /// The next line that has.
        next: Option<u32>,
    },
    /// There is nothing to step through.
    #[error("the attempt ended before its script began: {0}")]
    NothingRan(String),
}

fn of_text(script: Option<&String>) -> String {
    script.map_or_else(String::new, |script| format!(" of `{script}`"))
}

fn next_text(next: Option<&u32>) -> String {
    next.map_or_else(
        || "; none after it has".to_owned(),
        |next| format!("; the next line with code is {next}"),
    )
}

/// A window of steps.
#[derive(Clone, Debug)]
pub struct Stepped {
    /// The steps, in order. Empty: no breakpoint was met.
    pub steps: Vec<Step>,
    /// Steps of the whole run.
    pub total: u64,
    /// The replay that was walked.
    pub replayed: Replayed,
}

/// Refuses a line on which no statement begins.
fn check_lines(
    compiled: &Compiled,
    recording: &Recording,
    lines: &BTreeSet<ScriptLine>,
) -> Result<(), NoStep> {
    for (script, line) in lines {
        let within = match script {
            None => compiled,
            Some(name) => {
                let found = recording.imports.get(name);
                found.ok_or_else(|| NoStep::NoScript { script: name.clone() })?
            }
        };
        let code = within.lines_with_code();
        if !code.contains(line) {
            let next = code.range(line..).next().copied();
            return Err(NoStep::NoCode { script: script.clone(), line: *line, next });
        }
    }
    Ok(())
}

/// Walks a recorded attempt. Needs a thread as [`replay`](super::replay) does.
///
/// # Errors
/// When there is no such step or breakpoint.
pub fn steps(recording: &Recording, wanted: &StepsWanted) -> Result<Stepped, NoStep> {
    let compiled = recording.script.as_ref().map_err(|error| NoStep::NothingRan(error.message.clone()))?;
    check_lines(compiled, recording, &wanted.breakpoints)?;
    let limit = wanted.limit.clamp(1, STEPS_MAX);
    let start = match (wanted.from, wanted.direction) {
        (Some(from), _) => from.max(1),
        (None, Direction::Forwards) => 1,
        (None, Direction::Backwards) => u64::MAX,
    };
    let walk = |wanted: Wanted| {
        let tracer = Tracer::new(compiled, &recording.imports, wanted);
        let watch = Watch { tracer: Some(std::sync::Arc::clone(&tracer)), ..Watch::default() };
        let replayed = replay_watched(recording, &watch);
        (tracer.walked(), replayed)
    };
    let from = if wanted.breakpoints.is_empty() {
        start
    } else {
        let (walked, replayed) = walk(Wanted { from: start, limit: 0, lines: wanted.breakpoints.clone() });
        let hit = match wanted.direction {
            Direction::Forwards => walked.hit_after,
            Direction::Backwards => walked.hit_before,
        };
        match hit {
            Some(hit) => hit,
            None => return Ok(Stepped { steps: Vec::new(), total: walked.total, replayed }),
        }
    };
    let (Walked { steps, total, .. }, replayed) = walk(Wanted { from, limit, lines: BTreeSet::new() });
    if total == 0 {
        let why =
            replayed.result.as_ref().err().map_or("it has no statement", |error| error.message.as_str());
        return Err(NoStep::NothingRan(why.to_owned()));
    }
    if from > total {
        return Err(NoStep::OutOfRange { from, total });
    }
    Ok(Stepped { steps, total, replayed })
}
