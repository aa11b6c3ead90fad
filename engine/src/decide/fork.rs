//! Decision on a fork: an app that begins with another one's keys as of a moment.
//!
//! Owns: what comes along (scripts, routes, triggers) and what does not (tokens, secrets, work, letters, history of
//! executions). Never does: copy a key: the event names what the fork reads through to (P20).
//!
//! Invariant: E140 a fork does nothing by itself and reaches nothing outside until somebody asks for it: it begins paused,
//! its triggers paused, its outgoing calls off; it is one batch, whatever the size of what it forks.

use relive_log::events::{
    AppEvent, AppForked, Event, Fork, ForkBase, PauseReason, Principal, RouteCreated, RouteEvent,
    ScriptDeployed, ScriptEvent, TriggerCreated, TriggerEvent, TriggerPaused,
};
use relive_log::{AppId, RouteId, TriggerId};

use super::{Decision, Scene};
use crate::command::Answer;
use crate::names;
use crate::node::ForkPlan;
use crate::refusal::Refusal;

/// Most forks in one line: each costs one more look for a key that none of them has written.
pub(crate) const LINE_MAX: usize = 8;

pub(super) fn fork(
    scene: &Scene<'_>,
    slug: String,
    plan: ForkPlan,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    names::slug(&slug)?;
    let base = scene.registry.app(plan.base.app);
    let base = base.ok_or_else(|| Refusal::NotFound { what: "app", name: plan.base.slug.clone() })?;
    if scene.registry.app_by_slug(&slug).is_some() {
        return Err(Refusal::Exists { what: "app", name: slug });
    }
    let first = scene.views.cut_floor();
    if plan.base.lsn < first.prev() {
        return Err(Refusal::BelowHorizon { first });
    }
    let ancestors = ancestors(&base.line, &plan.base);
    if ancestors.len() >= LINE_MAX {
        let message = format!(
            "app `{}` is the {LINE_MAX}th fork in its line, which is the most: fork an earlier one",
            base.slug
        );
        return Err(Refusal::Conflict { code: "fork_too_deep", message });
    }
    let app = AppId(scene.mint());
    let ForkPlan { base, name, scripts, routes, triggers } = plan;
    out.push(Event::App(AppEvent::Forked(Box::new(AppForked {
        app,
        slug,
        name,
        base,
        ancestors,
        by: by.clone(),
    }))));
    for script in scripts {
        let deployed = ScriptDeployed { app, by: by.clone(), ..script };
        out.push(Event::Script(ScriptEvent::Deployed(deployed)));
    }
    for spec in routes {
        let route = RouteId(scene.mint());
        out.push(Event::Route(RouteEvent::Created(RouteCreated { app, route, spec, by: by.clone() })));
    }
    for spec in triggers {
        let trigger = TriggerId(scene.mint());
        let created = TriggerCreated { app, trigger, spec, by: by.clone() };
        out.push(Event::Trigger(TriggerEvent::Created(created)));
        let paused = TriggerPaused { app, trigger, reason: PauseReason::Forked, by: by.clone() };
        out.push(Event::Trigger(TriggerEvent::Paused(paused)));
    }
    Ok(Answer::Done)
}

/// The forks that the base came from, as of the moment that is forked: a moment before one of them belongs to what that one
/// began with.
fn ancestors(line: &[Fork], base: &ForkBase) -> Vec<Fork> {
    debug_assert!(line.first().is_none_or(|fork| base.lsn >= fork.lsn), "the app was there at that moment");
    line.to_vec()
}
