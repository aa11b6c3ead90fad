//! Decision on an attempt that did not succeed: again, dead, or the end (D3, D4, D7, D10).
//!
//! Owns: the retry schedule and the fingerprint of errors. Invariants: E30 reply-to work never retries and never
//! dead-letters; E31 a handler of dead letters runs once; E32 `max_attempts` counts the first; E33 the rolled
//! due time is in the event, never rolled again.

use relive_log::LetterId;
use relive_log::events::{
    AfterFailure, AttemptFailed, AttemptRecord, Backoff, DeadLetterEvent, DeadLetterHandlerFailed,
    DeadLettered, ErrorKind, ErrorRecord, Event, ExecutionEvent, RetryPolicy, Source,
};
use relive_projections::{App, ExecutionRow};
use sha2::{Digest, Sha256};

use super::commit::{Ending, push_client_gone};
use super::fire::fire_letter;
use super::{Decision, Scene};

/// How an attempt failed.
pub(crate) struct FailedAttempt {
    pub error: ErrorRecord,
    /// `None` after a crash: nothing was recorded.
    pub record: Option<AttemptRecord>,
    /// Whether it counts towards `max_attempts`.
    pub counted: bool,
}

/// The wait before attempt `n + 1`, milliseconds, before jitter (D7).
pub(crate) fn wait_ms(policy: &RetryPolicy, n: u32) -> u64 {
    let factor = match policy.backoff {
        Backoff::None => return 0,
        Backoff::Fixed => 1,
        Backoff::Linear => u64::from(n),
        Backoff::Exponential => 1_u64.checked_shl(n.saturating_sub(1)).unwrap_or(u64::MAX),
    };
    policy.base_ms.saturating_mul(factor).min(policy.max_ms)
}

/// `wait` spread by ± `jitter_pct` percent; `roll` is any random number.
pub(crate) fn with_jitter(wait: u64, jitter_pct: u8, roll: u64) -> u64 {
    let spread = wait.saturating_mul(u64::from(jitter_pct)) / 100;
    if spread == 0 {
        return wait;
    }
    wait - spread + roll % (2 * spread + 1)
}

/// The policy that governs an execution: its trigger's or route's, else the instance's default.
pub(crate) fn policy(scene: &Scene<'_>, app: &App, source: &Source) -> RetryPolicy {
    let own = match source {
        Source::Route { route, .. } => app.routes.get(route).and_then(|route| route.spec.retry),
        Source::Kv { trigger }
        | Source::DeadLetter { trigger, .. }
        | Source::Cron { trigger }
        | Source::Queue { trigger } => app.triggers.get(trigger).and_then(|trigger| trigger.spec.retry),
        Source::Direct => None,
    };
    own.unwrap_or(scene.settings.retry)
}

/// Whether trying again cannot help: the work goes to the dead letters at once.
const fn hopeless(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ScriptMissing | ErrorKind::KeyMissing | ErrorKind::LogGap)
}

/// Decides what follows a failed attempt of `row`.
pub(crate) fn fail(
    scene: &Scene<'_>,
    app: &App,
    row: &ExecutionRow,
    ending: &Ending,
    failed: FailedAttempt,
    out: &mut Decision,
) {
    let failures = row.failures_counted + u32::from(failed.counted);
    let then = after(scene, app, row, &failed, failures);
    let error = failed.error.clone();
    out.push(Event::Execution(ExecutionEvent::AttemptFailed(Box::new(AttemptFailed {
        app: ending.app,
        execution: ending.execution,
        attempt: ending.attempt,
        counted: failed.counted,
        error: failed.error,
        record: failed.record,
        then,
    }))));
    match then {
        AfterFailure::Retry { .. } => {}
        AfterFailure::DeadLetter => dead_letter(scene, app, row, ending, error, failures, out),
        AfterFailure::End => {
            if let Source::DeadLetter { letter, .. } = ending.source {
                let event = DeadLetterHandlerFailed { app: ending.app, letter, execution: ending.execution };
                out.push(Event::DeadLetter(DeadLetterEvent::HandlerFailed(event)));
            }
            if ending.caller_gone {
                push_client_gone(ending, out);
            }
        }
    }
}

