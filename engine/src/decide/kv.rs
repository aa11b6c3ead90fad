//! Decisions on KV writes through the admin API: conditions, limits, and the triggers that they fire.

use relive_log::Lsn;
use relive_log::events::{Event, KvDeleted, KvEvent, KvPut, Principal, SharedBytes, Writer};
use relive_projections::App;

use super::expiry::{Endings, TTL_MS_MAX};
use super::fire::{Cause, fire_mutations};
use super::{Decision, Scene};
use crate::command::{Answer, Condition, ImportRow};
use crate::names;
use crate::refusal::{Failure, Refusal, SubmitError};

/// The key that a write is about.
pub(super) struct Target<'a> {
    pub(super) app: &'a str,
    pub(super) collection: &'a str,
    pub(super) key: &'a str,
}

/// What a put writes.
pub(super) struct New {
    /// JSON text.
    pub(super) value: SharedBytes,
    /// It expires after so many milliseconds.
    pub(super) ttl_ms: Option<u64>,
}

/// Wraps a failed read of stored data.
pub(crate) fn read_failed(error: impl std::fmt::Display) -> Failure {
    Failure::Read { message: error.to_string() }
}

fn check(condition: Condition, current: Option<Lsn>) -> Result<(), Refusal> {
    let holds = match condition {
        Condition::Always => true,
        Condition::Version(lsn) => current == Some(lsn),
        Condition::Present => current.is_some(),
        Condition::Absent => current.is_none(),
    };
    if holds { Ok(()) } else { Err(Refusal::Precondition { current }) }
}

fn writer(by: &Principal) -> Writer {
    Writer::Principal { id: by.id, name: by.name.clone() }
}

pub(super) fn put(
    scene: &Scene<'_>,
    target: &Target<'_>,
    new: New,
    condition: Condition,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, SubmitError> {
    let app = scene.app(target.app)?;
    check_new(scene, target, &new)?;
    let expires_at = new.ttl_ms.map(|ttl| scene.steady.plus_millis(ttl));
    let last = scene.views.kv().last_write(app.id, target.collection, target.key).map_err(read_failed)?;
    check(condition, last.filter(|last| last.is_present_at(scene.steady)).map(|last| last.lsn))?;
    let key = (target.collection, target.key);
    let previous = Endings::default().replaced(app.id, key, last, scene.steady, out);
    let lsn = out.push(Event::Kv(KvEvent::Put(KvPut {
        app: app.id,
        collection: target.collection.to_owned(),
        key: target.key.to_owned(),
        value: new.value,
        previous,
        expires_at,
        writer: writer(by),
    })));
    fire_mutations(scene, &app, &Cause::nothing(), out)?;
    Ok(Answer::Key(lsn))
}

/// Writes many keys in one batch.
pub(super) fn import(
    scene: &Scene<'_>,
    slug: &str,
    rows: Vec<ImportRow>,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, SubmitError> {
    let app = scene.app(slug)?;
    let mut last_of_key = std::collections::BTreeMap::new();
    for row in rows {
        let ImportRow { collection, key, value, expires_at } = row;
        let new = New { value, ttl_ms: None };
        check_new(scene, &Target { app: slug, collection: &collection, key: &key }, &new)?;
        last_of_key.insert((collection, key), (new.value, expires_at));
    }
    let mut endings = Endings::default();
    for ((collection, key), (value, expires_at)) in last_of_key {
        let last = scene.views.kv().last_write(app.id, &collection, &key).map_err(read_failed)?;
        let previous = endings.replaced(app.id, (&collection, &key), last, scene.steady, out);
        let writer = writer(by);
        let put = KvPut { app: app.id, collection, key, value, previous, expires_at, writer };
        out.push(Event::Kv(KvEvent::Put(put)));
    }
    fire_mutations(scene, &app, &Cause::nothing(), out)?;
    Ok(Answer::Done)
}

pub(super) fn delete(
    scene: &Scene<'_>,
    target: &Target<'_>,
    condition: Condition,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, SubmitError> {
    let app = scene.app(target.app)?;
    let previous = present_version(scene, &app, target)?;
    check(condition, previous)?;
    let Some(previous) = previous else {
        return Err(Refusal::NotFound { what: "key", name: target.key.to_owned() }.into());
    };
    let lsn = out.push(Event::Kv(KvEvent::Deleted(KvDeleted {
        app: app.id,
        collection: target.collection.to_owned(),
        key: target.key.to_owned(),
        previous,
        writer: writer(by),
    })));
    fire_mutations(scene, &app, &Cause::nothing(), out)?;
    Ok(Answer::Key(lsn))
}

/// Whether this may be written at all.
pub(super) fn check_new(scene: &Scene<'_>, target: &Target<'_>, new: &New) -> Result<(), Refusal> {
    let limits = &scene.settings.limits;
    names::collection(target.collection, limits)?;
    names::key(target.key, limits)?;
    if new.value.len() > limits.value_bytes_max {
        return Err(Refusal::TooLarge {
            what: format!("the value of `{}`", target.key),
            actual: new.value.len() as u64,
            limit: limits.value_bytes_max as u64,
            unit: "bytes",
            setting: "RELIVE_MAX_VALUE",
        });
    }
    match new.ttl_ms {
        Some(ttl) if !(1..=TTL_MS_MAX).contains(&ttl) => Err(Refusal::Invalid {
            field: "ttl_ms".to_owned(),
            problem: format!("{ttl} is not a whole number from 1 to {TTL_MS_MAX} (100 years)"),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The version of a key that is present now.
fn present_version(scene: &Scene<'_>, app: &App, target: &Target<'_>) -> Result<Option<Lsn>, SubmitError> {
    let last = scene.views.kv().last_write(app.id, target.collection, target.key).map_err(read_failed)?;
    Ok(last.filter(|last| last.is_present_at(scene.steady)).map(|last| last.lsn))
}
