//! `…/kv/{collection}/{key}/readers`: which executions read a version of a key, or were handed it as their input.
//!
//! Owns: finding readers by key, by listing and by trigger, each attempt once. Never does: know how they are indexed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use relive_engine::node::Node;
use relive_log::events::{AttemptRecord, Event, ExecutionEvent, Input, ReadRecord, decode_record};
use relive_log::{ExecutionId, LetterId, Lsn};
use relive_projections::{App, ExecutionRow, KeyReader, Resolution, Views};
use serde_json::{Value, json};

use super::error::{ApiError, ApiResult, ErrorCode};
use super::kv::{as_of, pin};
use super::page::Page;
use super::query::{Instant, Query};
use super::shared::{blocking, log_error, view_error};
use super::{Ctx, dto};

/// Readers that one request looks at.
const READERS_MAX: usize = 10_000;

struct Asked {
    app: Arc<App>,
    collection: String,
    key: String,
    /// As of which LSN the version is the key's newest.
    at: Lsn,
    /// Attempts that ended up to here.
    until: Lsn,
}

/// `GET /apps/{app}/kv/{collection}/{key}/readers?lsn=`: of the version that the key had as of `lsn`, now by default.
pub(crate) async fn readers(
    State(shared): Ctx,
    Path((app, collection, key)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["lsn", "limit", "cursor"])?;
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, &format!("readers {collection}/{key}"), Some(app.id))?;
    let until = pin(&shared, &page, &query).await?;
    let at = match query.parsed::<u64>("lsn", "an LSN")? {
        // The version itself, also in the middle of a batch; `as_of` judges whether it may be asked for.
        Some(lsn) => as_of(&shared, Some(Instant::Lsn(Lsn(lsn)))).await.map(|_| Lsn(lsn))?,
        None => until.lsn,
    };
    let node = Arc::clone(shared.node().await?);
    let asked = Asked { app: Arc::clone(&app), collection, key, at, until: until.lsn };
    let (version, found) = blocking(move || find(&node, &asked)).await?;
    let position = |(reader, _): &(Found, Value)| format!("{:020}.{}", reader.ended.0, reader.attempt);
    let show = |(_, shown): &(Found, Value)| {
        let mut shown = shown.clone();
        if let Value::Object(fields) = &mut shown {
            fields.insert("version_lsn".into(), json!(version));
        }
        shown
    };
    Ok(page.answer_sorted_at(&shared, found.into_iter(), position, show, until))
}

/// An attempt that read the version.
struct Found {
    ended: Lsn,
    attempt: u32,
}

/// The version that was asked for, and its readers in the order of their ends.
fn find(node: &Node, asked: &Asked) -> ApiResult<(Lsn, Vec<(Found, Value)>)> {
    let (kv, index) = (node.views().kv(), node.views().index());
    let (app, collection, key) = (asked.app.id, asked.collection.as_str(), asked.key.as_str());
    let version = kv.version_at(app, collection, key, asked.at).map_err(|e| view_error(&e))?;
    let version = version.map_or(Lsn::ZERO, |version| version.lsn);
    let next = kv.version_after(app, collection, key, version).map_err(|e| view_error(&e))?;
    let mut rows: HashMap<ExecutionId, Option<ExecutionRow>> = HashMap::new();
    let mut readers: BTreeMap<(Lsn, u32), (KeyReader, &str)> = BTreeMap::new();
    for reader in index.key_readers(app, collection, key, version).map_err(|e| view_error(&e))? {
        readers.insert((reader.ended, reader.attempt), (reader, "key"));
    }
    let snapshots = version..next.unwrap_or(Lsn::MAX);
    for reader in index.range_readers(app, collection, snapshots).map_err(|e| view_error(&e))? {
        let new = !readers.contains_key(&(reader.ended, reader.attempt));
        if new && reader.ended <= asked.until && listed(node, &reader, collection, key, version)? {
            readers.insert((reader.ended, reader.attempt), (reader, "list"));
        }
    }
    for (reader, row) in handed(node, &asked.app, collection, key, version)? {
        readers.entry((reader.ended, reader.attempt)).or_insert((reader, "input"));
        rows.insert(row.execution, Some(row));
    }
    let mut found = Vec::new();
    for (reader, via) in readers.into_values().filter(|(r, _)| r.ended <= asked.until).take(READERS_MAX) {
        let row = match rows.entry(reader.execution) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let row = node.views().executions().get(app, reader.execution).map_err(|e| view_error(&e))?;
                place.insert(row)
            }
        };
        let shown = show(&asked.app, &reader, via, row.as_ref());
        found.push((Found { ended: reader.ended, attempt: reader.attempt }, shown));
    }
    Ok((version, found))
}

