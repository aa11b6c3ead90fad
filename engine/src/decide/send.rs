//! Decision on a message for a queue (D18): it becomes work of the queue's one consumer.
//!
//! Owns: finding the consumer, the bound of a delay. Never does: hold messages; an accepted one is an execution.
//! Invariant: E58 a queue has one consumer, and no message is accepted without it.

use relive_log::ExecutionId;
use relive_log::events::{
    DepthExceeded, Enqueued, Event, ExecutionEvent, Input, Ordering, Pattern, SharedBytes, Source,
};
use relive_projections::{App, Trigger};

use super::fire::Cause;
use super::{Decision, Scene};
use crate::refusal::Refusal;

/// Longest delay of a message: 30 days, milliseconds.
pub(crate) const DELAY_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) execution: ExecutionId,
    pub(crate) queue: String,
    /// JSON text.
    pub(crate) message: SharedBytes,
    pub(crate) delay_ms: u64,
    /// The key of its line, where the consumer is ordered by key.
    pub(crate) key: Option<String>,
}

/// The consumer of a queue.
pub(crate) fn consumer<'a>(app: &'a App, queue: &str) -> Option<&'a Trigger> {
    let consumes = |trigger: &&Trigger| matches!(&trigger.spec.pattern, Pattern::Queue { queue: consumed } if consumed == queue);
    app.triggers.values().find(consumes)
}

/// Decides one message.
pub(crate) fn send(
    scene: &Scene<'_>,
    app: &App,
    message: Message,
    cause: &Cause,
    out: &mut Decision,
) -> Result<(), Refusal> {
    let Message { execution, queue, message, delay_ms, key } = message;
    let unknown = || Refusal::UnknownQueue { queue: queue.clone() };
    let trigger = consumer(app, &queue).ok_or_else(unknown)?;
    check_bounds(scene, delay_ms, key.as_deref())?;
    let (caused_by, root, depth) = cause.of(execution);
    let (script, source) = (trigger.spec.script.clone(), Source::Queue { trigger: trigger.id });
    if depth > scene.settings.depth_max {
        let cause = out.first();
        let exceeded =
            DepthExceeded { app: app.id, execution, root, depth, cause, caused_by, script, source };
        out.push(Event::Execution(ExecutionEvent::DepthExceeded(Box::new(exceeded))));
        return Ok(());
    }
    out.push(Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
        app: app.id,
        execution,
        root,
        depth,
        cause: None,
        caused_by,
        script,
        source,
        input: Input::Message { queue, message },
        due_at: scene.now.plus_millis(delay_ms),
        ordering_key: key.filter(|_| trigger.spec.ordering == Ordering::Key),
        principal: Some(trigger.by.clone()),
        redrive_of: None,
        pinned_version: None,
        idempotency: None,
    }))));
    Ok(())
}

fn check_bounds(scene: &Scene<'_>, delay_ms: u64, key: Option<&str>) -> Result<(), Refusal> {
    if delay_ms > DELAY_MS_MAX {
        return Err(Refusal::TooLarge {
            what: "delay_ms".to_owned(),
            actual: delay_ms,
            limit: DELAY_MS_MAX,
            unit: "milliseconds",
            setting: "fixed limit: 30 days",
        });
    }
    key.map_or(Ok(()), |key| crate::names::key(key, &scene.settings.limits))
}
