//! The registry as rows of the store. Sources and sealed secrets are not in them: they are read from the log when
//! the views are opened, so that what was superseded or deleted stands in the log only.
//!
//! ```text
//! a | app            slug, name, created, changed, paused, outgoing calls, the forks that it comes from
//! h | app | lsn      where its configuration changed (position); the LSN big-endian
//! s | app | name     current version, all versions (positions)
//! r | app | route    the route           t | app | trigger  the trigger
//! x | app | name     highest version ever, and the live one (position)
//! k | token          the token: digest, never its text
//! ```

use std::sync::Arc;

use bincode::{Decode, Encode};
use relive_log::events::{
    AppPauseReason, Event, Fork, OutgoingCalls, Principal, ScriptEvent, SealedBytes, SecretEvent,
};
use relive_log::{AppId, FramePos, Lsn, UnixMicros};

use super::types::{App, Pause, Registry, Route, Script, ScriptVersion, Secret, Token, Trigger};
use super::{RegistryView, RowKey};
use crate::digest::Digest;
use crate::error::ViewsError;
use crate::rows::{self, tag};
use crate::source::ValueSource;
use crate::store::Change;

#[derive(Encode, Decode)]
struct AppRow {
    slug: String,
    name: Option<String>,
    created_at: UnixMicros,
    changed_lsn: Lsn,
    paused: Option<Pause<AppPauseReason>>,
    outgoing_calls: OutgoingCalls,
    line: Vec<Fork>,
}

#[derive(Encode, Decode)]
struct ScriptRow {
    current: u32,
    versions: Vec<ScriptVersion>,
}

#[derive(Encode, Decode)]
struct SecretRow {
    highest: u32,
    live: Option<LiveSecret>,
}

#[derive(Encode, Decode)]
struct LiveSecret {
    version: u32,
    lsn: Lsn,
    pos: FramePos,
    set_at: UnixMicros,
    by: Principal,
}

fn store_key(key: &RowKey) -> Vec<u8> {
    match key {
        RowKey::App(app) => rows::key(tag::APP, &[app.as_bytes()]),
        RowKey::Change(app, lsn) => rows::key(tag::CHANGE, &[app.as_bytes(), &lsn.0.to_be_bytes()]),
        RowKey::Script(app, name) => rows::key(tag::SCRIPT, &[app.as_bytes(), name.as_bytes()]),
        RowKey::Route(app, route) => rows::key(tag::ROUTE, &[app.as_bytes(), route.as_bytes()]),
        RowKey::Trigger(app, trigger) => rows::key(tag::TRIGGER, &[app.as_bytes(), trigger.as_bytes()]),
        RowKey::Secret(app, name) => rows::key(tag::SECRET, &[app.as_bytes(), name.as_bytes()]),
        RowKey::Token(token) => rows::key(tag::TOKEN, &[token.as_bytes()]),
    }
}

/// The row as the registry has it; `None` if it is gone.
fn store_row(registry: &Registry, key: &RowKey) -> Option<Vec<u8>> {
    match key {
        RowKey::App(id) => registry.app(*id).map(|app| rows::encode(&app_row(app))),
        RowKey::Change(id, lsn) => {
            let changes = &registry.app(*id)?.changes;
            let at = changes.binary_search_by_key(lsn, |(lsn, _)| *lsn).ok()?;
            changes.get(at).map(|(_, pos)| rows::encode(pos))
        }
        RowKey::Script(id, name) => {
            let script = registry.app(*id)?.scripts.get(name)?;
            Some(rows::encode(&ScriptRow { current: script.current, versions: script.versions.clone() }))
        }
        RowKey::Route(id, route) => registry.app(*id)?.routes.get(route).map(rows::encode),
        RowKey::Trigger(id, trigger) => registry.app(*id)?.triggers.get(trigger).map(rows::encode),
        RowKey::Secret(id, name) => {
            let app = registry.app(*id)?;
            let highest = *app.secret_versions.get(name)?;
            let live = app.secrets.get(name).map(live_secret);
            Some(rows::encode(&SecretRow { highest, live }))
        }
        RowKey::Token(token) => registry.tokens.get(token).map(|token| rows::encode(&**token)),
    }
}

