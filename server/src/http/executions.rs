//! `/apps/{app}/executions`: what ran, what waits, and every attempt.
//!
//! Owns: their JSON and filters. Never does: fold anything; attempts are read from the log where rows point.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use relive_engine::node::{Node, WaitingFor};
use relive_log::events::{Event, ExecutionEvent, KvDeleted, KvEvent, KvPut, Writer, decode_record};
use relive_log::{ExecutionId, Frame};
use relive_projections::{App, At, AttemptRef, ExecutionFilter, ExecutionRow, Status};
use serde_json::{Map, Value, json};

use super::error::{ApiError, ApiResult, ErrorCode};
use super::page::Page;
use super::query::Query;
use super::shared::{below_horizon, blocking, log_error, view_error};
use super::trace::Tree;
use super::{Ctx, dto, event_dto, triggers};

/// One execution as lists show it.
pub(crate) fn summary(app: &App, row: &ExecutionRow, waiting: Option<WaitingFor>) -> Map<String, Value> {
    let mut shown = dto::source_ids(&row.source);
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    put("id", json!(row.execution));
    put("execution_id", json!(row.execution));
    put("status", row.status.name().into());
    put("script", row.script.as_str().into());
    put("version", json!(row.last_attempt().map(|attempt| attempt.version)));
    put("trigger", dto::trigger_name(app, &row.source));
    put("root_execution_id", json!(row.root));
    put("depth", row.depth.into());
    put("caused_by", json!(row.caused_by));
    put("cause_lsn", json!(row.cause));
    put("principal", dto::maybe_principal(row.principal.as_ref()));
    put("enqueued_at", dto::rfc3339(row.enqueued.time).into());
    put("lsn", json!(row.enqueued.lsn));
    put("due_at", dto::rfc3339(row.due_at).into());
    put("started_at", dto::maybe_time(row.attempts.first().map(|attempt| attempt.claim_time)));
    put("ended_at", dto::maybe_time(row.ended_at.map(|at| at.time)));
    put("attempt_count", row.attempts.len().into());
    put("last_error", row.last_error.as_ref().map_or(Value::Null, dto::error));
    put("delivery", row.delivery.map_or(Value::Null, |delivery| delivery.name().into()));
    put("abandoned_reason", row.abandoned.map_or(Value::Null, |(reason, _)| reason.name().into()));
    put("drop_reason", json!(row.drop_reason));
    put("dead_letter_id", json!(row.letter));
    put("redrive_of", json!(row.redrive_of));
    put("ordering_key", json!(row.ordering_key));
    put("waiting_for", json!(waiting.map(WaitingFor::name)));
    put("waiting_reason", json!(waiting.map(WaitingFor::explain)));
    put("blocked_by", json!(waiting.and_then(WaitingFor::blocked_by)));
    shown
}

/// `GET /apps/{app}/executions`
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    const NAMES: [&str; 8] = ["status", "script", "trigger", "root", "since", "until", "limit", "cursor"];
    let query = Query::parse(query.as_deref(), &NAMES)?;
    let node = Arc::clone(shared.node().await?);
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "executions", Some(app.id))?;
    let filter = ExecutionFilter {
        status: status(&query)?,
        script: query.get("script").map(str::to_owned),
        trigger: query.get("trigger").map(|name| triggers::find(&app, name).unwrap_or_default()),
        root: query.parsed("root", "an execution id")?,
        since: query.time("since")?,
        until: query.time("until")?,
        cursor: page.position_as(),
        limit: page.limit + 1,
    };
    let id = app.id;
    let rows =
        blocking(move || node.views().executions().list(id, &filter).map_err(|e| view_error(&e))).await?;
    let pinned = page.pinned(shared.seen().await?);
    let mut rows: Vec<ExecutionRow> = rows.into_iter().collect();
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|row| row.execution.to_string());
    // What was enqueued after the first page was asked for is not in this list.
    let shown: Vec<&ExecutionRow> = rows.iter().filter(|row| row.enqueued.lsn <= pinned).collect();
    let waiting = shared.node().await?.waiting_for(&shown);
    let items = shown.iter().zip(waiting).map(|(row, waiting)| summary(&app, row, waiting).into());
    Ok(page.answer(&shared, items.collect(), next, pinned))
}

