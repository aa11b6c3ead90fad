//! Decisions on pauses (D15): apps and triggers stop and go on; nothing that was accepted is lost.
//!
//! Owns: who becomes the registrant of a trigger that is resumed (D9). Never does: hold work back; the dispatcher does.
//! Asking for what is so already changes nothing.

use relive_log::events::{
    AppEvent, AppPauseReason, AppPaused, AppResumed, Event, Leak, PauseReason, Principal, TriggerEvent,
    TriggerPaused, TriggerResumed,
};
use relive_log::{AppId, PrincipalId, TriggerId};
use relive_projections::{App, Trigger};

use super::{Decision, Scene};
use crate::command::{Answer, Switch};
use crate::refusal::Refusal;

pub(super) fn app(
    scene: &Scene<'_>,
    slug: &str,
    to: Switch,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    let by = by.clone();
    match (to, app.paused.is_some()) {
        (Switch::Paused, false) => drop(out.push(paused(&app, AppPauseReason::Asked, by))),
        (Switch::Running, true) => {
            out.push(Event::App(AppEvent::Resumed(AppResumed { app: app.id, by })));
        }
        (Switch::Paused, true) | (Switch::Running, false) => {}
    }
    Ok(Answer::Done)
}

/// The app, if it runs: its scripts leak.
pub(crate) fn leaking(scene: &Scene<'_>, app: AppId, leak: Leak, out: &mut Decision) {
    let Some(app) = scene.registry.app(app).filter(|app| app.paused.is_none()) else { return };
    out.push(paused(app, AppPauseReason::Leaks(leak), Principal::instance()));
}

fn paused(app: &App, reason: AppPauseReason, by: Principal) -> Event {
    Event::App(AppEvent::Paused(AppPaused { app: app.id, reason, by }))
}

/// Every app that runs (`--start-paused`).
pub(crate) fn all_apps(scene: &Scene<'_>, out: &mut Decision) {
    for app in scene.registry.apps.values().filter(|app| app.paused.is_none()) {
        out.push(paused(app, AppPauseReason::Asked, Principal::instance()));
    }
}

pub(super) fn trigger(
    scene: &Scene<'_>,
    slug: &str,
    trigger: TriggerId,
    to: Switch,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    let not_found = || Refusal::NotFound { what: "trigger", name: trigger.to_string() };
    let found = app.triggers.get(&trigger).ok_or_else(not_found)?;
    match (to, found.paused.is_some()) {
        (Switch::Paused, false) => pause(&app, found, PauseReason::Asked, by, out),
        (Switch::Running, true) => resume(&app, found, by, out),
        (Switch::Paused, true) | (Switch::Running, false) => {}
    }
    Ok(Answer::Done)
}

fn pause(app: &App, trigger: &Trigger, reason: PauseReason, by: &Principal, out: &mut Decision) {
    let event = TriggerPaused { app: app.id, trigger: trigger.id, reason, by: by.clone() };
    out.push(Event::Trigger(TriggerEvent::Paused(event)));
}

/// Resumes a trigger; one whose registrant is gone gets `by` as its registrant.
pub(super) fn resume(app: &App, trigger: &Trigger, by: &Principal, out: &mut Decision) {
    let event = TriggerResumed { app: app.id, trigger: trigger.id, by: by.clone() };
    out.push(Event::Trigger(TriggerEvent::Resumed(event)));
}

/// The token is about to be deleted: triggers that run in its name stop (D9).
pub(super) fn triggers_of(scene: &Scene<'_>, token: PrincipalId, by: &Principal, out: &mut Decision) {
    for app in scene.registry.apps.values() {
        for trigger in app.triggers.values().filter(|trigger| trigger.by.id == token) {
            pause(app, trigger, PauseReason::RegistrantDeleted, by, out);
        }
    }
}

/// Whether a deploy that contains the trigger resumes it (D9).
pub(super) fn lost_its_registrant(trigger: &Trigger) -> bool {
    trigger.paused.as_ref().is_some_and(|pause| pause.reason == PauseReason::RegistrantDeleted)
}
