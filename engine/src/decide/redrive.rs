//! Decision on a redrive: dead work runs again, with effects, as a fresh execution (D12).

use relive_log::events::{
    DeadLetterEvent, DeadLetterRedriven, Enqueued, Event, ExecutionEvent, Input, Principal,
};
use relive_log::{ExecutionId, LetterId};

use super::{Decision, Scene};
use crate::command::{Answer, RedriveVersion};
use crate::refusal::Refusal;

pub(super) fn redrive(
    scene: &Scene<'_>,
    slug: &str,
    letter: LetterId,
    version: RedriveVersion,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    let not_found = || Refusal::NotFound { what: "dead letter", name: letter.to_string() };
    let row = scene.views.dead_letters().get(app.id, letter).ok_or_else(not_found)?;
    if !row.is_open() {
        return Err(Refusal::Conflict {
            code: "already_resolved",
            message: format!("dead letter `{letter}` is resolved already; only open letters can be redriven"),
        });
    }
    let pinned_version = match version {
        RedriveVersion::Current => None,
        RedriveVersion::Original => Some(row.version),
        RedriveVersion::Number(number) => Some(number),
    };
    if let Some(number) = pinned_version {
        let known =
            app.scripts.get(&row.script).is_some_and(|s| s.versions.iter().any(|v| v.version == number));
        if !known {
            return Err(Refusal::NotFound {
                what: "script version",
                name: format!("{} {number}", row.script),
            });
        }
    }
    let execution = ExecutionId(scene.mint());
    out.push(Event::DeadLetter(DeadLetterEvent::Redriven(DeadLetterRedriven {
        app: app.id,
        letter,
        execution,
        by: by.clone(),
    })));
    out.push(Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
        app: app.id,
        execution,
        root: row.root,
        depth: row.depth,
        cause: Some(row.at.lsn),
        caused_by: None,
        script: row.script.clone(),
        source: row.source.clone(),
        input: Input::SameAs(row.enqueued),
        due_at: scene.now,
        ordering_key: row.ordering_key.clone(),
        principal: row.principal.clone(),
        redrive_of: Some(letter),
        pinned_version,
        idempotency: None,
    }))));
    Ok(Answer::Execution(execution))
}
