//! `crypto`: digests and comparison.
//!
//! Owns: `sha256`, `hmac_sha256`, `constant_time_eq`. Never does: keep keys.

use hmac::{Hmac, Mac};
use rhai::{Blob, Dynamic, NativeCallContext as Call};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::super::errors::{Answer, runtime};
use super::{Family, bytes_of};

pub(super) fn module() -> Family {
    let mut module = Family::new("crypto");
    module.add1("sha256", sha256);
    module.add2("hmac_sha256", hmac_sha256);
    module.add2("constant_time_eq", constant_time_eq);
    module
}

fn sha256(_: &Call<'_>, value: Dynamic) -> Answer<Blob> {
    Ok(Sha256::digest(bytes_of(&value, "crypto::sha256")?).to_vec())
}

fn hmac_sha256(_: &Call<'_>, key: Dynamic, value: Dynamic) -> Answer<Blob> {
    let key = bytes_of(&key, "crypto::hmac_sha256")?;
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key)
        .map_err(|why| runtime(format!("crypto::hmac_sha256: {why}")))?;
    mac.update(&bytes_of(&value, "crypto::hmac_sha256")?);
    Ok(mac.finalize().into_bytes().to_vec())
}

/// Takes as long whatever differs; only the lengths show.
fn constant_time_eq(_: &Call<'_>, a: Dynamic, b: Dynamic) -> Answer<bool> {
    let (a, b) = (bytes_of(&a, "crypto::constant_time_eq")?, bytes_of(&b, "crypto::constant_time_eq")?);
    Ok(a.ct_eq(&b).into())
}
