//! One recorded attempt, run again.
//!
//! Owns: [`replay`], what it came to, and whether it is faithful. Never does: commit, enqueue, call out (E120).

use std::collections::BTreeMap;
use std::sync::Arc;

use relive_log::events::{AttemptRecord, ErrorKind, ErrorRecord, OutputRecord};

use super::answers::{Deadline, Journal, header_placeholder};
use super::compare::{Difference, differences};
use super::recording::Recording;
use crate::node::Reply;
use crate::node::answer::answer;
use crate::script::{
    ContextInput, Finished, HeaderProbe, LetterEffect, LetterVerb, Response, Run, SendEffect, Watch,
    WriteEffect, run_measured, run_watched, to_json,
};
use crate::secrets::Masker;

/// How much more memory than an attempt a replay may hold: where the recorded attempt stopped is known, so the
/// measure need not be exact.
const MEMORY_FACTOR: u64 = 2;

/// Why a replay is not what was, although it may look like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNotFaithful {
    /// The script read a header whose value was not kept (T5).
    WithheldHeader,
    /// The script took a secret whose value is not to be had.
    WithheldSecret,
}

impl WhyNotFaithful {
    /// The name on the outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            WhyNotFaithful::WithheldHeader => "withheld_header",
            WhyNotFaithful::WithheldSecret => "withheld_secret",
        }
    }
}

/// What a successful run answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What the script returned, JSON text; secrets masked.
    pub value: Vec<u8>,
    /// The response that it means, where a caller waits; secrets masked.
    pub response: Option<Response>,
    /// Its record, of the unmasked answer.
    pub output: OutputRecord,
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The answer or the error.
    pub result: Result<Ended, ErrorRecord>,
    /// The last write per (collection, key); secrets masked. Nothing of a run that failed is committed.
    pub writes: BTreeMap<(String, String), WriteEffect>,
    /// Messages for queues, in order; as the writes.
    pub sends: Vec<SendEffect>,
    /// Dead letters that it would close, in order; as the writes.
    pub letters: Vec<LetterEffect>,
    /// What it read and logged.
    pub record: AttemptRecord,
    /// Whether it equals what was recorded; `None` when there is nothing to compare with.
    pub faithful: Option<bool>,
    /// Why it is not what was.
    pub reason: Option<WhyNotFaithful>,
    /// What differs, first things first.
    pub differences: Vec<Difference>,
    /// Whether it asked for an outgoing call that was not recorded.
    pub unmatched: bool,
    /// Masks what it took in clear and must not show.
    pub masker: Masker,
}

/// Runs a recorded attempt again. Needs a thread with [`SCRIPT_STACK_BYTES`](crate::script::SCRIPT_STACK_BYTES)
/// of stack; never panics.
#[must_use]
pub fn replay(recording: &Recording) -> Replayed {
    replay_watched(recording, &Watch::default())
}

/// As [`replay`], watched.
pub(super) fn replay_watched(recording: &Recording, watch: &Watch) -> Replayed {
    let journal = Journal::new(recording);
    let finished = run_of(recording, watch, &journal);
    let same_script = recording.runs_what_was_recorded();
    let read_withheld = !recording.withheld.digests.is_empty() && reads_withheld(recording, &finished);
    let mut got = Got::of(recording, finished);
    if same_script && let Some(recorded) = &recording.recorded {
        let after = recorded.after_the_run(&got.sends).cloned();
        got.adopt_what_came_after(after);
    }
    let differences = match &recording.recorded {
        Some(recorded) => differences(recorded, &got, same_script),
        None => Vec::new(),
    };
    let secrets = recording.secrets.withheld() || (recording.withheld.masked && !differences.is_empty());
    let reason = match (read_withheld, secrets) {
        (true, _) => Some(WhyNotFaithful::WithheldHeader),
        (false, true) => Some(WhyNotFaithful::WithheldSecret),
        (false, false) => None,
    };
    let faithful = recording.recorded.as_ref().map(|_| reason.is_none() && differences.is_empty());
    let replayed = got.shown(faithful, reason, differences);
    Replayed { unmatched: journal.unmatched(), ..replayed }
}

/// The run itself, exactly as the attempt ran.
fn run_of(recording: &Recording, watch: &Watch, journal: &Arc<Journal>) -> Result<Finished, ErrorRecord> {
    if recording.runs_what_was_recorded()
        && let Some(error) = recording.recorded.as_ref().and_then(|recorded| recorded.before_the_run())
    {
        return Err(error.clone());
    }
    let compiled = recording.script.clone()?;
    let mut limits = recording.limits;
    limits.memory_bytes = limits.memory_bytes.saturating_mul(MEMORY_FACTOR);
    let mut watch = watch.clone();
    if let Some(recorded) = &recording.recorded
        && recording.runs_what_was_recorded()
    {
        limits.operations = recorded.operations_max(limits.operations);
        watch.ends_at = recorded.ends_at();
    }
    let run = Run {
        compiled,
        imports: recording.imports.clone(),
        context: recording.context.clone(),
        snapshot: Arc::clone(&recording.kv),
        secrets: Arc::clone(&recording.secrets) as _,
        calls: Arc::clone(journal) as _,
        limits,
        seed: recording.seed,
        claim_time: recording.claim_time,
        stopwatch: Deadline::of(recording),
    };
    if !run.may_leak() {
        return Ok(run_watched(run, &watch));
    }
    let (finished, held) = run_measured(run.clone(), &watch);
    if let Some(suspicion) = recording.leaks.count(&run.compiled, held) {
        // Another journal: what this one was asked is looked at by the caller.
        let run = Run { calls: Journal::new(recording) as _, ..run };
        recording.leaks.looked(&run.compiled, suspicion, run.leaked_bytes(finished.record.operations));
    }
    Ok(finished)
}

