//! Which request needs which scope: one table over every route of the admin API.
//!
//! Owns: [`RULES`] and the gate that asks them before a handler runs. Never does: know tokens (`auth`), or what depends
//! on a request's body (the handler asks for that itself: a deploy that makes an app, a replay with another source).
//!
//! A route without a rule is closed to everybody, so that none can be forgotten. To a token that is bound to an app,
//! other apps do not exist: their paths are 404, whatever the scopes. Invariant: E101.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::Method;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use relive_log::events::Scopes;

use super::auth::{Caller, caller};
use super::error::{ApiError, ApiResult, ErrorCode};
use super::query;
use super::shared::Shared;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Any live token.
    Any,
    /// All of these.
    All(&'static [Scopes]),
    /// This one; with `?at=`, which reads history, `log:read` instead.
    Now(Scopes),
}

use Need::{All, Any, Now};

const INSTANCE: Need = All(&[Scopes::INSTANCE_ADMIN]);
const ADMIN: Need = All(&[Scopes::APP_ADMIN]);
const READ: Need = All(&[Scopes::APP_READ]);
const SOURCE: Need = All(&[Scopes::SCRIPT_READ]);
const WRITE: Need = All(&[Scopes::SCRIPT_WRITE]);
const LOG: Need = All(&[Scopes::LOG_READ]);
const KV: Need = Now(Scopes::SCRIPT_READ);
const DEPLOY: Need = All(&[Scopes::APP_ADMIN, Scopes::SCRIPT_WRITE]);
const REPLAY: Need = All(&[Scopes::SCRIPT_EXECUTE, Scopes::LOG_READ]);
const UNDO: Need = All(&[Scopes::SCRIPT_WRITE, Scopes::LOG_READ]);

/// Method, path below `/api/v1`, need; in the order of the contract's tables.
const RULES: &[(&str, &str, Need)] = &[
    ("GET", "/apps", Any),
    ("POST", "/apps", INSTANCE),
    ("GET", "/apps/{app}", READ),
    ("PATCH", "/apps/{app}", ADMIN),
    ("DELETE", "/apps/{app}", INSTANCE),
    ("POST", "/apps/{app}/deploy", DEPLOY),
    ("POST", "/apps/{app}/fork", INSTANCE),
    ("GET", "/apps/{app}/scripts", SOURCE),
    ("GET", "/apps/{app}/scripts/{name}", SOURCE),
    ("PUT", "/apps/{app}/scripts/{name}", WRITE),
    ("DELETE", "/apps/{app}/scripts/{name}", WRITE),
    ("GET", "/apps/{app}/scripts/{name}/versions", READ),
    ("POST", "/apps/{app}/scripts/{name}/execute", All(&[Scopes::SCRIPT_EXECUTE])),
    ("POST", "/apps/{app}/scripts/{name}/backtest", REPLAY),
    ("GET", "/apps/{app}/routes", READ),
    ("POST", "/apps/{app}/routes", ADMIN),
    ("GET", "/apps/{app}/routes/{id}", READ),
    ("DELETE", "/apps/{app}/routes/{id}", ADMIN),
    ("GET", "/apps/{app}/triggers", READ),
    ("POST", "/apps/{app}/triggers", ADMIN),
    ("GET", "/apps/{app}/triggers/{id}", READ),
    ("PATCH", "/apps/{app}/triggers/{id}", ADMIN),
    ("DELETE", "/apps/{app}/triggers/{id}", ADMIN),
    ("GET", "/apps/{app}/kv", KV),
    ("GET", "/apps/{app}/kv/{collection}", KV),
    ("GET", "/apps/{app}/kv/{collection}/{key}", KV),
    ("PUT", "/apps/{app}/kv/{collection}/{key}", WRITE),
    ("DELETE", "/apps/{app}/kv/{collection}/{key}", WRITE),
    ("GET", "/apps/{app}/kv/{collection}/{key}/history", LOG),
    ("GET", "/apps/{app}/kv/{collection}/{key}/readers", LOG),
    ("GET", "/apps/{app}/kv-diff", LOG),
    ("GET", "/apps/{app}/kv-export", KV),
    ("POST", "/apps/{app}/kv-import", WRITE),
    ("GET", "/apps/{app}/executions", LOG),
    ("GET", "/apps/{app}/executions/{id}", LOG),
    ("GET", "/apps/{app}/executions/{id}/trace", LOG),
    ("POST", "/apps/{app}/executions/{id}/replay", REPLAY),
    ("POST", "/apps/{app}/executions/{id}/steps", REPLAY),
    ("POST", "/apps/{app}/executions/{id}/bisect", REPLAY),
    ("GET", "/apps/{app}/executions/{id}/capsule", REPLAY),
    ("POST", "/apps/{app}/executions/{id}/undo", UNDO),
    ("GET", "/apps/{app}/outbox", READ),
    ("GET", "/apps/{app}/dead-letters", READ),
    ("GET", "/apps/{app}/dead-letters/{id}", READ),
    ("GET", "/apps/{app}/dead-letters/groups", READ),
    ("POST", "/apps/{app}/dead-letters/{id}/redrive", ADMIN),
    ("POST", "/apps/{app}/dead-letters/{id}/resolve", ADMIN),
    ("POST", "/apps/{app}/dead-letters/redrive", ADMIN),
    ("POST", "/apps/{app}/dead-letters/resolve", ADMIN),
    ("GET", "/apps/{app}/jobs", READ),
    ("GET", "/apps/{app}/jobs/{id}", READ),
    ("DELETE", "/apps/{app}/jobs/{id}", ADMIN),
    ("GET", "/apps/{app}/abandoned", READ),
    ("POST", "/apps/{app}/queues/{queue}", WRITE),
    ("GET", "/apps/{app}/log", LOG),
    ("GET", "/apps/{app}/log/stream", LOG),
    ("GET", "/tokens", ADMIN),
    ("POST", "/tokens", ADMIN),
    ("DELETE", "/tokens/{id}", ADMIN),
    ("GET", "/apps/{app}/secrets", READ),
    ("PUT", "/apps/{app}/secrets/{name}", ADMIN),
    ("DELETE", "/apps/{app}/secrets/{name}", ADMIN),
    ("GET", "/instance", Any),
    ("GET", "/instance/log", INSTANCE),
    ("GET", "/holds", INSTANCE),
    ("POST", "/holds", INSTANCE),
    ("DELETE", "/holds/{name}", INSTANCE),
];

