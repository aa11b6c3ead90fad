//! `http`: outgoing calls, answered through the attempt's journal.
//!
//! Owns: the shape of the question and of the answer. Never does: touch the network (E42), follow a redirect, or judge
//! an address. A status of 400 or more is an answer; no connection, a timeout or a body over its limit is a run-time
//! error that scripts can catch. Every outcome that a script sees is in the record (E151).
//! Invariants: E42, E43, E150, E151.

use relive_log::events::{CallAnswer, CallOutcome, CallRecord, ErrorKind, LogLevel};
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext as Call};

use super::super::calls::{Asked, CallReply, CallRequest, CallStop};
use super::super::errors::{Answer, place, runtime};
use super::super::host::{Effects, Host, stop_message};
use super::super::response::{JSON, TEXT, header_pairs};
use super::super::{blob, convert};
use super::Family;
use crate::secrets::Masker;

/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 8 << 10;
/// Longest name of a method, bytes.
const METHOD_BYTES_MAX: usize = 32;
/// Bytes of all header names and values of one request.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Headers that belong to the connection: the client sets them.
const CONNECTION_HEADERS: [&str; 2] = ["content-length", "host"];

pub(super) fn module() -> Family {
    let mut module = Family::new("http");
    module.add1("get", get);
    module.add2("post", post);
    module.add1("request", request);
    module
}

fn get(call: &Call<'_>, url: ImmutableString) -> Answer<Map> {
    let request = CallRequest { method: "GET".into(), url: checked_url(&url)?, ..CallRequest::default() };
    ask(call, request)
}

fn post(call: &Call<'_>, url: ImmutableString, body: Dynamic) -> Answer<Map> {
    let mut request =
        CallRequest { method: "POST".into(), url: checked_url(&url)?, ..CallRequest::default() };
    set_body(&*Host::of(call)?, &mut request, &body)?;
    ask(call, request)
}

fn request(call: &Call<'_>, asked: Map) -> Answer<Map> {
    let host = Host::of(call)?;
    let mut request = CallRequest { method: "GET".into(), ..CallRequest::default() };
    for (name, value) in asked.iter().filter(|(_, value)| !value.is_unit()) {
        let text = || {
            let wrong = || runtime(format!("http::request: {name} is not a string"));
            value.clone().into_string().map_err(|_| wrong())
        };
        match name.as_str() {
            "method" => request.method = checked_method(&text()?)?,
            "url" => request.url = checked_url(&text()?)?,
            "headers" => request.headers = checked_headers(value)?,
            "timeout_ms" => {
                let ms = value.as_int().ok().and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
                let wrong = || runtime("http::request: timeout_ms is not a positive integer");
                request.timeout_ms = Some(ms.ok_or_else(wrong)?);
            }
            "body" => {}
            unknown => return Err(runtime(format!("http::request knows no field {unknown}"))),
        }
    }
    if request.url.is_empty() {
        return Err(runtime("http::request: url is missing"));
    }
    if let Some(body) = asked.get("body") {
        set_body(&host, &mut request, body)?;
    }
    ask(call, request)
}

fn checked_method(method: &str) -> Answer<String> {
    let upper = method.to_ascii_uppercase();
    let token = !upper.is_empty()
        && upper.len() <= METHOD_BYTES_MAX
        && upper.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if !token || matches!(upper.as_str(), "CONNECT" | "TRACE") {
        return Err(runtime(format!("http::request: {method:?} is no method that scripts can use")));
    }
    Ok(upper)
}

fn checked_url(url: &str) -> Answer<String> {
    let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return Err(runtime("http: the URL does not start with http:// or https://"));
    }
    if url.len() > URL_BYTES_MAX {
        let len = url.len();
        return Err(runtime(format!("http: the URL has {len} bytes, the limit is {URL_BYTES_MAX}")));
    }
    Ok(url.to_owned())
}

fn checked_headers(value: &Dynamic) -> Answer<Vec<(String, String)>> {
    let wrong = |why: String| runtime(format!("http::request: {why}"));
    let map = value.as_map_ref().map_err(|_| wrong("headers is not a map".to_owned()))?;
    let mut headers = Vec::new();
    for (name, value) in map.iter() {
        for (name, value) in header_pairs(name, value).map_err(wrong)? {
            if CONNECTION_HEADERS.contains(&name.as_str()) {
                return Err(wrong(format!("header {name} is set by the client")));
            }
            headers.push((name, value));
        }
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(wrong(format!("the headers have {bytes} bytes, the limit is {HEADER_BYTES_MAX}")));
    }
    Ok(headers)
}

/// Text goes as it is, a blob as bytes, everything else as JSON; with a content type unless the script gave one.
fn set_body(host: &Host, request: &mut CallRequest, body: &Dynamic) -> Answer<()> {
    let body = body.flatten_clone();
    if body.is_unit() {
        return Ok(());
    }
    let limit = host.limits.http_request_bytes_max;
    let (content_type, bytes) = if body.is_string() {
        (TEXT, body.into_string().unwrap_or_default().into_bytes())
    } else if let Some(bytes) = blob::bytes(&body) {
        ("application/octet-stream", bytes)
    } else {
        let json = convert::to_json(&body, limit);
        (JSON, json.map_err(|refused| runtime(format!("http: the body: {refused}")))?)
    };
    if bytes.len() > limit {
        return Err(runtime(format!("http: the body has {} bytes, the limit is {limit}", bytes.len())));
    }
    request.body = bytes;
    if !request.headers.iter().any(|(name, _)| name == "content-type") {
        request.headers.push(("content-type".to_owned(), content_type.to_owned()));
    }
    Ok(())
}

