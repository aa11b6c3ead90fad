//! What fires: the triggers that a batch's mutations and dead letters match, and the work that follows (S5, D8).
//!
//! Invariants: E10 a mutation fires each matching trigger exactly once; E11 work that would be deeper than the
//! limit becomes `depth_exceeded`, nothing else; E12 one batch fires at most `fan_out_max` executions.

use relive_log::events::{
    DeadLettered, DepthExceeded, Enqueued, Event, ExecutionEvent, Input, KvEvent, KvOps, Ordering, Pattern,
    Source,
};
use relive_log::{ExecutionId, Lsn};
use relive_projections::{App, Trigger};

use super::{Decision, Scene};
use crate::refusal::Refusal;

/// The execution whose commit fires triggers, if one does.
pub(crate) struct Cause {
    /// It and its root and depth.
    pub by: Option<(ExecutionId, ExecutionId, u16)>,
}

impl Cause {
    /// No execution caused it: an API write (D8: depth 0).
    pub(crate) const fn nothing() -> Cause {
        Cause { by: None }
    }

    /// What caused `execution`, its root and its depth.
    pub(crate) fn of(&self, execution: ExecutionId) -> (Option<ExecutionId>, ExecutionId, u16) {
        match self.by {
            Some((by, root, depth)) => (Some(by), root, depth.saturating_add(1)),
            None => (None, execution, 0),
        }
    }
}

/// One mutation of the batch, as triggers see it.
struct Mutation {
    lsn: Lsn,
    collection: String,
    key: String,
    op: KvOps,
}

fn mutation(event: &Event, lsn: Lsn) -> Option<Mutation> {
    match event {
        Event::Kv(KvEvent::Put(put)) => Some(Mutation {
            lsn,
            collection: put.collection.clone(),
            key: put.key.clone(),
            op: if put.previous.is_some() { KvOps::UPDATE } else { KvOps::INSERT },
        }),
        Event::Kv(KvEvent::Deleted(deleted)) => Some(Mutation {
            lsn,
            collection: deleted.collection.clone(),
            key: deleted.key.clone(),
            op: KvOps::DELETE,
        }),
        Event::Kv(KvEvent::Expired(expired)) => Some(Mutation {
            lsn,
            collection: expired.collection.clone(),
            key: expired.key.clone(),
            op: KvOps::EXPIRE,
        }),
        Event::App(_)
        | Event::Script(_)
        | Event::Route(_)
        | Event::Trigger(_)
        | Event::Token(_)
        | Event::Secret(_)
        | Event::Execution(_)
        | Event::DeadLetter(_)
        | Event::Job(_)
        | Event::Retention(_)
        | Event::Cron(_) => None,
    }
}

fn matches(trigger: &Trigger, mutation: &Mutation) -> bool {
    match &trigger.spec.pattern {
        Pattern::Kv { collection, ops, key_prefix } => {
            *collection == mutation.collection
                && ops.contains(mutation.op)
                && mutation.key.starts_with(key_prefix.as_str())
        }
        Pattern::DeadLetter { .. } | Pattern::Cron { .. } | Pattern::Queue { .. } => false,
    }
}

/// Fires the KV triggers of `app` for the mutations in `out` so far.
pub(crate) fn fire_mutations(
    scene: &Scene<'_>,
    app: &App,
    cause: &Cause,
    out: &mut Decision,
) -> Result<(), Refusal> {
    if !app.triggers.values().any(|t| matches!(t.spec.pattern, Pattern::Kv { .. })) {
        return check_fan_out(scene, out.events().iter().filter(|event| is_fired(event)).count());
    }
    let first = out.first();
    let mutations: Vec<Mutation> =
        out.events().iter().zip(0_u64..).filter_map(|(event, at)| mutation(event, first.plus(at))).collect();
    let mut fired = out.events().iter().filter(|event| is_fired(event)).count();
    check_fan_out(scene, fired)?;
    for mutation in &mutations {
        for trigger in app.triggers.values().filter(|trigger| matches(trigger, mutation)) {
            fired += 1;
            check_fan_out(scene, fired)?;
            // Time ended it, whoever noticed.
            let cause = if mutation.op == KvOps::EXPIRE { &Cause::nothing() } else { cause };
            let event = fired_by_mutation(scene, app, trigger, mutation, cause);
            out.push(event);
        }
    }
    Ok(())
}

/// Work that this batch causes: messages sent stand in it before triggers fire.
fn is_fired(event: &Event) -> bool {
    matches!(event, Event::Execution(ExecutionEvent::Enqueued(_) | ExecutionEvent::DepthExceeded(_)))
}

fn check_fan_out(scene: &Scene<'_>, fired: usize) -> Result<(), Refusal> {
    if fired <= scene.settings.fan_out_max {
        return Ok(());
    }
    Err(Refusal::TooLarge {
        what: "this commit".to_owned(),
        actual: fired as u64,
        limit: scene.settings.fan_out_max as u64,
        unit: "executions fired",
        setting: "RELIVE_MAX_FAN_OUT",
    })
}

fn fired_by_mutation(
    scene: &Scene<'_>,
    app: &App,
    trigger: &Trigger,
    mutation: &Mutation,
    cause: &Cause,
) -> Event {
    let lsn = mutation.lsn;
    let ordering_key = (trigger.spec.ordering == Ordering::Key).then(|| mutation.key.clone());
    let execution = ExecutionId(scene.mint());
    let (caused_by, root, depth) = cause.of(execution);
    let source = Source::Kv { trigger: trigger.id };
    let script = trigger.spec.script.clone();
    if depth > scene.settings.depth_max {
        let exceeded =
            DepthExceeded { app: app.id, execution, root, depth, cause: lsn, caused_by, script, source };
        return Event::Execution(ExecutionEvent::DepthExceeded(Box::new(exceeded)));
    }
    Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
        app: app.id,
        execution,
        root,
        depth,
        cause: Some(lsn),
        caused_by,
        script,
        source,
        input: Input::Mutation(lsn),
        due_at: scene.now,
        ordering_key,
        principal: Some(trigger.by.clone()),
        redrive_of: None,
        pinned_version: None,
        idempotency: None,
    })))
}

/// Fires the dead-letter handlers of `app` for a letter at `lsn`: once each, at the depth of what died (D10).
pub(crate) fn fire_letter(scene: &Scene<'_>, app: &App, letter: &DeadLettered, lsn: Lsn, out: &mut Decision) {
    let died = letter.source.trigger().and_then(|id| app.triggers.get(&id)).map(|t| t.spec.name.as_str());
    for trigger in app.triggers.values() {
        let Pattern::DeadLetter { from_script, from_trigger } = &trigger.spec.pattern else { continue };
        let script_fits = from_script.as_ref().is_none_or(|script| *script == letter.script);
        let trigger_fits = from_trigger.as_ref().is_none_or(|name| died == Some(name.as_str()));
        if !(script_fits && trigger_fits) {
            continue;
        }
        out.push(Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
            app: app.id,
            execution: ExecutionId(scene.mint()),
            root: letter.root,
            depth: letter.depth,
            cause: Some(lsn),
            caused_by: Some(letter.execution),
            script: trigger.spec.script.clone(),
            source: Source::DeadLetter { trigger: trigger.id, letter: letter.letter },
            input: Input::Letter(lsn),
            due_at: scene.now,
            ordering_key: None,
            principal: Some(trigger.by.clone()),
            redrive_of: None,
            pinned_version: None,
            idempotency: None,
        }))));
    }
}
