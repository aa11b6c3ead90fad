//! One recorded attempt with all that its run depended on.
//!
//! Owns: [`Recording`], [`Recorded`], and which script a replay runs ([`Candidate`]). Never does: read anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use relive_log::UnixMicros;
use relive_log::events::{AttemptRecord, ErrorKind, ErrorRecord, OutputRecord, Source};

use super::answers::Secrets;
use super::leaks::Leaks;
use crate::node::input::Withheld;
use crate::script::{
    Compiled, Context, EndsAt, Imports, LetterEffect, Limits, SendEffect, Snapshot, WriteEffect,
};
use crate::seams::Clock;

/// Which script a replay runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Candidate {
    /// The version that was recorded.
    #[default]
    Recorded,
    /// Another version of it.
    Version(u32),
    /// This source.
    Source(Arc<str>),
}

/// Whether withheld values are given to the run (masked in what is shown).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sealed {
    /// Those that can be opened are.
    #[default]
    Opened,
    /// None: placeholders stand for all of them (T6).
    Placeholders,
}

/// What was recorded of an attempt's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What it came to.
    pub result: Result<OutputRecord, ErrorRecord>,
    /// What it read and logged; `None` after a crash.
    pub record: Option<AttemptRecord>,
    /// What it committed, by (collection, key).
    pub writes: BTreeMap<(String, String), WriteEffect>,
    /// What it sent to queues, in order; delays and lines are not kept.
    pub sends: Vec<SendEffect>,
    /// The dead letters that it closed, in order.
    pub letters: Vec<LetterEffect>,
    /// How many messages would have gone too deep (D8): they were dropped, and nothing of them was kept.
    pub too_deep: usize,
}

impl Recorded {
    fn error(&self) -> Option<&ErrorRecord> {
        self.result.as_ref().err()
    }

    /// The error of an attempt that ended before its script began.
    pub(super) fn before_the_run(&self) -> Option<&ErrorRecord> {
        let unrun = self.record.as_ref().is_some_and(|record| record.operations == 0);
        self.error().filter(|error| {
            unrun
                && matches!(
                    error.kind,
                    ErrorKind::Timeout
                        | ErrorKind::ShuttingDown
                        | ErrorKind::KeyMissing
                        | ErrorKind::ScriptMissing
                        | ErrorKind::Parse
                        | ErrorKind::Internal
                )
        })
    }

    /// The error of an attempt whose script succeeded (and sent this) and whose commit did not.
    pub(super) fn after_the_run(&self, sends: &[SendEffect]) -> Option<&ErrorRecord> {
        self.error().filter(|error| {
            matches!(error.kind, ErrorKind::FanOut | ErrorKind::NoSpace)
                || (matches!(error.kind, ErrorKind::Writes | ErrorKind::Internal) && error.line == 0)
                // A send to a queue that nothing listens to is refused at the commit, in the name of its line.
                || (error.line != 0 && sends.iter().any(|send| send.line == error.line))
        })
    }

    /// Where something outside ended it (T2).
    pub(super) fn ends_at(&self) -> Option<EndsAt> {
        let error = self.error().filter(|error| {
            matches!(error.kind, ErrorKind::Timeout | ErrorKind::Memory | ErrorKind::ShuttingDown)
        })?;
        let operations = self.record.as_ref()?.operations;
        Some(EndsAt { operations, error: error.clone() })
    }

    /// The budget of operations under which the record repeats, whatever the setting is now.
    pub(super) fn operations_max(&self, setting: u64) -> u64 {
        let Some(operations) = self.record.as_ref().map(|record| record.operations) else { return setting };
        match self.error().map(|error| error.kind) {
            Some(ErrorKind::Operations) => operations.saturating_sub(1),
            _ => setting.max(operations),
        }
    }
}

/// What runs: a script, or the reason why there is none.
pub(crate) type Runnable = Result<Compiled, ErrorRecord>;

/// One recorded attempt.
#[derive(Clone)]
pub struct Recording {
    /// What `ctx` says; the input is in it, with placeholders for what is withheld.
    pub context: Context,
    /// Where the work came from.
    pub source: Source,
    /// The version that the attempt used.
    pub recorded_version: u32,
    /// The version that a replay runs; `None`: a source that is no version.
    pub version: Option<u32>,
    /// The seed.
    pub seed: [u8; 16],
    /// The claim time.
    pub claim_time: UnixMicros,
    /// What was recorded of its end; `None` while nothing is.
    pub recorded: Option<Recorded>,
    /// What runs.
    pub(crate) script: Runnable,
    /// What it can import.
    pub(crate) imports: Imports,
    /// The text of what runs.
    pub(crate) source_text: Option<Arc<str>>,
    /// The texts of what it imports, by name.
    pub(crate) imported: BTreeMap<String, Arc<str>>,
    /// KV as of the snapshot.
    pub(crate) kv: Arc<dyn Snapshot>,
    /// Secrets as they were.
    pub(crate) secrets: Arc<Secrets>,
    /// What the input lacks in clear.
    pub(crate) withheld: Withheld,
    /// Bounds: of the recorded version those of the record.
    pub(crate) limits: Limits,
    /// How long it may take if no record tells where it ends, milliseconds.
    pub(crate) untold_ms: u64,
    /// For that.
    pub(crate) clock: Arc<dyn Clock>,
    /// What replays left.
    pub(crate) leaks: Arc<Leaks>,
}

impl Recording {
    /// Whether it runs what was recorded.
    #[must_use]
    pub fn runs_what_was_recorded(&self) -> bool {
        self.version == Some(self.recorded_version)
    }

    /// The text of the script that a replay runs.
    #[must_use]
    pub fn source_text(&self) -> Option<&str> {
        self.source_text.as_deref()
    }

    /// The texts of what it imports, by name.
    #[must_use]
    pub const fn imported_texts(&self) -> &BTreeMap<String, Arc<str>> {
        &self.imported
    }
}
