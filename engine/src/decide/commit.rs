//! Decision on an attempt that succeeded: its writes, its `completed` and the work that they fire are one batch
//! (S1), provided that what it read still stands (S2).
//!
//! Invariants: E20 an attempt with writes commits only if every key, absence and range that it read is
//! unchanged since its snapshot; E21 an attempt without writes is serialised at its snapshot and needs no check.

use relive_log::events::{
    AbandonReason, Abandoned, AttemptRecord, Completed, ErrorKind, ErrorRecord, Event, ExecutionEvent,
    KeptReply, KvDeleted, KvEvent, KvPut, OutputRecord, Principal, ReadRecord, Source, VersionChoice, Writer,
};
use relive_log::{AppId, ExecutionId, Lsn, UnixMicros};
use relive_projections::{App, KvBounds, LetterRow, ReadError};

use super::expiry::Endings;
use super::fire::{Cause, fire_mutations};
use super::kv::read_failed;
use super::letters::{self, Actor};
use super::send::{Message, send};
use super::{Decision, Scene};
use crate::refusal::{Failure, Refusal};
use crate::script::{Lapsed, LetterEffect, LetterVerb, SendEffect, WriteEffect};

/// Keys of an attempt's writes with what happens to them.
pub(crate) type Writes = std::collections::BTreeMap<(String, String), WriteEffect>;

/// The attempt that ends: who it is.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub app: AppId,
    pub execution: ExecutionId,
    pub root: ExecutionId,
    pub depth: u16,
    pub attempt: u32,
    pub source: Source,
    /// The dead script's name, for letters.
    pub script: String,
    /// The version that ran; 0 if there was none.
    pub version: u32,
    /// Whether the caller went away.
    pub caller_gone: bool,
}

/// What a successful attempt wants to leave behind.
#[derive(Debug)]
pub(crate) struct Success {
    pub output: OutputRecord,
    pub record: AttemptRecord,
    /// What it takes to give the answer again (D14).
    pub reply: Option<Box<KeptReply>>,
    pub writes: Writes,
    /// Messages for queues, in order.
    pub sends: Vec<SendEffect>,
    /// Dead letters that it closes.
    pub letters: Vec<LetterEffect>,
    /// Whom it ran as.
    pub principal: Option<Principal>,
    /// Reads to validate where recording is off and the record has none.
    pub unrecorded_reads: Vec<ReadRecord>,
    pub snapshot: Lsn,
    /// The claim time: as of it the attempt saw times to live (K1).
    pub claimed_at: UnixMicros,
    /// What it took for expired although the log did not say so yet (K2).
    pub lapsed: Vec<Lapsed>,
}

impl Success {
    /// Whether it leaves anything behind beside its record.
    pub(crate) fn has_effects(&self) -> bool {
        !self.writes.is_empty() || !self.sends.is_empty() || !self.letters.is_empty()
    }

    /// Whether its commit says no more than that it ended.
    pub(crate) fn only_read(&self) -> bool {
        !self.has_effects() && self.lapsed.is_empty()
    }
}

/// Why a successful attempt does not commit.
#[derive(Debug)]
pub(crate) enum NotCommitted {
    /// Something that it read was written since its snapshot: run it again. What it wanted, for locks.
    Conflict(Box<Success>),
    /// It sends where nothing listens, or too far ahead; what it read and logged.
    Send(ErrorRecord, Box<AttemptRecord>),
    /// It would fire too much; what it read and logged.
    FanOut(Refusal, Box<AttemptRecord>),
    /// The views could not be read.
    Failed(Failure),
}