fn after(
    scene: &Scene<'_>,
    app: &App,
    row: &ExecutionRow,
    failed: &FailedAttempt,
    failures: u32,
) -> AfterFailure {
    if row.source.reply_to() {
        return AfterFailure::End;
    }
    let policy = policy(scene, app, &row.source);
    let handler = matches!(row.source, Source::DeadLetter { .. });
    if handler && failed.counted {
        return AfterFailure::End;
    }
    if !handler && failed.counted && (hopeless(failed.error.kind) || failures >= policy.max_attempts) {
        return AfterFailure::DeadLetter;
    }
    let mut roll = [0_u8; 8];
    scene.entropy.fill(&mut roll);
    let wait = with_jitter(wait_ms(&policy, failures.max(1)), policy.jitter_pct, u64::from_le_bytes(roll));
    AfterFailure::Retry { due_at: scene.now.plus_millis(wait) }
}

fn dead_letter(
    scene: &Scene<'_>,
    app: &App,
    row: &ExecutionRow,
    ending: &Ending,
    error: ErrorRecord,
    attempts: u32,
    out: &mut Decision,
) {
    let claimed = |at: Option<&relive_projections::AttemptRef>| at.map_or(scene.now, |a| a.claim_time);
    let letter = DeadLettered {
        app: ending.app,
        letter: LetterId(scene.mint()),
        execution: ending.execution,
        root: ending.root,
        depth: ending.depth,
        enqueued: row.enqueued.lsn,
        script: ending.script.clone(),
        version: ending.version,
        source: ending.source.clone(),
        ordering_key: row.ordering_key.clone(),
        principal: row.principal.clone(),
        attempts,
        fingerprint: fingerprint(&ending.script, &error),
        error,
        first_attempt_at: claimed(row.attempts.first()),
        last_attempt_at: claimed(row.attempts.last()),
    };
    let lsn = out.push(Event::DeadLetter(DeadLetterEvent::DeadLettered(Box::new(letter.clone()))));
    fire_letter(scene, app, &letter, lsn, out);
}

/// Errors alike have it alike: script, kind, line and the message without digits and quoted parts.
pub(crate) fn fingerprint(script: &str, error: &ErrorRecord) -> u64 {
    let mut text = format!("{script}\0{}\0{}\0", error.kind.name(), error.line);
    let mut quoted = None;
    for c in error.message.chars() {
        match quoted {
            Some(quote) if c == quote => quoted = None,
            Some(_) => {}
            None if matches!(c, '"' | '`' | '\'') => quoted = Some(c),
            None if c.is_ascii_digit() => {}
            None => text.push(c),
        }
    }
    // Kept in events: it must never depend on a process or a version, as a standard hasher would.
    Sha256::digest(text.as_bytes()).iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(backoff: Backoff) -> RetryPolicy {
        RetryPolicy { max_attempts: 9, backoff, base_ms: 1000, max_ms: 60_000, jitter_pct: 20 }
    }

    #[test]
    fn d7_the_wait_grows_as_the_policy_says() {
        let table = [
            (Backoff::None, [0, 0, 0, 0]),
            (Backoff::Fixed, [1000, 1000, 1000, 1000]),
            (Backoff::Linear, [1000, 2000, 3000, 60_000]),
            (Backoff::Exponential, [1000, 2000, 4000, 60_000]),
        ];
        for (backoff, waits) in table {
            let got = [1, 2, 3, 200].map(|n| wait_ms(&retry(backoff), n));
            assert_eq!(got, waits, "{backoff:?}");
        }
    }

    #[test]
    fn d7_jitter_stays_within_its_percentage() {
        for roll in (0..10_000).map(|n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            let wait = with_jitter(1000, 20, roll);
            assert!((800..=1200).contains(&wait), "{wait}");
        }
        assert_eq!(with_jitter(1000, 0, 12345), 1000);
    }

    #[test]
    fn fingerprints_ignore_numbers_and_quoted_parts() {
        let error = |message: &str, line| ErrorRecord {
            kind: ErrorKind::Runtime,
            message: message.into(),
            line,
            column: 3,
        };
        let one = fingerprint("s", &error("no property `a` in 17 items", 4));
        assert_eq!(one, fingerprint("s", &error("no property `b` in 3 items", 4)));
        assert_ne!(one, fingerprint("s", &error("no property `a` in 17 items", 5)));
        assert_ne!(one, fingerprint("t", &error("no property `a` in 17 items", 4)));
    }
}
