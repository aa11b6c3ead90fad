//! A small HTTP client for the command line: one request, one answer, over plain HTTP.
//!
//! Owns: requests with the token, problem documents to errors with exit codes, following cursors. Never does:
//! print.

use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode, header};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// How long the server may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// A stream that says nothing for so long is gone; a server says every 15 s that it lives.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// The largest page of a list.
const PAGE_MAX: usize = 1000;
/// Everything but what RFC 3986 calls unreserved.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Exit code.
    pub(crate) code: u8,
    /// For people.
    pub(crate) message: String,
    /// The server's problem document.
    pub(crate) problem: Option<Value>,
}

impl Failed {
    /// The operation failed (1).
    pub(crate) fn new(message: impl Into<String>) -> Failed {
        Failed { code: 1, message: message.into(), problem: None }
    }

    /// Bad usage (2).
    pub(crate) fn usage(message: impl Into<String>) -> Failed {
        Failed { code: 2, message: message.into(), problem: None }
    }

    /// What a problem document says.
    pub(crate) fn of_problem(document: &str) -> Failed {
        let status = serde_json::from_str::<Value>(document).ok();
        let status = status.and_then(|problem| problem.get("status")?.as_u64()?.try_into().ok());
        let status = status.and_then(|status: u16| StatusCode::from_u16(status).ok());
        Failed::of(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), document.as_bytes())
    }

    fn of(status: StatusCode, body: &[u8]) -> Failed {
        let problem: Option<Value> = serde_json::from_slice(body).ok();
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")).and_then(Value::as_str);
        let code = match status {
            StatusCode::NOT_FOUND => 3,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => 4,
            _ => 1,
        };
        let message = detail.map_or_else(|| format!("the server answered {status}"), str::to_owned);
        Failed { code, message, problem }
    }
}

/// One answer.
pub(crate) struct Answer {
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failed> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Failed::new(format!("the server's answer is not JSON: {e}")))
    }
}

/// Talks to one instance.
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    hyper: Hyper<HttpConnector, Full<Bytes>>,
    url: String,
    token: Option<String>,
}

/// A request to be sent.
pub(crate) struct Call<'a> {
    /// Method.
    pub(crate) method: Method,
    /// Path and query below `/api/v1`.
    pub(crate) path: &'a str,
    /// Body.
    pub(crate) body: Vec<u8>,
    /// Further headers.
    pub(crate) headers: &'a [(&'a str, String)],
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamEvent {
    /// Its `event:`; empty for plain ones.
    pub(crate) name: String,
    /// Its `id:`.
    pub(crate) id: String,
    /// Its `data:`.
    pub(crate) data: String,
}

impl StreamEvent {
    /// Of one block of lines; `None` without data (a sign of life).
    fn parse(block: &str) -> Option<StreamEvent> {
        let mut event = StreamEvent::default();
        for line in block.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => value.clone_into(&mut event.name),
                "id" => value.clone_into(&mut event.id),
                "data" => event.data.push_str(value),
                _ => {}
            }
        }
        (!event.data.is_empty()).then_some(event)
    }
}

/// Why a stream cannot be followed.
#[derive(Debug)]
pub(crate) enum Followed {
    /// Nobody answers, or not now.
    Unreachable(Failed),
    /// It is refused.
    Refused(Failed),
}

/// One percent-encoded segment of a path, or a value of a query.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A path with the parameters that are given.
pub(crate) fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    let mut mark = if path.contains('?') { '&' } else { '?' };
    for (name, value) in pairs {
        if let Some(value) = value {
            out.push(mark);
            mark = '&';
            out.push_str(&format!("{name}={}", segment(value)));
        }
    }
    out
}

impl Client {
    /// For the instance at `url`.
    pub(crate) fn new(url: &str, token: Option<String>) -> Result<Client, Failed> {
        if !url.starts_with("http://") {
            return Err(Failed::usage(format!(
                "--url `{url}` does not start with http:// (https is not supported)"
            )));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failed::new(format!("no runtime: {e}")))?;
        let hyper = Hyper::builder(TokioExecutor::new()).build_http();
        Ok(Client { runtime, hyper, url: url.trim_end_matches('/').to_owned(), token })
    }

