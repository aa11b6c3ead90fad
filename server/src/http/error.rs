//! What is wrong, for the outside: one `ApiError`, one alphabetised `ErrorCode`, RFC 9457 documents.
//!
//! Owns: codes, their statuses, the mapping from refusals and failures of the engine. Never does: log.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use relive_engine::refusal::{Failure, Refusal, SubmitError};
use relive_log::events::{ErrorKind, ErrorRecord};
use relive_log::{ExecutionId, Lsn};
use serde_json::{Map, Value, json};

use crate::manifest::ManifestError;

/// Stable codes of problem documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ErrorCode {
    AppPaused,
    BadCursor,
    BadResponse,
    BelowHorizon,
    BodyTooLarge,
    CallDepth,
    Conflict,
    Crashed,
    Duplicate,
    FanOut,
    Forbidden,
    IdempotencyKeyReused,
    InTheFuture,
    Internal,
    Invalid,
    InvalidJson,
    InvalidManifest,
    KeyMissing,
    LogGap,
    Memory,
    MethodNotAllowed,
    NoCode,
    NoSpace,
    NotEnded,
    NotFound,
    NotRecorded,
    NotSupported,
    Operations,
    Overloaded,
    Parse,
    Permission,
    PreconditionFailed,
    ReadFailed,
    Rebuilding,
    RequestTimeout,
    Runtime,
    ScriptMissing,
    ShuttingDown,
    Size,
    StepOutOfRange,
    Throw,
    Timeout,
    TooLarge,
    Unauthorized,
    UnknownParameter,
    UnknownQueue,
    Writes,
}

impl ErrorCode {
    /// Every code with its name and status.
    pub(crate) const ALL: [(ErrorCode, &'static str, u16); 47] = [
        (ErrorCode::AppPaused, "app_paused", 503),
        (ErrorCode::BadCursor, "bad_cursor", 422),
        (ErrorCode::BadResponse, "bad_response", 502),
        (ErrorCode::BelowHorizon, "below_horizon", 410),
        (ErrorCode::BodyTooLarge, "body_too_large", 413),
        (ErrorCode::CallDepth, "call_depth", 507),
        (ErrorCode::Conflict, "conflict", 409),
        (ErrorCode::Crashed, "crashed", 500),
        (ErrorCode::Duplicate, "duplicate", 409),
        (ErrorCode::FanOut, "fan_out", 507),
        (ErrorCode::Forbidden, "forbidden", 403),
        (ErrorCode::IdempotencyKeyReused, "idempotency_key_reused", 422),
        (ErrorCode::InTheFuture, "in_the_future", 422),
        (ErrorCode::Internal, "internal", 500),
        (ErrorCode::Invalid, "invalid", 422),
        (ErrorCode::InvalidJson, "invalid_json", 400),
        (ErrorCode::InvalidManifest, "invalid_manifest", 422),
        (ErrorCode::KeyMissing, "key_missing", 422),
        (ErrorCode::LogGap, "log_gap", 500),
        (ErrorCode::Memory, "memory", 507),
        (ErrorCode::MethodNotAllowed, "method_not_allowed", 405),
        (ErrorCode::NoCode, "no_code", 422),
        (ErrorCode::NoSpace, "no_space", 503),
        (ErrorCode::NotEnded, "not_ended", 409),
        (ErrorCode::NotFound, "not_found", 404),
        (ErrorCode::NotRecorded, "not_recorded", 409),
        (ErrorCode::NotSupported, "not_supported", 422),
        (ErrorCode::Operations, "operations", 507),
        (ErrorCode::Overloaded, "overloaded", 503),
        (ErrorCode::Parse, "parse", 422),
        (ErrorCode::Permission, "permission", 422),
        (ErrorCode::PreconditionFailed, "precondition_failed", 412),
        (ErrorCode::ReadFailed, "read_failed", 500),
        (ErrorCode::Rebuilding, "rebuilding", 503),
        (ErrorCode::RequestTimeout, "request_timeout", 408),
        (ErrorCode::Runtime, "runtime", 422),
        (ErrorCode::ScriptMissing, "script_missing", 422),
        (ErrorCode::ShuttingDown, "shutting_down", 503),
        (ErrorCode::Size, "size", 507),
        (ErrorCode::StepOutOfRange, "step_out_of_range", 422),
        (ErrorCode::Throw, "throw", 422),
        (ErrorCode::Timeout, "timeout", 504),
        (ErrorCode::TooLarge, "too_large", 422),
        (ErrorCode::Unauthorized, "unauthorized", 401),
        (ErrorCode::UnknownParameter, "unknown_parameter", 422),
        (ErrorCode::UnknownQueue, "unknown_queue", 404),
        (ErrorCode::Writes, "writes", 507),
    ];

    /// The name on the outside.
    pub(crate) fn name(self) -> &'static str {
        ErrorCode::ALL.iter().find(|(code, ..)| *code == self).map_or("internal", |(_, name, _)| name)
    }

