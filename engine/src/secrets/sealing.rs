//! Encryption with the instance key: XChaCha20-Poly1305, the nonce handed in.
//!
//! Owns: the derivation of the keys, sealing and opening. Never does: draw a nonce, keep a plain text.
//! Derived keys are HMAC-SHA256(instance key, label): one for sealing, one for digests, neither tells the other.
//! Invariants: E48.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use relive_log::events::SealedBytes;
use sha2::{Digest, Sha256};

const SEAL_LABEL: &[u8] = b"relive-seal-v1";
const DIGEST_LABEL: &[u8] = b"relive-withheld-header-v1";
const KEY_ID_LABEL: &[u8] = b"relive-key-id-v1";

/// The key of the instance: 32 bytes from the OS.
#[derive(Clone, PartialEq, Eq)]
pub struct InstanceKey {
    bytes: [u8; 32],
}

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceKey({})", hex::encode(self.key_id()))
    }
}

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instance key is 32 bytes as 64 hexadecimal digits or as base64")]
pub struct KeyTextError;

/// Sealed bytes did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// They were sealed with another key.
    #[error("sealed with another instance key")]
    OtherKey,
    /// They, or what they were bound to, are not what was sealed.
    #[error("sealed bytes are damaged, or belong elsewhere")]
    Damaged,
}

/// The plain text is longer than the cipher allows (256 GiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too long to seal")]
pub struct SealError;

impl InstanceKey {
    /// From raw bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> InstanceKey {
        InstanceKey { bytes }
    }

    /// From 64 hexadecimal digits, or base64 (either alphabet); space around it is ignored.
    ///
    /// # Errors
    /// When it is neither, or not 32 bytes.
    pub fn from_text(text: &str) -> Result<InstanceKey, KeyTextError> {
        let text = text.trim();
        let plain = text.trim_end_matches('=');
        let decoded = hex::decode(text)
            .ok()
            .or_else(|| STANDARD.decode(text).ok())
            .or_else(|| URL_SAFE_NO_PAD.decode(plain).ok())
            .ok_or(KeyTextError)?;
        decoded.try_into().map(InstanceKey::from_bytes).map_err(|_| KeyTextError)
    }

    /// As hexadecimal digits, the form of the key file.
    #[must_use]
    pub fn to_text(&self) -> String {
        hex::encode(self.bytes)
    }

    /// Which key this is, without telling it: the first 8 bytes of a digest.
    #[must_use]
    pub fn key_id(&self) -> [u8; 8] {
        let digest = Sha256::new().chain_update(KEY_ID_LABEL).chain_update(self.bytes).finalize();
        let mut id = [0; 8];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        id
    }

    /// The keyed digest of a withheld header (T5): equal values of one header are seen to be equal, no more.
    #[must_use]
    pub fn header_digest(&self, name: &str, value: &str) -> [u8; 32] {
        let key = self.derived(DIGEST_LABEL);
        let name = name.to_ascii_lowercase();
        let len = u64::try_from(name.len()).unwrap_or(u64::MAX).to_le_bytes();
        mac(&key, &[&len, name.as_bytes(), value.as_bytes()])
    }

    fn derived(&self, label: &[u8]) -> [u8; 32] {
        mac(&self.bytes, &[label])
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derived(SEAL_LABEL).into())
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads a short key with zeros to the block size (RFC 2104): done here, so that nothing can fail.
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as Mac>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Seals; `aad` is what the bytes are bound to (app and name, say) and must be given again to open them. A nonce
/// must never come twice under one key: draw all 24 bytes at random.
///
/// # Errors
/// When `plain` is absurdly long.
pub fn seal(key: &InstanceKey, nonce: [u8; 24], aad: &[u8], plain: &[u8]) -> Result<SealedBytes, SealError> {
    let ciphertext = key
        .cipher()
        .encrypt(XNonce::from_slice(&nonce), Payload { msg: plain, aad })
        .map_err(|_| SealError)?;
    Ok(SealedBytes { key_id: key.key_id(), nonce, ciphertext })
}

/// Opens what [`seal`] made.
///
/// # Errors
/// When the key is another one, or anything was changed.
pub fn open(key: &InstanceKey, aad: &[u8], sealed: &SealedBytes) -> Result<Vec<u8>, OpenError> {
    if sealed.key_id != key.key_id() {
        return Err(OpenError::OtherKey);
    }
    let payload = Payload { msg: sealed.ciphertext.as_slice(), aad };
    key.cipher().decrypt(XNonce::from_slice(&sealed.nonce), payload).map_err(|_| OpenError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::{InstanceKey, KeyTextError, OpenError, open, seal};

    fn key(byte: u8) -> InstanceKey {
        InstanceKey::from_bytes([byte; 32])
    }

    #[test]
    fn e48_only_the_same_key_and_binding_open_and_no_bit_may_differ() {
        let sealed = seal(&key(1), [5; 24], b"shop/stripe", b"sk_live").expect("seals");
        assert_eq!(open(&key(1), b"shop/stripe", &sealed).as_deref(), Ok(b"sk_live".as_slice()));
        assert_eq!(open(&key(2), b"shop/stripe", &sealed), Err(OpenError::OtherKey));
        assert_eq!(open(&key(1), b"shop/other", &sealed), Err(OpenError::Damaged));
        for bit in 0..sealed.ciphertext.len() * 8 {
            let mut changed = sealed.clone();
            if let Some(byte) = changed.ciphertext.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            assert_eq!(open(&key(1), b"shop/stripe", &changed), Err(OpenError::Damaged), "bit {bit}");
        }
        for len in 0..sealed.ciphertext.len() {
            let mut cut = sealed.clone();
            cut.ciphertext.truncate(len);
            assert_eq!(open(&key(1), b"shop/stripe", &cut), Err(OpenError::Damaged), "length {len}");
        }
        let mut other_nonce = sealed;
        other_nonce.nonce = [6; 24];
        assert_eq!(open(&key(1), b"shop/stripe", &other_nonce), Err(OpenError::Damaged));
    }

    #[test]
    fn keys_read_as_hexadecimal_and_as_base64() {
        let hex = "ff".repeat(32);
        let base64 = format!("{}8=", "/".repeat(42));
        let url = format!("{}8", "_".repeat(42));
        for text in [&hex, &format!(" {hex}\n"), &base64, &url] {
            assert_eq!(InstanceKey::from_text(text), Ok(key(0xff)), "{text}");
        }
        for text in ["", "ff", &"f".repeat(63), &"zz".repeat(32), "not a key"] {
            assert_eq!(InstanceKey::from_text(text), Err(KeyTextError), "{text}");
        }
        assert_eq!(key(0xff).to_text(), hex);
        assert_ne!(key(1).key_id(), key(2).key_id());
        assert!(!format!("{:?}", key(0xff)).contains("ffff"));
    }

    #[test]
    fn digests_of_headers_depend_on_key_name_and_value() {
        let digest = key(1).header_digest("Cookie", "a=1");
        assert_eq!(digest, key(1).header_digest("cookie", "a=1"));
        assert_ne!(digest, key(2).header_digest("cookie", "a=1"));
        assert_ne!(digest, key(1).header_digest("cookie", "a=2"));
        assert_ne!(key(1).header_digest("ab", "c"), key(1).header_digest("a", "bc"));
    }
}
