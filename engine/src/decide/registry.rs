//! Decisions on apps, scripts, routes, triggers and secrets.
//!
//! Owns: uniqueness of slugs, routes and trigger names; version numbers; what a deletion drops (D17, S6).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use relive_log::events::{
    AppChanged, AppCreated, AppDeleted, AppEvent, DispatchMode, Dropped, Event, ExecutionEvent, Ordering,
    OutgoingCalls, Pattern, Principal, Record, RetryPolicy, RouteCreated, RouteDeleted, RouteEvent,
    RouteSpec, ScriptDeleted, ScriptDeployed, ScriptEvent, SecretDeleted, SecretEvent, SecretSet, Source,
    TriggerCreated, TriggerDeleted, TriggerEvent, TriggerSpec,
};
use relive_log::{AppId, ExecutionId, RouteId, TriggerId};
use relive_projections::{App, OpenWork, Status};
use sha2::{Digest, Sha256};

use super::imports::After;
use super::send::consumer;
use super::{Decision, Scene};
use crate::command::{Answer, Others};
use crate::cron::Schedule;
use crate::names;
use crate::node::secret_aad;
use crate::refusal::Refusal;
use crate::script::Compiled;
use crate::secrets::seal;
use crate::settings::{RETRY_ATTEMPTS_MAX, RETRY_WAIT_MS_MAX};

/// Longest value of a secret, bytes.
pub(crate) const SECRET_BYTES_MAX: usize = 64 * 1024;

pub(super) fn create_app(
    scene: &Scene<'_>,
    slug: String,
    name: Option<String>,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    names::slug(&slug)?;
    if scene.registry.app_by_slug(&slug).is_some() {
        return Err(Refusal::Exists { what: "app", name: slug });
    }
    let app = AppId(scene.mint());
    out.push(Event::App(AppEvent::Created(AppCreated { app, slug, name, by: by.clone() })));
    Ok(Answer::Done)
}

pub(super) fn change_app(
    scene: &Scene<'_>,
    slug: &str,
    name: Option<String>,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    if app.name != name {
        let outgoing_calls = app.outgoing_calls;
        let event = AppChanged { app: app.id, name, outgoing_calls, by: by.clone() };
        out.push(Event::App(AppEvent::Changed(event)));
    }
    Ok(Answer::Done)
}

pub(super) fn switch_calls(
    scene: &Scene<'_>,
    slug: &str,
    to: OutgoingCalls,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    if app.outgoing_calls != to {
        let event = AppChanged { app: app.id, name: app.name.clone(), outgoing_calls: to, by: by.clone() };
        out.push(Event::App(AppEvent::Changed(event)));
    }
    Ok(Answer::Done)
}

pub(super) fn delete_app(
    scene: &Scene<'_>,
    slug: &str,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    for execution in open_where(scene, app.id, |_| true) {
        drop_work(app.id, execution, "the app was deleted", out);
    }
    out.push(Event::App(AppEvent::Deleted(AppDeleted { app: app.id, by: by.clone() })));
    Ok(Answer::Done)
}

/// Open work of an app, by id.
fn open_where(scene: &Scene<'_>, app: AppId, wanted: impl Fn(&OpenWork<'_>) -> bool) -> Vec<ExecutionId> {
    let mut found = Vec::new();
    scene.views.executions().visit_open(|work| {
        if work.app == app && wanted(&work) {
            found.push(work.execution);
        }
        ControlFlow::Continue(())
    });
    found.reverse();
    found
}

fn drop_work(app: AppId, execution: ExecutionId, reason: &str, out: &mut Decision) {
    let reason = reason.to_owned();
    out.push(Event::Execution(ExecutionEvent::Dropped(Dropped { app, execution, reason })));
}

/// Drops the unclaimed work that `from` made (D17).
fn drop_unclaimed(
    scene: &Scene<'_>,
    app: AppId,
    reason: &str,
    from: impl Fn(&Source) -> bool,
    out: &mut Decision,
) {
    let unclaimed = |work: &OpenWork<'_>| matches!(work.status, Status::Pending | Status::Retrying);
    for execution in open_where(scene, app, |work| unclaimed(work) && from(work.source)) {
        drop_work(app, execution, reason, out);
    }
}

