//! `relive fork --data DIR --to NEW`: a data directory of its own out of another one, as of any moment, offline.
//!
//! Owns: which moment is meant, and what the new directory begins with after its copied past: every app paused, its
//! triggers paused, its outgoing calls off; no secret, no token, a new `instance.key` and `admin.token`. Never does: write to
//! the directory that is forked.

use std::path::Path;

use relive_log::events::{
    AppChanged, AppEvent, AppPauseReason, AppPaused, Dropped, Event, ExecutionEvent, HeaderRecord, Input,
    OutgoingCalls, PauseReason, Principal, SecretDeleted, SecretEvent, Source, TokenDeleted, TokenEvent,
    TriggerEvent, TriggerPaused,
};
use relive_log::tools::{self, ForkError, ForkPlan, OfflineLog, Upto};
use relive_log::{Batch, FreshIdentity, LogOptions, Lsn, Reader};
use relive_projections::{App, ExecutionRow, Registry, Views};
use serde_json::json;

use super::log::progress::Progress;
use super::log::views::folded;
use super::log::{disk, display, failed, tell};
use super::remote::Remote;
use crate::client::Failed;
use crate::clock::{self, random};
use crate::http::{Instant, parse_instant};
use crate::keys::{KEY_FILE, TOKEN_FILE, install};
use crate::start_error::StartError;

fn refused(error: &StartError) -> Failed {
    Failed { code: error.code, message: error.message.clone(), problem: None }
}

fn unreadable(error: impl std::fmt::Display) -> Failed {
    Failed { code: 74, ..Failed::new(format!("the log cannot be read: {error}")) }
}

/// Forks `from` into `to`.
pub(super) fn run(remote: &Remote, from: &Path, to: &Path, at: Option<&str>) -> Result<(), Failed> {
    let log = OfflineLog::open(disk(), from, Upto::Proven).map_err(|error| failed(&error))?;
    if let Some(refusal) = &log.refusal {
        return Err(failed(refusal));
    }
    let upto = moment(&log.reader, at)?;
    tools::check_fork(&log, upto).map_err(|error| not_forked(&error))?;
    let last = upto.min(log.reader.durable());
    let mut progress = Progress::new("forking");
    let mut fold = |lsn: Lsn| progress.at(lsn.0, last.0.saturating_mul(2));
    let (views, _scratch) = folded(&log, upto, &mut fold)?;
    let mut then = Batch::new();
    for event in settled(&views, &log.reader)? {
        then.push(&event);
    }
    let identity = FreshIdentity { log_id: random(), frame_magic: random() };
    let plan = ForkPlan { upto, then: &then, at: clock::now(), identity };
    let mut copy = |lsn: Lsn| progress.at(last.0 + lsn.0, last.0.saturating_mul(2));
    let made = tools::fork(&disk(), &log, to, &plan, &LogOptions::default(), &mut copy);
    let made = made.map_err(|error| not_forked(&error))?;
    let secret = |name: &str, text: String| install(&to.join(name), &text).map_err(|e| refused(&e));
    secret(TOKEN_FILE, format!("rlv_{}", hex::encode(random::<32>())))?;
    secret(KEY_FILE, hex::encode(random::<32>()))?;
    drop(progress);
    let value = json!({"data": display(from), "to": display(to), "forked": made});
    let lines = [
        format!(
            "{}: {} batches, as of event {}; a log of its own, with a token and a key of its own",
            display(to),
            made.batches,
            made.copied_lsn
        ),
        "every app and trigger is paused and makes no outgoing calls; secrets and tokens stayed behind"
            .to_owned(),
    ];
    tell(remote, &value, &lines);
    Ok(())
}

