//! `/holds`: history that has to stay, whatever retention asks for.
//!
//! Owns: their JSON, and which LSN a hold names: what is asked for is there when this answers 201, or it is 410. Never
//! does: cut.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::StatusCode;
use relive_engine::command::Command;
use relive_log::{Lsn, Reader};
use relive_projections::Hold;
use serde::Deserialize;
use serde_json::{Value, json};

use super::apps::no_content;
use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::page::Page;
use super::query::{Instant, Query, parse_instant};
use super::shared::{below_horizon, blocking, in_the_future, log_error};
use super::{Ctx, body, dto};

fn shown(hold: &Hold) -> Value {
    json!({
        "name": hold.name,
        "from_lsn": hold.from,
        "reason": hold.reason,
        "set_at": dto::rfc3339(hold.set.time),
        "set_by": dto::principal(&hold.by),
        "lsn": hold.set.lsn,
    })
}

/// `GET /holds`
pub(crate) async fn list(State(shared): Ctx, RawQuery(query): RawQuery) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["limit", "cursor"])?;
    let page = Page::of(&shared, &query, "holds", None)?;
    let holds = shared.node().await?.views().holds().list();
    let now = shared.seen().await?;
    Ok(page.answer_sorted(
        &shared,
        holds.iter(),
        |hold| hold.name.clone(),
        |hold| shown(hold),
        page.pinned(now),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    name: String,
    at: Option<Value>,
    reason: Option<String>,
}

/// An LSN or a time; JSON numbers are LSNs.
fn instant(at: &Value) -> ApiResult<Instant> {
    let text = match at {
        Value::String(text) => parse_instant(text),
        Value::Number(number) => number.as_u64().map(|lsn| Instant::Lsn(Lsn(lsn))),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    text.ok_or_else(|| ApiError::invalid("at", format!("`{at}` is neither an LSN nor an RFC 3339 time")))
}

/// The first LSN of the batch that is current at an instant: with it, everything from then on stays readable.
fn first_kept(reader: &Reader, at: Instant) -> ApiResult<Lsn> {
    let first = reader.first_lsn();
    let frame = match at {
        Instant::Lsn(lsn) if lsn < first && lsn > Lsn::FIRST => return Err(below_horizon(first)),
        Instant::Lsn(lsn) => Some(reader.frame_of(lsn.max(Lsn::FIRST)).map_err(|e| log_error(&e))?),
        Instant::Time(time) => reader.frame_at_time(time).map_err(|e| log_error(&e))?,
    };
    match frame {
        Some(frame) => Ok(frame.first_lsn),
        None if first <= Lsn::FIRST => Ok(Lsn::FIRST),
        None => Err(below_horizon(first)),
    }
}

/// `POST /holds`: `{name, at?, reason?}`; without `at`, from now on.
pub(crate) async fn set(State(shared): Ctx, caller: Caller, body: Body) -> ApiResult {
    let Set { name, at, reason } = body::object(body).await?;
    let node = Arc::clone(shared.node().await?);
    let from = match at.as_ref().map(instant).transpose()? {
        None => node.durable().next(),
        Some(at) => {
            let now = node.now();
            let future = match at {
                Instant::Lsn(lsn) => lsn > now.lsn,
                Instant::Time(time) => time > now.time,
            };
            if future {
                return Err(in_the_future("a hold keeps what is there; leave `at` out to keep what comes"));
            }
            let reader = node.reader().clone();
            blocking(move || first_kept(&reader, at)).await?
        }
    };
    let command = Command::SetHold { name: name.clone(), from, reason };
    shared.submit(&caller, command).await?;
    // A cut that was decided before the hold stood there goes on: whoever cuts says first where, then looks for holds;
    // this sets the hold first, then looks for the cut. So one of the two sees the other.
    let cut = shared.house().map_or(Lsn::ZERO, |house| house.cut_begins());
    if cut > from {
        shared.submit(&caller, Command::ReleaseHold { name }).await?;
        return Err(below_horizon(cut));
    }
    let hold = node.views().holds().get(&name);
    // Released by somebody else meanwhile.
    let hold = hold.ok_or_else(|| ApiError::new(ErrorCode::Conflict, "the hold was released at once"))?;
    Ok((StatusCode::CREATED, Json(shown(&hold))).into_response())
}

/// `DELETE /holds/{name}`
pub(crate) async fn release(State(shared): Ctx, caller: Caller, Path(name): Path<String>) -> ApiResult {
    shared.submit(&caller, Command::ReleaseHold { name }).await?;
    // There may be something to cut now.
    if let Some(house) = shared.house() {
        house.look_again();
    }
    Ok(no_content())
}
