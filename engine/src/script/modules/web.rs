//! `url`: percent-encoding and query strings.
//!
//! Owns: `encode`, `decode`, `parse_query`. Never does: call a URL (`http` does).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rhai::{ImmutableString, Map, NativeCallContext as Call};

use super::super::errors::{Answer, runtime};
use super::Family;

/// All but the unreserved characters of RFC 3986, 2.3.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn module() -> Family {
    let mut module = Family::new("url");
    module.add1("encode", encode);
    module.add1("decode", decode);
    module.add1("parse_query", parse_query);
    module
}

fn encode(_: &Call<'_>, text: ImmutableString) -> Answer<String> {
    Ok(utf8_percent_encode(&text, COMPONENT).to_string())
}

/// A `+` stays a plus: it stands for a space in queries only.
fn decode(_: &Call<'_>, text: ImmutableString) -> Answer<String> {
    let decoded = percent_decode_str(&text).decode_utf8();
    Ok(decoded.map_err(|_| runtime("url::decode: the bytes are not UTF-8 text"))?.into_owned())
}

/// Name to value, the last value of a name; with or without a leading `?`.
fn parse_query(_: &Call<'_>, text: ImmutableString) -> Answer<Map> {
    let text = text.strip_prefix('?').unwrap_or(&text);
    let mut map = Map::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        map.insert(name.as_ref().into(), value.into_owned().into());
    }
    Ok(map)
}