    /// Sends one request; anything but success is a failure.
    pub(crate) fn send(&self, call: Call<'_>) -> Result<Answer, Failed> {
        let mut request =
            Request::builder().method(call.method).uri(format!("{}/api/v1{}", self.url, call.path));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(call.body)))
            .map_err(|e| Failed::usage(format!("this request cannot be sent: {e}")))?;
        let unreachable =
            |e: &dyn std::fmt::Display| Failed::new(format!("no answer from {}: {e}", self.url));
        self.runtime.block_on(async {
            let exchange = async {
                let response = self.hyper.request(request).await.map_err(|e| unreachable(&chain(&e)))?;
                let (parts, body) = response.into_parts();
                let body = body.collect().await.map_err(|e| unreachable(&e))?.to_bytes();
                Ok((parts, body))
            };
            let (parts, body) = match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
                Ok(result) => result?,
                Err(_) => return Err(unreachable(&"it took too long")),
            };
            if parts.status.is_success() {
                Ok(Answer { headers: parts.headers, body })
            } else {
                Err(Failed::of(parts.status, &body))
            }
        })
    }

    /// GET of something large: each piece is handed on as it comes.
    pub(crate) fn download(&self, path: &str, mut take: impl FnMut(&[u8])) -> Result<(), Failed> {
        let request = self.get_request(path)?;
        let broken = |e: &dyn std::fmt::Display| Failed::new(format!("no answer from {}: {e}", self.url));
        let slow = |_| broken(&"it took too long");
        self.runtime.block_on(async {
            let response = tokio::time::timeout(ANSWER_TIMEOUT, self.hyper.request(request)).await;
            let (parts, mut body) = response.map_err(slow)?.map_err(|e| broken(&chain(&e)))?.into_parts();
            if !parts.status.is_success() {
                let body = body.collect().await.map_err(|e| broken(&e))?.to_bytes();
                return Err(Failed::of(parts.status, &body));
            }
            while let Some(frame) = tokio::time::timeout(ANSWER_TIMEOUT, body.frame()).await.map_err(slow)? {
                let frame = frame.map_err(|e| broken(&format!("it broke off: {}", chain(&e))))?;
                if let Some(data) = frame.data_ref() {
                    take(data);
                }
            }
            Ok(())
        })
    }

    /// GET of server-sent events: each is handed on as it comes. Returns why the stream ended.
    ///
    /// # Errors
    /// Nobody answers, or the answer, or `take`, is a refusal.
    pub(crate) fn follow(
        &self,
        path: &str,
        take: &mut dyn FnMut(StreamEvent) -> Result<(), Failed>,
    ) -> Result<String, Followed> {
        let request = self.get_request(path).map_err(Followed::Refused)?;
        let broken = |e: &dyn std::fmt::Display| Failed::new(format!("no answer from {}: {e}", self.url));
        let unreachable = |failed| Followed::Unreachable(failed);
        self.runtime.block_on(async {
            let response = tokio::time::timeout(ANSWER_TIMEOUT, self.hyper.request(request)).await;
            let response = response.map_err(|_| unreachable(broken(&"it took too long")))?;
            let (parts, mut body) = response.map_err(|e| unreachable(broken(&chain(&e))))?.into_parts();
            if !parts.status.is_success() {
                let body = body.collect().await.map_err(|e| unreachable(broken(&e)))?.to_bytes();
                let failed = Failed::of(parts.status, &body);
                // It is starting or stopping: it comes back.
                let passing = parts.status == StatusCode::SERVICE_UNAVAILABLE;
                return Err(if passing { unreachable(failed) } else { Followed::Refused(failed) });
            }
            let mut text = Vec::new();
            loop {
                // Signs of life come every few seconds: silence means that nobody is there any more.
                let frame = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
                    Err(_) => return Ok("the stream fell silent".to_owned()),
                    Ok(None) => return Ok("the stream ended".to_owned()),
                    Ok(Some(Err(error))) => return Ok(format!("the stream broke off: {}", chain(&error))),
                    Ok(Some(Ok(frame))) => frame,
                };
                text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
                    let block: Vec<u8> = text.drain(..end + 2).collect();
                    if let Some(event) = StreamEvent::parse(&String::from_utf8_lossy(&block)) {
                        take(event).map_err(Followed::Refused)?;
                    }
                }
            }
        })
    }

    fn get_request(&self, path: &str) -> Result<Request<Full<Bytes>>, Failed> {
        let mut request = Request::builder().method(Method::GET).uri(format!("{}/api/v1{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Full::default()).map_err(|e| Failed::usage(format!("this request cannot be sent: {e}")))
    }

    /// POST of a body as it is.
    pub(crate) fn post_raw(&self, path: &str, body: Vec<u8>) -> Result<Value, Failed> {
        self.send(Call { method: Method::POST, path, body, headers: &[] })?.json()
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Failed> {
        self.send(Call { method: Method::GET, path, body: Vec::new(), headers: &[] })
    }

    /// DELETE.
    pub(crate) fn delete(&self, path: &str) -> Result<Answer, Failed> {
        self.send(Call { method: Method::DELETE, path, body: Vec::new(), headers: &[] })
    }

    /// POST of JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Failed> {
        let body = body.to_string().into_bytes();
        self.send(Call { method: Method::POST, path, body, headers: &[] })?.json()
    }

    /// PATCH of JSON.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Value, Failed> {
        let body = body.to_string().into_bytes();
        self.send(Call { method: Method::PATCH, path, body, headers: &[] })?.json()
    }

    /// PUT.
    pub(crate) fn put(&self, path: &str, body: Vec<u8>, headers: &[(&str, String)]) -> Result<Value, Failed> {
        self.send(Call { method: Method::PUT, path, body, headers })?.json()
    }

    /// Up to `limit` items of a list, page after page; whether there are more.
    pub(crate) fn list(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        limit: usize,
    ) -> Result<(Vec<Value>, bool), Failed> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let want = limit.saturating_sub(items.len()).min(PAGE_MAX);
            if want == 0 {
                return Ok((items, cursor.is_some()));
            }
            let path = with_query(path, query);
            let path = with_query(&path, &[("limit", Some(want.to_string())), ("cursor", cursor)]);
            let mut page = self.get(&path)?.json()?;
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok((items, false));
            }
        }
    }
}

