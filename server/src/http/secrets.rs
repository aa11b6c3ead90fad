//! `/apps/{app}/secrets`: names only; values go in and never come out.
//!
//! Owns: their JSON. Never does: keep or log a value.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use relive_engine::command::{Answer, Command};
use serde::Deserialize;
use serde_json::json;

use super::apps::no_content;
use super::auth::Caller;
use super::error::ApiResult;
use super::page::{PAGING, Page};
use super::query::Query;
use super::{Ctx, body, dto};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    value: String,
}

/// `GET /apps/{app}/secrets`
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &PAGING)?;
    let (app, now) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "secrets", Some(app.id))?;
    let show = |secret: &&relive_projections::Secret| {
        json!({
            "name": secret.name,
            "version": secret.version,
            "set_at": dto::rfc3339(secret.set_at),
            "set_by": dto::principal(&secret.by),
            "lsn": secret.lsn,
        })
    };
    Ok(page.answer_sorted(
        &shared,
        app.secrets.values(),
        |secret| secret.name.clone(),
        show,
        page.pinned(now),
    ))
}

/// `PUT /apps/{app}/secrets/{name}`
pub(crate) async fn put(
    State(shared): Ctx,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let secret: NewSecret = body::object(body).await?;
    let done =
        shared.submit(&caller, Command::SetSecret { app, name: name.clone(), value: secret.value }).await?;
    let version = match done.answer {
        Answer::Version(version) => Some(version),
        Answer::Done
        | Answer::Route(_)
        | Answer::Trigger(_)
        | Answer::Token(_)
        | Answer::Job(_)
        | Answer::Key(_)
        | Answer::Changes(_)
        | Answer::Execution(_) => None,
    };
    Ok(Json(json!({"name": name, "version": version, "lsn": done.lsn})).into_response())
}

/// `DELETE /apps/{app}/secrets/{name}`
pub(crate) async fn delete(
    State(shared): Ctx,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    shared.submit(&caller, Command::DeleteSecret { app, name }).await?;
    Ok(no_content())
}
