//! `json`, `hex`, `base64`: values and bytes as text.
//!
//! Owns: the three modules. Never does: guess a character set; decoding answers a blob (`as_string()` makes text).
//! Invariants: E43.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD};
use rhai::{Blob, Dynamic, ImmutableString, NativeCallContext as Call};

use super::super::convert;
use super::super::errors::{Answer, runtime};
use super::super::host::Host;
use super::{Family, bytes_of};

/// Reads with and without padding, as the world writes it.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const READ_STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const READ_URL: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

pub(super) fn json() -> Family {
    let mut module = Family::new("json");
    module.add1("parse", parse);
    module.add1("stringify", stringify);
    module
}

pub(super) fn parse(call: &Call<'_>, text: ImmutableString) -> Answer<Dynamic> {
    let value = convert::from_json(text.as_bytes()).map_err(|why| runtime(format!("json::parse: {why}")))?;
    call.engine().ensure_data_size_within_limits(&value)?;
    Ok(value)
}

pub(super) fn stringify(call: &Call<'_>, value: Dynamic) -> Answer<String> {
    let limit = Host::of(call)?.limits.string_bytes;
    let json =
        convert::to_json(&value, limit).map_err(|refused| runtime(format!("json::stringify: {refused}")))?;
    String::from_utf8(json).map_err(|why| runtime(format!("json::stringify: {why}")))
}

pub(super) fn hex() -> Family {
    let mut module = Family::new("hex");
    module.add1("encode", |_: &Call<'_>, value: Dynamic| -> Answer<String> {
        Ok(hex::encode(bytes_of(&value, "hex::encode")?))
    });
    module.add1("decode", |_: &Call<'_>, text: ImmutableString| -> Answer<Blob> {
        hex::decode(text.as_str()).map_err(|why| runtime(format!("hex::decode: {why}")))
    });
    module
}

pub(super) fn base64() -> Family {
    let mut module = Family::new("base64");
    module.add1("encode", |_: &Call<'_>, value: Dynamic| -> Answer<String> {
        Ok(STANDARD.encode(bytes_of(&value, "base64::encode")?))
    });
    module.add1("encode_url", |_: &Call<'_>, value: Dynamic| -> Answer<String> {
        Ok(URL_SAFE_NO_PAD.encode(bytes_of(&value, "base64::encode_url")?))
    });
    module.add1("decode", |_: &Call<'_>, text: ImmutableString| -> Answer<Blob> {
        decoded(&READ_STANDARD, "base64::decode", &text)
    });
    module.add1("decode_url", |_: &Call<'_>, text: ImmutableString| -> Answer<Blob> {
        decoded(&READ_URL, "base64::decode_url", &text)
    });
    module
}

fn decoded(reader: &GeneralPurpose, function: &str, text: &str) -> Answer<Blob> {
    reader.decode(text).map_err(|why| runtime(format!("{function}: {why}")))
}

/// Bytes as base64 text with padding.
pub(in crate::script) fn base64_text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
