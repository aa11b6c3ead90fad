//! What a script returned, and the HTTP response that it means (`contract.md`, "Return value → response").
//!
//! Owns: [`Returned`], [`Response`], the rules of a valid response. Never does: know the web server.
//! Invariants: E40.

use relive_log::events::{ErrorKind, ErrorRecord};
use rhai::{Dynamic, Map};

use super::{blob, convert};

/// What a script returned, free of the interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// `()`.
    Nothing,
    /// A string.
    Text(String),
    /// A blob.
    Bytes(Vec<u8>),
    /// Anything else, as JSON text.
    Json(Vec<u8>),
    /// A map with an integer `status`: a response described by the script.
    Shaped {
        /// The whole map as JSON text, or why it has none.
        json: Result<Vec<u8>, String>,
        /// The response, or what is wrong with it.
        response: Result<Box<Response>, String>,
    },
    /// A value that has no JSON form, and why.
    NotJson(String),
}

/// An HTTP response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Headers in order of their names, `content-type` not among them.
    pub headers: Vec<(String, String)>,
    /// `content-type`; `None` when there is no body.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Headers that concern one connection (RFC 9110, 7.6.1), or the framing that the server decides.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The longest JSON that a returned value may have; the response limit proper is the caller's.
const RETURNED_BYTES_MAX: usize = 16 << 20;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
const BINARY: &str = "application/octet-stream";
pub(super) const JSON: &str = "application/json";

/// The response that a returned value means.
///
/// # Errors
/// `bad_response` when it is not a valid one.
pub fn to_response(returned: &Returned) -> Result<Response, ErrorRecord> {
    let plain = |content_type: &str, body: &[u8]| Response {
        status: 200,
        headers: Vec::new(),
        content_type: Some(content_type.into()),
        body: body.to_vec(),
    };
    match returned {
        Returned::Nothing => Ok(Response { status: 204, ..Response::default() }),
        Returned::Text(text) => Ok(plain(TEXT, text.as_bytes())),
        Returned::Bytes(bytes) => Ok(plain(BINARY, bytes)),
        Returned::Json(json) => Ok(plain(JSON, json)),
        Returned::Shaped { response, .. } => response.as_deref().cloned().map_err(|why| bad(why)),
        Returned::NotJson(why) => Err(bad(why)),
    }
}

/// The returned value as JSON text, for direct runs and triggers: `()` is `null`, a blob is base64 text, a
/// described response is the map itself.
///
/// # Errors
/// `bad_response` when it has no JSON form.
pub fn to_json(returned: &Returned) -> Result<Vec<u8>, ErrorRecord> {
    match returned {
        Returned::Nothing => Ok(b"null".to_vec()),
        Returned::Text(text) => Ok(convert::json_text(text)),
        Returned::Bytes(bytes) => Ok(convert::json_text(&super::modules::text::base64_text(bytes))),
        Returned::Json(json) => Ok(json.clone()),
        Returned::Shaped { json, .. } => json.clone().map_err(|why| bad(&why)),
        Returned::NotJson(why) => Err(bad(why)),
    }
}

fn bad(why: &str) -> ErrorRecord {
    ErrorRecord {
        kind: ErrorKind::BadResponse,
        message: format!("not a valid response: {why}"),
        line: 0,
        column: 0,
    }
}

/// Takes the value out of the interpreter.
pub(super) fn returned(value: Dynamic) -> Returned {
    let value = value.flatten();
    if value.is_unit() {
        return Returned::Nothing;
    }
    if value.is_string() {
        return Returned::Text(value.into_string().unwrap_or_default());
    }
    if blob::is_blob(&value) {
        return Returned::Bytes(blob::bytes(&value).unwrap_or_default());
    }
    if let Ok(map) = value.as_map_ref()
        && let Some(status) = map.get("status").and_then(|status| status.as_int().ok())
    {
        let json = convert::to_json(&value, RETURNED_BYTES_MAX).map_err(|refused| refused.to_string());
        return Returned::Shaped { json, response: shaped(status, &map).map(Box::new) };
    }
    match convert::to_json(&value, RETURNED_BYTES_MAX) {
        Ok(json) => Returned::Json(json),
        Err(refused) => Returned::NotJson(refused.to_string()),
    }
}

fn shaped(status: i64, map: &Map) -> Result<Response, String> {
    let status = u16::try_from(status)
        .ok()
        .filter(|status| (200..600).contains(status))
        .ok_or_else(|| format!("status {status} is outside 200 to 599"))?;
    let (mut content_type, body) = body(map.get("body"))?;
    let mut headers = Vec::new();
    match map.get("headers") {
        None => {}
        Some(found) if found.is_unit() => {}
        Some(found) => {
            let found = found.as_map_ref().map_err(|_| "headers is not a map".to_owned())?;
            for (name, value) in found.iter() {
                let (name, values) = header(name, value)?;
                if name == "content-type" {
                    content_type = values.into_iter().next().or(content_type);
                } else {
                    headers.extend(values.into_iter().map(|value| (name.clone(), value)));
                }
            }
        }
    }
    if body.is_some() && matches!(status, 204 | 304) && body.as_ref().is_some_and(|body| !body.is_empty()) {
        return Err(format!("status {status} carries no body"));
    }
    Ok(Response { status, headers, content_type, body: body.unwrap_or_default() })
}

type Body = (Option<String>, Option<Vec<u8>>);

fn body(value: Option<&Dynamic>) -> Result<Body, String> {
    let Some(value) = value.filter(|value| !value.is_unit()) else { return Ok((None, None)) };
    let value = value.flatten_clone();
    if value.is_string() {
        let text = value.into_string().unwrap_or_default();
        return Ok((Some(TEXT.into()), Some(text.into_bytes())));
    }
    if blob::is_blob(&value) {
        return Ok((Some(BINARY.into()), blob::bytes(&value)));
    }
    let json = convert::to_json(&value, RETURNED_BYTES_MAX).map_err(|refused| refused.to_string())?;
    Ok((Some(JSON.into()), Some(json)))
}

/// A header of a map as lower-case name and value, once per value.
pub(super) fn header_pairs(name: &str, value: &Dynamic) -> Result<Vec<(String, String)>, String> {
    let (name, values) = header(name, value)?;
    Ok(values.into_iter().map(|value| (name.clone(), value)).collect())
}

/// A header's lower-case name and its values: text, a number, a bool, or an array of them (`set-cookie`).
fn header(name: &str, value: &Dynamic) -> Result<(String, Vec<String>), String> {
    let lower = name.to_ascii_lowercase();
    if lower.is_empty() || !lower.bytes().all(is_token) {
        return Err(format!("{name:?} is no header name"));
    }
    if HOP_BY_HOP.contains(&lower.as_str()) {
        return Err(format!("header {lower} belongs to the connection, a script cannot set it"));
    }
    if lower.starts_with("relive-") {
        return Err(format!("header {lower} is reserved"));
    }
    let values = match value.as_array_ref() {
        Ok(array) => array.iter().map(|item| header_value(&lower, item)).collect::<Result<_, _>>()?,
        Err(_) => vec![header_value(&lower, value)?],
    };
    Ok((lower, values))
}

fn header_value(name: &str, value: &Dynamic) -> Result<String, String> {
    let text = if value.is_string() {
        value.clone().into_string().unwrap_or_default()
    } else if value.is_int() || value.is_bool() || value.is_float() {
        value.to_string()
    } else {
        return Err(format!("header {name} is neither text nor a number"));
    };
    let clean = text.bytes().all(|byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f));
    if clean { Ok(text) } else { Err(format!("header {name} holds a control character")) }
}

/// A `tchar` of RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
