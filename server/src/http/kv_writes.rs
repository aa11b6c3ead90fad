//! Writes of one key: PUT and DELETE with conditions.
//!
//! Owns: `If-Match`, `If-None-Match`. Never does: judge a condition against the state (the sequencer does).

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::HeaderMap;
use hyper::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use relive_engine::command::{Answer, Command, Committed, Condition};
use relive_log::Lsn;
use serde_json::json;

use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::kv_reads::etag;
use super::query::Query;
use super::{Ctx, LSN_HEADER, body};

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> ApiResult<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(|text| Some(text.trim())).ok_or_else(|| ApiError::invalid(name.as_str(), "is not one ETag"))
}

/// What the headers of a write ask for.
fn condition(headers: &HeaderMap) -> ApiResult<Condition> {
    match (header(headers, &IF_MATCH)?, header(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Condition::Always),
        (Some("*"), None) => Ok(Condition::Present),
        (Some(tag), None) => {
            let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
            match version.parse() {
                Ok(lsn) => Ok(Condition::Version(Lsn(lsn))),
                // A tag that no version ever had matches nothing.
                Err(_) => Err(ApiError::new(
                    ErrorCode::PreconditionFailed,
                    format!("no version has the ETag {tag}"),
                )),
            }
        }
        (None, Some("*")) => Ok(Condition::Absent),
        (None, Some(_)) => Err(ApiError::invalid("if-none-match", "only `*` is understood for writes")),
        (Some(_), Some(_)) => Err(ApiError::invalid("if-match", "cannot stand beside if-none-match")),
    }
}

fn answer(done: &Committed) -> axum::response::Response {
    let version = match done.answer {
        Answer::Key(lsn) => lsn,
        Answer::Done
        | Answer::Route(_)
        | Answer::Trigger(_)
        | Answer::Token(_)
        | Answer::Job(_)
        | Answer::Version(_)
        | Answer::Changes(_)
        | Answer::Execution(_) => done.lsn,
    };
    let headers = [(LSN_HEADER, done.lsn.to_string()), (ETAG, etag(version))];
    (headers, Json(json!({"lsn": version}))).into_response()
}

/// `PUT /apps/{app}/kv/{collection}/{key}`
pub(crate) async fn put(
    State(shared): Ctx,
    caller: Caller,
    Path((app, collection, key)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["ttl_ms"])?;
    let ttl_ms = query.parsed("ttl_ms", "a whole number of milliseconds")?;
    let condition = condition(&headers)?;
    let max = shared.node().await?.settings().limits.value_bytes_max;
    let bytes = body::read(body, max, "RELIVE_MAX_VALUE").await?;
    // Parsed to be refused if it is no JSON; stored as it was sent.
    let _json = body::parse(&bytes)?;
    let value = bytes.trim_ascii().into();
    let done =
        shared.submit(&caller, Command::PutKey { app, collection, key, value, ttl_ms, condition }).await?;
    Ok(answer(&done))
}

/// `DELETE /apps/{app}/kv/{collection}/{key}`
pub(crate) async fn delete(
    State(shared): Ctx,
    caller: Caller,
    Path((app, collection, key)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let condition = condition(&headers)?;
    let done = shared.submit(&caller, Command::DeleteKey { app, collection, key, condition }).await?;
    let version = answer(&done);
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        for (name, value, want) in [
            ("if-match", "\"7\"", Some(Condition::Version(Lsn(7)))),
            ("if-match", "*", Some(Condition::Present)),
            ("if-match", "W/\"7\"", None),
            ("if-match", "\"x\"", None),
            ("if-none-match", "*", Some(Condition::Absent)),
            ("if-none-match", "\"7\"", None),
            ("accept", "*/*", Some(Condition::Always)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            assert_eq!(condition(&headers).ok(), want, "{name}: {value}");
        }
    }
}
