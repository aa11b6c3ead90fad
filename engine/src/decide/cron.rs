//! Decision on a cron trigger that is due (D16): one run for all of its ticks, or none while the last run is unfinished.
//!
//! Invariant: E63 the run and the event that accounts for its ticks are one batch, so that no tick runs twice.

use relive_log::ExecutionId;
use relive_log::events::{CronEvent, CronTicked, Enqueued, Event, ExecutionEvent, Input, Source};
use relive_projections::{App, CronPosition, Trigger};

use super::{Decision, Scene};
use crate::cron::Moments;

/// Decides the ticks of a trigger that came since its position.
pub(crate) fn tick(
    scene: &Scene<'_>,
    app: &App,
    trigger: &Trigger,
    position: &CronPosition,
    ticks: Moments,
    out: &mut Decision,
) {
    let unfinished = |run| scene.views.executions().with_open(run, |_| ()).is_some();
    let execution =
        if position.last_run.is_some_and(unfinished) { None } else { Some(ExecutionId(scene.mint())) };
    if let Some(execution) = execution {
        let missed = position.missed.saturating_add(ticks.count.saturating_sub(1));
        out.push(Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
            app: app.id,
            execution,
            root: execution,
            depth: 0,
            cause: None,
            caused_by: None,
            script: trigger.spec.script.clone(),
            source: Source::Cron { trigger: trigger.id },
            input: Input::Tick { scheduled_at: ticks.latest, missed },
            due_at: scene.now,
            ordering_key: None,
            principal: Some(trigger.by.clone()),
            redrive_of: None,
            pinned_version: None,
            idempotency: None,
        }))));
    }
    out.push(Event::Cron(CronEvent::Ticked(CronTicked {
        app: app.id,
        trigger: trigger.id,
        scheduled_at: ticks.latest,
        ticks: ticks.count,
        execution,
    })));
}