/// An error with its causes: the outermost alone says only "client error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded() {
        assert_eq!(segment("a/b c%?ä"), "a%2Fb%20c%25%3F%C3%A4");
        let path = with_query("/x", &[("a", Some("1&2".into())), ("b", None), ("c", Some("d".into()))]);
        assert_eq!(path, "/x?a=1%262&c=d");
    }

    #[test]
    fn events_of_a_stream_are_blocks_with_data() {
        let event = |name: &str, id: &str, data: &str| {
            Some(StreamEvent { name: name.into(), id: id.into(), data: data.into() })
        };
        for (block, want) in [
            ("id: 7\ndata: {\"a\": 1}\n\n", event("", "7", "{\"a\": 1}")),
            ("event: error\ndata:x\n\n", event("error", "", "x")),
            (": nothing yet\n\n", None),
            ("retry: 1000\n\n", None),
        ] {
            assert_eq!(StreamEvent::parse(block), want, "{block}");
        }
        assert_eq!(Failed::of_problem(r#"{"status": 404, "detail": "gone"}"#).code, 3);
    }

    #[test]
    fn exit_codes_follow_the_status() {
        for (status, code) in [(404, 3), (401, 4), (403, 4), (422, 1), (500, 1)] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Failed::of(status, br#"{"detail":"d"}"#).code, code);
        }
    }
}