/// Asks, records, answers.
fn ask(call: &Call<'_>, request: CallRequest) -> Answer<Map> {
    let host = Host::of(call)?;
    let (position, masker, depends_on) = {
        let effects = host.effects.lock();
        let secrets = effects.secret_values.iter().cloned();
        (effects.calls.len(), Masker::new(secrets), effects.depends_on)
    };
    if position >= host.limits.http_calls_max {
        return Err(too_many(&host, call, host.limits.http_calls_max));
    }
    let digest = request.digest(&masker);
    let reply = host.calls.ask(Asked { position, digest, request: &request, depends_on });
    let (outcome, took_ms) = match reply {
        CallReply::Outcome { outcome, took_ms } => (outcome, took_ms),
        CallReply::Stop(CallStop::TooMany { limit }) => return Err(too_many(&host, call, limit)),
        CallReply::Stop(CallStop::Ended(cause)) => {
            let (kind, message) = stop_message(cause);
            return Err(host.end(call, kind, message));
        }
        CallReply::Stop(CallStop::Aside(why)) => return Err(host.end(call, ErrorKind::Internal, why)),
    };
    let (line, _) = place(call.call_position());
    keep(&host, call, record(&request, digest, line, took_ms, outcome.clone()))?;
    match outcome {
        CallOutcome::Answered(answer) => shown(&host, call, &answer),
        CallOutcome::Failed(message) => Err(runtime(message)),
    }
}

fn too_many(host: &Host, call: &Call<'_>, limit: usize) -> Box<rhai::EvalAltResult> {
    host.end(call, ErrorKind::Size, format!("more than {limit} outgoing calls in one execution"))
}

fn record(
    request: &CallRequest,
    digest: [u8; 32],
    line: u32,
    took_ms: u64,
    outcome: CallOutcome,
) -> CallRecord {
    let head = request.body.get(..CallRecord::HEAD_BYTES_MAX).unwrap_or(&request.body).to_vec();
    CallRecord {
        digest,
        method: request.method.clone(),
        url: request.url.clone(),
        headers: request.headers.clone(),
        body_len: request.body.len() as u64,
        body_head: head,
        line,
        took_ms,
        outcome,
    }
}

/// Keeps the call in the record; a journal that grows past its bound ends the run.
fn keep(host: &Host, call: &Call<'_>, record: CallRecord) -> Answer<()> {
    let mut effects = host.effects.lock();
    let Effects { calls, journal_bytes, .. } = &mut *effects;
    *journal_bytes += weight(&record);
    let bytes = *journal_bytes;
    calls.push(record);
    drop(effects);
    let limit = host.limits.http_journal_bytes_max;
    if bytes > limit {
        let why = format!("the journal of outgoing calls has {bytes} bytes, the limit is {limit}");
        return Err(host.end(call, ErrorKind::Size, why));
    }
    Ok(())
}

fn weight(record: &CallRecord) -> usize {
    let pairs = |pairs: &[(String, String)]| pairs.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
    let outcome = match &record.outcome {
        CallOutcome::Answered(answer) => pairs(&answer.headers) + answer.body.len(),
        CallOutcome::Failed(message) => message.len(),
    };
    record.url.len() + pairs(&record.headers) + record.body_head.len() + outcome
}

/// `#{status, headers, body, json, bytes}`, as in `ctx.request`. The interpreter counts all texts within one value
/// together: where text and parsed JSON would be over its limit, `json` is left out with a warning in the log.
fn shown(host: &Host, call: &Call<'_>, answer: &CallAnswer) -> Answer<Map> {
    let limit = host.limits.string_bytes;
    let text = std::str::from_utf8(&answer.body).ok();
    let header_bytes: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let text_bytes = header_bytes + text.map_or(0, str::len);
    if text_bytes > limit {
        let why =
            format!("http: the answer has {text_bytes} bytes of text, the limit of a string is {limit}");
        return Err(runtime(why));
    }
    let mut map = Map::new();
    map.insert("status".into(), i64::from(answer.status).into());
    map.insert("headers".into(), Dynamic::from_map(joined(&answer.headers)));
    map.insert("body".into(), text.map_or(Dynamic::UNIT, |text| text.to_owned().into()));
    map.insert("bytes".into(), blob::to_dynamic(&answer.body));
    let json = if answer.body.is_empty() { None } else { convert::from_json(&answer.body).ok() };
    let json = match json {
        Some(_) if text_bytes + answer.body.len() > limit => {
            let why = "http: the answer is too long for both `body` and `json`; use json::parse(answer.body)";
            host.log(LogLevel::Warn, why.to_owned(), call.call_position());
            None
        }
        json => json,
    };
    map.insert("json".into(), json.unwrap_or(Dynamic::UNIT));
    Ok(map)
}

/// Repeated headers are one list (RFC 9110, 5.2).
fn joined(pairs: &[(String, String)]) -> Map {
    let mut headers = Map::new();
    for (name, value) in pairs {
        let before =
            headers.get(name.as_str()).and_then(|before: &Dynamic| before.clone().into_string().ok());
        let value = before.map_or_else(|| value.clone(), |before| format!("{before}, {value}"));
        headers.insert(name.as_str().into(), value.into());
    }
    headers
}
