//! Decision on undoing an execution: the inverse of its writes as a new transaction, provided that nothing was written
//! over them. Nothing is rewritten; the history shows both.
//!
//! Owns: the guard by versions. Never does: read old values (`node/undo.rs` did, before the lock was taken).
//!
//! Invariant: E115 an undo is carried out in whole, on exactly the versions that the execution left, or not at all.

use relive_log::events::{Event, KvDeleted, KvEvent, KvPut, Principal, Writer};
use relive_log::{AppId, ExecutionId};

use super::fire::{Cause, fire_mutations};
use super::kv::read_failed;
use super::{Decision, Scene};
use crate::command::{Answer, UndoChange};
use crate::refusal::{Refusal, SubmitError, UndoConflict};

/// The change if its key is no longer as the execution left it.
pub(crate) fn conflict(
    scene: &Scene<'_>,
    app: AppId,
    change: &UndoChange,
) -> Result<Option<UndoConflict>, SubmitError> {
    let (collection, key) = (&change.collection, &change.key);
    let last = scene.views.kv().last_write(app, collection, key).map_err(read_failed)?;
    let left = last.is_some_and(|last| last.lsn == change.wrote && !last.is_lapsed_at(scene.steady));
    let current = last.filter(|last| last.is_present_at(scene.steady)).map(|last| last.lsn);
    Ok((!left).then(|| UndoConflict {
        collection: collection.clone(),
        key: key.clone(),
        wrote: change.wrote,
        current,
    }))
}

pub(super) fn undo(
    scene: &Scene<'_>,
    slug: &str,
    execution: ExecutionId,
    changes: Vec<UndoChange>,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, SubmitError> {
    let app = scene.app(slug)?;
    let mut conflicts = Vec::new();
    for change in &changes {
        conflicts.extend(conflict(scene, app.id, change)?);
    }
    if !conflicts.is_empty() {
        return Err(Refusal::UndoConflicts { execution, conflicts }.into());
    }
    for change in changes {
        let writer = Writer::Undo { id: by.id, name: by.name.clone(), of: execution };
        let UndoChange { collection, key, wrote, before, after } = change;
        let previous = before.is_some().then_some(wrote);
        match (after, previous) {
            (Some((value, expires_at)), previous) => {
                let put = KvPut { app: app.id, collection, key, value, previous, expires_at, writer };
                out.push(Event::Kv(KvEvent::Put(put)));
            }
            (None, Some(previous)) => {
                let deleted = KvDeleted { app: app.id, collection, key, previous, writer };
                out.push(Event::Kv(KvEvent::Deleted(deleted)));
            }
            (None, None) => {}
        }
    }
    fire_mutations(scene, &app, &Cause::nothing(), out)?;
    Ok(Answer::Done)
}
