//! `/apps`: tenants.
//!
//! Owns: their JSON. Never does: check slugs (the engine does).

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::LOCATION;
use relive_engine::command::{Command, Switch};
use relive_log::events::OutgoingCalls;
use relive_projections::{App, Views};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::ApiResult;
use super::page::{PAGING, Page};
use super::query::Query;
use super::{Ctx, body, dto};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApp {
    slug: String,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedApp {
    #[serde(default, deserialize_with = "present")]
    name: Option<Option<String>>,
    paused: Option<bool>,
    outgoing_calls: Option<bool>,
}

/// Tells `null` from absent.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

pub(crate) fn shown(app: &App, views: &Views) -> Value {
    json!({
        "slug": app.slug,
        "name": app.name,
        "id": app.id,
        "created_at": dto::rfc3339(app.created_at),
        "paused": app.paused.is_some(),
        "outgoing_calls": dto::outgoing_calls(app.outgoing_calls),
        "forked_from": app.line.first().map(|fork| dto::fork_base(&fork.base)),
        "pause": app.paused.as_ref().map_or(Value::Null, dto::app_pause),
        "scripts": app.scripts.values().filter(|script| script.current != 0).count(),
        "routes": app.routes.len(),
        "triggers": app.triggers.len(),
        "open_dead_letters": views.dead_letters().open_count(app.id),
    })
}

/// `GET /apps`: those that the caller may see.
pub(crate) async fn list(State(shared): Ctx, caller: Caller, RawQuery(query): RawQuery) -> ApiResult {
    let query = Query::parse(query.as_deref(), &PAGING)?;
    let page = Page::of(&shared, &query, "apps", caller.app)?;
    let (registry, now) = shared.registry().await?;
    let node = shared.node().await?;
    let apps =
        registry.by_slug.values().filter(|id| caller.sees(**id)).filter_map(|id| registry.apps.get(id));
    Ok(page.answer_sorted(
        &shared,
        apps,
        |app| app.slug.clone(),
        |app| shown(app, node.views()),
        page.pinned(now),
    ))
}

/// `POST /apps`
pub(crate) async fn create(
    State(shared): Ctx,
    caller: Caller,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let new: NewApp = body::object(body).await?;
    let slug = new.slug.clone();
    let done = shared.submit(&caller, Command::CreateApp { slug: new.slug, name: new.name }).await?;
    let (app, _) = shared.app(&slug).await?;
    let mut answer = shown(&app, shared.node().await?.views());
    if let Value::Object(fields) = &mut answer {
        fields.insert("lsn".into(), done.lsn.0.into());
    }
    Ok((StatusCode::CREATED, [(LOCATION, format!("/api/v1/apps/{slug}"))], Json(answer)).into_response())
}

/// `GET /apps/{app}`
pub(crate) async fn show(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let (app, _) = shared.app(&app).await?;
    Ok(Json(shown(&app, shared.node().await?.views())).into_response())
}

/// What `paused` asks for.
pub(crate) const fn switch(paused: bool) -> Switch {
    if paused { Switch::Paused } else { Switch::Running }
}

/// `PATCH /apps/{app}`
pub(crate) async fn change(
    State(shared): Ctx,
    caller: Caller,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let change: ChangedApp = body::object(body).await?;
    if let Some(name) = change.name {
        shared.submit(&caller, Command::ChangeApp { slug: slug.clone(), name }).await?;
    }
    if let Some(on) = change.outgoing_calls {
        let to = if on { OutgoingCalls::On } else { OutgoingCalls::Off };
        shared.submit(&caller, Command::SwitchCalls { app: slug.clone(), to }).await?;
    }
    if let Some(paused) = change.paused {
        shared.submit(&caller, Command::SwitchApp { app: slug.clone(), to: switch(paused) }).await?;
    }
    let (app, _) = shared.app(&slug).await?;
    Ok(Json(shown(&app, shared.node().await?.views())).into_response())
}

/// `DELETE /apps/{app}`
pub(crate) async fn delete(
    State(shared): Ctx,
    caller: Caller,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    shared.submit(&caller, Command::DeleteApp { slug }).await?;
    Ok(no_content())
}

/// 204.
pub(crate) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