/// The LSN that is meant: batches that begin at or below it are copied.
fn moment(reader: &Reader, at: Option<&str>) -> Result<Lsn, Failed> {
    let Some(text) = at else { return Ok(reader.durable()) };
    let instant = parse_instant(text)
        .ok_or_else(|| Failed::usage(format!("--at: `{text}` is neither an LSN nor an RFC 3339 time")))?;
    let future = |what: String| Failed::new(format!("in_the_future: {what}"));
    match instant {
        Instant::Lsn(lsn) if lsn > reader.durable() => {
            Err(future(format!("LSN {lsn} is not there yet; the last one is {}", reader.durable())))
        }
        Instant::Lsn(lsn) => Ok(lsn),
        Instant::Time(time) if time > clock::now() => Err(future(format!("{text} is not over yet"))),
        Instant::Time(time) => {
            let frame = reader.frame_at_time(time).map_err(unreadable)?;
            Ok(frame.map_or(Lsn::ZERO, |frame| frame.last_lsn))
        }
    }
}

fn not_forked(error: &ForkError) -> Failed {
    match error {
        ForkError::Open(error) => failed(error),
        ForkError::Read(error) => unreadable(error),
        ForkError::TooEarly { .. } => Failed::new(format!("below_horizon: nothing was forked: {error}")),
        ForkError::NotEmpty { .. } => Failed::new(format!("nothing was forked: {error}")),
    }
}

/// What brings a copied instance to rest and takes from it what it must not have.
fn settled(views: &Views, reader: &Reader) -> Result<Vec<Event>, Failed> {
    let registry = views.registry();
    let mut events = Vec::new();
    for app in registry.apps.values() {
        rest(app, &registry, &mut events);
    }
    for token in registry.tokens.values() {
        let deleted = TokenDeleted { app: token.app, token: token.id, by: Principal::instance() };
        events.push(Event::Token(TokenEvent::Deleted(deleted)));
    }
    let open = views.executions().open(None);
    for row in open.map_err(|error| Failed::new(format!("open work cannot be read: {error}")))? {
        if holds_sealed(&row, reader)? {
            let reason = "what it needs is sealed with the key of the directory that was forked".to_owned();
            let dropped = Dropped { app: row.app, execution: row.execution, reason };
            events.push(Event::Execution(ExecutionEvent::Dropped(dropped)));
        }
    }
    Ok(events)
}

/// Pauses an app and its triggers, turns its outgoing calls off, deletes its secrets.
fn rest(app: &App, registry: &Registry, events: &mut Vec<Event>) {
    let by = Principal::instance;
    if app.paused.is_none() {
        events.push(Event::App(AppEvent::Paused(AppPaused {
            app: app.id,
            reason: AppPauseReason::Forked,
            by: by(),
        })));
    }
    if app.outgoing_calls == OutgoingCalls::On {
        let name = app.name.clone();
        let changed = AppChanged { app: app.id, name, outgoing_calls: OutgoingCalls::Off, by: by() };
        events.push(Event::App(AppEvent::Changed(changed)));
    }
    for trigger in app.triggers.values() {
        // Its registrant's token is about to go: whoever resumes it takes its place (D9).
        let orphaned = registry.tokens.contains_key(&trigger.by.id);
        let reason = if orphaned { PauseReason::RegistrantDeleted } else { PauseReason::Forked };
        if orphaned || trigger.paused.is_none() {
            let paused = TriggerPaused { app: app.id, trigger: trigger.id, reason, by: by() };
            events.push(Event::Trigger(TriggerEvent::Paused(paused)));
        }
    }
    for name in app.secrets.keys() {
        let deleted = SecretDeleted { app: app.id, name: name.clone(), by: by() };
        events.push(Event::Secret(SecretEvent::Deleted(deleted)));
    }
}

/// Whether open work waits with a header that only the other directory's key opens.
fn holds_sealed(row: &ExecutionRow, reader: &Reader) -> Result<bool, Failed> {
    if !matches!(row.source, Source::Route { sync: false, .. }) {
        return Ok(false);
    }
    let (event, _) = reader.read_event(row.enqueued.pos, row.enqueued.lsn).map_err(unreadable)?;
    let Event::Execution(ExecutionEvent::Enqueued(enqueued)) = event else { return Ok(false) };
    let Input::Request(request) = &enqueued.input else { return Ok(false) };
    Ok(request.headers.iter().any(|(_, value)| matches!(value, HeaderRecord::Sealed(_))))
}