    /// The HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        let status =
            ErrorCode::ALL.iter().find(|(code, ..)| *code == self).map_or(500, |(.., status)| *status);
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code of an execution's error.
    pub(crate) const fn of_kind(kind: ErrorKind) -> ErrorCode {
        match kind {
            ErrorKind::Parse => ErrorCode::Parse,
            ErrorKind::Runtime => ErrorCode::Runtime,
            ErrorKind::Throw => ErrorCode::Throw,
            ErrorKind::Permission => ErrorCode::Permission,
            ErrorKind::ScriptMissing => ErrorCode::ScriptMissing,
            ErrorKind::KeyMissing => ErrorCode::KeyMissing,
            ErrorKind::BadResponse => ErrorCode::BadResponse,
            ErrorKind::Overloaded => ErrorCode::Overloaded,
            ErrorKind::ShuttingDown => ErrorCode::ShuttingDown,
            ErrorKind::Timeout => ErrorCode::Timeout,
            ErrorKind::Operations => ErrorCode::Operations,
            ErrorKind::CallDepth => ErrorCode::CallDepth,
            ErrorKind::Size => ErrorCode::Size,
            ErrorKind::Memory => ErrorCode::Memory,
            ErrorKind::Writes => ErrorCode::Writes,
            ErrorKind::FanOut => ErrorCode::FanOut,
            ErrorKind::Crashed => ErrorCode::Crashed,
            // No caller waits for work that was open when events were lost.
            ErrorKind::Internal => ErrorCode::Internal,
            ErrorKind::LogGap => ErrorCode::LogGap,
            ErrorKind::NoSpace => ErrorCode::NoSpace,
        }
    }
}

/// Which listener answers: a full disk is 503 on the data plane, 507 on the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plane {
    /// User routes.
    Data,
    /// The admin API.
    Control,
}

/// How much of a script's error the caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Internals {
    /// Message and line.
    Shown,
    /// Neither.
    Hidden,
}

/// A problem on its way out.
#[derive(Debug)]
pub(crate) struct ApiError {
    name: &'static str,
    status: StatusCode,
    detail: String,
    extra: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What handlers answer.
pub(crate) type ApiResult<T = Response> = Result<T, ApiError>;

impl ApiError {
    /// A problem with a text for people.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> ApiError {
        let mut headers = Vec::new();
        if code.status() == StatusCode::SERVICE_UNAVAILABLE {
            // A pause lasts until a person ends it.
            let seconds = if code == ErrorCode::AppPaused { "30" } else { "1" };
            headers.push((header::RETRY_AFTER, HeaderValue::from_static(seconds)));
        }
        if code == ErrorCode::Unauthorized {
            headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        let (name, status) = (code.name(), code.status());
        ApiError { name, status, detail: detail.into(), extra: Map::new(), headers }
    }

    /// There is no such thing.
    pub(crate) fn not_found(what: &str, name: impl std::fmt::Display) -> ApiError {
        ApiError::new(ErrorCode::NotFound, format!("there is no {what} `{name}`"))
    }

    /// A field or parameter makes no sense.
    pub(crate) fn invalid(field: &str, problem: impl std::fmt::Display) -> ApiError {
        ApiError::new(ErrorCode::Invalid, format!("{field}: {problem}")).with("field", field)
    }

    /// What it says.
    pub(crate) fn text(&self) -> &str {
        &self.detail
    }

    /// Its status.
    pub(crate) const fn status_code(&self) -> u16 {
        self.status.as_u16()
    }

