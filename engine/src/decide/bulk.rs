//! Decisions on jobs: dead letters closed in bulk, one step a batch (D12).
//!
//! Owns: what one step does and when a job ends. Never does: decide when the next step comes (the node's timers do).
//!
//! Invariants: E134 a step and what it did are one batch, so that a job goes on after a crash where it stood, and no
//! letter is closed twice; E135 never more executions are under way than may still fail.

use relive_log::events::{
    Event, JobCreated, JobEnded, JobEvent, JobKind, JobOutcome, JobProgressed, Principal,
};
use relive_log::{ExecutionId, JobId};
use relive_projections::{App, JobRow, LetterFilter, LetterRow};

use super::letters::{self, Actor};
use super::{Decision, Scene};
use crate::command::{Answer, JobPlan};
use crate::refusal::Refusal;

/// Letters of one step.
const STEP_LETTERS_MAX: usize = 100;
/// Steps come at most so often where a rate is asked for, microseconds.
const STEP_US_MIN: u64 = 10_000;

/// The open letters that a job is about.
pub(crate) fn letters_of(row: &relive_log::events::JobFilter, limit: usize) -> LetterFilter {
    LetterFilter {
        open: Some(true),
        script: row.script.clone(),
        trigger: row.trigger,
        fingerprint: row.fingerprint,
        error: row.error.clone(),
        cursor: None,
        limit,
    }
}

pub(super) fn start(
    scene: &Scene<'_>,
    slug: &str,
    plan: JobPlan,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    if let JobKind::Resolve { resolution, note } = &plan.kind {
        letters::check_resolution(resolution, note.as_deref())?;
    }
    let job = JobId(scene.mint());
    let total = scene.views.dead_letters().count(app.id, &letters_of(&plan.filter, 0));
    out.push(Event::Job(JobEvent::Created(Box::new(JobCreated {
        app: app.id,
        job,
        kind: plan.kind,
        filter: plan.filter,
        total,
        interval_us: plan.interval_us,
        stop_after_failures: plan.stop_after_failures,
        by: by.clone(),
    }))));
    Ok(Answer::Job(job))
}

pub(super) fn cancel(
    scene: &Scene<'_>,
    slug: &str,
    job: JobId,
    by: &Principal,
    out: &mut Decision,
) -> Result<Answer, Refusal> {
    let app = scene.app(slug)?;
    let not_found = || Refusal::NotFound { what: "job", name: job.to_string() };
    let row = scene.views.jobs().get(app.id, job).ok_or_else(not_found)?;
    if let Some((outcome, _)) = row.ended {
        return Err(Refusal::Conflict {
            code: "already_ended",
            message: format!("job `{job}` has ended already ({})", outcome.name()),
        });
    }
    end(&row, JobOutcome::Cancelled, Some(by.clone()), out);
    Ok(Answer::Done)
}

fn end(row: &JobRow, outcome: JobOutcome, by: Option<Principal>, out: &mut Decision) {
    let ended = JobEnded { app: row.app, job: row.job, outcome, by };
    out.push(Event::Job(JobEvent::Ended(ended)));
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another one, so many microseconds later.
    After(u64),
    /// Another one, once something that it redrove has ended.
    Room,
    /// None: it has ended.
    Ended,
}

/// How many more executions may be under way (E135).
fn room(row: &JobRow) -> usize {
    let most = row
        .stop_after_failures
        .map_or(u64::MAX, |stop| stop.saturating_sub(row.failed).saturating_sub(row.in_flight()));
    usize::try_from(most).unwrap_or(usize::MAX).min(STEP_LETTERS_MAX)
}

/// One step of a job that has not ended.
pub(crate) fn step(scene: &Scene<'_>, app: &App, row: &JobRow, out: &mut Decision) -> Next {
    if row.stop_after_failures.is_some_and(|stop| row.failed >= stop) {
        end(row, JobOutcome::Stopped, None, out);
        return Next::Ended;
    }
    let (at_once, wait_us) = match row.interval_us {
        0 => (STEP_LETTERS_MAX, 0),
        interval => {
            let letters = (STEP_US_MIN / interval).max(1);
            (usize::try_from(letters).unwrap_or(STEP_LETTERS_MAX), interval.saturating_mul(letters))
        }
    };
    let limit = room(row).min(at_once);
    if limit == 0 {
        return Next::Room;
    }
    let filter = letters_of(&row.filter, limit);
    let letters = scene.views.dead_letters().next(app.id, &filter, row.cursor, row.created.lsn);
    let Some(cursor) = letters.last().map(|letter| letter.letter) else {
        if row.in_flight() > 0 {
            return Next::Room;
        }
        end(row, JobOutcome::Completed, None, out);
        return Next::Ended;
    };
    let actor = Actor { by: &row.by, script: None, job: Some(row.job), proof: None };
    let (mut done, mut skipped) = (0, 0);
    for letter in &letters {
        match close(scene, app, row, letter, &actor, out) {
            Ok(()) => done += 1,
            Err(refusal) => {
                tracing::info!(job = %row.job, letter = %letter.letter, %refusal, "skipped");
                skipped += 1;
            }
        }
    }
    let progressed = JobProgressed { app: row.app, job: row.job, done, skipped, cursor };
    out.push(Event::Job(JobEvent::Progressed(progressed)));
    Next::After(wait_us)
}

fn close(
    scene: &Scene<'_>,
    app: &App,
    row: &JobRow,
    letter: &LetterRow,
    actor: &Actor<'_>,
    out: &mut Decision,
) -> Result<(), Refusal> {
    match &row.kind {
        JobKind::Redrive { version } => {
            let execution = ExecutionId(scene.mint());
            letters::redrive(scene, app, letter, (execution, *version), actor, out)
        }
        JobKind::Resolve { resolution, note } => {
            letters::resolve(letter, resolution, note.as_deref(), actor, out);
            Ok(())
        }
    }
}
