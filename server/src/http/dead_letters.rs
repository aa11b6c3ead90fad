//! `/apps/{app}/dead-letters`: work that used up its attempts.
//!
//! Owns: their JSON, filters, the request of a redrive. Never does: run anything.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::StatusCode;
use relive_engine::command::{Answer, Command, RedriveVersion};
use relive_engine::node::Node;
use relive_log::LetterId;
use relive_log::events::Scopes;
use relive_projections::{App, LetterFilter, LetterGroup, LetterRow, Resolution};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode, Plane};
use super::page::Page;
use super::query::Query;
use super::shared::{blocking, view_error};
use super::{Ctx, body, dto, triggers};

pub(crate) fn shown(app: &App, row: &LetterRow) -> Map<String, Value> {
    let mut shown = dto::source_ids(&row.source);
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    let (handler, redriven, by) = match &row.resolution {
        None => (None, None, None),
        Some(Resolution::HandlerFailed { execution }) => (Some(execution), None, None),
        Some(Resolution::Redriven { execution, by, .. }) => (None, Some(execution), Some(by)),
        Some(Resolution::Resolved { by, .. }) => (None, None, Some(by)),
    };
    let (by_execution, job, note) = match &row.resolution {
        None | Some(Resolution::HandlerFailed { .. }) => (None, None, None),
        Some(Resolution::Redriven { by_execution, job, .. }) => (*by_execution, *job, None),
        Some(Resolution::Resolved { by_execution, job, note, .. }) => (*by_execution, *job, note.as_ref()),
    };
    put("id", json!(row.letter));
    put("execution_id", json!(row.execution));
    put("root_execution_id", json!(row.root));
    put("depth", row.depth.into());
    put("script", row.script.as_str().into());
    put("version", row.version.into());
    put("trigger", dto::trigger_name(app, &row.source));
    put("principal", dto::maybe_principal(row.principal.as_ref()));
    put("attempts", row.attempts.into());
    put("last_error", dto::error(&row.error));
    put("fingerprint", format!("{:016x}", row.fingerprint).into());
    put("first_attempt_at", dto::rfc3339(row.first_attempt_at).into());
    put("last_attempt_at", dto::rfc3339(row.last_attempt_at).into());
    put("at", dto::rfc3339(row.at.time).into());
    put("lsn", json!(row.at.lsn));
    put("status", if row.is_open() { "open" } else { "resolved" }.into());
    put("resolution", row.resolution.as_ref().map_or(Value::Null, |resolution| resolution.name().into()));
    put("resolved_at", dto::maybe_time(row.resolved_at.map(|at| at.time)));
    put("resolved_by", dto::maybe_principal(by));
    put("resolved_by_execution", json!(by_execution));
    put("job_id", json!(job));
    put("note", json!(note));
    put("redriven_as", json!(redriven));
    let proof = match &row.resolution {
        Some(Resolution::Redriven { proof, .. }) => proof.as_deref(),
        None | Some(Resolution::HandlerFailed { .. } | Resolution::Resolved { .. }) => None,
    };
    put("proof", proof.map_or(Value::Null, dto::proof));
    put("handler_execution_id", json!(handler));
    shown
}

/// `GET /apps/{app}/dead-letters`: newest first.
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    const NAMES: [&str; 7] = ["status", "script", "trigger", "error", "fingerprint", "limit", "cursor"];
    let query = Query::parse(query.as_deref(), &NAMES)?;
    let node = Arc::clone(shared.node().await?);
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "dead-letters", Some(app.id))?;
    let filter = LetterFilter { cursor: page.position_as(), limit: page.limit + 1, ..filter(&app, &query)? };
    let mut rows = node.views().dead_letters().list(app.id, &filter);
    let pinned = page.pinned(shared.seen().await?);
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|row| row.letter.to_string());
    let items = rows.iter().filter(|row| row.at.lsn <= pinned).map(|row| shown(&app, row).into());
    Ok(page.answer(&shared, items.collect(), next, pinned))
}

/// What a listing's parameters ask for.
fn filter(app: &App, query: &Query) -> ApiResult<LetterFilter> {
    Ok(LetterFilter {
        open: match query.get("status") {
            None => None,
            Some("open") => Some(true),
            Some("resolved") => Some(false),
            Some(other) => {
                return Err(ApiError::invalid("status", format!("`{other}` is not one of open, resolved")));
            }
        },
        script: query.get("script").map(str::to_owned),
        trigger: query.get("trigger").map(|name| triggers::find(app, name).unwrap_or_default()),
        fingerprint: query.get("fingerprint").map(parse_fingerprint).transpose()?,
        error: query.get("error").map(str::to_owned),
        ..LetterFilter::default()
    })
}

/// A fingerprint as it is shown.
pub(crate) fn parse_fingerprint(text: &str) -> ApiResult<u64> {
    u64::from_str_radix(text, 16)
        .map_err(|_| ApiError::invalid("fingerprint", format!("`{text}` is not 16 hex digits")))
}

