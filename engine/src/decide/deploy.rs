//! Decision on a deploy: an app is brought to what a plan says, in one batch or not at all.
//!
//! Owns: the comparison of plan and app. Routes are known by method and pattern, triggers by name, scripts by
//! name. Deploying the same plan twice changes nothing (idempotent).

use relive_log::events::{
    AppCreated, AppEvent, Event, Pattern, Principal, RouteCreated, RouteEvent, RouteSpec, TriggerChanged,
    TriggerCreated, TriggerEvent, TriggerSpec,
};
use relive_log::{AppId, RouteId, TriggerId};
use relive_projections::App;

use super::imports::After;
use super::registry::{self, Deployed};
use super::{Decision, Scene, pause};
use crate::command::{Answer, Change, DeployPlan, MissingApp, Others};
use crate::names;
use crate::refusal::Refusal;
use crate::script::Compiled;

struct Deploying<'a> {
    scene: &'a Scene<'a>,
    app: Option<&'a App>,
    id: AppId,
    by: &'a Principal,
    out: &'a mut Decision,
    changes: Vec<Change>,
}

pub(super) fn deploy(
    scene: &Scene<'_>,
    slug: &str,
    plan: DeployPlan,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    names::slug(slug)?;
    let standing = scene.registry.app_by_slug(slug).cloned();
    if standing.is_none() && plan.missing_app == MissingApp::Refuse {
        return Err(Refusal::NotFound { what: "app", name: slug.to_owned() });
    }
    let id = standing.as_ref().map_or_else(|| AppId(scene.mint()), |app| app.id);
    check_plan(scene, standing.as_deref(), &plan)?;
    let mut deploying = Deploying { scene, app: standing.as_deref(), id, by, out, changes: Vec::new() };
    if standing.is_none() {
        let event = AppCreated { app: id, slug: slug.to_owned(), name: None, by: by.clone() };
        deploying.out.push(Event::App(AppEvent::Created(event)));
        deploying.note("create", "app", slug);
    }
    if plan.others == Others::Prune {
        deploying.prune(&plan);
    }
    let compiled = plan.scripts.iter().map(|(name, source)| {
        registry::within_limit(scene, name, source)?;
        registry::compiled(scene, name, source)
    });
    let deployed: Vec<Compiled> = compiled.collect::<Result<_, _>>()?;
    After { app: standing.as_deref(), others: plan.others, deployed: &deployed }.check()?;
    for (name, source) in plan.scripts {
        deploying.script(&name, source)?;
    }
    for spec in plan.routes {
        deploying.route(spec);
    }
    for spec in plan.triggers {
        deploying.trigger(spec);
    }
    Ok(Answer::Changes(deploying.changes))
}

fn duplicate(field: &str, name: &str) -> Refusal {
    Refusal::Invalid { field: field.to_owned(), problem: format!("`{name}` stands twice in the plan") }
}

fn check_plan(scene: &Scene<'_>, app: Option<&App>, plan: &DeployPlan) -> Result<(), Refusal> {
    for (at, (name, _)) in plan.scripts.iter().enumerate() {
        if plan.scripts.iter().take(at).any(|(other, _)| other == name) {
            return Err(duplicate("script", name));
        }
    }
    for (at, spec) in plan.routes.iter().enumerate() {
        registry::check_route(spec)?;
        check_script(app, plan, &spec.script)?;
        let same = |r: &RouteSpec| r.method == spec.method && names::same_pattern(&r.path, &spec.path);
        if plan.routes.iter().take(at).any(same) {
            return Err(duplicate("route", &format!("{} {}", spec.method, spec.path)));
        }
    }
    for (at, spec) in plan.triggers.iter().enumerate() {
        registry::check_trigger(spec, scene)?;
        check_script(app, plan, &spec.script)?;
        if plan.triggers.iter().take(at).any(|other| other.name == spec.name) {
            return Err(duplicate("trigger", &spec.name));
        }
        if let Pattern::Queue { queue } = &spec.pattern {
            check_consumer(app, plan, spec, queue)?;
        }
    }
    Ok(())
}

/// What consumes a queue after this plan is this trigger alone.
fn check_consumer(
    app: Option<&App>,
    plan: &DeployPlan,
    spec: &TriggerSpec,
    queue: &str,
) -> Result<(), Refusal> {
    let consumes = |other: &TriggerSpec| {
        other.name != spec.name && matches!(&other.pattern, Pattern::Queue { queue: q } if q == queue)
    };
    let planned = |name: &str| plan.triggers.iter().any(|planned| planned.name == name);
    let stands = app
        .filter(|_| plan.others == Others::Keep)
        .and_then(|app| app.triggers.values().find(|t| consumes(&t.spec) && !planned(&t.spec.name)));
    let other = plan.triggers.iter().find(|t| consumes(t)).or(stands.map(|t| &t.spec));
    other.map_or(Ok(()), |other| Err(registry::second_consumer(queue, &other.name)))
}

