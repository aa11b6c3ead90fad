//! Decisions on what is no longer kept: dead letters, ended jobs and abandoned records that are old enough (D11). A job
//! is kept as long after its end as the letters that it was about.

use relive_log::UnixMicros;
use relive_log::events::{
    AbandonedExpired, DeadLetterEvent, DeadLetterExpired, Event, JobEvent, JobExpired, RetentionEvent,
};

use super::{Decision, Scene};

/// Records of one batch.
const EXPIRE_MAX: usize = 1000;

fn before(now: UnixMicros, retention_ms: u64) -> UnixMicros {
    UnixMicros(now.0.saturating_sub(retention_ms.saturating_mul(1000)))
}

/// Ends what is due, a bounded number at a time.
pub(crate) fn expire(scene: &Scene<'_>, out: &mut Decision) {
    let settings = scene.settings;
    let letters = scene.views.dead_letters();
    for (app, letter) in letters.before(before(scene.now, settings.dead_letter_retention_ms), EXPIRE_MAX) {
        out.push(Event::DeadLetter(DeadLetterEvent::Expired(DeadLetterExpired { app, letter })));
    }
    let jobs = scene.views.jobs();
    for (app, job) in jobs.ended_before(before(scene.now, settings.dead_letter_retention_ms), EXPIRE_MAX) {
        out.push(Event::Job(JobEvent::Expired(JobExpired { app, job })));
    }
    let abandoned = scene.views.abandoned();
    for (app, execution) in abandoned.before(before(scene.now, settings.abandoned_retention_ms), EXPIRE_MAX) {
        let expired = AbandonedExpired { app, execution };
        out.push(Event::Retention(RetentionEvent::AbandonedExpired(expired)));
    }
}

/// When something is due next.
pub(crate) fn next(scene: &Scene<'_>) -> Option<UnixMicros> {
    let settings = scene.settings;
    // What is exactly as old as it may be is kept: it goes a microsecond later.
    let due = |at: UnixMicros, retention_ms| UnixMicros(at.plus_millis(retention_ms).0.saturating_add(1));
    let letter = scene.views.dead_letters().oldest().map(|at| due(at, settings.dead_letter_retention_ms));
    let record = scene.views.abandoned().oldest().map(|at| due(at, settings.abandoned_retention_ms));
    let job = scene.views.jobs().oldest_end().map(|at| due(at, settings.dead_letter_retention_ms));
    [letter, record, job].into_iter().flatten().min()
}
