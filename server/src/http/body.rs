//! Bodies of requests: read whole, up to a limit, within a time.
//!
//! Owns: [`read`], [`json`], [`fields`]. Never does: look at a content type.

use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ApiError, ApiResult, ErrorCode};

/// Body limit of small requests of the admin API.
pub(crate) const SMALL_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a body of at most `max` bytes; `setting` is named when it is larger.
pub(crate) async fn read<B>(body: B, max: usize, setting: &str) -> ApiResult<Bytes>
where
    B: Body,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let too_large = || {
        ApiError::new(ErrorCode::BodyTooLarge, format!("the body is over {max} bytes ({setting})"))
            .with("limit", max)
            .with("setting", setting)
    };
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::new(ErrorCode::InvalidJson, format!("the body broke off: {error}"))),
        Err(_) => Err(ApiError::new(ErrorCode::RequestTimeout, "the body did not arrive in time")),
    }
}

/// Reads a JSON value.
pub(crate) async fn json(body: axum::body::Body, max: usize, setting: &str) -> ApiResult<Value> {
    let bytes = read(body, max, setting).await?;
    parse(&bytes)
}

/// Parses JSON text.
pub(crate) fn parse(bytes: &[u8]) -> ApiResult<Value> {
    serde_json::from_slice(bytes).map_err(|e| {
        ApiError::new(ErrorCode::InvalidJson, format!("the body is not JSON: {e}"))
            .with("line", e.line())
            .with("column", e.column())
    })
}

/// Takes the fields of a body; unknown ones are refused by name.
pub(crate) fn fields<T: DeserializeOwned>(value: Value) -> ApiResult<T> {
    if !value.is_object() {
        return Err(ApiError::new(ErrorCode::Invalid, "the body is not a JSON object"));
    }
    serde_json::from_value(value).map_err(|e| {
        let text = e.to_string();
        let field = text.split('`').nth(1).unwrap_or_default().to_owned();
        ApiError::new(ErrorCode::Invalid, text).with("field", field)
    })
}

/// Reads an object; an empty body counts as `{}`.
pub(crate) async fn optional<T: DeserializeOwned>(
    body: axum::body::Body,
    max: usize,
    setting: &str,
) -> ApiResult<T> {
    let bytes = read(body, max, setting).await?;
    let value =
        if bytes.trim_ascii().is_empty() { Value::Object(serde_json::Map::new()) } else { parse(&bytes)? };
    fields(value)
}

/// Reads a small object.
pub(crate) async fn object<T: DeserializeOwned>(body: axum::body::Body) -> ApiResult<T> {
    fields(json(body, SMALL_MAX, "the limit of this request").await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct New {
        #[expect(dead_code, reason = "only its name matters here")]
        slug: String,
    }

    #[test]
    fn unknown_fields_are_named() {
        for (body, want) in [
            (r#"{"slug": "a", "slog": 1}"#, "`slog`"),
            ("{}", "`slug`"),
            (r#"{"slug": 1}"#, "invalid type"),
            ("[]", "not a JSON object"),
        ] {
            let error = format!("{:?}", fields::<New>(parse(body.as_bytes()).unwrap()).unwrap_err());
            assert!(error.contains(want), "{error} lacks {want}");
        }
    }

    #[tokio::test]
    async fn bodies_stop_at_the_limit() {
        for (len, fits) in [(0, true), (10, true), (11, false)] {
            let body = axum::body::Body::from(vec![b'x'; len]);
            assert_eq!(read(body, 10, "S").await.is_ok(), fits, "{len}");
        }
    }
}
