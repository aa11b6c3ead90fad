//! A key of the KV table as bytes whose order is the order of listings: app, collection, key.
//!
//! ```text
//! | app, 16 bytes | collection, 00 as 00 FF | 00 00 | key |
//! ```

use std::ops::Range;

use relive_log::AppId;

use super::types::KvBounds;

/// Bytes of the app at the beginning of every key.
pub(super) const APP_LEN: usize = 16;
const ESCAPED: u8 = 0xff;

/// The bytes that every key of this collection starts with.
pub(crate) fn collection_prefix(app: AppId, collection: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(APP_LEN + collection.len() + 2 + 32);
    push_prefix(&mut out, app, collection);
    out
}

fn push_prefix(out: &mut Vec<u8>, app: AppId, collection: &str) {
    out.extend_from_slice(app.as_bytes());
    if collection.as_bytes().contains(&0) {
        for &byte in collection.as_bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(ESCAPED);
            }
        }
    } else {
        out.extend_from_slice(collection.as_bytes());
    }
    out.extend_from_slice(&[0, 0]);
}

/// Writes the whole key into `out`, which is emptied first.
pub(super) fn encode_into(out: &mut Vec<u8>, app: AppId, collection: &str, key: &str) {
    out.clear();
    push_prefix(out, app, collection);
    out.extend_from_slice(key.as_bytes());
}

/// The whole key.
pub(crate) fn encode(app: AppId, collection: &str, key: &str) -> Vec<u8> {
    let mut out = collection_prefix(app, collection);
    out.extend_from_slice(key.as_bytes());
    out
}

/// Collection and key of encoded bytes; `None` if they are not ours.
pub(crate) fn decode(bytes: &[u8]) -> Option<(String, String)> {
    let rest = bytes.get(APP_LEN..)?;
    let mut collection = Vec::new();
    let mut at = 0;
    loop {
        match (*rest.get(at)?, rest.get(at + 1)) {
            (0, Some(&ESCAPED)) => {
                collection.push(0);
                at += 2;
            }
            (0, Some(&0)) => break,
            (0, _) => return None,
            (byte, _) => {
                collection.push(byte);
                at += 1;
            }
        }
    }
    let key = rest.get(at + 2..)?;
    Some((String::from_utf8(collection).ok()?, String::from_utf8(key.to_vec()).ok()?))
}

/// The smallest bytes above every key that starts with `prefix`.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if let Some(up) = last.checked_add(1) {
            out.push(up);
            return out;
        }
    }
    // A prefix of 0xFF only: no app has such an id and no key is as long.
    vec![0xff; 64]
}

/// The smallest bytes above `key` itself.
pub(super) fn after_key(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.extend_from_slice(key);
    out.push(0);
    out
}

/// The half-open range of encoded keys within the bounds.
pub(super) fn bounds_range(app: AppId, collection: &str, bounds: &KvBounds) -> Range<Vec<u8>> {
    let base = collection_prefix(app, collection);
    let whole = |key: &str| [base.as_slice(), key.as_bytes()].concat();
    let prefix = whole(&bounds.prefix);
    let starts = [
        Some(prefix.clone()),
        bounds.after.as_ref().map(|key| after_key(&whole(key))),
        bounds.from.as_ref().map(|key| whole(key)),
    ];
    let ends = [
        Some(after_prefix(&prefix)),
        bounds.to.as_ref().map(|key| after_key(&whole(key))),
        bounds.before.as_ref().map(|key| whole(key)),
    ];
    let start = starts.into_iter().flatten().max().unwrap_or_default();
    let end = ends.into_iter().flatten().min().unwrap_or_default();
    start..end
}

/// The half-open range of all keys of an app.
pub(super) fn app_range(app: AppId) -> Range<Vec<u8>> {
    app.as_bytes().to_vec()..after_prefix(app.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_collection_then_key_and_bytes_round_trip() {
        let app = AppId::from_bytes([7; 16]);
        let names = ["", "\0", "\0a", "a", "a\0", "a\0\0b", "ab", "b", "ü"];
        let mut seen = Vec::new();
        for collection in names {
            for key in names {
                let bytes = encode(app, collection, key);
                assert_eq!(decode(&bytes), Some((collection.to_owned(), key.to_owned())));
                assert!(bytes.starts_with(&collection_prefix(app, collection)));
                seen.push(bytes);
            }
        }
        assert!(seen.is_sorted_by(|a, b| a < b), "names are sorted, so must their encodings be");
        let range = bounds_range(app, "a", &KvBounds::default());
        assert_eq!(seen.iter().filter(|key| range.contains(key)).count(), names.len());
    }
}