/// Whether everything that was read is unchanged since the snapshot (E20).
pub(crate) fn still_valid(
    scene: &Scene<'_>,
    app: AppId,
    reads: &[ReadRecord],
    snapshot: Lsn,
) -> Result<bool, ReadError> {
    let kv = scene.views.kv();
    for read in reads {
        let changed = match read {
            // A letter is looked at again when it is closed; one that is closed stays so.
            ReadRecord::KeyAt { .. } | ReadRecord::Letter { .. } => false,
            ReadRecord::Key { collection, key, .. } | ReadRecord::History { collection, key, .. } => {
                kv.last_write(app, collection, key)?.is_some_and(|last| last.lsn > snapshot)
            }
            ReadRecord::Range { collection, prefix, cursor, reverse, limit, items } => {
                let bounds = read_bounds(prefix, cursor.as_ref(), *reverse, *limit, items);
                kv.range_written_since(app, collection, &bounds, snapshot)?
            }
        };
        if changed {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The part of a collection that a listing looked at: from its cursor to its last item if the page was full,
/// else to the end of the prefix.
fn read_bounds(
    prefix: &str,
    cursor: Option<&String>,
    reverse: bool,
    limit: u32,
    items: &[(String, Lsn)],
) -> KvBounds {
    let full = items.len() as u64 >= u64::from(limit);
    let last = if full { items.last().map(|(key, _)| key.clone()) } else { None };
    let mut bounds = KvBounds { prefix: prefix.to_owned(), ..KvBounds::default() };
    if reverse {
        bounds.before = cursor.cloned();
        bounds.from = last;
    } else {
        bounds.after = cursor.cloned();
        bounds.to = last;
    }
    bounds
}

/// Decides the commit of a successful attempt.
pub(crate) fn commit(
    scene: &Scene<'_>,
    app: &App,
    ending: &Ending,
    success: Success,
    out: &mut Decision,
) -> Result<(), NotCommitted> {
    let failed = |e: ReadError| NotCommitted::Failed(read_failed(e));
    let mut closing = Vec::with_capacity(success.letters.len());
    if success.has_effects() {
        let mut valid = true;
        for LetterEffect { letter, verb } in &success.letters {
            // One that somebody else closed meanwhile: the script sees it when it runs again.
            match letters::open_letter(scene, app, *letter) {
                Ok(row) => closing.push((row, verb.clone())),
                Err(_) => valid = false,
            }
        }
        for reads in [&success.record.reads, &success.unrecorded_reads] {
            valid = valid && still_valid(scene, app.id, reads, success.snapshot).map_err(failed)?;
        }
        if !valid {
            return Err(NotCommitted::Conflict(Box::new(success)));
        }
    }
    let closed_by = success.principal.clone();
    let mut endings = Endings::default();
    for Lapsed { collection, key, version } in &success.lapsed {
        endings.end(scene, app.id, (collection, key), *version, out).map_err(failed)?;
    }
    let read = |collection: &str, key: &str| {
        let all = success.record.reads.iter().chain(&success.unrecorded_reads);
        let is_it = |read: &ReadRecord| matches!(read, ReadRecord::Key { collection: c, key: k, .. } if c == collection && k == key);
        all.into_iter().any(is_it)
    };
    for ((collection, key), effect) in success.writes {
        let last = scene.views.kv().last_write(app.id, &collection, &key).map_err(failed)?;
        // What it read is as of its claim; what it wrote blindly meets the key as it is now.
        let blind = last.is_some_and(|last| last.is_lapsed_at(scene.steady)) && !read(&collection, &key);
        let as_of = if blind { scene.steady } else { success.claimed_at };
        let previous = endings.replaced(app.id, (&collection, &key), last, as_of, out);
        let writer = Writer::Execution { id: ending.execution, line: effect.line };
        match (effect.value, previous) {
            (Some(value), previous) => {
                let put = KvPut {
                    app: app.id,
                    collection,
                    key,
                    value,
                    previous,
                    expires_at: effect.expires_at,
                    writer,
                };
                out.push(Event::Kv(KvEvent::Put(put)));
            }
            (None, Some(previous)) => {
                let deleted = KvDeleted { app: app.id, collection, key, previous, writer };
                out.push(Event::Kv(KvEvent::Deleted(deleted)));
            }
            (None, None) => {}
        }
    }
    if let Some(by) = &closed_by {
        let script = Some((ending.execution, ending.root, ending.depth));
        close_letters(scene, app, closing, &Actor { by, script, job: None, proof: None }, out);
    }
    let cause = Cause { by: Some((ending.execution, ending.root, ending.depth)) };
    for effect in success.sends {
        if let Err(error) = send_effect(scene, app, effect, &cause, out) {
            return Err(NotCommitted::Send(error, Box::new(success.record)));
        }
    }
    if let Err(refusal) = fire_mutations(scene, app, &cause, out) {
        return Err(NotCommitted::FanOut(refusal, Box::new(success.record)));
    }
    let completed = Completed {
        app: app.id,
        execution: ending.execution,
        attempt: ending.attempt,
        output: success.output,
        record: success.record,
        reply: success.reply,
    };
    out.push(Event::Execution(ExecutionEvent::Completed(Box::new(completed))));
    if ending.caller_gone {
        push_client_gone(ending, out);
    }
    Ok(())
}

fn send_effect(
    scene: &Scene<'_>,
    app: &App,
    effect: SendEffect,
    cause: &Cause,
    out: &mut Decision,
) -> Result<(), ErrorRecord> {
    let SendEffect { execution, queue, message, delay_ms, key, line } = effect;
    let message = Message { execution, queue, message, delay_ms, key };
    send(scene, app, message, cause, out).map_err(|refusal| {
        let message = format!("queue::send: {refusal}");
        ErrorRecord { kind: ErrorKind::Runtime, message, line, column: 0 }
    })
}

/// Closes the letters of an attempt (D18).
fn close_letters(
    scene: &Scene<'_>,
    app: &App,
    closing: Vec<(LetterRow, LetterVerb)>,
    actor: &Actor<'_>,
    out: &mut Decision,
) {
    for (row, verb) in closing {
        match verb {
            LetterVerb::Redrive(execution) => {
                let current = (execution, VersionChoice::Current);
                // Refuses only a version that does not exist; the current one always does.
                let _ = letters::redrive(scene, app, &row, current, actor, out);
            }
            LetterVerb::Resolve(note) => {
                let note = Some(note.as_str()).filter(|note| !note.is_empty());
                letters::resolve(&row, "ignored", note, actor, out);
            }
        }
    }
}

/// Records that nobody was there to take the outcome (D5).
pub(crate) fn push_client_gone(ending: &Ending, out: &mut Decision) {
    out.push(Event::Execution(ExecutionEvent::Abandoned(Abandoned {
        app: ending.app,
        execution: ending.execution,
        reason: AbandonReason::ClientGone,
    })));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e20_a_full_page_was_read_up_to_its_last_item() {
        let items = vec![("a".to_owned(), Lsn(1)), ("b".to_owned(), Lsn(2))];
        let full = read_bounds("", None, false, 2, &items);
        assert_eq!(full.to.as_deref(), Some("b"));
        let open = read_bounds("", None, false, 3, &items);
        assert_eq!(open.to, None, "an absent key at the end was seen too");
        let reverse = read_bounds("", Some(&"z".to_owned()), true, 2, &items);
        assert_eq!((reverse.before.as_deref(), reverse.from.as_deref()), (Some("z"), Some("b")));
    }
}
