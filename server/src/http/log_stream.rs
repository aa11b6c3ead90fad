//! `/apps/{app}/log/stream`: the app's events as server-sent events: those that are there, then each as it becomes
//! durable.
//!
//! Owns: the stream: where it begins (`from`, or behind `Last-Event-ID`), `id:` lines (the LSN), signs of life, its end.
//! Never does: poll, or hold a thread while nothing happens: it sleeps until the log grows. Show another app's event
//! (S6) or one that is not durable; go on for a token that is no longer live.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use relive_log::events::{Scopes, decode_record};
use relive_log::{AppId, Lsn, ReadError, Scan};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::auth;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::log::{Filter, asked_from};
use super::query::Query;
use super::shared::{Shared, blocking, log_error};
use super::{Ctx, event_dto};

/// Streams at once, of all apps.
pub(crate) const STREAMS_MAX: usize = 256;
/// A stream says that it lives after so long without an event; its token is looked at then, too.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// What becomes durable within so long is read at once: a busy log costs a stream 200 reads a second, not one a group.
const GATHER: Duration = Duration::from_millis(5);
/// Text that is read at once, about.
const PIECE_BYTES: usize = 64 << 10;
/// A piece ends, empty if need be, when looking for its events took so long.
const PIECE_TIME_MAX: Duration = Duration::from_secs(1);
/// Pieces that are read ahead of the receiver.
const PIECES_AHEAD: usize = 2;
/// Where browsers send the last `id:` that they saw.
const LAST_EVENT_ID: &str = "last-event-id";

/// A body that is made while it is sent.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// `GET /apps/{app}/log/stream?from=&to=&kind=&execution=`
pub(crate) async fn stream(
    State(shared): Ctx,
    Path(app): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["from", "to", "kind", "execution"])?;
    let (app, _) = shared.app(&app).await?;
    let reader = shared.node().await?.reader().clone();
    let first = reader.first_lsn();
    let from = asked_from(begin(&query, &headers)?, first)?.unwrap_or(first).max(first);
    let to = query.parsed::<u64>("to", "an LSN")?.map_or(Lsn::MAX, Lsn);
    let filter = Filter::of(&query, app.id)?;
    let place = Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| {
        let text = format!("{STREAMS_MAX} streams of the log are open already, which is the limit");
        ApiError::new(ErrorCode::Overloaded, text)
    })?;
    let scan = reader.scan(from).map_err(|e| log_error(&e))?;
    let reading = Reading { scan, filter, from, to };
    let (pieces, received) = mpsc::channel(PIECES_AHEAD);
    tokio::spawn(Stream { shared, app: app.id, headers, pieces, _place: place }.run(reading));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, [("x-accel-buffering", "no")], Body::new(Pieces(received))).into_response())
}

/// The first LSN that is asked for: behind the last one that the client saw, else by the query.
fn begin(query: &Query, headers: &HeaderMap) -> ApiResult<Option<Lsn>> {
    let Some(seen) = headers.get(LAST_EVENT_ID) else {
        return Ok(query.parsed::<u64>("from", "an LSN")?.map(Lsn));
    };
    let seen = seen.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    let seen = seen.filter(|lsn| *lsn < u64::MAX);
    seen.map(|lsn| Some(Lsn(lsn).next())).ok_or_else(|| ApiError::invalid("Last-Event-ID", "is not an LSN"))
}

/// Where a stream is in the log.
struct Reading {
    scan: Scan,
    filter: Filter,
    from: Lsn,
    to: Lsn,
}

/// What there is behind a piece.
enum After {
    /// More, perhaps.
    More,
    /// Nothing yet.
    Nothing,
    /// Nothing that is asked for.
    End,
    /// The log cannot be read on.
    Failed(ApiError),
}

impl Reading {
    /// The next events as text.
    fn piece(&mut self) -> (String, After) {
        let (mut text, began) = (String::new(), Instant::now());
        loop {
            if text.len() >= PIECE_BYTES || began.elapsed() > PIECE_TIME_MAX {
                return (text, After::More);
            }
            match self.frame(&mut text) {
                Ok(true) => {}
                Ok(false) => return (text, After::Nothing),
                Err(Some(error)) => return (text, After::Failed(error)),
                Err(None) => return (text, After::End),
            }
        }
    }