    /// The problem document (RFC 9457).
    pub(crate) fn document(&self) -> Value {
        let mut document = Map::new();
        document.insert("type".into(), "about:blank".into());
        document.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        document.insert("status".into(), self.status.as_u16().into());
        document.insert("code".into(), self.name.into());
        document.insert("detail".into(), self.detail.as_str().into());
        document.extend(self.extra.iter().map(|(name, value)| (name.clone(), value.clone())));
        Value::Object(document)
    }

    /// With another member in the document.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> ApiError {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// With a header.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> ApiError {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// What an execution failed with.
    pub(crate) fn of_execution(
        error: &ErrorRecord,
        execution: ExecutionId,
        lsn: Lsn,
        internals: Internals,
    ) -> ApiError {
        let code = ErrorCode::of_kind(error.kind);
        let problem = match internals {
            Internals::Shown => {
                let problem =
                    ApiError::new(code, error.message.clone()).with("message", error.message.clone());
                if error.line == 0 {
                    problem
                } else {
                    problem.with("line", error.line).with("column", error.column)
                }
            }
            Internals::Hidden => ApiError::new(code, hidden_detail(code)),
        };
        let id = execution.to_string();
        problem
            .with("kind", error.kind.name())
            .with("execution_id", id.as_str())
            .header(super::EXECUTION_HEADER, &id)
            .header(super::LSN_HEADER, &lsn.to_string())
    }

    /// What the engine refused or failed with.
    pub(crate) fn of_submit(error: SubmitError, plane: Plane) -> ApiError {
        match error {
            SubmitError::Refused(refusal) => ApiError::of_refusal(refusal),
            SubmitError::Failed(failure) => ApiError::of_failure(&failure, plane),
        }
    }

    /// A domain no.
    pub(crate) fn of_refusal(refusal: Refusal) -> ApiError {
        let text = refusal.to_string();
        match refusal {
            Refusal::NotFound { what, .. } => ApiError::new(ErrorCode::NotFound, text).with("what", what),
            Refusal::Exists { what, .. } => ApiError::new(ErrorCode::Duplicate, text).with("what", what),
            Refusal::Forbidden { scope } => ApiError::new(ErrorCode::Forbidden, text).with("scope", scope),
            Refusal::KeyReused { execution } => ApiError::new(ErrorCode::IdempotencyKeyReused, text)
                .with("execution_id", execution.to_string()),
            Refusal::Conflict { code, .. } => {
                ApiError { name: code, ..ApiError::new(ErrorCode::Conflict, text) }
            }
            Refusal::UndoConflicts { conflicts, .. } => {
                let conflicts: Vec<Value> = conflicts.iter().map(super::undo::conflict).collect();
                ApiError { name: "undo_conflicts", ..ApiError::new(ErrorCode::Conflict, text) }
                    .with("conflicts", conflicts)
            }
            Refusal::Precondition { current } => {
                ApiError::new(ErrorCode::PreconditionFailed, text).with("current", json!(current))
            }
            Refusal::Invalid { field, .. } => ApiError::new(ErrorCode::Invalid, text).with("field", field),
            Refusal::BelowHorizon { first } => {
                ApiError::new(ErrorCode::BelowHorizon, text).with("horizon", first.0)
            }
            Refusal::TooLarge { what, limit, setting, .. } => {
                let body = ["body", "value", "source", "batch"].iter().any(|part| what.contains(part));
                let code = if body { ErrorCode::BodyTooLarge } else { ErrorCode::TooLarge };
                ApiError::new(code, text).with("limit", limit).with("setting", setting)
            }
            Refusal::Source { script, message, line, column } => ApiError::new(ErrorCode::Parse, text)
                .with("kind", "parse")
                .with("script", script)
                .with("message", message)
                .with("line", line)
                .with("column", column),
            Refusal::Overloaded { .. } => ApiError::new(ErrorCode::Overloaded, text),
            Refusal::UnknownQueue { .. } => ApiError::new(ErrorCode::UnknownQueue, text),
            Refusal::AppPaused { .. } => {
                ApiError::new(ErrorCode::AppPaused, text).with("kind", ErrorCode::AppPaused.name())
            }
            Refusal::ShuttingDown => ApiError::new(ErrorCode::ShuttingDown, text),
        }
    }

