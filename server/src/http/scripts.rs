//! `/apps/{app}/scripts`: sources and their versions.
//!
//! Owns: their JSON. Never does: compile (the engine does, and refuses with line and column).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use relive_engine::command::{Answer, Command};
use relive_engine::node::Node;
use relive_log::events::{Event, ScriptEvent};
use relive_projections::{Script, ScriptVersion};
use serde_json::{Value, json};

use super::apps::no_content;
use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::page::{PAGING, Page};
use super::query::Query;
use super::shared::{blocking, log_error};
use super::{Ctx, body, dto};

fn version(script: &Script, version: &ScriptVersion) -> Value {
    json!({
        "name": script.name,
        "version": version.version,
        "sha256": hex::encode(version.sha256),
        "bytes": version.bytes,
        "deployed_at": dto::rfc3339(version.at),
        "deployed_by": dto::principal(&version.by),
        "current": version.version == script.current,
        "lsn": version.lsn,
    })
}

/// `GET /apps/{app}/scripts`
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &PAGING)?;
    let (app, now) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "scripts", Some(app.id))?;
    let scripts = app.scripts.values().filter_map(|script| Some((script, script.current_version()?)));
    Ok(page.answer_sorted(
        &shared,
        scripts,
        |(script, _)| script.name.clone(),
        |(script, current)| version(script, current),
        page.pinned(now),
    ))
}

/// `GET /apps/{app}/scripts/{name}`: JSON, or the bare source where `text/plain` is asked for.
pub(crate) async fn show(
    State(shared): Ctx,
    Path((app, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["version"])?;
    let asked: Option<u32> = query.parsed("version", "a version number")?;
    let (app, _) = shared.app(&app).await?;
    let missing = || ApiError::not_found("script", &name);
    let script = app.scripts.get(&name).ok_or_else(missing)?;
    let found = match asked {
        None => script.current_version().ok_or_else(missing)?,
        Some(number) => script
            .version(number)
            .ok_or_else(|| ApiError::not_found("script version", format!("{name} {number}")))?,
    };
    let source = if found.version == script.current {
        Arc::clone(&script.source)
    } else {
        let (node, found) = (Arc::clone(shared.node().await?), found.clone());
        blocking(move || source_of(&node, &found)).await?
    };
    if headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain")) {
        return Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], source.to_string()).into_response());
    }
    let mut shown = version(script, found);
    if let Value::Object(fields) = &mut shown {
        fields.insert("source".into(), source.as_ref().into());
    }
    Ok(Json(shown).into_response())
}

fn source_of(node: &Node, version: &ScriptVersion) -> ApiResult<Arc<str>> {
    let (event, _) = node.reader().read_event(version.pos, version.lsn).map_err(|e| log_error(&e))?;
    match event {
        Event::Script(ScriptEvent::Deployed(deployed)) => Ok(deployed.source.into()),
        Event::App(_)
        | Event::Script(ScriptEvent::Deleted(_))
        | Event::Route(_)
        | Event::Trigger(_)
        | Event::Token(_)
        | Event::Secret(_)
        | Event::Kv(_)
        | Event::Execution(_)
        | Event::DeadLetter(_)
        | Event::Job(_)
        | Event::Retention(_)
        | Event::Cron(_) => Err(ApiError::new(
            ErrorCode::ReadFailed,
            format!("event {} is not the script's deploy", version.lsn),
        )),
    }
}

/// `PUT /apps/{app}/scripts/{name}`
pub(crate) async fn put(
    State(shared): Ctx,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let max = shared.node().await?.settings().source_bytes_max;
    let bytes = body::read(body, max, "RELIVE_MAX_SCRIPT_SOURCE").await?;
    let source = String::from_utf8(bytes.to_vec())
        .map_err(|_| ApiError::new(ErrorCode::Invalid, "the source is not UTF-8"))?;
    let command = Command::PutScript { app: app.clone(), name: name.clone(), source };
    let done = shared.submit(&caller, command).await?;
    let (app, _) = shared.app(&app).await?;
    let script = app.scripts.get(&name).ok_or_else(|| ApiError::not_found("script", &name))?;
    let number = match done.answer {
        Answer::Version(number) => number,
        Answer::Done
        | Answer::Route(_)
        | Answer::Trigger(_)
        | Answer::Token(_)
        | Answer::Job(_)
        | Answer::Key(_)
        | Answer::Changes(_)
        | Answer::Execution(_) => script.current,
    };
    let sha256 = script.version(number).map(|version| hex::encode(version.sha256));
    let warnings: [&str; 0] = [];
    let answer = json!({
        "name": name,
        "version": number,
        "sha256": sha256,
        "warnings": warnings,
        "lsn": done.lsn,
    });
    Ok(Json(answer).into_response())
}

/// `DELETE /apps/{app}/scripts/{name}`
pub(crate) async fn delete(
    State(shared): Ctx,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    shared.submit(&caller, Command::DeleteScript { app, name }).await?;
    Ok(no_content())
}

/// `GET /apps/{app}/scripts/{name}/versions`: newest first.
pub(crate) async fn versions(
    State(shared): Ctx,
    Path((app, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &PAGING)?;
    let (app, now) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, &format!("versions {name}"), Some(app.id))?;
    let script = app.scripts.get(&name).ok_or_else(|| ApiError::not_found("script", &name))?;
    let below = page.position_as::<u32>().unwrap_or(u32::MAX);
    let pinned = page.pinned(now);
    let mut rows = script.versions.iter().rev().filter(|v| v.version < below && v.lsn <= pinned);
    let taken: Vec<_> = rows.by_ref().take(page.limit).collect();
    let next = rows.next().and(taken.last()).map(|last| last.version.to_string());
    Ok(page.answer(&shared, taken.iter().map(|v| version(script, v)).collect(), next, pinned))
}
