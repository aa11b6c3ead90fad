//! Decisions on tokens: who may make and delete which.
//!
//! Owns: the rule that nobody hands out what he does not hold. Never does: see the text of a token; the command
//! brings its digest. Invariant: E102.

use relive_log::events::{Event, Principal, Scopes, TokenCreated, TokenDeleted, TokenEvent};
use relive_log::{PrincipalId, UnixMicros};

use super::{Decision, Scene, pause};
use crate::command::{Answer, NewToken};
use crate::names;
use crate::refusal::Refusal;

/// Refuses unless `by` holds every scope of `wanted`; the first that it lacks is named.
fn require(by: &Principal, wanted: Scopes) -> Result<(), Refusal> {
    let lacks = |(scope, _): &&(Scopes, &'static str)| wanted.contains(*scope) && !by.scopes.grants(*scope);
    match Scopes::NAMES.iter().find(lacks) {
        Some((_, scope)) => Err(Refusal::Forbidden { scope }),
        None => Ok(()),
    }
}

fn check(new: &NewToken, now: UnixMicros) -> Result<(), Refusal> {
    let invalid = |field: &str, problem: String| Err(Refusal::Invalid { field: field.to_owned(), problem });
    names::label("name", &new.name)?;
    if new.scopes == Scopes::default() {
        return invalid("scopes", "it names none: a token without scopes opens nothing".to_owned());
    }
    if new.app.is_some() && new.scopes.contains(Scopes::INSTANCE_ADMIN) {
        let problem = "`instance:admin` is for all apps and cannot be bound to one: leave `app` out";
        return invalid("scopes", problem.to_owned());
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        return invalid("expires_at", "it is in the past".to_owned());
    }
    Ok(())
}

/// A token of an app needs `app:admin` and every scope that it shall have; one of the instance `instance:admin`.
pub(super) fn create(
    scene: &Scene<'_>,
    new: NewToken,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = new.app.as_deref().map(|slug| scene.app(slug)).transpose()?;
    require(by, if app.is_some() { Scopes::APP_ADMIN } else { Scopes::INSTANCE_ADMIN })?;
    check(&new, scene.now)?;
    require(by, new.scopes)?;
    let token = PrincipalId(scene.mint());
    out.push(Event::Token(TokenEvent::Created(TokenCreated {
        app: app.map(|app| app.id),
        token,
        name: new.name,
        scopes: new.scopes,
        digest: new.digest,
        expires_at: new.expires_at,
        by: by.clone(),
    })));
    Ok(Answer::Token(token))
}

/// As for making one, but whatever it allows.
pub(super) fn delete(
    scene: &Scene<'_>,
    token: PrincipalId,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let not_found = || Refusal::NotFound { what: "token", name: token.to_string() };
    let row = scene.registry.tokens.get(&token).ok_or_else(not_found)?;
    require(by, if row.app.is_some() { Scopes::APP_ADMIN } else { Scopes::INSTANCE_ADMIN })?;
    pause::triggers_of(scene, token, by, out);
    let event = TokenDeleted { app: row.app, token, by: by.clone() };
    out.push(Event::Token(TokenEvent::Deleted(event)));
    Ok(Answer::Done)
}