pub(super) fn put_script(
    scene: &Scene<'_>,
    slug: &str,
    name: &str,
    source: String,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    let compiled = within_limit(scene, name, &source).and_then(|()| compiled(scene, name, &source))?;
    After { app: Some(&app), others: Others::Keep, deployed: std::slice::from_ref(&compiled) }.check()?;
    let version = deploy_script(scene, Some(&app), app.id, name, source, by, out)?;
    Ok(Answer::Version(version.number()))
}

/// What deploying a source came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deployed {
    /// The first version that can be called.
    New(u32),
    /// A further version.
    Changed(u32),
    /// The source stands already (D17: no version).
    Unchanged(u32),
}

impl Deployed {
    pub(super) const fn number(self) -> u32 {
        match self {
            Deployed::New(n) | Deployed::Changed(n) | Deployed::Unchanged(n) => n,
        }
    }
}

/// Checks a script's name and the size of its source.
pub(super) fn within_limit(scene: &Scene<'_>, name: &str, source: &str) -> Result<(), Refusal> {
    names::name("script", name)?;
    let limit = scene.settings.source_bytes_max;
    if source.len() <= limit {
        return Ok(());
    }
    Err(Refusal::TooLarge {
        what: format!("script `{name}`"),
        actual: source.len() as u64,
        limit: limit as u64,
        unit: "bytes",
        setting: "RELIVE_MAX_SCRIPT_SOURCE",
    })
}

/// The compiled form of a source.
pub(super) fn compiled(scene: &Scene<'_>, name: &str, source: &str) -> Result<Compiled, Refusal> {
    scene.compiled.get_or_compile(name, source).map_err(|e| Refusal::Source {
        script: name.to_owned(),
        message: e.message,
        line: e.line,
        column: e.column,
    })
}

