//! The fold of the families `app`, `script`, `route`, `trigger`, `token` and `secret`.

use std::sync::Arc;

use relive_log::events::{
    AppChanged, AppDeleted, AppEvent, AppForked, AppPauseReason, Fork, OutgoingCalls, PauseReason,
    RouteCreated, RouteDeleted, RouteEvent, ScriptDeleted, ScriptDeployed, ScriptEvent, SecretDeleted,
    SecretEvent, SecretSet, TokenCreated, TokenEvent, TriggerChanged, TriggerCreated, TriggerDeleted,
    TriggerEvent,
};
use relive_log::{AppId, PrincipalId};

use super::types::{App, Pause, Registry, Route, Script, ScriptVersion, Secret, Token, Trigger};
use super::{RegistryView, RowKey};
use crate::source::At;

impl RegistryView {
    /// Folds one event of an app.
    pub(crate) fn fold_app(&self, event: &AppEvent, at: At) {
        match event {
            AppEvent::Created(e) => self.app_begins(new_app(e.app, &e.slug, e.name.clone(), at)),
            AppEvent::Forked(e) => self.app_begins(forked_app(e, at)),
            AppEvent::Changed(AppChanged { app, name, outgoing_calls, by: _ }) => {
                self.change(*app, at, |app| {
                    app.name.clone_from(name);
                    app.outgoing_calls = *outgoing_calls;
                    None
                });
            }
            AppEvent::Paused(e) => self.change(e.app, at, |app| {
                app.paused = Some(Pause { reason: e.reason.clone(), by: e.by.clone(), at: at.time });
                None
            }),
            AppEvent::Resumed(e) => self.change(e.app, at, |app| {
                app.paused = None;
                None
            }),
            AppEvent::Deleted(AppDeleted { app, by: _ }) => self.app_deleted(*app),
        }
    }

    /// Folds one event of a script.
    pub(crate) fn fold_script(&self, event: &ScriptEvent, at: At) {
        match event {
            ScriptEvent::Deployed(e) => self.change(e.app, at, |app| {
                script_deployed(app, e, at);
                Some(RowKey::Script(e.app, e.name.clone()))
            }),
            ScriptEvent::Deleted(ScriptDeleted { app, name, by: _ }) => self.change(*app, at, |found| {
                let script = found.scripts.get_mut(name)?;
                script.current = 0;
                script.source = Arc::from("");
                Some(RowKey::Script(*app, name.clone()))
            }),
        }
    }

    /// Folds one event of a route.
    pub(crate) fn fold_route(&self, event: &RouteEvent, at: At) {
        match event {
            RouteEvent::Created(RouteCreated { app, route, spec, by }) => self.change(*app, at, |found| {
                let (spec, by) = (spec.clone(), by.clone());
                found.routes.insert(*route, Route { id: *route, spec, by, created_at: at.time, lsn: at.lsn });
                Some(RowKey::Route(*app, *route))
            }),
            RouteEvent::Deleted(RouteDeleted { app, route, by: _ }) => {
                self.change(*app, at, |found| found.routes.remove(route).map(|_| RowKey::Route(*app, *route)))
            }
        }
    }

    /// Folds one event of a trigger.
    pub(crate) fn fold_trigger(&self, event: &TriggerEvent, at: At) {
        match event {
            TriggerEvent::Created(TriggerCreated { app, trigger, spec, by }) => {
                self.change(*app, at, |found| {
                    let (spec, by) = (spec.clone(), by.clone());
                    let row =
                        Trigger { id: *trigger, spec, by, created_at: at.time, paused: None, lsn: at.lsn };
                    found.triggers.insert(*trigger, row);
                    Some(RowKey::Trigger(*app, *trigger))
                });
            }
            TriggerEvent::Changed(TriggerChanged { app, trigger, spec, by }) => {
                self.change(*app, at, |found| {
                    let row = found.triggers.get_mut(trigger)?;
                    row.spec.clone_from(spec);
                    row.by.clone_from(by);
                    row.lsn = at.lsn;
                    Some(RowKey::Trigger(*app, *trigger))
                });
            }
            TriggerEvent::Paused(e) => self.change(e.app, at, |found| {
                let row = found.triggers.get_mut(&e.trigger)?;
                row.paused = Some(Pause { reason: e.reason, by: e.by.clone(), at: at.time });
                row.lsn = at.lsn;
                Some(RowKey::Trigger(e.app, e.trigger))
            }),
            TriggerEvent::Resumed(e) => self.change(e.app, at, |found| {
                let row = found.triggers.get_mut(&e.trigger)?;
                let pause = row.paused.take()?;
                if pause.reason == PauseReason::RegistrantDeleted {
                    row.by.clone_from(&e.by);
                }
                row.lsn = at.lsn;
                Some(RowKey::Trigger(e.app, e.trigger))
            }),
            TriggerEvent::Deleted(TriggerDeleted { app, trigger, by: _ }) => self.change(*app, at, |found| {
                found.triggers.remove(trigger).map(|_| RowKey::Trigger(*app, *trigger))
            }),
        }
    }