/// A script that a route or trigger names is in the plan, or stands and is not pruned.
fn check_script(app: Option<&App>, plan: &DeployPlan, name: &str) -> Result<(), Refusal> {
    let planned = plan.scripts.iter().any(|(script, _)| script == name);
    let standing = plan.others == Others::Keep && app.is_some_and(|app| registry::has_script(app, name));
    if planned || standing {
        return Ok(());
    }
    Err(Refusal::Invalid {
        field: "script".to_owned(),
        problem: format!("there is no script `{name}` in the plan or in the app"),
    })
}

impl Deploying<'_> {
    fn note(&mut self, action: &'static str, what: &'static str, name: &str) {
        self.changes.push(Change { action, what, name: name.to_owned(), version: None });
    }

    fn script(&mut self, name: &str, source: String) -> Result<(), Refusal> {
        let deployed =
            registry::deploy_script(self.scene, self.app, self.id, name, source, self.by, self.out)?;
        let action = match deployed {
            Deployed::New(_) => "create",
            Deployed::Changed(_) => "update",
            Deployed::Unchanged(_) => "unchanged",
        };
        let version = Some(deployed.number());
        self.changes.push(Change { action, what: "script", name: name.to_owned(), version });
        Ok(())
    }

    /// A route that says something else is another route: the old one's unclaimed work goes with it, unless
    /// only the script or settings differ, which async work that waits takes over by matching the new route.
    fn route(&mut self, spec: RouteSpec) {
        let label = format!("{} {}", spec.method, spec.path);
        let same = |r: &RouteSpec| r.method == spec.method && names::same_pattern(&r.path, &spec.path);
        let standing = self.app.and_then(|app| app.routes.values().find(|r| same(&r.spec)));
        if let Some(route) = standing {
            if route.spec == spec {
                self.note("unchanged", "route", &label);
                return;
            }
            registry::remove_route(self.scene, self.id, route.id, self.by, self.out);
            self.note("update", "route", &label);
        } else {
            self.note("create", "route", &label);
        }
        let route = RouteId(self.scene.mint());
        let event = RouteCreated { app: self.id, route, spec, by: self.by.clone() };
        self.out.push(Event::Route(RouteEvent::Created(event)));
    }

    /// A trigger keeps its identity, and its waiting work, as long as its name stays.
    fn trigger(&mut self, spec: TriggerSpec) {
        let standing = self.app.and_then(|app| app.triggers.values().find(|t| t.spec.name == spec.name));
        let name = spec.name.clone();
        let Some(trigger) = standing else {
            let trigger = TriggerId(self.scene.mint());
            let event = TriggerCreated { app: self.id, trigger, spec, by: self.by.clone() };
            self.out.push(Event::Trigger(TriggerEvent::Created(event)));
            self.note("create", "trigger", &name);
            return;
        };
        let resumed = pause::lost_its_registrant(trigger);
        if let Some(app) = self.app.filter(|_| resumed) {
            pause::resume(app, trigger, self.by, self.out);
        }
        if trigger.spec == spec && (trigger.by == *self.by || resumed) {
            self.note(if resumed { "update" } else { "unchanged" }, "trigger", &name);
            return;
        }
        let event = TriggerChanged { app: self.id, trigger: trigger.id, spec, by: self.by.clone() };
        self.out.push(Event::Trigger(TriggerEvent::Changed(event)));
        self.note("update", "trigger", &name);
    }

    fn prune(&mut self, plan: &DeployPlan) {
        let Some(app) = self.app else { return };
        for trigger in app.triggers.values() {
            if !plan.triggers.iter().any(|spec| spec.name == trigger.spec.name) {
                registry::remove_trigger(self.scene, self.id, trigger.id, self.by, self.out);
                self.note("delete", "trigger", &trigger.spec.name);
            }
        }
        for route in app.routes.values() {
            let same = |r: &RouteSpec| {
                r.method == route.spec.method && names::same_pattern(&r.path, &route.spec.path)
            };
            if !plan.routes.iter().any(same) {
                registry::remove_route(self.scene, self.id, route.id, self.by, self.out);
                self.note("delete", "route", &format!("{} {}", route.spec.method, route.spec.path));
            }
        }
        for script in app.scripts.values().filter(|script| script.current != 0) {
            if !plan.scripts.iter().any(|(name, _)| *name == script.name) {
                registry::remove_script(self.id, &script.name, self.by, self.out);
                self.note("delete", "script", &script.name);
            }
        }
    }
}
