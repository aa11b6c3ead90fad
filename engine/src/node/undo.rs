//! What it would take to undo an execution: read from the log, before anything is locked.
//!
//! Owns: [`UndoPlan`]. Never does: write; the plan is checked again when it is decided (`decide/undo.rs`).

use relive_log::events::{Event, KvEvent, Writer, decode_record};
use relive_log::{ExecutionId, Lsn};
use relive_projections::{AsOf, ExecutionRow, Status};

use super::Node;
use crate::command::UndoChange;
use crate::decide::undo::conflict;
use crate::refusal::{Failure, Refusal, SubmitError, UndoConflict};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct UndoPlan {
    /// The inverse of each write that still means something.
    pub changes: Vec<UndoChange>,
    /// Keys that were written since.
    pub conflicts: Vec<UndoConflict>,
}

fn unreadable(error: impl std::fmt::Display) -> SubmitError {
    Failure::Read { message: error.to_string() }.into()
}

impl Node {
    /// What undoing a completed execution takes: each key back to what it was before, where time has not ended that.
    ///
    /// # Errors
    /// It did not complete, or stored data could not be read.
    pub fn undo_plan(&self, row: &ExecutionRow) -> Result<UndoPlan, SubmitError> {
        let ended = row.ended_at.filter(|_| row.status == Status::Completed).ok_or_else(|| {
            let status = row.status.name();
            Refusal::Conflict {
                code: "not_completed",
                message: format!(
                    "execution `{}` is {status}: only what completed wrote anything",
                    row.execution
                ),
            }
        })?;
        let frame = self.reader.read_frame_of(ended.pos, ended.lsn).map_err(unreadable)?;
        let scene = self.scene();
        let mut plan = UndoPlan::default();
        for record in frame.records() {
            let event = decode_record(record.type_, record.type_version, record.body).map_err(unreadable)?;
            let Event::Kv(event) = event else { continue };
            let Some(change) = self.inverse(row, event, record.lsn)? else { continue };
            plan.conflicts.extend(conflict(&scene, row.app, &change)?);
            plan.changes.push(change);
        }
        Ok(plan)
    }

    fn inverse(
        &self,
        row: &ExecutionRow,
        event: KvEvent,
        wrote: Lsn,
    ) -> Result<Option<UndoChange>, SubmitError> {
        let (collection, key, before, previous) = match event {
            KvEvent::Put(put) if is_by(&put.writer, row.execution) => {
                (put.collection, put.key, Some(put.value), put.previous)
            }
            KvEvent::Deleted(gone) if is_by(&gone.writer, row.execution) => {
                (gone.collection, gone.key, None, Some(gone.previous))
            }
            KvEvent::Put(_) | KvEvent::Deleted(_) | KvEvent::Expired(_) => return Ok(None),
        };
        let after = match previous {
            None => None,
            Some(previous) => {
                let at = AsOf { lsn: previous, time: self.steady.now() };
                let slot = self.views.kv().get(row.app, &collection, &key, at).map_err(unreadable)?;
                slot.value.map(|value| (value, slot.expires_at))
            }
        };
        if before.is_none() && after.is_none() {
            return Ok(None);
        }
        Ok(Some(UndoChange { collection, key, wrote, before, after }))
    }
}

fn is_by(writer: &Writer, execution: ExecutionId) -> bool {
    matches!(writer, Writer::Execution { id, .. } if *id == execution)
}