fn app_row(app: &App) -> AppRow {
    AppRow {
        slug: app.slug.clone(),
        name: app.name.clone(),
        created_at: app.created_at,
        changed_lsn: app.changed_lsn,
        paused: app.paused.clone(),
        outgoing_calls: app.outgoing_calls,
        line: app.line.clone(),
    }
}

fn live_secret(secret: &Secret) -> LiveSecret {
    LiveSecret {
        version: secret.version,
        lsn: secret.lsn,
        pos: secret.pos,
        set_at: secret.set_at,
        by: secret.by.clone(),
    }
}

impl RegistryView {
    /// Rows of the store that the next cut writes.
    pub(crate) fn dirty(&self) -> usize {
        self.dirty.lock().len()
    }

    /// The changes of the store since the last cut.
    pub(crate) fn cut(&self, out: &mut Vec<Change>) {
        let registry = self.now();
        let dirty = std::mem::take(&mut *self.dirty.lock());
        out.extend(dirty.iter().map(|key| (store_key(key), store_row(&registry, key))));
    }

    /// Adds every row to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        let registry = self.now();
        for (id, token) in &registry.tokens {
            digest.add(&store_key(&RowKey::Token(*id)), &rows::encode(&**token));
        }
        for (id, app) in &registry.apps {
            let keys = std::iter::once(RowKey::App(*id))
                .chain(app.changes.iter().map(|(lsn, _)| RowKey::Change(*id, *lsn)))
                .chain(app.scripts.keys().map(|name| RowKey::Script(*id, name.clone())))
                .chain(app.routes.keys().map(|route| RowKey::Route(*id, *route)))
                .chain(app.triggers.keys().map(|trigger| RowKey::Trigger(*id, *trigger)))
                .chain(app.secret_versions.keys().map(|name| RowKey::Secret(*id, name.clone())));
            for key in keys {
                digest.add(&store_key(&key), &store_row(&registry, &key).unwrap_or_default());
            }
        }
    }

    /// Takes the registry's rows of the store, which come by key: apps before what is in them.
    ///
    /// # Errors
    /// The log could not give a source or a secret. `Ok(None)`: a row is not ours.
    pub(crate) fn load(
        &self,
        key: &[u8],
        value: &[u8],
        source: &dyn ValueSource,
    ) -> Result<Option<()>, ViewsError> {
        let Some((&kind, rest)) = key.split_first() else { return Ok(None) };
        let Some((app, name)) = rest.split_first_chunk::<16>() else { return Ok(None) };
        let id = AppId::from_bytes(*app);
        let mut current = self.current.write();
        let registry = Arc::make_mut(&mut current);
        if kind == tag::APP {
            return Ok(load_app(registry, id, value));
        }
        if kind == tag::TOKEN {
            return Ok(load_token(registry, value));
        }
        let Some(app) = registry.apps.get_mut(&id) else { return Ok(None) };
        let app = Arc::make_mut(app);
        match kind {
            tag::CHANGE => {
                let (Ok(lsn), Some(pos)) = (name.try_into().map(u64::from_be_bytes), rows::decode(value))
                else {
                    return Ok(None);
                };
                app.changes.push((Lsn(lsn), pos));
                Ok(Some(()))
            }
            tag::SCRIPT => load_script(app, name, value, source),
            tag::SECRET => load_secret(app, name, value, source),
            tag::ROUTE => Ok(rows::decode::<Route>(value).map(|row| drop(app.routes.insert(row.id, row)))),
            tag::TRIGGER => {
                Ok(rows::decode::<Trigger>(value).map(|row| drop(app.triggers.insert(row.id, row))))
            }
            _ => Ok(None),
        }
    }
}

