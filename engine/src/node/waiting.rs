//! What work that does not run waits for, for people.
//!
//! Owns: the order in which causes are looked at: the one named is the one that has to go first. Never does: decide.

use relive_log::ExecutionId;
use relive_log::events::{AppPauseReason, PauseReason};
use relive_projections::{ExecutionRow, Status};

use super::Node;
use super::core::{Alone, lane_of, runs_alone};
use crate::dispatch::{Origin, WaitsFor};

/// What an execution waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingFor {
    /// Its app is paused.
    AppPaused,
    /// Its app is paused because its scripts leak.
    AppLeaks,
    /// Its trigger is paused.
    TriggerPaused(PauseReason),
    /// An earlier execution with the same key.
    Line(ExecutionId),
    /// Its due time, for the first attempt.
    DueTime,
    /// Its due time, after an attempt that failed.
    Retry,
    /// The end of an execution that runs alone after a crash.
    Alone(ExecutionId),
    /// That everything else ended: it was cut off by a crash and runs alone.
    Others,
    /// A place under the execution gate.
    Place,
    /// It began and waits for a place to go on, or for the world outside.
    Away,
    /// It began and waits for the lock of another execution on keys that both touch.
    Lock(ExecutionId),
}

impl WaitingFor {
    /// The name on the outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            WaitingFor::AppPaused | WaitingFor::AppLeaks => "app_paused",
            WaitingFor::TriggerPaused(_) => "trigger_paused",
            WaitingFor::Line(_) => "line",
            WaitingFor::DueTime => "due_time",
            WaitingFor::Retry => "retry",
            WaitingFor::Alone(_) => "alone",
            WaitingFor::Others => "others",
            WaitingFor::Place => "place",
            WaitingFor::Away => "away",
            WaitingFor::Lock(_) => "lock",
        }
    }

    /// The execution that has to end first.
    #[must_use]
    pub const fn blocked_by(self) -> Option<ExecutionId> {
        match self {
            WaitingFor::Line(id) | WaitingFor::Alone(id) | WaitingFor::Lock(id) => Some(id),
            WaitingFor::AppPaused
            | WaitingFor::AppLeaks
            | WaitingFor::TriggerPaused(_)
            | WaitingFor::DueTime
            | WaitingFor::Retry
            | WaitingFor::Others
            | WaitingFor::Place
            | WaitingFor::Away => None,
        }
    }

    /// The same for people, in one sentence.
    #[must_use]
    pub fn explain(self) -> String {
        match self {
            WaitingFor::AppPaused => "the app is paused".to_owned(),
            WaitingFor::AppLeaks => {
                "the app is paused: its scripts leave memory that nothing frees (RELIVE_MAX_LEAKED_MEMORY)"
                    .to_owned()
            }
            WaitingFor::TriggerPaused(PauseReason::Asked) => "its trigger is paused".to_owned(),
            WaitingFor::TriggerPaused(PauseReason::Forked) => {
                "its trigger came paused with the fork; resume it".to_owned()
            }
            WaitingFor::TriggerPaused(PauseReason::RegistrantDeleted) => {
                "its trigger is paused: the token that registered it was deleted".to_owned()
            }
            WaitingFor::Line(head) => {
                format!("its trigger runs in order of keys: execution {head} goes first")
            }
            WaitingFor::DueTime => "it is not due yet".to_owned(),
            WaitingFor::Retry => "its last attempt failed: the next one is not due yet".to_owned(),
            WaitingFor::Alone(only) => format!("execution {only} runs alone after a crash"),
            WaitingFor::Others => "it runs alone after a crash, as soon as nothing else runs".to_owned(),
            WaitingFor::Place => "all places are taken (RELIVE_MAX_CONCURRENT_EXECUTIONS)".to_owned(),
            WaitingFor::Away => "it waits for an outgoing call, or for a place to go on".to_owned(),
            WaitingFor::Lock(holder) => format!("execution {holder} holds a lock on keys that both touch"),
        }
    }
}

impl Node {
    /// What each of these waits for; `None` for what runs or ended.
    pub fn waiting_for(&self, rows: &[&ExecutionRow]) -> Vec<Option<WaitingFor>> {
        let registry = self.views.registry();
        let now = self.clock.now();
        let core = self.core.lock();
        rows.iter()
            .map(|row| match row.status {
                Status::Running if core.dispatch.is_away(row.execution) => Some(WaitingFor::Away),
                Status::Running if core.ahead.contains_key(&row.execution) => Some(WaitingFor::Place),
                Status::Running => core.locks.blocker(row.execution).map(WaitingFor::Lock),
                Status::Pending | Status::Retrying => {
                    let app = registry.app(row.app);
                    let trigger = app
                        .zip(row.source.trigger())
                        .and_then(|(app, trigger)| app.triggers.get(&trigger))
                        .and_then(|trigger| trigger.paused.as_ref());
                    let pause = app.and_then(|app| app.paused.as_ref()).filter(|_| !row.source.reply_to());
                    let lane = lane_of(&row.source, if runs_alone(row) { Alone::Yes } else { Alone::No });
                    let waits = core.dispatch.waits_for(
                        row.app,
                        Origin::of(&row.source),
                        row.execution,
                        row.ordering_key.as_deref(),
                        lane,
                    );
                    let paused = pause.map(|pause| match pause.reason {
                        AppPauseReason::Asked | AppPauseReason::Forked => WaitingFor::AppPaused,
                        AppPauseReason::Leaks(_) => WaitingFor::AppLeaks,
                    });
                    Some(paused.unwrap_or_else(|| match (trigger, waits) {
                        (Some(pause), _) => WaitingFor::TriggerPaused(pause.reason),
                        (None, WaitsFor::Line(head)) => WaitingFor::Line(head),
                        _ if row.due_at > now && row.status == Status::Retrying => WaitingFor::Retry,
                        _ if row.due_at > now => WaitingFor::DueTime,
                        (None, WaitsFor::Alone(only)) => WaitingFor::Alone(only),
                        (None, WaitsFor::Others) => WaitingFor::Others,
                        (None, WaitsFor::Place) => WaitingFor::Place,
                    }))
                }
                Status::Completed
                | Status::Failed
                | Status::DeadLettered
                | Status::Abandoned
                | Status::Dropped => None,
            })
            .collect()
    }
}