    /// The world broke.
    pub(crate) fn of_failure(failure: &Failure, plane: Plane) -> ApiError {
        let text = failure.to_string();
        match failure {
            Failure::Log { .. } => ApiError::new(ErrorCode::Internal, text),
            Failure::Read { .. } => ApiError::new(ErrorCode::ReadFailed, text),
            Failure::NoSpace { .. } => {
                let problem = ApiError::new(ErrorCode::NoSpace, text);
                match plane {
                    Plane::Data => problem,
                    Plane::Control => {
                        ApiError { status: StatusCode::INSUFFICIENT_STORAGE, headers: Vec::new(), ..problem }
                    }
                }
            }
        }
    }
}

/// What an anonymous caller is told.
fn hidden_detail(code: ErrorCode) -> &'static str {
    match code.status().as_u16() {
        422 => "the script failed",
        502 => "the script's answer is not a valid response",
        503 => "the call was not admitted; try again",
        504 => "the call took too long",
        507 => "the script used up a budget",
        _ => "internal error",
    }
}

impl From<ManifestError> for ApiError {
    fn from(error: ManifestError) -> ApiError {
        let not_yet = error.message.contains("not supported yet");
        let code = if not_yet { ErrorCode::NotSupported } else { ErrorCode::InvalidManifest };
        let problem =
            ApiError::new(code, error.to_string()).with("field", error.field).with("message", error.message);
        match error.at {
            Some((line, column)) => {
                problem.with("file", "relive.toml").with("line", line).with("column", column)
            }
            None => problem,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = self.document().to_string();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn document(error: ApiError) -> (u16, Value, hyper::HeaderMap) {
        let response = error.into_response();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap(), parts.headers)
    }

    #[test]
    fn codes_are_alphabetised_unique_and_cover_every_kind() {
        assert!(ErrorCode::ALL.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
        for (kind, name) in ErrorKind::NAMES {
            assert_eq!(ErrorCode::of_kind(kind).name(), name);
        }
    }

    #[test]
    fn statuses_of_kinds_are_those_of_the_table() {
        for (status, kinds) in [
            (422, "parse runtime throw permission script_missing key_missing"),
            (502, "bad_response"),
            (503, "overloaded shutting_down no_space"),
            (504, "timeout"),
            (507, "operations call_depth size memory writes fan_out"),
            (500, "internal crashed"),
        ] {
            for name in kinds.split(' ') {
                let (code, ..) = ErrorCode::ALL.iter().find(|(_, known, _)| *known == name).unwrap();
                assert_eq!(code.status().as_u16(), status, "{name}");
            }
        }
    }

    #[tokio::test]
    async fn internals_are_hidden_from_strangers() {
        let error =
            ErrorRecord { kind: ErrorKind::Throw, message: "password is hunter2".into(), line: 3, column: 4 };
        let id = ExecutionId::default();
        let hidden = ApiError::of_execution(&error, id, Lsn(7), Internals::Hidden);
        let (status, body, headers) = document(hidden).await;
        assert_eq!((status, &body["code"], &body["kind"]), (422, &json!("throw"), &json!("throw")));
        assert!(!body.to_string().contains("hunter2") && body.get("line").is_none());
        assert_eq!(body["execution_id"], json!(id.to_string()));
        assert_eq!(headers["relive-lsn"], "7");
        assert_eq!(headers["content-type"], "application/problem+json");
        let shown = ApiError::of_execution(&error, id, Lsn(7), Internals::Shown);
        let (_, body, _) = document(shown).await;
        assert_eq!((&body["line"], &body["message"]), (&json!(3), &json!("password is hunter2")));
    }

    #[tokio::test]
    async fn refusals_keep_their_evidence() {
        let full = Failure::NoSpace { message: "x".into() };
        for (error, status, code) in [
            (ApiError::of_failure(&full, Plane::Data), 503, "no_space"),
            (ApiError::of_failure(&full, Plane::Control), 507, "no_space"),
            (ApiError::of_refusal(Refusal::Overloaded { waiting: 1, limit: 1 }), 503, "overloaded"),
            (ApiError::of_refusal(Refusal::Precondition { current: None }), 412, "precondition_failed"),
            (
                ApiError::of_refusal(Refusal::Conflict { code: "letter_resolved", message: "m".into() }),
                409,
                "letter_resolved",
            ),
        ] {
            let (got, body, headers) = document(error).await;
            assert_eq!((got, &body["code"]), (status, &json!(code)));
            assert_eq!(headers.contains_key("retry-after"), got == 503);
        }
    }
}
