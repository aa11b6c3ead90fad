//! Bodies of requests: read whole, up to a limit, within a time.
//!
//! Owns: [`read`], [`json`], [`fields`]. Never does: look at a content type.

use std::time::Duration;

use axum::body::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Buf};
use hyper::header::CONNECTION;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ApiError, ApiResult, ErrorCode};

/// Body limit of small requests of the admin API.
pub(crate) const SMALL_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is read and thrown away of a body that is too large, so that a client that is still sending sees the answer
/// instead of a broken connection (RFC 9112, 9.6); more than that, and the connection ends in its face.
const DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long the rest may take to arrive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads a body of at most `max` bytes; `setting` is named when it is larger, and the connection ends then.
pub(crate) async fn read<B>(body: B, max: usize, setting: &str) -> ApiResult<Bytes>
where
    B: Body + Unpin,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let mut body = body;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let collected = if announced > max {
        Ok(None)
    } else {
        match tokio::time::timeout(BODY_TIMEOUT, collect(&mut body, max, announced)).await {
            Ok(collected) => collected,
            Err(_) => {
                return Err(ApiError::new(ErrorCode::RequestTimeout, "the body did not arrive in time"));
            }
        }
    };
    match collected {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => {
            // Too slow or too long: the client has had its chance to see the answer.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain(&mut body)).await;
            Err(ApiError::new(ErrorCode::BodyTooLarge, format!("the body is over {max} bytes ({setting})"))
                .with("limit", max)
                .with("setting", setting)
                .header(CONNECTION, "close"))
        }
        Err(error) => Err(ApiError::new(ErrorCode::InvalidJson, format!("the body broke off: {error}"))),
    }
}

/// The whole body, or `None` as soon as it is over `max` bytes.
async fn collect<B>(body: &mut B, max: usize, announced: usize) -> Result<Option<Bytes>, B::Error>
where
    B: Body + Unpin,
{
    let mut bytes = Vec::with_capacity(announced.min(max));
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        if bytes.len() + data.remaining() > max {
            return Ok(None);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            bytes.extend_from_slice(chunk);
            let read = chunk.len();
            data.advance(read);
        }
    }
    Ok(Some(bytes.into()))
}

async fn drain<B: Body + Unpin>(body: &mut B) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.into_data().map_or(0, |data| data.remaining());
        if drained > DRAIN_BYTES_MAX {
            return;
        }
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
