//! Decisions on holds: history that has to stay.
//!
//! Never does: look where the log begins. Whoever sets a hold looks before and after: a cut that is under way may be
//! quicker.

use relive_log::Lsn;
use relive_log::events::{Event, HoldReleased, HoldSet, Principal, RetentionEvent, Scopes};

use super::{Decision, Scene};
use crate::command::Answer;
use crate::names;
use crate::refusal::Refusal;

/// Longest reason, bytes.
const REASON_BYTES_MAX: usize = 1024;
/// Holds at once.
pub(crate) const HOLDS_MAX: usize = 1000;

fn require(by: &Principal) -> Result<(), Refusal> {
    if by.scopes.grants(Scopes::INSTANCE_ADMIN) {
        Ok(())
    } else {
        Err(Refusal::Forbidden { scope: "instance:admin" })
    }
}

/// A hold of a new name.
pub(super) fn set(
    scene: &Scene<'_>,
    (name, from): (String, Lsn),
    reason: Option<String>,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    require(by)?;
    names::name("name", &name)?;
    if reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
        let problem = format!("it has more than {REASON_BYTES_MAX} bytes");
        return Err(Refusal::Invalid { field: "reason".to_owned(), problem });
    }
    let holds = scene.views.holds();
    if holds.get(&name).is_some() {
        return Err(Refusal::Exists { what: "hold", name });
    }
    if holds.count() >= HOLDS_MAX {
        let message = format!("there are {HOLDS_MAX} holds already, which is the limit: release one");
        return Err(Refusal::Conflict { code: "too_many_holds", message });
    }
    let event = HoldSet { name, from, reason, by: by.clone() };
    out.push(Event::Retention(RetentionEvent::HoldSet(Box::new(event))));
    Ok(Answer::Done)
}

/// What it kept may be cut now.
pub(super) fn release(
    scene: &Scene<'_>,
    name: String,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    require(by)?;
    if scene.views.holds().get(&name).is_none() {
        return Err(Refusal::NotFound { what: "hold", name });
    }
    let event = HoldReleased { name, by: by.clone() };
    out.push(Event::Retention(RetentionEvent::HoldReleased(Box::new(event))));
    Ok(Answer::Done)
}
