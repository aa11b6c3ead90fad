//! Decisions on KV writes through the admin API: conditions, limits, and the triggers that they fire.

use relive_log::Lsn;
use relive_log::events::{Event, KvDeleted, KvEvent, KvPut, Principal, SharedBytes, Writer};

use super::fire::{Cause, fire_mutations};
use super::{Decision, Scene};
use crate::command::{Answer, Condition};
use crate::names;
use crate::refusal::{Failure, Refusal, SubmitError};

/// The key that a write is about.
pub(super) struct Target<'a> {
    pub(super) app: &'a str,
    pub(super) collection: &'a str,
    pub(super) key: &'a str,
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
    value: SharedBytes,
    condition: Condition,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, SubmitError> {
    let app = scene.app(target.app)?;
    let limits = &scene.settings.limits;
    names::collection(target.collection, limits)?;
    names::key(target.key, limits)?;
    if value.len() > limits.value_bytes_max {
        return Err(Refusal::TooLarge {
            what: format!("the value of `{}`", target.key),
            actual: value.len() as u64,
            limit: limits.value_bytes_max as u64,
            unit: "bytes",
            setting: "KV value limit",
        }
        .into());
    }
    let previous = present_version(scene, &app, target)?;
    check(condition, previous)?;
    let lsn = out.push(Event::Kv(KvEvent::Put(KvPut {
        app: app.id,
        collection: target.collection.to_owned(),
        key: target.key.to_owned(),
        value,
        previous,
        writer: writer(by),
    })));
    fire_mutations(scene, &app, &Cause::nothing(), out)?;
    Ok(Answer::Key(lsn))
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

fn present_version(
    scene: &Scene<'_>,
    app: &relive_projections::App,
    target: &Target<'_>,
) -> Result<Option<Lsn>, SubmitError> {
    let last = scene.views.kv().last_write(app.id, target.collection, target.key).map_err(read_failed)?;
    Ok(last.filter(|(_, present)| *present).map(|(lsn, _)| lsn))
}
