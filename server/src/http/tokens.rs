//! `/tokens`: who may do what.
//!
//! Owns: their JSON, making the text that is shown once. Never does: keep that text; decide who may hand out which scope
//! (the engine does).

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::StatusCode;
use relive_engine::command::{Answer, Command, NewToken};
use relive_log::PrincipalId;
use relive_log::events::Scopes;
use relive_projections::{Registry, Token};
use serde::Deserialize;
use serde_json::{Value, json};

use super::apps::no_content;
use super::auth::{self, Caller, forbidden};
use super::error::{ApiError, ApiResult, ErrorCode};
use super::page::Page;
use super::query::{self, Query};
use super::{Ctx, body, dto};
use crate::clock;

fn shown(registry: &Registry, token: &Token) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes.names().collect::<Vec<_>>(),
        "app": token.app.and_then(|app| registry.app(app)).map(|app| &app.slug),
        "expires_at": dto::maybe_time(token.expires_at),
        "live": token.is_live(clock::now()),
        "created_at": dto::rfc3339(token.created_at),
        "created_by": dto::principal(&token.by),
        "lsn": token.lsn,
    })
}

/// Whether a token exists for a caller: those of its app, or all; tokens of the instance for its administrators only.
fn visible(caller: &Caller, token: &Token) -> bool {
    match token.app {
        Some(app) => caller.sees(app),
        None => caller.may(Scopes::INSTANCE_ADMIN),
    }
}

/// `GET /tokens`: `?app=` those of one app only.
pub(crate) async fn list(State(shared): Ctx, caller: Caller, RawQuery(query): RawQuery) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["app", "limit", "cursor"])?;
    let page = Page::of(&shared, &query, "tokens", caller.app)?;
    let (registry, now) = shared.registry().await?;
    let only = match query.get("app") {
        None => None,
        Some(slug) => {
            let app = registry.app_by_slug(slug).filter(|app| caller.sees(app.id));
            Some(app.ok_or_else(|| ApiError::not_found("app", slug))?.id)
        }
    };
    let wanted = |token: &&Token| visible(&caller, token) && only.is_none_or(|app| token.app == Some(app));
    let tokens = registry.tokens.values().map(|token| &**token).filter(wanted);
    let show = |token: &&Token| shown(&registry, token);
    Ok(page.answer_sorted(&shared, tokens, |token| token.id.to_string(), show, page.pinned(now)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    scopes: Vec<String>,
    app: Option<String>,
    expires_at: Option<String>,
}

fn scopes(names: &[String]) -> ApiResult<Scopes> {
    let known = || Scopes::NAMES.map(|(_, name)| name).join(", ");
    let one = |name: &String| {
        Scopes::by_name(name)
            .ok_or_else(|| ApiError::invalid("scopes", format!("`{name}` is not one of {}", known())))
    };
    names.iter().try_fold(Scopes::default(), |all, name| Ok(all.with(one(name)?)))
}

/// `POST /tokens`
pub(crate) async fn create(
    State(shared): Ctx,
    caller: Caller,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let asked: Create = body::object(body).await?;
    let registry = shared.node().await?.views().registry();
    match &asked.app {
        // A token that is bound to an app makes tokens of that app only.
        None => caller.require(Scopes::INSTANCE_ADMIN)?,
        Some(slug) => {
            let app = registry.app_by_slug(slug).filter(|app| caller.sees(app.id));
            app.ok_or_else(|| ApiError::not_found("app", slug))?;
        }
    }
    let expires_at =
        match &asked.expires_at {
            None => None,
            Some(text) => Some(query::parse_time(text).ok_or_else(|| {
                ApiError::invalid("expires_at", format!("`{text}` is not an RFC 3339 time"))
            })?),
        };
    let text = auth::new_text(clock::random());
    let new = NewToken {
        app: asked.app,
        name: asked.name,
        scopes: scopes(&asked.scopes)?,
        digest: auth::digest(text.as_bytes()),
        expires_at,
    };
    let done = shared.submit(&caller, Command::CreateToken(new)).await?;
    let Answer::Token(id) = done.answer else {
        return Err(ApiError::new(ErrorCode::Internal, "the new token has no id"));
    };
    let (registry, _) = shared.registry().await?;
    let token = registry.tokens.get(&id).ok_or_else(|| ApiError::not_found("token", id))?;
    let mut answer = shown(&registry, token);
    if let Value::Object(fields) = &mut answer {
        fields.insert("token".into(), text.into());
    }
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `DELETE /tokens/{id}`
pub(crate) async fn delete(
    State(shared): Ctx,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let missing = || ApiError::not_found("token", &id);
    let token: PrincipalId = id.parse().map_err(|_| missing())?;
    let registry = shared.node().await?.views().registry();
    let row = registry.tokens.get(&token).ok_or_else(missing)?;
    match row.app {
        Some(app) if !caller.sees(app) => return Err(missing()),
        None if caller.app.is_some() => return Err(missing()),
        None if !caller.may(Scopes::INSTANCE_ADMIN) => return Err(forbidden(Scopes::INSTANCE_ADMIN)),
        Some(_) | None => {}
    }
    shared.submit(&caller, Command::DeleteToken { token }).await?;
    Ok(no_content())
}