fn status(query: &Query) -> ApiResult<Option<Status>> {
    let Some(name) = query.get("status") else { return Ok(None) };
    let known = || Status::NAMES.map(|(_, name)| name).join(", ");
    let found = Status::by_name(name);
    found.map(Some).ok_or_else(|| ApiError::invalid("status", format!("`{name}` is not one of {}", known())))
}

/// `GET /apps/{app}/executions/{id}`
pub(crate) async fn show(
    State(shared): Ctx,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let missing = || ApiError::not_found("execution", &id);
    let execution: ExecutionId = id.parse().map_err(|_| missing())?;
    let (app, _) = shared.app(&app).await?;
    let node = Arc::clone(shared.node().await?);
    let app_id = app.id;
    let reader = Arc::clone(&node);
    let found = blocking(move || {
        let row = reader.views().executions().get(app_id, execution).map_err(|e| view_error(&e))?;
        match row {
            Some(row) => Ok(Some(row)),
            None => expired(&reader, execution).map_or(Ok(None), Err),
        }
    });
    let row = found.await?.ok_or_else(missing)?;
    shared.seen().await?;
    let shown = blocking(move || detail(&node, &app, &row)).await?;
    Ok(Json(shown).into_response())
}

/// The record of an execution goes when the log is cut above its end. `Some`: 410.
pub(crate) fn expired(node: &Node, execution: ExecutionId) -> Option<ApiError> {
    relive_engine::replay::expired(node.reader(), execution).map(below_horizon)
}

fn detail(node: &Node, app: &App, row: &ExecutionRow) -> ApiResult<Value> {
    let first = node.reader().first_lsn();
    if row.enqueued.lsn < first {
        return Err(below_horizon(first));
    }
    let waiting = node.waiting_for(&[row]).pop().flatten();
    let mut shown = summary(app, row, waiting);
    let input = node
        .shown_input(row)
        .map_err(|failure| ApiError::of_failure(&failure, super::error::Plane::Control))?;
    shown.insert("input".into(), input.as_ref().map_or(Value::Null, dto::input));
    shown.insert("recorded".into(), if row.recorded { "full" } else { "none" }.into());
    let attempts: ApiResult<Vec<Shown>> = row.attempts.iter().map(|one| attempt(node, row, one)).collect();
    let attempts = attempts?;
    let outcome = attempts.last().and_then(|last| last.outcome.clone());
    shown.insert("outcome".into(), outcome.unwrap_or(Value::Null));
    let caused = Tree::of(node, app, row)?.caused(row.execution).to_vec();
    shown.insert("caused".into(), json!(caused));
    shown.insert("attempts".into(), attempts.into_iter().map(|one| one.attempt).collect());
    Ok(shown.into())
}

/// One attempt, and what it came to if it ended.
struct Shown {
    attempt: Value,
    outcome: Option<Value>,
}

fn attempt(node: &Node, row: &ExecutionRow, one: &AttemptRef) -> ApiResult<Shown> {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    put("attempt", one.attempt.into());
    put("version", one.version.into());
    put("claimed_at", dto::rfc3339(one.claim_time).into());
    put("claimed_lsn", json!(one.claimed.lsn));
    put("imports", imports(node, one)?);
    put("snapshot_lsn", json!(one.snapshot));
    put("ended_at", dto::maybe_time(one.ended.map(|at| at.time)));
    put("ended_lsn", json!(one.ended.map(|at| at.lsn)));
    put("alone_ms", one.alone_ms.into());
    put("counted", (one.counted || !one.failed).into());
    put("failed", one.failed.into());
    let Some(at) = one.ended else {
        put("error", Value::Null);
        return Ok(Shown { attempt: shown.into(), outcome: None });
    };
    let frame = node.reader().read_frame_of(at.pos, at.lsn).map_err(|e| log_error(&e))?;
    let ended = Ended::read(&frame, at, row.execution)?;
    put("error", ended.error);
    put("writes", ended.writes.into());
    put("fired", ended.fired.into());
    if let Value::Object(record) = ended.record {
        shown.extend(record);
    }
    Ok(Shown { attempt: shown.into(), outcome: ended.outcome })
}