/// Whether the script looked at a header whose value is a placeholder: it passed a statement that names one, or
/// another placeholder leads elsewhere.
fn reads_withheld(recording: &Recording, first: &Result<Finished, ErrorRecord>) -> bool {
    let (Ok(first), Ok(compiled)) = (first, &recording.script) else { return false };
    let names = &recording.withheld.digests;
    let probe = HeaderProbe::new(compiled, names);
    let mut other = recording.clone();
    other.context.input = with_other_placeholders(&recording.context.input, names);
    let watch = Watch { headers: Some(Arc::clone(&probe)), ..Watch::default() };
    let Ok(second) = run_of(&other, &watch, &Journal::new(&other)) else { return false };
    probe.was_read()
        || (&first.outcome, &first.writes, &first.record) != (&second.outcome, &second.writes, &second.record)
}

fn with_other_placeholders(input: &ContextInput, names: &[String]) -> ContextInput {
    match input {
        ContextInput::Request(request) => {
            let mut request = (**request).clone();
            for (name, value) in &mut request.headers {
                if names.contains(name) && *value == header_placeholder(name) {
                    *value = format!("‹another value of {name}›");
                }
            }
            ContextInput::Request(Arc::new(request))
        }
        ContextInput::DeadLetter(letter) => {
            let mut letter = letter.clone();
            letter.original = with_other_placeholders(&letter.original, names);
            ContextInput::DeadLetter(letter)
        }
        ContextInput::Kv(_) | ContextInput::Payload(_) | ContextInput::Cron(_) | ContextInput::Queue(_) => {
            input.clone()
        }
    }
}

/// A finished run in the shape of a record.
pub(super) struct Got {
    pub(super) result: Result<Ended, ErrorRecord>,
    pub(super) writes: BTreeMap<(String, String), WriteEffect>,
    pub(super) sends: Vec<SendEffect>,
    pub(super) letters: Vec<LetterEffect>,
    pub(super) record: AttemptRecord,
    /// The line of each read.
    pub(super) read_lines: Vec<u32>,
    pub(super) masker: Masker,
}

impl Got {
    fn of(recording: &Recording, finished: Result<Finished, ErrorRecord>) -> Got {
        let headers = recording.withheld.sealed.iter();
        let headers = headers.filter_map(|(name, value)| Some((value.clone()?, header_placeholder(name))));
        match finished {
            Err(error) => Got {
                result: Err(error),
                writes: BTreeMap::new(),
                sends: Vec::new(),
                letters: Vec::new(),
                read_lines: Vec::new(),
                record: AttemptRecord { snapshot: recording.context.lsn, ..AttemptRecord::default() },
                masker: Masker::default().and(headers),
            },
            Ok(Finished { outcome, writes, sends, letters, mut record, read_lines, masker, .. }) => {
                record.conflicts = recorded_conflicts(recording);
                let result = outcome.and_then(|returned| {
                    let (reply, output) =
                        answer(&recording.source, &returned, recording.limits.response_bytes_max)?;
                    let value = to_json(&returned).unwrap_or_else(|why| why.message.into_bytes());
                    let response = match reply {
                        Some(Reply::Response(response)) => Some(response),
                        Some(Reply::Value(_)) | None => None,
                    };
                    Ok(Ended { value, response, output })
                });
                Got { result, writes, sends, letters, record, read_lines, masker: masker.and(headers) }
            }
        }
    }

    /// A script that succeeded as recorded, and a commit that did not: nothing here can decide that again.
    fn adopt_what_came_after(&mut self, error: Option<ErrorRecord>) {
        if let (Ok(_), Some(error)) = (&self.result, error) {
            self.result = Err(error);
        }
    }

    fn shown(
        self,
        faithful: Option<bool>,
        reason: Option<WhyNotFaithful>,
        mut differences: Vec<Difference>,
    ) -> Replayed {
        let Got { mut result, mut writes, mut sends, mut letters, mut record, masker, read_lines: _ } = self;
        if !masker.is_empty() {
            match &mut result {
                Ok(ended) => {
                    masker.mask_bytes(&mut ended.value);
                    masker.mask_bytes(&mut ended.output.head);
                    if let Some(response) = &mut ended.response {
                        masker.mask_bytes(&mut response.body);
                        for (_, value) in &mut response.headers {
                            masker.mask_text(value);
                        }
                    }
                }
                Err(error) => drop(masker.mask_text(&mut error.message)),
            }
            for effect in writes.values_mut() {
                if let Some(value) = &mut effect.value {
                    let mut bytes = value.to_vec();
                    masker.mask_bytes(&mut bytes);
                    *value = bytes.into();
                }
            }
            for send in &mut sends {
                let mut bytes = send.message.to_vec();
                masker.mask_bytes(&mut bytes);
                send.message = bytes.into();
            }
            for effect in &mut letters {
                if let LetterVerb::Resolve(note) = &mut effect.verb {
                    masker.mask_text(note);
                }
            }
            for line in &mut record.logs {
                masker.mask_text(&mut line.message);
            }
            for difference in &mut differences {
                difference.mask(&masker);
            }
        }
        Replayed {
            result,
            writes,
            sends,
            letters,
            record,
            faithful,
            reason,
            differences,
            unmatched: false,
            masker,
        }
    }
}

/// Conflicts are the doing of others: a replay runs on the snapshot of the last run and has none.
fn recorded_conflicts(recording: &Recording) -> u32 {
    let record = recording.recorded.as_ref().and_then(|recorded| recorded.record.as_ref());
    record.map_or(0, |record| record.conflicts)
}

/// Whether something outside the script ended a run.
pub(super) const fn ended_from_outside(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Timeout | ErrorKind::Memory | ErrorKind::ShuttingDown)
}
