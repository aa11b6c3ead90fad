//! HTTP as a client speaks it: kept-alive connections, every answer read whole.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

use crate::Events;

/// An answer that takes longer is a failure of the test.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(40);

/// One base address with a pool of connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Http {
    /// A client of `base`, with a bearer token or none.
    #[must_use]
    pub fn new(base: &str, token: Option<&str>) -> Http {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Http { client, base: base.to_owned(), token: token.map(str::to_owned) }
    }

    /// The same with another token.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Http {
        Http { token: token.map(str::to_owned), ..self.clone() }
    }

    /// Its token.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// `host:port`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Sends a request; `headers` may be empty.
    ///
    /// # Errors
    /// No connection, or no whole answer: nobody knows what happened.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?;
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).map_err(|e| e.to_string())?;
        let whole = async {
            let response = self.client.request(request).await.map_err(|e| format!("{e}: {e:?}"))?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
            Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        tokio::time::timeout(ANSWER_WAIT_MAX, whole).await.map_err(|_| "no answer in time".to_owned())?
    }

    /// GET of server-sent events.
    ///
    /// # Errors
    /// The answer, if it is no stream.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn events(&self, path: &str, headers: &[(&str, &str)]) -> Result<Events, Reply> {
        let mut request = Request::builder().uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).unwrap_or_else(|e| panic!("{path}: {e}"));
        let response = tokio::time::timeout(ANSWER_WAIT_MAX, self.client.request(request)).await;
        let response = response.unwrap_or_else(|_| panic!("{path}: no answer in time"));
        let (parts, body) = response.unwrap_or_else(|e| panic!("{path}: {e}")).into_parts();
        if parts.status.is_success() {
            return Ok(Events::new(parts.headers, body));
        }
        let body = body.collect().await.unwrap_or_else(|e| panic!("{path}: {e}")).to_bytes();
        Err(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Sends a request that must be answered.
    ///
    /// # Panics
    /// If there is no whole answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        match self.try_send(method, path, headers, body).await {
            Ok(reply) => reply,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Bytes::new()).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], Bytes::new()).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string()).await
    }
}

impl Reply {
    /// The answer, if it has this status.
    ///
    /// # Panics
    /// Otherwise, showing it.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header; empty if absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// A problem document with this status and code (RFC 9457), and the document.
    ///
    /// # Panics
    /// If it is anything else.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "want {code}: {self}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self}");
        let document = self.json();
        assert_eq!(document["code"], code, "{self}");
        assert_eq!(document["status"], status, "{self}");
        document
    }

    /// The execution that answered.
    ///
    /// # Panics
    /// If the answer names none.
    #[must_use]
    #[track_caller]
    pub fn execution(&self) -> String {
        let id = self.header("relive-execution-id");
        assert_eq!(id.len(), 36, "no execution id: {self}");
        id.to_owned()
    }

    /// The LSN of the answer (`relive-lsn`).
    ///
    /// # Panics
    /// If the answer names none.
    #[must_use]
    #[track_caller]
    pub fn lsn(&self) -> u64 {
        self.header("relive-lsn").parse().unwrap_or_else(|_| panic!("no relive-lsn: {self}"))
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.text();
        let end = text.char_indices().nth(2000).map_or(text.len(), |(at, _)| at);
        write!(f, "{} {:?}\n{}", self.status, self.headers, text.get(..end).unwrap_or(""))
    }
}
