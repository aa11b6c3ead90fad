//! Cursors: opaque, bound to app and query, pinned to an LSN.
//!
//! Owns: the bytes of a cursor: `lsn (8) | time (8) | position | tag (16)`, base64url; the tag is an HMAC over app,
//! query, LSN, time and position, so that a cursor of another app, query or instance is refused. Never does: know what the
//! position means.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use relive_log::{Lsn, UnixMicros};
use sha2::Sha256;
use subtle::ConstantTimeEq;

const TAG_BYTES: usize = 16;

/// Makes and checks cursors of one instance.
#[derive(Clone)]
pub(crate) struct CursorKey([u8; 32]);

/// Where a listing goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// As of which the listing is.
    pub(crate) lsn: Lsn,
    /// As of which time keys expire, where keys are listed (K1).
    pub(crate) time: UnixMicros,
    /// The last item that was given.
    pub(crate) position: String,
}

impl CursorKey {
    /// From a secret of the instance.
    pub(crate) fn derive(secret: &[u8]) -> CursorKey {
        let mut mac = new_mac(secret);
        mac.update(b"relive cursor v1");
        CursorKey(mac.finalize().into_bytes().into())
    }

    /// The cursor as text; `scope` names app and query.
    pub(crate) fn seal(&self, scope: &str, cursor: &Cursor) -> String {
        let mut bytes = cursor.lsn.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(&cursor.time.0.to_be_bytes());
        bytes.extend_from_slice(cursor.position.as_bytes());
        let tag = self.tag(scope, &bytes);
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The cursor of a text, if it is ours and of this scope.
    pub(crate) fn open(&self, scope: &str, text: &str) -> Option<Cursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
        if !bool::from(self.tag(scope, body).ct_eq(tag)) {
            return None;
        }
        let (lsn, rest) = body.split_first_chunk::<8>()?;
        let (time, position) = rest.split_first_chunk::<8>()?;
        let position = String::from_utf8(position.to_vec()).ok()?;
        let (lsn, time) = (Lsn(u64::from_be_bytes(*lsn)), UnixMicros(u64::from_be_bytes(*time)));
        Some(Cursor { lsn, time, position })
    }

    fn tag(&self, scope: &str, body: &[u8]) -> [u8; TAG_BYTES] {
        let mut mac = new_mac(&self.0);
        mac.update(&(scope.len() as u64).to_be_bytes());
        mac.update(scope.as_bytes());
        mac.update(body);
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut().zip(full).for_each(|(to, from)| *to = from);
        tag
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn new_mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_only_in_its_scope_and_instance() {
        let key = CursorKey::derive(b"one");
        for position in ["", "k", "käse/\u{1F9C0}"] {
            let cursor = Cursor { lsn: Lsn(42), time: UnixMicros(5), position: position.into() };
            let text = key.seal("app kv?prefix=a", &cursor);
            assert_eq!(key.open("app kv?prefix=a", &text), Some(cursor));
            assert_eq!(key.open("app kv?prefix=b", &text), None);
            assert_eq!(CursorKey::derive(b"two").open("app kv?prefix=a", &text), None);
        }
    }

    #[test]
    fn no_bit_of_it_can_be_changed() {
        let key = CursorKey::derive(b"one");
        let text = key.seal("s", &Cursor { lsn: Lsn(7), time: UnixMicros(5), position: "k".into() });
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open("s", &URL_SAFE_NO_PAD.encode(&bad)), None, "bit {bit}");
        }
        for bad in ["", "x", "%%%", "AAAA"] {
            assert_eq!(key.open("s", bad), None);
        }
    }
}