fn load_app(registry: &mut Registry, id: AppId, value: &[u8]) -> Option<()> {
    let AppRow { slug, name, created_at, changed_lsn, paused, outgoing_calls, line } = rows::decode(value)?;
    registry.by_slug.insert(slug.clone(), id);
    let app = App {
        id,
        slug,
        name,
        created_at,
        changed_lsn,
        paused,
        outgoing_calls,
        line,
        changes: Vec::new(),
        scripts: Default::default(),
        routes: Default::default(),
        triggers: Default::default(),
        secrets: Default::default(),
        secret_versions: Default::default(),
    };
    registry.apps.insert(id, Arc::new(app));
    Some(())
}

fn load_token(registry: &mut Registry, value: &[u8]) -> Option<()> {
    let token: Token = rows::decode(value)?;
    registry.by_digest.insert(token.digest, token.id);
    registry.tokens.insert(token.id, Arc::new(token));
    Some(())
}

fn load_script(
    app: &mut App,
    name: &[u8],
    value: &[u8],
    log: &dyn ValueSource,
) -> Result<Option<()>, ViewsError> {
    let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
    let Some(ScriptRow { current, versions }) = rows::decode(value) else { return Ok(None) };
    let mut script = Script { name: name.to_owned(), current, versions, source: Arc::from("") };
    if let Some(version) = script.current_version() {
        let Some(source) = source_of(log, version.pos, version.lsn)? else { return Ok(None) };
        script.source = source;
    }
    app.scripts.insert(name.to_owned(), script);
    Ok(Some(()))
}

fn load_secret(
    app: &mut App,
    name: &[u8],
    value: &[u8],
    log: &dyn ValueSource,
) -> Result<Option<()>, ViewsError> {
    let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
    let Some(SecretRow { highest, live }) = rows::decode(value) else { return Ok(None) };
    app.secret_versions.insert(name.to_owned(), highest);
    let Some(LiveSecret { version, lsn, pos, set_at, by }) = live else { return Ok(Some(())) };
    let Some(sealed) = sealed_of(log, pos, lsn)? else { return Ok(None) };
    let secret = Secret { name: name.to_owned(), version, lsn, pos, sealed: Arc::new(sealed), set_at, by };
    app.secrets.insert(name.to_owned(), secret);
    Ok(Some(()))
}

/// The source of a script's version, from the log; `None` if another event stands there.
pub(crate) fn source_of(
    log: &dyn ValueSource,
    pos: FramePos,
    lsn: Lsn,
) -> Result<Option<Arc<str>>, ViewsError> {
    match log.event(pos, lsn)? {
        Event::Script(ScriptEvent::Deployed(e)) => Ok(Some(Arc::from(e.source))),
        Event::Script(ScriptEvent::Deleted(_))
        | Event::App(_)
        | Event::Route(_)
        | Event::Trigger(_)
        | Event::Token(_)
        | Event::Secret(_)
        | Event::Kv(_)
        | Event::Execution(_)
        | Event::DeadLetter(_)
        | Event::Job(_)
        | Event::Retention(_)
        | Event::Cron(_) => Ok(None),
    }
}

fn sealed_of(log: &dyn ValueSource, pos: FramePos, lsn: Lsn) -> Result<Option<SealedBytes>, ViewsError> {
    match log.event(pos, lsn)? {
        Event::Secret(SecretEvent::Set(e)) => Ok(Some(e.sealed)),
        Event::Secret(SecretEvent::Deleted(_))
        | Event::App(_)
        | Event::Script(_)
        | Event::Route(_)
        | Event::Trigger(_)
        | Event::Token(_)
        | Event::Kv(_)
        | Event::Execution(_)
        | Event::DeadLetter(_)
        | Event::Job(_)
        | Event::Retention(_)
        | Event::Cron(_) => Ok(None),
    }
}
