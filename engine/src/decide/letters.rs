//! Decisions on dead letters: redriven (run again, with effects, as a fresh execution) or resolved (closed) (D12).
//!
//! Owns: the rule that an open letter is closed once. By a person or a job a redrive keeps depth and tree; by a script it
//! is caused by that script: one deeper, in its tree, and where that is too deep the letter stays open.
//! Invariants: E11, E133; E141 a proof that is kept with a redrive is of the version that the redrive was given.

use relive_log::events::{
    DeadLetterEvent, DeadLetterRedriven, DeadLetterResolved, DepthExceeded, Enqueued, Event, ExecutionEvent,
    Input, Principal, RedriveProof, Verdict, VersionChoice,
};
use relive_log::{ExecutionId, JobId, LetterId};
use relive_projections::{App, LetterRow};

use super::{Decision, Scene};
use crate::names;
use crate::refusal::Refusal;

/// Resolutions that mean something else.
const RESERVED: [&str; 3] = ["redriven", "handler_failed", "expired"];
/// Longest note, bytes.
const NOTE_BYTES_MAX: usize = 4096;

/// Who closes a letter.
pub(crate) struct Actor<'a> {
    /// As whom.
    pub by: &'a Principal,
    /// The execution whose script does, its root and depth.
    pub script: Option<(ExecutionId, ExecutionId, u16)>,
    /// The job that does.
    pub job: Option<JobId>,
    /// What proved that the input succeeds now.
    pub proof: Option<Box<RedriveProof>>,
}

impl<'a> Actor<'a> {
    /// A person.
    pub(crate) const fn person(by: &'a Principal) -> Actor<'a> {
        Actor { by, script: None, job: None, proof: None }
    }

    fn execution(&self) -> Option<ExecutionId> {
        self.script.map(|(execution, ..)| execution)
    }
}

/// The letter, if it may be closed (E133).
pub(crate) fn open_letter(scene: &Scene<'_>, app: &App, letter: LetterId) -> Result<LetterRow, Refusal> {
    let not_found = || Refusal::NotFound { what: "dead letter", name: letter.to_string() };
    let row = scene.views.dead_letters().get(app.id, letter).ok_or_else(not_found)?;
    if row.is_open() {
        return Ok(row);
    }
    Err(Refusal::Conflict {
        code: "already_resolved",
        message: format!("dead letter `{letter}` is resolved already; only open letters can be closed"),
    })
}

fn pinned(app: &App, row: &LetterRow, version: VersionChoice) -> Result<Option<u32>, Refusal> {
    let number = match version {
        VersionChoice::Current => return Ok(None),
        VersionChoice::Original => row.version,
        VersionChoice::Number(number) => number,
    };
    let known = app.scripts.get(&row.script).is_some_and(|s| s.versions.iter().any(|v| v.version == number));
    if known {
        return Ok(Some(number));
    }
    Err(Refusal::NotFound { what: "script version", name: format!("{} {number}", row.script) })
}

/// What is redriven runs the current version: a proof of another one proves nothing (E141).
fn check_proof(app: &App, row: &LetterRow, proof: Option<&RedriveProof>) -> Result<(), Refusal> {
    let Some(proof) = proof else { return Ok(()) };
    let current = app.live_script(&row.script).map_or(0, |script| script.current);
    if proof.version == current && proof.verdict == Verdict::Fixed {
        return Ok(());
    }
    let message = format!(
        "the backtest proved version {} of `{}`, version {current} is current now: backtest that one",
        proof.version, row.script
    );
    Err(Refusal::Conflict { code: "proof_outdated", message })
}

/// Enqueues the input of an open letter again, under this id.
pub(crate) fn redrive(
    scene: &Scene<'_>,
    app: &App,
    row: &LetterRow,
    (execution, version): (ExecutionId, VersionChoice),
    actor: &Actor<'_>,
    out: &mut Decision,
) -> Result<(), Refusal> {
    let pinned_version = pinned(app, row, version)?;
    check_proof(app, row, actor.proof.as_deref())?;
    let (caused_by, root, depth) = match actor.script {
        Some((by, root, depth)) => (Some(by), root, depth.saturating_add(1)),
        None => (None, row.root, row.depth),
    };
    if actor.script.is_some() && depth > scene.settings.depth_max {
        out.push(Event::Execution(ExecutionEvent::DepthExceeded(Box::new(DepthExceeded {
            app: app.id,
            execution,
            root,
            depth,
            cause: row.at.lsn,
            caused_by,
            script: row.script.clone(),
            source: row.source.clone(),
        }))));
        return Ok(());
    }
    out.push(Event::DeadLetter(DeadLetterEvent::Redriven(DeadLetterRedriven {
        app: app.id,
        letter: row.letter,
        execution,
        by: actor.by.clone(),
        by_execution: actor.execution(),
        job: actor.job,
        proof: actor.proof.clone(),
    })));
    out.push(Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
        app: app.id,
        execution,
        root,
        depth,
        cause: Some(row.at.lsn),
        caused_by,
        script: row.script.clone(),
        source: row.source.clone(),
        input: Input::SameAs(row.enqueued),
        due_at: scene.now,
        ordering_key: row.ordering_key.clone(),
        principal: row.principal.clone(),
        redrive_of: Some(row.letter),
        pinned_version,
        idempotency: None,
    }))));
    Ok(())
}

/// Checks what a letter shall be resolved as.
pub(crate) fn check_resolution(resolution: &str, note: Option<&str>) -> Result<(), Refusal> {
    names::name("resolution", resolution)?;
    if RESERVED.contains(&resolution) {
        return Err(Refusal::Invalid {
            field: "resolution".to_owned(),
            problem: format!(
                "`{resolution}` means something else; say what was done, or leave it out (`ignored`)"
            ),
        });
    }
    if note.is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
        let problem = format!("it has more than {NOTE_BYTES_MAX} bytes");
        return Err(Refusal::Invalid { field: "note".to_owned(), problem });
    }
    Ok(())
}

/// Closes an open letter.
pub(crate) fn resolve(
    row: &LetterRow,
    resolution: &str,
    note: Option<&str>,
    actor: &Actor<'_>,
    out: &mut Decision,
) {
    out.push(Event::DeadLetter(DeadLetterEvent::Resolved(Box::new(DeadLetterResolved {
        app: row.app,
        letter: row.letter,
        resolution: resolution.to_owned(),
        note: note.map(str::to_owned),
        by: actor.by.clone(),
        execution: actor.execution(),
        job: actor.job,
    }))));
}
