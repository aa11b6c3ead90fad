//! The way outside for `http::` in scripts: one HTTP/1.1 client behind a guard.
//!
//! Owns: the client, redirects, time and size bounds, what an answer looks like. Never does: use a proxy or a cookie,
//! keep a journal (the engine does), decide when a call may leave.
//!
//! Invariants: **W1** a connection is opened only to an address that the guard checked for this very host and port, at
//! the time of connecting (a name that resolves differently afterwards changes nothing); **W2** every hop of a
//! redirect passes the guard again; **W3** `done` is called exactly once, whatever happens to the task;
//! **W4** headers that carry credentials do not follow a redirect to another origin.

mod address;
mod allow;
mod connect;
mod redirect;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Bytes};
use hyper::header::{ACCEPT, CONTENT_LENGTH, HeaderMap, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use relive_engine::script::CallRequest;
use relive_engine::seams::{CallBounds, CallDone, CallFailed, CallResult, Outgoing};
use relive_log::events::CallAnswer;
use tokio::runtime::Handle;
use url::Url;

pub(crate) use self::allow::Allow;
use self::connect::{Guarded, Resolve, SystemResolver};
use self::redirect::{Hop, next_hop};

/// Hops that a call follows.
const REDIRECTS_MAX: usize = 10;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_PER_HOST_MAX: usize = 8;
const AGENT: &str = concat!("relive/", env!("CARGO_PKG_VERSION"));

type HttpsClient = Client<HttpsConnector<Guarded>, Full<Bytes>>;

/// See the module.
pub(crate) struct HttpOutgoing {
    runtime: Handle,
    parts: Arc<Parts>,
}

struct Parts {
    guarded: Guarded,
    /// Headers that do not follow a redirect to another origin, lower case.
    sensitive: Vec<String>,
    /// Made at the first call: loading the roots takes time and memory that many instances never need.
    client: OnceLock<HttpsClient>,
}

impl HttpOutgoing {
    /// A client whose tasks run on `runtime`.
    pub(crate) fn new(runtime: Handle, allow: Allow, sensitive: Vec<String>) -> HttpOutgoing {
        HttpOutgoing::resolving_with(runtime, allow, sensitive, Arc::new(SystemResolver))
    }

    fn resolving_with(
        runtime: Handle,
        allow: Allow,
        sensitive: Vec<String>,
        resolver: Arc<dyn Resolve>,
    ) -> HttpOutgoing {
        let guarded = Guarded::new(allow, resolver);
        HttpOutgoing { runtime, parts: Arc::new(Parts { guarded, sensitive, client: OnceLock::new() }) }
    }
}

impl Outgoing for HttpOutgoing {
    fn start(&self, request: CallRequest, bounds: CallBounds, done: CallDone) {
        let parts = Arc::clone(&self.parts);
        let answer = Promise(Some(done));
        self.runtime.spawn(async move {
            let time = Duration::from_millis(bounds.timeout_ms);
            let result = tokio::time::timeout(time, parts.call(request, bounds.response_bytes_max)).await;
            answer.keep(
                result.unwrap_or_else(|_| Err(failed(format!("no answer within {} ms", bounds.timeout_ms)))),
            );
        });
    }
}

/// Answers when it is dropped, too: a runtime that ends drops its tasks (W3).
struct Promise(Option<CallDone>);

impl Promise {
    fn keep(mut self, result: CallResult) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(failed("the instance is shutting down")));
        }
    }
}

fn failed(why: impl std::fmt::Display) -> CallFailed {
    CallFailed { message: format!("http: {why}") }
}

impl Parts {
    async fn call(self: &Arc<Self>, request: CallRequest, body_max: usize) -> CallResult {
        let url = Url::parse(&request.url).map_err(|why| failed(format!("the URL is not valid: {why}")))?;
        check_url(&url)?;
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| failed(format!("{:?} is no method", request.method)))?;
        let headers = headers(&request.headers)?;
        let mut hop = Hop { method, url, headers, body: request.body.into() };
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(&hop).await?;
            match next_hop(&hop, response.status(), response.headers(), &self.sensitive) {
                Ok(None) => return answer(response, body_max).await,
                Ok(Some(next)) => hop = next,
                Err(why) => return Err(failed(why)),
            }
        }
        Err(failed(format!("more than {REDIRECTS_MAX} redirects")))
    }

    async fn send(self: &Arc<Self>, hop: &Hop) -> Result<Response<hyper::body::Incoming>, CallFailed> {
        // What needs no connection is judged before one is taken from the pool, too.
        self.guarded.check(&hop.url).await.map_err(failed)?;
        let mut request = Request::new(Full::new(hop.body.clone()));
        *request.method_mut() = hop.method.clone();
        *request.uri_mut() =
            hop.url.as_str().parse().map_err(|why| failed(format!("the URL is not valid: {why}")))?;
        *request.headers_mut() = hop.headers.clone();
        let client = self.client().await?;
        client.request(request).await.map_err(|error| failed(explain(&error)))
    }

    async fn client(self: &Arc<Self>) -> Result<HttpsClient, CallFailed> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let parts = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            parts.client.get_or_init(|| client(parts.guarded.clone())).clone()
        });
        made.await.map_err(|_| failed("the client could not be made"))
    }
}

fn check_url(url: &Url) -> Result<(), CallFailed> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(failed("the URL is not of http or https with a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(failed("the URL carries credentials; send an authorization header"));
    }
    Ok(())
}

fn client(guarded: Guarded) -> HttpsClient {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|why| unreachable!("ring supports the default versions: {why}"))
        .with_root_certificates(roots())
        .with_no_client_auth();
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(guarded);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .build(https)
}

/// The system's certificate authorities (`SSL_CERT_FILE` names others); where there are none, Mozilla's as of the
/// build.
fn roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate authority of the system could not be read");
    }
    let (_added, _ignored) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, CallFailed> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let key = hyper::header::HeaderName::from_bytes(name.as_bytes());
        let key = key.map_err(|_| failed(format!("{name:?} is no header name")))?;
        let value = hyper::header::HeaderValue::from_bytes(value.as_bytes());
        headers
            .append(key, value.map_err(|_| failed(format!("header {name} has a value that is not valid")))?);
    }
    headers.entry(USER_AGENT).or_insert(hyper::header::HeaderValue::from_static(AGENT));
    headers.entry(ACCEPT).or_insert(hyper::header::HeaderValue::from_static("*/*"));
    Ok(headers)
}

async fn answer(response: Response<hyper::body::Incoming>, body_max: usize) -> CallResult {
    let status = response.status().as_u16();
    let shown = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers: Vec<(String, String)> = response.headers().iter().map(shown).collect();
    let too_long = || failed(format!("the answer's body is longer than {body_max} bytes"));
    let announced =
        response.body().size_hint().exact().filter(|_| response.headers().contains_key(CONTENT_LENGTH));
    if announced.is_some_and(|bytes| bytes > body_max as u64) {
        return Err(too_long());
    }
    let collected = Limited::new(response.into_body(), body_max).collect().await;
    let body = collected.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            too_long()
        } else {
            failed(format!("the answer broke off: {error}"))
        }
    })?;
    Ok(CallAnswer { status, headers, body: body.to_bytes().to_vec().into(), masked: false })
}

/// The innermost cause: what the guard, the resolver, the socket or TLS said.
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