fn need(method: &Method, path: &str) -> Option<Need> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let rule = RULES.iter().find(|(known, template, _)| *known == method && *template == path);
    rule.map(|(.., need)| *need)
}

fn check(need: Need, caller: &Caller, query: Option<&str>) -> ApiResult<()> {
    match need {
        Any => Ok(()),
        All(scopes) => scopes.iter().try_for_each(|scope| caller.require(*scope)),
        Now(scope) => {
            let past = query.is_some_and(|query| query::pairs(query).iter().any(|(name, _)| name == "at"));
            caller.require(if past { Scopes::LOG_READ } else { scope })
        }
    }
}

/// Lets a request pass whose token is live and holds the scopes that it needs.
pub(crate) async fn gate(
    State(shared): State<Arc<Shared>>,
    matched: Option<MatchedPath>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(&shared, matched.as_ref(), params.ok().as_ref(), &parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refused) => refused.into_response(),
    }
}

async fn admit(
    shared: &Shared,
    matched: Option<&MatchedPath>,
    params: Option<&RawPathParams>,
    request: &Parts,
) -> ApiResult<Caller> {
    let caller = caller(shared, &request.headers).await?;
    if percent_decode_str(request.uri.path()).decode_utf8().is_err() {
        return Err(ApiError::invalid("path", "is not UTF-8 once decoded"));
    }
    // Without a match the request ends as 404.
    let Some(matched) = matched else { return Ok(caller) };
    if let Some(own) = caller.app
        && let Some((_, slug)) = params.and_then(|params| params.iter().find(|(name, _)| *name == "app"))
    {
        let registry = shared.node().await?.views().registry();
        if registry.app_by_slug(slug).is_none_or(|app| app.id != own) {
            return Err(ApiError::not_found("app", slug));
        }
    }
    let path = matched.as_str();
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    match need(&request.method, path) {
        Some(need) => check(need, &caller, request.uri.query()).map(|()| caller),
        // A method that the path does not take is 405; where there is a handler, a rule was forgotten.
        None if RULES.iter().any(|(_, known, _)| *known == path) => Ok(caller),
        None => {
            let text = format!("{path} has no rule of scopes: closed (an error of Relive)");
            Err(ApiError::new(ErrorCode::Internal, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use relive_log::events::Principal;

    use super::*;
    use crate::http::auth::forbidden;

    fn holder(scopes: &str) -> Caller {
        let scopes = scopes.split(' ').filter_map(Scopes::by_name).fold(Scopes::default(), Scopes::with);
        Caller { principal: Principal { scopes, ..Principal::instance() }, app: None }
    }

    #[test]
    fn e101_a_route_stands_once_in_the_table_of_scopes() {
        for (at, (method, path, _)) in RULES.iter().enumerate() {
            let twice = RULES.iter().take(at).any(|(m, p, _)| m == method && p == path);
            assert!(!twice, "{method} {path}");
        }
        assert_eq!(need(&Method::HEAD, "/instance"), Some(Any));
        assert_eq!(need(&Method::GET, "/nothing"), None);
    }

    #[test]
    fn every_scope_of_a_rule_is_needed_and_the_missing_one_is_named() {
        for (scopes, query, need, missing) in [
            ("instance:admin", "", DEPLOY, None),
            ("app:admin script:write", "", DEPLOY, None),
            ("app:admin", "", DEPLOY, Some("script:write")),
            ("script:write", "", DEPLOY, Some("app:admin")),
            ("app:admin", "", READ, None),
            ("app:read", "", ADMIN, Some("app:admin")),
            ("script:read", "", KV, None),
            ("log:read", "", KV, Some("script:read")),
            ("log:read", "prefix=a&at=3", KV, None),
            ("script:read", "at=3", KV, Some("log:read")),
            ("script:read", "cat=3", KV, None),
            ("", "", Any, None),
        ] {
            let got = check(need, &holder(scopes), Some(query));
            match missing {
                None => assert!(got.is_ok(), "{scopes} {query}"),
                Some(scope) => {
                    let error = format!("{:?}", got.unwrap_err());
                    assert!(error.contains(&format!("`{scope}`")), "{scopes} {query}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_refusal_of_several_scopes_names_the_first() {
        assert!(format!("{:?}", forbidden(Scopes::LOG_READ)).contains("log:read"));
    }
}
