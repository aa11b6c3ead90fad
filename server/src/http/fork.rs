//! `POST /apps/{app}/fork`: an app that begins with another one's keys and configuration as of a moment.
//!
//! Owns: its JSON. Never does: copy anything (the engine's decision names what the fork reads through to).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::StatusCode;
use hyper::header::LOCATION;
use relive_engine::command::Command;
use serde::Deserialize;
use serde_json::Value;

use super::auth::Caller;
use super::error::{ApiError, ApiResult, Plane};
use super::kv::as_of;
use super::query::{Query, parse_instant};
use super::shared::blocking;
use super::{Ctx, apps, body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    slug: String,
    /// An LSN or a time; what is durable now if absent.
    at: Option<Value>,
}

/// `POST /apps/{app}/fork`
pub(crate) async fn fork(
    State(shared): Ctx,
    caller: Caller,
    Path(parent): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let ask: Ask = body::object(body).await?;
    let at = match &ask.at {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let at = at.map(|text| {
        parse_instant(&text).ok_or_else(|| {
            ApiError::invalid("at", format!("`{text}` is neither an LSN nor an RFC 3339 time"))
        })
    });
    let (app, _) = shared.app(&parent).await?;
    let at = as_of(&shared, at.transpose()?).await?;
    let node = Arc::clone(shared.node().await?);
    let plan = blocking(move || {
        node.fork_plan(&app, at).map_err(|error| ApiError::of_submit(error, Plane::Control))
    });
    let command = Command::Fork { slug: ask.slug.clone(), plan: plan.await? };
    let done = shared.submit(&caller, command).await?;
    let (app, _) = shared.app(&ask.slug).await?;
    let mut answer = apps::shown(&app, shared.node().await?.views());
    if let Value::Object(fields) = &mut answer {
        fields.insert("lsn".into(), done.lsn.0.into());
    }
    let location = format!("/api/v1/apps/{}", ask.slug);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(answer)).into_response())
}
