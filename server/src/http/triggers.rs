//! `/apps/{app}/triggers`: event pattern to script.
//!
//! Owns: their JSON; fields are those of the manifest. Never does: fire them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::StatusCode;
use relive_engine::command::{Answer, Command};
use relive_engine::node::Node;
use relive_log::{AppId, TriggerId};
use relive_projections::{App, Trigger};
use serde::Deserialize;
use serde_json::{Value, json};

use super::apps::{self, no_content};
use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::page::{PAGING, Page};
use super::query::Query;
use super::{Ctx, body, dto};
use crate::manifest;

/// A trigger by id or name.
pub(crate) fn find(app: &App, id_or_name: &str) -> Option<TriggerId> {
    id_or_name.parse().ok().or_else(|| {
        app.triggers.values().find(|trigger| trigger.spec.name == id_or_name).map(|trigger| trigger.id)
    })
}

/// A trigger; of a schedule also where it stands.
fn shown(node: &Node, app: AppId, trigger: &Trigger) -> Value {
    let mut shown = dto::trigger(trigger);
    if let (Value::Object(fields), Some(position)) = (&mut shown, node.views().cron().get(app, trigger.id)) {
        fields.insert("next_at".into(), dto::maybe_time(node.next_tick(app, trigger.id)));
        fields.insert("last_scheduled_at".into(), dto::maybe_time(position.last_scheduled));
        fields.insert("last_execution_id".into(), json!(position.last_run));
        fields.insert("skipped".into(), position.skipped.into());
    }
    shown
}

/// `GET /apps/{app}/triggers`
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &PAGING)?;
    let (app, now) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "triggers", Some(app.id))?;
    let triggers = app.triggers.values();
    let node = shared.node().await?;
    let position = |trigger: &&Trigger| trigger.id.to_string();
    Ok(page.answer_sorted(
        &shared,
        triggers,
        position,
        |trigger| shown(node, app.id, trigger),
        page.pinned(now),
    ))
}

/// `POST /apps/{app}/triggers`
pub(crate) async fn create(
    State(shared): Ctx,
    caller: Caller,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let value = body::json(body, body::SMALL_MAX, "the limit of this request").await?;
    let spec = manifest::parse_trigger(&value, shared.node().await?.settings().retry)?;
    let done = shared.submit(&caller, Command::CreateTrigger { app: slug.clone(), spec }).await?;
    let Answer::Trigger(id) = done.answer else {
        return Err(ApiError::new(ErrorCode::Internal, "the new trigger has no id"));
    };
    let (app, _) = shared.app(&slug).await?;
    let trigger = app.triggers.get(&id).ok_or_else(|| ApiError::not_found("trigger", id))?;
    Ok((StatusCode::CREATED, Json(shown(shared.node().await?, app.id, trigger))).into_response())
}

/// `GET /apps/{app}/triggers/{id}`: by id or name.
pub(crate) async fn show(
    State(shared): Ctx,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let (app, _) = shared.app(&app).await?;
    let found = find(&app, &id).and_then(|id| app.triggers.get(&id));
    let found = found.ok_or_else(|| ApiError::not_found("trigger", &id))?;
    Ok(Json(shown(shared.node().await?, app.id, found)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    paused: bool,
}

/// `PATCH /apps/{app}/triggers/{id}`: by id or name; pauses and resumes (D15).
pub(crate) async fn change(
    State(shared): Ctx,
    caller: Caller,
    Path((slug, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let change: Change = body::object(body).await?;
    let (app, _) = shared.app(&slug).await?;
    let not_found = || ApiError::not_found("trigger", &id);
    let trigger = find(&app, &id).ok_or_else(not_found)?;
    let command = Command::SwitchTrigger { app: slug.clone(), trigger, to: apps::switch(change.paused) };
    shared.submit(&caller, command).await?;
    let (app, _) = shared.app(&slug).await?;
    let changed = app.triggers.get(&trigger).ok_or_else(not_found)?;
    Ok(Json(shown(shared.node().await?, app.id, changed)).into_response())
}

/// `DELETE /apps/{app}/triggers/{id}`: by id or name.
pub(crate) async fn delete(
    State(shared): Ctx,
    caller: Caller,
    Path((slug, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let (app, _) = shared.app(&slug).await?;
    let trigger = find(&app, &id).ok_or_else(|| ApiError::not_found("trigger", &id))?;
    shared.submit(&caller, Command::DeleteTrigger { app: slug, trigger }).await?;
    Ok(no_content())
}