/// The versions of the scripts that an attempt could import, as its claim names them.
fn imports(node: &Node, one: &AttemptRef) -> ApiResult<Value> {
    let (event, _) = node.reader().read_event(one.claimed.pos, one.claimed.lsn).map_err(|e| log_error(&e))?;
    let Event::Execution(ExecutionEvent::Claimed(claim)) = event else { return Ok(Value::Null) };
    Ok(event_dto::imports(&claim.imports))
}

/// What the batch that ended an attempt says.
#[derive(Default)]
struct Ended {
    error: Value,
    record: Value,
    outcome: Option<Value>,
    writes: Vec<Value>,
    fired: Vec<Value>,
}

impl Ended {
    fn read(frame: &Frame, at: At, execution: ExecutionId) -> ApiResult<Ended> {
        let mut ended = Ended::default();
        for raw in frame.records() {
            let event = decode_record(raw.type_, raw.type_version, raw.body)
                .map_err(|e| ApiError::new(ErrorCode::ReadFailed, format!("event {}: {e}", raw.lsn)))?;
            match event {
                Event::Kv(KvEvent::Put(put)) => ended.write(put_shown(&put), &put.writer, execution, raw.lsn),
                Event::Kv(KvEvent::Deleted(gone)) => {
                    ended.write(deleted_shown(&gone), &gone.writer, execution, raw.lsn);
                }
                Event::Kv(KvEvent::Expired(_)) => {}
                Event::Execution(event) if raw.lsn == at.lsn => ended.end(&event),
                Event::Execution(ExecutionEvent::Enqueued(e)) if e.caused_by == Some(execution) => {
                    ended
                        .fired
                        .push(json!({"execution_id": e.execution, "script": e.script, "lsn": raw.lsn}));
                }
                Event::App(_)
                | Event::Script(_)
                | Event::Route(_)
                | Event::Trigger(_)
                | Event::Token(_)
                | Event::Secret(_)
                | Event::Execution(_)
                | Event::DeadLetter(_)
                | Event::Job(_)
                | Event::Retention(_)
                | Event::Cron(_) => {}
            }
        }
        Ok(ended)
    }

    fn write(
        &mut self,
        mut shown: Map<String, Value>,
        writer: &Writer,
        execution: ExecutionId,
        lsn: relive_log::Lsn,
    ) {
        if let Writer::Execution { id, line } = writer
            && *id == execution
        {
            shown.insert("lsn".into(), json!(lsn));
            shown.insert("line".into(), (*line).into());
            self.writes.push(shown.into());
        }
    }

    fn end(&mut self, event: &ExecutionEvent) {
        match event {
            ExecutionEvent::Completed(e) => {
                self.record = event_dto::record(&e.record);
                self.outcome = Some(event_dto::output(&e.output));
            }
            ExecutionEvent::AttemptFailed(e) => {
                self.error = dto::error(&e.error);
                self.record =
                    e.record.as_ref().map_or_else(|| json!({"recorded": "none"}), event_dto::record);
                self.outcome = Some(json!({"error": dto::error(&e.error)}));
            }
            ExecutionEvent::Abandoned(e) => self.outcome = Some(json!({"abandoned": e.reason.name()})),
            ExecutionEvent::Dropped(e) => self.outcome = Some(json!({"dropped": e.reason})),
            ExecutionEvent::Enqueued(_)
            | ExecutionEvent::Claimed(_)
            | ExecutionEvent::AloneEnded(_)
            | ExecutionEvent::Released(_)
            | ExecutionEvent::DepthExceeded(_) => {}
        }
    }
}

fn put_shown(put: &KvPut) -> Map<String, Value> {
    let op = if put.previous.is_some() { "update" } else { "insert" };
    let mut shown = write_shown(op, &put.collection, &put.key);
    shown.insert("value".into(), dto::json_text(&put.value));
    shown
}

fn deleted_shown(deleted: &KvDeleted) -> Map<String, Value> {
    write_shown("delete", &deleted.collection, &deleted.key)
}

fn write_shown(op: &str, collection: &str, key: &str) -> Map<String, Value> {
    [("op", op), ("collection", collection), ("key", key)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}
