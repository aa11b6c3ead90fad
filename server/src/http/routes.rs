//! `/apps/{app}/routes`: method and path pattern to script.
//!
//! Owns: their JSON; fields are those of the manifest. Never does: match calls.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::StatusCode;
use relive_engine::command::{Answer, Command};
use relive_log::RouteId;

use super::apps::no_content;
use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::page::{PAGING, Page};
use super::query::Query;
use super::{Ctx, body, dto};
use crate::manifest;

fn parse(id: &str) -> ApiResult<RouteId> {
    id.parse().map_err(|_| ApiError::not_found("route", id))
}

/// `GET /apps/{app}/routes`
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &PAGING)?;
    let (app, now) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "routes", Some(app.id))?;
    let pinned = page.pinned(now);
    let routes = app.routes.values().filter(|route| route.lsn <= pinned);
    Ok(page.answer_sorted(&shared, routes, |route| route.id.to_string(), |route| dto::route(route), pinned))
}

/// `POST /apps/{app}/routes`
pub(crate) async fn create(
    State(shared): Ctx,
    caller: Caller,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let value = body::json(body, body::SMALL_MAX, "the limit of this request").await?;
    let spec = manifest::parse_route(&value, shared.node().await?.settings().retry)?;
    let done = shared.submit(&caller, Command::CreateRoute { app: slug.clone(), spec }).await?;
    let Answer::Route(id) = done.answer else {
        return Err(ApiError::new(ErrorCode::Internal, "the new route has no id"));
    };
    let (app, _) = shared.app(&slug).await?;
    let route = app.routes.get(&id).ok_or_else(|| ApiError::not_found("route", id))?;
    Ok((StatusCode::CREATED, Json(dto::route(route))).into_response())
}

/// `GET /apps/{app}/routes/{id}`
pub(crate) async fn show(
    State(shared): Ctx,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let (app, _) = shared.app(&app).await?;
    let route = app.routes.get(&parse(&id)?).ok_or_else(|| ApiError::not_found("route", &id))?;
    Ok(Json(dto::route(route)).into_response())
}

/// `DELETE /apps/{app}/routes/{id}`
pub(crate) async fn delete(
    State(shared): Ctx,
    caller: Caller,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    shared.submit(&caller, Command::DeleteRoute { app, route: parse(&id)? }).await?;
    Ok(no_content())
}