fn import_names(compiled: &Compiled) -> Vec<String> {
    let names: BTreeSet<&str> = compiled.imports().iter().map(|import| import.script.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Checks and deploys one source; `app` is `None` when the same batch creates it.
pub(super) fn deploy_script(
    scene: &Scene<'_>,
    app: Option<&App>,
    id: AppId,
    name: &str,
    source: String,
    by: &Principal,
    out: &mut Decision,
) -> Result<Deployed, Refusal> {
    within_limit(scene, name, &source)?;
    let compiled = compiled(scene, name, &source)?;
    let sha256: [u8; 32] = Sha256::digest(source.as_bytes()).into();
    let standing = app.and_then(|app| app.scripts.get(name));
    let current = standing.filter(|script| script.current != 0);
    if let Some(script) = current
        && script.versions.last().is_some_and(|v| v.sha256 == sha256)
    {
        return Ok(Deployed::Unchanged(script.current));
    }
    let version = app.map_or(1, |app| app.next_script_version(name));
    let event = ScriptDeployed {
        app: id,
        name: name.to_owned(),
        version,
        sha256,
        source,
        imports: import_names(&compiled),
        by: by.clone(),
    };
    out.push(Event::Script(ScriptEvent::Deployed(event)));
    Ok(if current.is_some() { Deployed::Changed(version) } else { Deployed::New(version) })
}

pub(super) fn delete_script(
    scene: &Scene<'_>,
    slug: &str,
    name: &str,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    if !has_script(&app, name) {
        return Err(Refusal::NotFound { what: "script", name: name.to_owned() });
    }
    remove_script(app.id, name, by, out);
    Ok(Answer::Done)
}

/// Deletes a script; work that needs it dead-letters when it is claimed (D17).
pub(super) fn remove_script(app: AppId, name: &str, by: &Principal, out: &mut Decision) {
    let event = ScriptDeleted { app, name: name.to_owned(), by: by.clone() };
    out.push(Event::Script(ScriptEvent::Deleted(event)));
}

/// Whether the app has this script now.
pub(super) fn has_script(app: &App, name: &str) -> bool {
    app.live_script(name).is_some()
}

fn require_script(app: &App, name: &str) -> Result<(), Refusal> {
    if has_script(app, name) {
        return Ok(());
    }
    Err(Refusal::Invalid {
        field: "script".to_owned(),
        problem: format!("app `{}` has no script `{name}`; deploy it first", app.slug),
    })
}

/// Checks what a route says, apart from whether its script exists.
pub(super) fn check_route(spec: &RouteSpec) -> Result<(), Refusal> {
    names::method(&spec.method)?;
    names::path(&spec.path)?;
    names::name("script", &spec.script)?;
    if spec.mode == DispatchMode::Async && spec.record == Record::Off {
        return Err(Refusal::Invalid {
            field: "record".to_owned(),
            problem: "`off` is for sync routes only: an async call runs from what was recorded".to_owned(),
        });
    }
    if spec.mode == DispatchMode::Sync && spec.retry.is_some() {
        return Err(Refusal::Invalid {
            field: "retry".to_owned(),
            problem: "a sync route never retries; set dispatch_mode = \"async\" or leave it out".to_owned(),
        });
    }
    if spec.timeout_ms.is_some_and(|ms| ms == 0 || ms > RETRY_WAIT_MS_MAX) {
        return Err(Refusal::Invalid {
            field: "timeout_ms".to_owned(),
            problem: format!("it is 1 to {RETRY_WAIT_MS_MAX}"),
        });
    }
    spec.retry.as_ref().map_or(Ok(()), check_retry)
}

/// Checks a retry policy (D7).
pub(super) fn check_retry(retry: &RetryPolicy) -> Result<(), Refusal> {
    let invalid =
        |field: &str, problem: String| Err(Refusal::Invalid { field: format!("retry.{field}"), problem });
    if retry.max_attempts == 0 || retry.max_attempts > RETRY_ATTEMPTS_MAX {
        return invalid("max_attempts", format!("it counts the first attempt: 1 to {RETRY_ATTEMPTS_MAX}"));
    }
    if retry.jitter_pct > 100 {
        return invalid("jitter_pct", "it is 0 to 100".to_owned());
    }
    if retry.base_ms > RETRY_WAIT_MS_MAX || retry.max_ms > RETRY_WAIT_MS_MAX {
        return invalid("max_ms", format!("base_ms and max_ms are at most {RETRY_WAIT_MS_MAX} (one day)"));
    }
    if retry.base_ms > retry.max_ms {
        return invalid("base_ms", "it is greater than max_ms".to_owned());
    }
    Ok(())
}

pub(super) fn create_route(
    scene: &Scene<'_>,
    slug: &str,
    spec: RouteSpec,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    check_route(&spec)?;
    require_script(&app, &spec.script)?;
    if app
        .routes
        .values()
        .any(|r| r.spec.method == spec.method && names::same_pattern(&r.spec.path, &spec.path))
    {
        return Err(Refusal::Exists { what: "route", name: format!("{} {}", spec.method, spec.path) });
    }
    let route = RouteId(scene.mint());
    out.push(Event::Route(RouteEvent::Created(RouteCreated { app: app.id, route, spec, by: by.clone() })));
    Ok(Answer::Route(route))
}

pub(super) fn delete_route(
    scene: &Scene<'_>,
    slug: &str,
    route: RouteId,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    if !app.routes.contains_key(&route) {
        return Err(Refusal::NotFound { what: "route", name: route.to_string() });
    }
    remove_route(scene, app.id, route, by, out);
    Ok(Answer::Done)
}

/// Deletes a route and drops its unclaimed async work; sync callers that wait get their outcome.
pub(super) fn remove_route(
    scene: &Scene<'_>,
    app: AppId,
    route: RouteId,
    by: &Principal,
    out: &mut Decision,
) {
    let of_route = |source: &Source| matches!(source, Source::Route { route: r, sync: false } if *r == route);
    drop_unclaimed(scene, app, "its route was deleted", of_route, out);
    out.push(Event::Route(RouteEvent::Deleted(RouteDeleted { app, route, by: by.clone() })));
}

/// Checks what a trigger says, apart from whether its script exists.
pub(super) fn check_trigger(spec: &TriggerSpec, scene: &Scene<'_>) -> Result<(), Refusal> {
    names::name("name", &spec.name)?;
    names::name("script", &spec.script)?;
    let orderable = match &spec.pattern {
        Pattern::Kv { collection, ops, .. } => {
            names::collection(collection, &scene.settings.limits)?;
            if ops.0 == 0 {
                return Err(Refusal::Invalid {
                    field: "ops".to_owned(),
                    problem: "it names no operation; allowed: insert, update, delete".to_owned(),
                });
            }
            true
        }
        Pattern::Queue { queue } => {
            names::name("queue", queue)?;
            true
        }
        Pattern::Cron { schedule, timezone } => {
            Schedule::parse(schedule, timezone.as_deref())?;
            false
        }
        Pattern::DeadLetter { .. } => false,
    };
    if spec.ordering == Ordering::Key && !orderable {
        return Err(Refusal::Invalid {
            field: "ordering".to_owned(),
            problem: "`key` is for triggers of kinds kv and queue: others have no key".to_owned(),
        });
    }
    spec.retry.as_ref().map_or(Ok(()), check_retry)
}

pub(super) fn create_trigger(
    scene: &Scene<'_>,
    slug: &str,
    spec: TriggerSpec,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    check_trigger(&spec, scene)?;
    require_script(&app, &spec.script)?;
    if app.triggers.values().any(|t| t.spec.name == spec.name) {
        return Err(Refusal::Exists { what: "trigger", name: spec.name });
    }
    if let Pattern::Queue { queue } = &spec.pattern
        && let Some(other) = consumer(&app, queue)
    {
        return Err(second_consumer(queue, &other.spec.name));
    }
    let trigger = TriggerId(scene.mint());
    out.push(Event::Trigger(TriggerEvent::Created(TriggerCreated {
        app: app.id,
        trigger,
        spec,
        by: by.clone(),
    })));
    Ok(Answer::Trigger(trigger))
}

/// A queue has exactly one consumer (D18).
pub(super) fn second_consumer(queue: &str, first: &str) -> Refusal {
    Refusal::Conflict {
        code: "duplicate",
        message: format!(
            "queue `{queue}` has a consumer already, the trigger `{first}`; a queue has exactly one"
        ),
    }
}

pub(super) fn delete_trigger(
    scene: &Scene<'_>,
    slug: &str,
    trigger: TriggerId,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    if !app.triggers.contains_key(&trigger) {
        return Err(Refusal::NotFound { what: "trigger", name: trigger.to_string() });
    }
    remove_trigger(scene, app.id, trigger, by, out);
    Ok(Answer::Done)
}

/// Deletes a trigger and drops its unclaimed work (D17).
pub(super) fn remove_trigger(
    scene: &Scene<'_>,
    app: AppId,
    trigger: TriggerId,
    by: &Principal,
    out: &mut Decision,
) {
    drop_unclaimed(scene, app, "its trigger was deleted", |source| source.trigger() == Some(trigger), out);
    out.push(Event::Trigger(TriggerEvent::Deleted(TriggerDeleted { app, trigger, by: by.clone() })));
}

pub(super) fn set_secret(
    scene: &Scene<'_>,
    slug: &str,
    name: &str,
    value: &str,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    names::name("secret", name)?;
    if value.is_empty() || value.len() > SECRET_BYTES_MAX {
        return Err(Refusal::Invalid {
            field: "value".to_owned(),
            problem: format!("a secret has 1 to {SECRET_BYTES_MAX} bytes"),
        });
    }
    let version = app.next_secret_version(name);
    let mut nonce = [0_u8; 24];
    scene.entropy.fill(&mut nonce);
    let sealed = seal(scene.key, nonce, &secret_aad(app.id, name, version), value.as_bytes())
        .map_err(|error| Refusal::Invalid { field: "value".to_owned(), problem: error.to_string() })?;
    let event = SecretSet { app: app.id, name: name.to_owned(), version, sealed, by: by.clone() };
    out.push(Event::Secret(SecretEvent::Set(event)));
    Ok(Answer::Version(version))
}

pub(super) fn delete_secret(
    scene: &Scene<'_>,
    slug: &str,
    name: &str,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    if !app.secrets.contains_key(name) {
        return Err(Refusal::NotFound { what: "secret", name: name.to_owned() });
    }
    let event = SecretDeleted { app: app.id, name: name.to_owned(), by: by.clone() };
    out.push(Event::Secret(SecretEvent::Deleted(event)));
    Ok(Answer::Done)
}
