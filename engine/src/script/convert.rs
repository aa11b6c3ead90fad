//! Script values to JSON and back.
//!
//! Owns: the one mapping that `kv`, `json`, `ctx` and responses share. Integers stay 64-bit integers, floats
//! stay floats, an unsigned integer above `i64::MAX` becomes a float; `()` is `null`, a character is a string;
//! blobs, function pointers and floats that are not finite have no JSON. Never does: coerce silently.
//! Invariants: E43 (nesting and length are bounded).

use std::fmt;

use rhai::{Array, Dynamic, Identifier, Map};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::blob;

/// How deep JSON may nest, both ways (the bound that `serde_json` has for reading).
pub(super) const NESTING_MAX: usize = 127;

/// Room for most values, so that the text of one is not moved while it grows.
const TEXT_BYTES: usize = 128;

/// Why a value has no JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A value of this kind has none.
    Kind(String),
    /// Too deep.
    Nesting,
    /// Longer than the bound that was given, bytes.
    Length(usize),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Kind(kind) => write!(f, "{kind}"),
            Refused::Nesting => write!(f, "the value is nested deeper than {NESTING_MAX} levels"),
            Refused::Length(max) => write!(f, "the value is longer than {max} bytes as JSON"),
        }
    }
}

/// A value as JSON text of at most `bytes_max` bytes; maps come out sorted by key.
pub(super) fn to_json(value: &Dynamic, bytes_max: usize) -> Result<Vec<u8>, Refused> {
    let mut out = Vec::with_capacity(TEXT_BYTES);
    write_value(&mut out, value, bytes_max, NESTING_MAX)?;
    if out.len() > bytes_max { Err(Refused::Length(bytes_max)) } else { Ok(out) }
}

/// A string as JSON text.
pub(super) fn json_text(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_text(&mut out, text);
    out
}

fn write_value(out: &mut Vec<u8>, value: &Dynamic, bytes_max: usize, levels: usize) -> Result<(), Refused> {
    if out.len() > bytes_max {
        return Err(Refused::Length(bytes_max));
    }
    if value.is_shared() {
        return write_value(out, &value.flatten_clone(), bytes_max, levels);
    }
    if value.is_unit() {
        out.extend_from_slice(b"null");
    } else if let Ok(flag) = value.as_bool() {
        out.extend_from_slice(if flag { b"true" } else { b"false" });
    } else if let Ok(number) = value.as_int() {
        write_plain(out, &number);
    } else if let Ok(number) = value.as_float() {
        if !number.is_finite() {
            return Err(Refused::Kind(format!("the number {number} has no JSON form")));
        }
        write_plain(out, &number);
    } else if let Ok(character) = value.as_char() {
        write_text(out, character.encode_utf8(&mut [0; 4]));
    } else if let Ok(text) = value.as_immutable_string_ref() {
        if text.len() > bytes_max {
            return Err(Refused::Length(bytes_max));
        }
        write_text(out, &text);
    } else if let Ok(array) = value.as_array_ref() {
        write_array(out, &array, bytes_max, levels)?;
    } else if let Ok(map) = value.as_map_ref() {
        write_map(out, &map, bytes_max, levels)?;
    } else if blob::is_blob(value) {
        return Err(Refused::Kind("a blob has no JSON form; use base64::encode first".into()));
    } else {
        return Err(Refused::Kind(format!("a value of type {} has no JSON form", plain_type(value))));
    }
    Ok(())
}

fn plain_type(value: &Dynamic) -> &str {
    let name = value.type_name();
    name.rsplit("::").next().unwrap_or(name)
}

fn write_array(out: &mut Vec<u8>, array: &Array, bytes_max: usize, levels: usize) -> Result<(), Refused> {
    let levels = levels.checked_sub(1).ok_or(Refused::Nesting)?;
    out.push(b'[');
    for (index, item) in array.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_value(out, item, bytes_max, levels)?;
    }
    out.push(b']');
    Ok(())
}

fn write_map(out: &mut Vec<u8>, map: &Map, bytes_max: usize, levels: usize) -> Result<(), Refused> {
    let levels = levels.checked_sub(1).ok_or(Refused::Nesting)?;
    out.push(b'{');
    for (index, (key, item)) in map.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, key);
        out.push(b':');
        write_value(out, item, bytes_max, levels)?;
    }
    out.push(b'}');
    Ok(())
}

/// Numbers and text: writing them to memory cannot fail.
fn write_plain<T: serde::Serialize>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "a finite number or text always serialises");
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_plain(out, &text);
}

/// JSON text as a value.
pub(super) fn from_json(bytes: &[u8]) -> Result<Dynamic, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Value.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// A name in an object, without a string in between.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Identifier;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Identifier, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Identifier;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Identifier, E> {
        Ok(name.into())
    }
}

struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Dynamic;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Dynamic, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    #[expect(clippy::cast_precision_loss, reason = "documented: above i64::MAX an integer becomes a float")]
    fn visit_u64<E>(self, value: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(value).map_or_else(|_| (value as f64).into(), Dynamic::from))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut array = Array::new();
        while let Some(item) = items.next_element_seed(Value)? {
            array.push(item);
        }
        Ok(Dynamic::from_array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Dynamic, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key_seed(Name)? {
            let value = entries.next_value_seed(Value)?;
            map.insert(name, value);
        }
        Ok(Dynamic::from_map(map))
    }
}