    /// One batch, or a gap; `false` at the durable end, `Err(None)` past the last LSN that is asked for.
    fn frame(&mut self, text: &mut String) -> Result<bool, Option<ApiError>> {
        let frame = match self.scan.next() {
            None => return Ok(false),
            Some(Err(ReadError::Gap { gap })) => {
                if gap.from > self.to {
                    return Err(None);
                }
                self.scan.pass_gap(gap);
                if self.filter.takes_gaps() {
                    write_event(text, gap.to, &event_dto::gap(gap));
                }
                return Ok(true);
            }
            Some(frame) => frame.map_err(|e| log_error(&e))?,
        };
        for raw in frame.records().filter(|raw| raw.lsn >= self.from) {
            if raw.lsn > self.to {
                return Err(None);
            }
            let event = decode_record(raw.type_, raw.type_version, raw.body)
                .map_err(|e| ApiError::new(ErrorCode::ReadFailed, format!("event {}: {e}", raw.lsn)))?;
            if self.filter.takes(&event) {
                write_event(text, raw.lsn, &event_dto::event(raw.lsn, frame.commit_time, &event));
            }
        }
        if frame.last_lsn >= self.to { Err(None) } else { Ok(true) }
    }
}

/// JSON has no line breaks, so one `data:` line holds it.
fn write_event(text: &mut String, id: Lsn, event: &Value) {
    text.push_str(&format!("id: {id}\ndata: {event}\n\n"));
}

/// One receiver.
struct Stream {
    shared: Arc<Shared>,
    app: AppId,
    /// Of its request: its token has to stay live.
    headers: HeaderMap,
    pieces: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
}

/// Nobody receives any more, or nobody may.
struct Ended;

impl Stream {
    async fn run(self, reading: Reading) {
        let Err(ended) = self.follow(reading).await else { return };
        // The receiver learns why; one that is gone learns nothing.
        if let Some(error) = ended {
            let _gone = self.send(format!("event: error\ndata: {}\n\n", error.document())).await;
        }
    }

    /// Sends until there is a reason to end; `Err(None)`: nobody needs to be told.
    async fn follow(&self, mut reading: Reading) -> Result<(), Option<ApiError>> {
        // Answers at once, also where there is nothing yet; whoever loses the connection comes back after a second.
        self.send("retry: 1000\n\n".to_owned()).await?;
        loop {
            let mut grown = pin!(self.shared.grown.notified());
            // From here on nothing is missed: what becomes durable while this reads wakes it again.
            grown.as_mut().enable();
            let (back, text, after) = blocking(move || {
                let (text, after) = reading.piece();
                Ok((reading, text, after))
            })
            .await?;
            reading = back;
            if !text.is_empty() {
                self.check_token().await?;
                self.send(text).await?;
            }
            // Behind its last event.
            self.check_app().await?;
            match after {
                After::More => continue,
                After::End => return Ok(()),
                After::Failed(error) => return Err(Some(error)),
                After::Nothing => {}
            }
            loop {
                tokio::select! {
                    () = grown.as_mut() => break,
                    () = tokio::time::sleep(SIGN_OF_LIFE) => {
                        self.check_token().await?;
                        self.send(": nothing yet\n\n".to_owned()).await?;
                    }
                    () = self.shared.parts.stop.stopped() => return Err(Some(super::shared::stopped())),
                    () = self.pieces.closed() => return Ok(()),
                }
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    async fn send(&self, text: String) -> Result<(), Ended> {
        self.pieces.send(Bytes::from(text)).await.map_err(|_| Ended)
    }

    /// Whether the token is still live, and may see this.
    async fn check_token(&self) -> ApiResult<()> {
        let caller = auth::caller(&self.shared, &self.headers).await?;
        caller.require(Scopes::LOG_READ)
    }

    /// Whether the app is still there.
    async fn check_app(&self) -> ApiResult<()> {
        match self.shared.node().await?.views().registry().app(self.app) {
            Some(_) => Ok(()),
            None => Err(ApiError::new(ErrorCode::NotFound, "the app was deleted")),
        }
    }
}

impl From<Ended> for Option<ApiError> {
    fn from(_: Ended) -> Option<ApiError> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_begins_behind_what_was_seen_else_where_it_is_asked_to() {
        let query = |text| Query::parse(Some(text), &["from"]).unwrap();
        let headers = |id: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(id) = id {
                headers.insert(LAST_EVENT_ID, hyper::header::HeaderValue::from_static(id));
            }
            headers
        };
        for (text, seen, want) in [
            ("", None, Some(None)),
            ("from=7", None, Some(Some(Lsn(7)))),
            ("from=7", Some("9"), Some(Some(Lsn(10)))),
            ("", Some("0"), Some(Some(Lsn(1)))),
            ("from=x", None, None),
            ("from=7", Some("nine"), None),
            ("", Some("18446744073709551615"), None),
        ] {
            assert_eq!(begin(&query(text), &headers(seen)).ok(), want, "{text} {seen:?}");
        }
    }
}