/// The ended attempts of the work that this version fired (it is their input), redrives of it included.
fn handed(
    node: &Node,
    app: &App,
    collection: &str,
    key: &str,
    version: Lsn,
) -> ApiResult<Vec<(KeyReader, ExecutionRow)>> {
    let views = node.views();
    let mut attempts = Vec::new();
    for first in fired(node, app, collection, key, version)? {
        let mut next = Some(first);
        while let Some(execution) = next.take() {
            let Some(row) = views.executions().get(app.id, execution).map_err(|e| view_error(&e))? else {
                break;
            };
            next = row.letter.and_then(|letter| redriven_as(views, app, letter));
            for attempt in &row.attempts {
                let Some(ended) = attempt.ended else { continue };
                let (attempt, pos, ended) = (attempt.attempt, ended.pos, ended.lsn);
                attempts.push((KeyReader { execution, attempt, ended, pos }, row.clone()));
            }
        }
    }
    Ok(attempts)
}

fn redriven_as(views: &Views, app: &App, letter: LetterId) -> Option<ExecutionId> {
    match views.dead_letters().get(app.id, letter)?.resolution? {
        Resolution::Redriven { execution, .. } => Some(execution),
        Resolution::HandlerFailed { .. } | Resolution::Resolved { .. } => None,
    }
}

/// The executions that this version fired: they stand in its batch.
fn fired(node: &Node, app: &App, collection: &str, key: &str, version: Lsn) -> ApiResult<Vec<ExecutionId>> {
    let versions =
        node.views().kv().history(app.id, collection, key, version, 1).map_err(|e| view_error(&e))?;
    let Some(written) = versions.first().filter(|found| found.lsn == version) else { return Ok(Vec::new()) };
    let frame = match node.reader().read_frame_of(written.pos, version) {
        Ok(frame) => frame,
        // Of a version below the horizon its value is left, and nothing that it fired.
        Err(error) if error.horizon().is_some() => return Ok(Vec::new()),
        Err(error) => return Err(log_error(&error)),
    };
    let mut fired = Vec::new();
    for record in frame.records() {
        let event = decode_record(record.type_, record.type_version, record.body)
            .map_err(|e| ApiError::new(ErrorCode::ReadFailed, format!("event {}: {e}", record.lsn)))?;
        if let Event::Execution(ExecutionEvent::Enqueued(enqueued)) = event
            && matches!(enqueued.input, Input::Mutation(lsn) if lsn == version)
        {
            fired.push(enqueued.execution);
        }
    }
    Ok(fired)
}

fn show(app: &App, reader: &KeyReader, via: &str, row: Option<&ExecutionRow>) -> Value {
    let attempt = row.and_then(|row| row.attempts.iter().find(|one| one.attempt == reader.attempt));
    json!({
        "execution_id": reader.execution,
        "attempt": reader.attempt,
        "via": via,
        "ended_lsn": reader.ended,
        "ended_at": dto::maybe_time(attempt.and_then(|attempt| attempt.ended).map(|at| at.time)),
        "script": row.map(|row| row.script.as_str()),
        "version": attempt.map(|attempt| attempt.version),
        "trigger": row.map_or(Value::Null, |row| dto::trigger_name(app, &row.source)),
        "status": row.map(|row| row.status.name()),
        "failed": attempt.map(|attempt| attempt.failed),
        "root_execution_id": row.map(|row| row.root),
    })
}

/// Whether a listing of that attempt returned this version of the key.
fn listed(node: &Node, reader: &KeyReader, collection: &str, key: &str, version: Lsn) -> ApiResult<bool> {
    let frame = node.reader().read_frame_of(reader.pos, reader.ended).map_err(|e| log_error(&e))?;
    let Some(record) = frame.records().find(|record| record.lsn == reader.ended) else { return Ok(false) };
    let event = decode_record(record.type_, record.type_version, record.body)
        .map_err(|e| ApiError::new(ErrorCode::ReadFailed, format!("event {}: {e}", reader.ended)))?;
    let holds = |record: &AttemptRecord| {
        record.reads.iter().any(|read| match read {
            ReadRecord::Range { collection: c, items, .. } if c == collection => {
                items.iter().any(|(k, lsn)| k == key && *lsn == version)
            }
            ReadRecord::Range { .. }
            | ReadRecord::Key { .. }
            | ReadRecord::KeyAt { .. }
            | ReadRecord::Letter { .. }
            | ReadRecord::History { .. } => false,
        })
    };
    let record = match &event {
        Event::Execution(ExecutionEvent::Completed(e)) => Some(&e.record),
        Event::Execution(ExecutionEvent::AttemptFailed(e)) => e.record.as_ref(),
        Event::Execution(_)
        | Event::App(_)
        | Event::Script(_)
        | Event::Route(_)
        | Event::Trigger(_)
        | Event::Token(_)
        | Event::Secret(_)
        | Event::Kv(_)
        | Event::DeadLetter(_)
        | Event::Job(_)
        | Event::Retention(_)
        | Event::Cron(_) => None,
    };
    Ok(record.is_some_and(holds))
}
