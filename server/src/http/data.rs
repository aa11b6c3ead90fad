//! The data plane: user routes at `/{app}/{path…}`, any method.
//!
//! Owns: what a call looks like to the engine, what an outcome looks like to the caller, and noticing that the
//! caller went away (D5). Never does: block, take a lock, or show a script's internals to strangers.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use relive_engine::node::{
    Accepted, Called, Delivery, FirstCall, Idempotency, Node, Outcome, Reply, RouteCall, RouteMatch,
};
use relive_engine::refusal::SubmitError;
use relive_engine::script;
use relive_log::ExecutionId;
use relive_log::events::{DispatchMode, ErrorKind};
use relive_projections::ExecutionRow;
use serde_json::json;
use tokio::sync::oneshot;

use super::auth::{TokenFinder, UserHeaders};
use super::error::{ApiError, ApiResult, ErrorCode, Plane};
use super::shared::{Shared, blocking, stopped};
use super::{EXECUTION_HEADER, LSN_HEADER, body, query, rfc3339};

/// Makes a call run once (D14).
const IDEMPOTENCY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is that of an earlier call.
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

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
        self.0.admit().await?;
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
        let idempotency = idempotency(&parts.headers, parts.uri.query())?;
        let call = RouteCall { app: Arc::clone(app), route, request, principal, idempotency };
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
        match node.call(call, reply).map_err(|error| ApiError::of_submit(error, Plane::Data))? {
            Called::Runs(execution) => {
                let guard = CallerGuard::new(Arc::clone(node), execution);
                let outcome = receive.await;
                guard.answered();
                Ok(self.outcome(outcome.map_err(|_| stopped())?))
            }
            Called::Follows(_) => {
                let outcome = receive.await.map_err(|_| stopped())?;
                let replayed = was_remembered(&outcome);
                let answer = self.outcome(outcome);
                Ok(if replayed { as_replayed(answer) } else { answer })
            }
            Called::Remembered(row) => self.remembered(node, row).await,
        }
    }

    /// The outcome of an earlier call with the same `Idempotency-Key` (D14).
    async fn remembered(&self, node: &Arc<Node>, row: Box<ExecutionRow>) -> ApiResult {
        let Some(ended) = row.ended_at.filter(|_| row.source.reply_to()) else {
            // The route was an async one when the first call came.
            self.0.durable(row.enqueued.lsn).await?;
            let (execution, at, lsn) = (row.execution, row.enqueued.time, row.enqueued.lsn);
            return Ok(accepted_answer(&Accepted { execution, at, lsn, first: FirstCall::Earlier }));
        };
        self.0.durable(ended.lsn).await?;
        let node = Arc::clone(node);
        let read = move || node.remembered(&row).map_err(|f| ApiError::of_failure(&f, Plane::Data));
        Ok(as_replayed(self.outcome(blocking(read).await?)))
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
        Ok(accepted_answer(&accepted))
    }
}

/// 202, naming the execution.
fn accepted_answer(accepted: &Accepted) -> Response {
    let id = accepted.execution.to_string();
    let body = json!({"accepted_at": rfc3339(accepted.at), "execution_id": id}).to_string();
    let headers = [
        (CONTENT_TYPE, "application/json".to_owned()),
        (EXECUTION_HEADER, id),
        (LSN_HEADER, accepted.lsn.to_string()),
    ];
    let answer = (StatusCode::ACCEPTED, headers, body).into_response();
    match accepted.first {
        FirstCall::This => answer,
        FirstCall::Earlier => as_replayed(answer),
    }
}

/// Says that the answer is that of an earlier call.
fn as_replayed(mut answer: Response) -> Response {
    answer.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    answer
}

/// Whether an outcome counts for later calls with its key; a shutdown frees it.
fn was_remembered(outcome: &Outcome) -> bool {
    !matches!(&outcome.result, Err(error) if error.kind == ErrorKind::ShuttingDown)
}

/// The `Idempotency-Key` of a call, and what else makes two calls the same.
fn idempotency(headers: &hyper::HeaderMap, query: Option<&str>) -> ApiResult<Option<Idempotency>> {
    let mut values = headers.get_all(IDEMPOTENCY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    let max = Idempotency::KEY_BYTES_MAX;
    if values.next().is_some() || key.is_empty() || key.len() > max {
        let text = format!("it is one value of 1 to {max} visible ASCII characters");
        return Err(ApiError::invalid(IDEMPOTENCY_HEADER.as_str(), text));
    }
    let sent: Vec<_> = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes).collect();
    let authorization =
        (!sent.is_empty()).then(|| String::from_utf8_lossy(&sent.join(b"\0".as_slice())).into_owned());
    let query = query.unwrap_or_default().to_owned();
    Ok(Some(Idempotency { key: key.to_owned(), query, authorization }))
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