    /// Folds one event of a token.
    pub(crate) fn fold_token(&self, event: &TokenEvent, at: At) {
        match event {
            TokenEvent::Created(e) => self.token_created(e, at),
            TokenEvent::Deleted(e) => self.tokens_deleted(&[e.token]),
        }
    }

    /// A token of an app that is not there would outlive it for ever; one whose id or digest stands is void.
    fn token_created(&self, event: &TokenCreated, at: At) {
        let mut current = self.current.write();
        let known =
            current.tokens.contains_key(&event.token) || current.by_digest.contains_key(&event.digest);
        if known || event.app.is_some_and(|app| !current.apps.contains_key(&app)) {
            return;
        }
        let registry = Arc::make_mut(&mut current);
        registry.by_digest.insert(event.digest, event.token);
        registry.tokens.insert(event.token, Arc::new(token(event, at)));
        self.dirty.lock().insert(RowKey::Token(event.token));
    }

    fn tokens_deleted(&self, gone: &[PrincipalId]) {
        if gone.is_empty() {
            return;
        }
        let mut current = self.current.write();
        let registry = Arc::make_mut(&mut current);
        for id in gone {
            let Some(token) = registry.tokens.remove(id) else { continue };
            registry.by_digest.remove(&token.digest);
            self.dirty.lock().insert(RowKey::Token(*id));
        }
    }

    /// Folds one event of a secret.
    pub(crate) fn fold_secret(&self, event: &SecretEvent, at: At) {
        match event {
            SecretEvent::Set(e) => self.change(e.app, at, |app| {
                secret_set(app, e, at);
                Some(RowKey::Secret(e.app, e.name.clone()))
            }),
            SecretEvent::Deleted(SecretDeleted { app, name, by: _ }) => self.change(*app, at, |found| {
                found.secrets.remove(name).map(|_| RowKey::Secret(*app, name.clone()))
            }),
        }
    }

    /// An app whose id or slug stands is void.
    pub(super) fn app_begins(&self, app: App) {
        let mut current = self.current.write();
        if current.apps.contains_key(&app.id) || current.by_slug.contains_key(&app.slug) {
            return;
        }
        let registry = Arc::make_mut(&mut current);
        self.dirty.lock().insert(RowKey::App(app.id));
        registry.by_slug.insert(app.slug.clone(), app.id);
        registry.apps.insert(app.id, Arc::new(app));
    }

    /// The app's entry goes, and with it everything in it, and its tokens (S6). Its keys stay where they are: nothing
    /// leads to them.
    fn app_deleted(&self, id: AppId) {
        let of_app = |token: &&Arc<Token>| token.app == Some(id);
        let tokens: Vec<PrincipalId> = self.now().tokens.values().filter(of_app).map(|t| t.id).collect();
        self.tokens_deleted(&tokens);
        let mut current = self.current.write();
        let registry = Arc::make_mut(&mut current);
        let Some(app) = registry.apps.remove(&id) else { return };
        if registry.by_slug.get(&app.slug) == Some(&id) {
            registry.by_slug.remove(&app.slug);
        }
        let mut dirty = self.dirty.lock();
        dirty.insert(RowKey::App(id));
        dirty.extend(app.changes.iter().map(|(lsn, _)| RowKey::Change(id, *lsn)));
        dirty.extend(app.scripts.keys().map(|name| RowKey::Script(id, name.clone())));
        dirty.extend(app.routes.keys().map(|route| RowKey::Route(id, *route)));
        dirty.extend(app.triggers.keys().map(|trigger| RowKey::Trigger(id, *trigger)));
        dirty.extend(app.secret_versions.keys().map(|name| RowKey::Secret(id, name.clone())));
    }

