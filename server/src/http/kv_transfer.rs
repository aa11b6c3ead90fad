//! `/apps/{app}/kv-export` and `/apps/{app}/kv-import`: keys as lines of JSON, one object a line.
//!
//! Owns: the lines: `{"collection", "key", "value", "expires_at"?}`; an import takes `ttl_ms` too. Never does: hold an
//! export in memory, or import a part of a batch.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::body::Frame;
use hyper::header::CONTENT_TYPE;
use relive_engine::command::{Command, ImportRow};
use relive_engine::node::Node;
use relive_log::{AppId, UnixMicros};
use relive_projections::{AsOf, KvRange};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::kv::as_of;
use super::query::{Query, parse_time};
use super::shared::{blocking, view_error};
use super::{Ctx, LSN_HEADER, body, dto};

/// Body of one import.
const IMPORT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rows of one batch of an import.
const BATCH_ROWS: usize = 500;
/// Values of one batch of an import.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Items and bytes that an export reads at once.
const PAGE_ITEMS: usize = 1000;
const PAGE_BYTES: usize = 1024 * 1024;
/// Pages that are read ahead of the receiver.
const PAGES_AHEAD: usize = 2;

/// A body that is made while it is sent.
struct Pages(mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl hyper::body::Body for Pages {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context).map(|page| page.map(|page| page.map(Frame::data)))
    }
}

/// `GET /apps/{app}/kv-export?collection=&prefix=&at=`: every key, as of one instant.
pub(crate) async fn export(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["collection", "prefix", "at"])?;
    let (app, _) = shared.app(&app).await?;
    let at = as_of(&shared, query.instant("at")?).await?;
    let node = Arc::clone(shared.node().await?);
    let (id, reader) = (app.id, Arc::clone(&node));
    let collections = match query.get("collection") {
        Some(collection) => vec![collection.to_owned()],
        None => {
            let all = blocking(move || reader.views().kv().collections(id, at).map_err(|e| view_error(&e)));
            all.await?.into_iter().map(|(collection, _)| collection).collect()
        }
    };
    let prefix = query.get("prefix").unwrap_or_default().to_owned();
    let (pages, received) = mpsc::channel(PAGES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let sent = collections.iter().try_for_each(|one| send(&node, id, one, &prefix, at, &pages));
        if let Err(Some(error)) = sent {
            tracing::error!(%error, "an export broke off");
            // Whoever receives sees the connection end in the middle.
            let _gone = pages.blocking_send(Err(std::io::Error::other(error)));
        }
    });
    let headers = [(CONTENT_TYPE, "application/x-ndjson".to_owned()), (LSN_HEADER, at.lsn.to_string())];
    Ok((headers, Body::new(Pages(received))).into_response())
}

/// Sends the keys of a collection. `Err(None)`: nobody receives any more.
fn send(
    node: &Node,
    app: AppId,
    collection: &str,
    prefix: &str,
    at: AsOf,
    pages: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), Option<relive_projections::ReadError>> {
    let mut range =
        KvRange { prefix: prefix.to_owned(), limit: PAGE_ITEMS, bytes_max: PAGE_BYTES, ..KvRange::default() };
    loop {
        let page = node.views().kv().list(app, collection, &range, at).map_err(Some)?;
        let mut lines = Vec::new();
        for item in &page.items {
            let name = |text: &str| serde_json::Value::from(text).to_string();
            let head =
                format!("{{\"collection\":{},\"key\":{},\"value\":", name(collection), name(&item.key));
            lines.extend_from_slice(head.as_bytes());
            // As it was written; a line break within it would end the line.
            lines.extend(
                item.value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
            );
            if let Some(end) = item.expires_at {
                lines.extend_from_slice(format!(",\"expires_at\":\"{}\"", dto::rfc3339(end)).as_bytes());
            }
            lines.extend_from_slice(b"}\n");
        }
        if !lines.is_empty() {
            pages.blocking_send(Ok(lines.into())).map_err(|_| None)?;
        }
        if !page.more {
            return Ok(());
        }
        range.cursor = page.items.last().map(|item| item.key.clone());
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    collection: String,
    key: String,
    #[serde(borrow)]
    value: &'a RawValue,
    expires_at: Option<String>,
    ttl_ms: Option<u64>,
}

fn row(text: &str, now: UnixMicros) -> Result<ImportRow, String> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let expires_at = match (line.expires_at, line.ttl_ms) {
        (None, None) => None,
        (Some(time), None) => {
            Some(parse_time(&time).ok_or_else(|| format!("expires_at: `{time}` is not an RFC 3339 time"))?)
        }
        (None, Some(0)) => return Err("ttl_ms: 0 is not a time to live".to_owned()),
        (None, Some(ttl)) => Some(now.plus_millis(ttl)),
        (Some(_), Some(_)) => return Err("expires_at cannot stand beside ttl_ms".to_owned()),
    };
    let value = line.value.get().as_bytes().into();
    Ok(ImportRow { collection: line.collection, key: line.key, value, expires_at })
}

/// `POST /apps/{app}/kv-import`: lines of JSON, written in batches; nothing if a line makes no sense.
pub(crate) async fn import(
    State(shared): Ctx,
    caller: Caller,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let bytes = body::read(body, IMPORT_BYTES_MAX, "the limit of one import; send several").await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::new(ErrorCode::InvalidJson, "not UTF-8"))?;
    let now = shared.node().await?.now().time;
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row = row(line, now).map_err(|problem| {
            let number = number + 1;
            ApiError::new(ErrorCode::Invalid, format!("line {number}: {problem}; nothing was imported"))
                .with("line", number)
        })?;
        rows.push(row);
    }
    let (all, mut imported, mut batches) = (rows.len(), 0, 0_u64);
    let mut lsn = shared.app(&app).await?.1;
    while !rows.is_empty() {
        let batch = next_batch(&mut rows);
        let count = batch.len();
        let command = Command::ImportKeys { app: app.clone(), rows: batch };
        let done = shared
            .submit(&caller, command)
            .await
            .map_err(|refused| refused.with("imported", imported).with("rows", all))?;
        lsn = done.lsn;
        imported += count;
        batches += 1;
    }
    let shown = json!({"imported": imported, "batches": batches, "lsn": lsn});
    Ok(([(LSN_HEADER, lsn.to_string())], Json(shown)).into_response())
}

/// The first rows, as many as one batch takes.
fn next_batch(rows: &mut Vec<ImportRow>) -> Vec<ImportRow> {
    let mut bytes = 0;
    let fits = |row: &&ImportRow| {
        bytes += row.value.len() + row.key.len() + row.collection.len();
        bytes <= BATCH_BYTES
    };
    let count = rows.iter().take(BATCH_ROWS).take_while(fits).count().max(1);
    let rest = rows.split_off(count.min(rows.len()));
    std::mem::replace(rows, rest)
}