fn group(app: &App, group: &LetterGroup) -> Value {
    json!({
        "fingerprint": format!("{:016x}", group.fingerprint),
        "count": group.count,
        "open": group.open,
        "script": group.last.script,
        "trigger": dto::trigger_name(app, &group.last.source),
        "last_error": dto::error(&group.last.error),
        "first_at": dto::rfc3339(group.first_at),
        "last_at": dto::rfc3339(group.last.at.time),
        "last_dead_letter_id": group.last.letter,
    })
}

/// `GET /apps/{app}/dead-letters/groups`: letters with errors alike, the largest groups first.
pub(crate) async fn groups(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    const NAMES: [&str; 7] = ["status", "script", "trigger", "error", "fingerprint", "limit", "cursor"];
    let query = Query::parse(query.as_deref(), &NAMES)?;
    let node = Arc::clone(shared.node().await?);
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "dead-letter-groups", Some(app.id))?;
    let pinned = page.pinned(shared.seen().await?);
    let mut groups = node.views().dead_letters().groups(app.id, &filter(&app, &query)?, pinned);
    // Positions sort as texts: the largest count first, then by fingerprint.
    let position =
        |group: &&LetterGroup| format!("{:020}.{:016x}", u64::MAX - group.count, group.fingerprint);
    groups.sort_by_key(|group| (u64::MAX - group.count, group.fingerprint));
    Ok(page.answer_sorted(&shared, groups.iter(), position, |one| group(&app, one), pinned))
}

fn parse(id: &str) -> ApiResult<LetterId> {
    id.parse().map_err(|_| ApiError::not_found("dead letter", id))
}

/// `GET /apps/{app}/dead-letters/{id}`: with its input, for who may see inputs (`log:read`).
pub(crate) async fn show(
    State(shared): Ctx,
    caller: Caller,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let letter = parse(&id)?;
    let (app, _) = shared.app(&app).await?;
    let node = Arc::clone(shared.node().await?);
    let row = node
        .views()
        .dead_letters()
        .get(app.id, letter)
        .ok_or_else(|| ApiError::not_found("dead letter", &id))?;
    shared.seen().await?;
    let mut answer = shown(&app, &row);
    if caller.may(Scopes::LOG_READ) {
        let input = blocking(move || input(&node, &row)).await?;
        answer.insert("input".into(), input);
    }
    Ok(Json(answer).into_response())
}

fn input(node: &Node, row: &LetterRow) -> ApiResult<Value> {
    let died = node.views().executions().get(row.app, row.execution).map_err(|e| view_error(&e))?;
    let Some(died) = died else { return Ok(Value::Null) };
    let input = node.shown_input(&died).map_err(|failure| ApiError::of_failure(&failure, Plane::Control))?;
    Ok(input.as_ref().map_or(Value::Null, dto::input))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redrive {
    version: Option<Value>,
}

/// `POST /apps/{app}/dead-letters/{id}/redrive`
pub(crate) async fn redrive(
    State(shared): Ctx,
    caller: Caller,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: Redrive = body::optional(body, body::SMALL_MAX, "the limit of this request").await?;
    let version = version(asked.version.as_ref())?;
    let done =
        shared.submit(&caller, Command::Redrive { app, letter: parse(&id)?, version, proof: None }).await?;
    let Answer::Execution(execution) = done.answer else {
        return Err(ApiError::new(ErrorCode::Internal, "the redrive has no execution"));
    };
    Ok((StatusCode::ACCEPTED, Json(json!({"execution_id": execution, "lsn": done.lsn}))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    resolution: Option<String>,
    note: Option<String>,
}

/// `POST /apps/{app}/dead-letters/{id}/resolve`: closed, as `ignored` or as what is said.
pub(crate) async fn resolve(
    State(shared): Ctx,
    caller: Caller,
    Path((slug, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: Resolve = body::optional(body, body::SMALL_MAX, "the limit of this request").await?;
    let letter = parse(&id)?;
    let Resolve { resolution, note } = asked;
    let command = Command::ResolveLetter { app: slug.clone(), letter, resolution, note };
    shared.submit(&caller, command).await?;
    let (app, _) = shared.app(&slug).await?;
    let row = shared.node().await?.views().dead_letters().get(app.id, letter);
    let row = row.ok_or_else(|| ApiError::not_found("dead letter", &id))?;
    Ok(Json(shown(&app, &row)).into_response())
}

pub(crate) fn version(asked: Option<&Value>) -> ApiResult<RedriveVersion> {
    let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    match asked {
        None | Some(Value::Null) => Ok(RedriveVersion::Current),
        Some(Value::String(text)) if text == "current" => Ok(RedriveVersion::Current),
        Some(Value::String(text)) if text == "original" => Ok(RedriveVersion::Original),
        Some(value) => number(value).map(RedriveVersion::Number).ok_or_else(|| {
            ApiError::invalid("version", format!("{value} is not `current`, `original` or a version number"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_redrive() {
        for (asked, want) in [
            (json!("current"), Some(RedriveVersion::Current)),
            (json!("original"), Some(RedriveVersion::Original)),
            (json!(3), Some(RedriveVersion::Number(3))),
            (json!(null), Some(RedriveVersion::Current)),
            (json!(0), None),
            (json!("newest"), None),
        ] {
            assert_eq!(version(Some(&asked)).ok(), want, "{asked}");
        }
    }
}