    /// Changes an app that is there; `change` says which row beside the app's own changed.
    fn change(&self, id: AppId, at: At, change: impl FnOnce(&mut App) -> Option<RowKey>) {
        let mut current = self.current.write();
        if !current.apps.contains_key(&id) {
            return;
        }
        let registry: &mut Registry = Arc::make_mut(&mut current);
        let Some(app) = registry.apps.get_mut(&id) else { return };
        let app = Arc::make_mut(app);
        app.changed_lsn = at.lsn;
        let row = change(app);
        let is_plan = matches!(row, Some(RowKey::Script(..) | RowKey::Route(..) | RowKey::Trigger(..)));
        if is_plan {
            app.changes.push((at.lsn, at.pos));
        }
        let mut dirty = self.dirty.lock();
        dirty.insert(RowKey::App(id));
        dirty.extend(is_plan.then_some(RowKey::Change(id, at.lsn)));
        dirty.extend(row);
    }
}

/// An app as it begins, with nothing in it.
pub(super) fn new_app(id: AppId, slug: &str, name: Option<String>, at: At) -> App {
    App {
        id,
        slug: slug.to_owned(),
        name,
        created_at: at.time,
        changed_lsn: at.lsn,
        paused: None,
        outgoing_calls: OutgoingCalls::On,
        line: Vec::new(),
        changes: Vec::new(),
        scripts: Default::default(),
        routes: Default::default(),
        triggers: Default::default(),
        secrets: Default::default(),
        secret_versions: Default::default(),
    }
}

/// A fork as it begins: paused, without a way outside.
fn forked_app(event: &AppForked, at: At) -> App {
    let own = Fork { base: event.base.clone(), lsn: at.lsn, at: at.time };
    App {
        paused: Some(Pause { reason: AppPauseReason::Forked, by: event.by.clone(), at: at.time }),
        outgoing_calls: OutgoingCalls::Off,
        line: std::iter::once(own).chain(event.ancestors.iter().cloned()).collect(),
        ..new_app(event.app, &event.slug, event.name.clone(), at)
    }
}

fn script_deployed(app: &mut App, event: &ScriptDeployed, at: At) {
    let version = ScriptVersion {
        version: event.version,
        lsn: at.lsn,
        pos: at.pos,
        sha256: event.sha256,
        at: at.time,
        by: event.by.clone(),
        bytes: u64::try_from(event.source.len()).unwrap_or(u64::MAX),
        imports: event.imports.clone(),
    };
    let script = app.scripts.entry(event.name.clone()).or_insert_with(|| Script {
        name: event.name.clone(),
        current: 0,
        versions: Vec::new(),
        source: Arc::from(""),
    });
    script.current = event.version;
    script.versions.push(version);
    script.source = Arc::from(event.source.as_str());
}

fn token(event: &TokenCreated, at: At) -> Token {
    Token {
        id: event.token,
        app: event.app,
        name: event.name.clone(),
        scopes: event.scopes,
        digest: event.digest,
        expires_at: event.expires_at,
        created_at: at.time,
        by: event.by.clone(),
        lsn: at.lsn,
    }
}

fn secret_set(app: &mut App, event: &SecretSet, at: At) {
    let highest = app.secret_versions.entry(event.name.clone()).or_default();
    *highest = event.version.max(*highest);
    let secret = Secret {
        name: event.name.clone(),
        version: event.version,
        lsn: at.lsn,
        pos: at.pos,
        sealed: Arc::new(event.sealed.clone()),
        set_at: at.time,
        by: event.by.clone(),
    };
    app.secrets.insert(event.name.clone(), secret);
}
