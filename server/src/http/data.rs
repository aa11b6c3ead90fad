//! The data plane: user routes at `/{app}/{path…}`, any method.
//!
//! Owns: what a call looks like to the engine, what an outcome looks like to the caller, and noticing that the
//! caller went away (D5). Never does: block, take a lock, or show a script's internals to strangers.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use relive_engine::node::{Accepted, Delivery, Node, Outcome, Reply, RouteCall, RouteMatch};
use relive_engine::refusal::SubmitError;
use relive_engine::script;
use relive_log::ExecutionId;
use relive_log::events::DispatchMode;
use serde_json::json;
use tokio::sync::oneshot;

use super::auth::{TokenFinder, UserHeaders};
use super::error::{ApiError, ApiResult, ErrorCode, Plane};
use super::shared::{Shared, stopped};
use super::{EXECUTION_HEADER, LSN_HEADER, body, query, rfc3339};

/// Answers calls of user routes.
#[derive(Clone)]
pub(crate) struct DataPlane(Arc<Shared>);

/// Tells the node when the caller went away before its outcome came.
pub(crate) struct CallerGuard(Option<(Arc<Node>, ExecutionId)>);

impl CallerGuard {
    /// Watches over a call.
    pub(crate) const fn new(node: Arc<Node>, execution: ExecutionId) -> CallerGuard {
        CallerGuard(Some((node, execution)))
    }

    /// The outcome came.
    pub(crate) fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for CallerGuard {
    fn drop(&mut self) {
        if let Some((node, execution)) = self.0.take() {
            node.caller_gone(execution);
        }
    }
}

impl DataPlane {
    /// Over what handlers share.
    pub(crate) const fn new(shared: Arc<Shared>) -> DataPlane {
        DataPlane(shared)
    }

    /// Answers one request.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Response {
        self.call(request).await.unwrap_or_else(IntoResponse::into_response)
    }

    async fn call(&self, request: Request<Incoming>) -> ApiResult {
        let node = self.0.node().await?;
        let (parts, incoming) = request.into_parts();
        let path = parts.uri.path();
        let (slug, rest) = split(path);
        let registry = node.views().registry();
        let app = registry.app_by_slug(slug).ok_or_else(|| ApiError::not_found("app", slug))?;
        let (route, params) = match node.match_route(app, parts.method.as_str(), rest) {
            RouteMatch::Found { route, params } => (route, params),
            RouteMatch::WrongMethod { allow } => {
                let allow = allow.join(", ");
                let text = format!("{rest} of app `{slug}` takes {allow}");
                return Err(ApiError::new(ErrorCode::MethodNotAllowed, text).header(ALLOW, &allow));
            }
            RouteMatch::NotFound => {
                return Err(ApiError::new(ErrorCode::NotFound, format!("app `{slug}` has no route {rest}")));
            }
        };
        let max = node.settings().request_body_max;
        let bytes = body::read(incoming, max, "RELIVE_MAX_REQUEST_BODY").await?;
        let finder = TokenFinder {
            instance: &self.0.parts.token,
            registry: &registry,
            app: app.id,
            now: crate::clock::now(),
        };
        let UserHeaders { headers, principal } = finder.take(&parts.headers);
        let request = script::Request {
            method: parts.method.as_str().to_owned(),
            path: rest.to_owned(),
            params,
            query: parts.uri.query().map(query::pairs).unwrap_or_default(),
            headers,
            body: bytes.into(),
        };
        let mode = app.routes.get(&route).map_or(DispatchMode::Sync, |route| route.spec.mode);
        let call = RouteCall { app: Arc::clone(app), route, request, principal };
        match mode {
            DispatchMode::Sync => self.sync(node, call).await,
            DispatchMode::Async => self.later(node, call).await,
        }
    }

    async fn sync(&self, node: &Arc<Node>, call: RouteCall) -> ApiResult {
        let (send, receive) = oneshot::channel();
        let reply = Box::new(move |outcome: Outcome| match send.send(outcome) {
            Ok(()) => Delivery::Delivered,
            Err(_) => Delivery::Gone,
        });
        let execution = node.call(call, reply).map_err(|error| ApiError::of_submit(error, Plane::Data))?;
        let guard = CallerGuard::new(Arc::clone(node), execution);
        let outcome = receive.await;
        guard.answered();
        let outcome = outcome.map_err(|_| stopped())?;
        Ok(self.outcome(outcome))
    }

    fn outcome(&self, outcome: Outcome) -> Response {
        let response = match outcome.result {
            Ok(Reply::Response(response)) => response,
            Ok(Reply::Value(value)) => script::Response {
                status: 200,
                headers: Vec::new(),
                content_type: Some("application/json".to_owned()),
                body: value.to_vec(),
            },
            Err(error) => {
                let internals = self.0.parts.internals;
                return ApiError::of_execution(&error, outcome.execution, outcome.lsn, internals)
                    .into_response();
            }
        };
        let mut answer = Response::new(Body::from(response.body));
        *answer.status_mut() =
            StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = answer.headers_mut();
        for (name, value) in response.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        if let Some(value) = response.content_type.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(CONTENT_TYPE, value);
        }
        let mut id = [0; 36];
        let id: &str = outcome.execution.0.hyphenated().encode_lower(&mut id);
        if let Ok(value) = HeaderValue::from_str(id) {
            headers.insert(EXECUTION_HEADER, value);
        }
        headers.insert(LSN_HEADER, HeaderValue::from(outcome.lsn.0));
        answer
    }

    async fn later(&self, node: &Arc<Node>, call: RouteCall) -> ApiResult {
        let (send, receive) = oneshot::channel::<Result<Accepted, SubmitError>>();
        node.call_async(call, Box::new(move |result| drop(send.send(result))));
        let accepted = receive.await.map_err(|_| stopped())?;
        let accepted = accepted.map_err(|error| ApiError::of_submit(error, Plane::Data))?;
        let id = accepted.execution.to_string();
        let body = json!({"accepted_at": rfc3339(accepted.at), "execution_id": id}).to_string();
        let headers = [
            (CONTENT_TYPE, "application/json".to_owned()),
            (EXECUTION_HEADER, id),
            (LSN_HEADER, accepted.lsn.to_string()),
        ];
        Ok((StatusCode::ACCEPTED, headers, body).into_response())
    }
}

/// Slug and the rest, which starts with a slash.
fn split(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    match path.find('/') {
        Some(at) => path.split_at(at),
        None => (path, "/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segment_is_the_app() {
        for (path, want) in [
            ("/shop/orders/1", ("shop", "/orders/1")),
            ("/shop/", ("shop", "/")),
            ("/shop", ("shop", "/")),
            ("/", ("", "/")),
        ] {
            assert_eq!(split(path), want, "{path}");
        }
    }
}
