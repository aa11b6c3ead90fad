//! Long blobs: bytes that scripts hand on rather than take apart.
//!
//! Owns: [`LongBlob`], which stands for a blob above [`LONG_BLOB_BYTES`] in `ctx.request.bytes`. Never does: change.
//!
//! The interpreter counts each byte of a blob as an element of an array, so that a body within the limit of a request
//! (1 MiB) would be over the limit of an array (100,000) wherever it or a map that holds it is looked at. A long blob
//! is opaque to that count, shares its bytes instead of copying them, and answers what bodies are asked for.

use relive_log::events::SharedBytes;
use rhai::{Blob, Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Module, Position};

use super::errors::{Answer, runtime};

/// Bodies above this many bytes are long blobs.
pub(super) const LONG_BLOB_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct LongBlob(SharedBytes);

/// The bytes as a script value: a blob, or a long one.
pub(super) fn to_dynamic(bytes: &[u8]) -> Dynamic {
    if bytes.len() > LONG_BLOB_BYTES {
        Dynamic::from(LongBlob(bytes.into()))
    } else {
        Dynamic::from_blob(bytes.to_vec())
    }
}

/// The bytes of a blob or long blob; `None` for anything else.
pub(super) fn bytes(value: &Dynamic) -> Option<Vec<u8>> {
    if let Some(long) = value.read_lock::<LongBlob>() {
        return Some(long.0.to_vec());
    }
    value.flatten_clone().into_blob().ok()
}

/// Whether the value is a blob, long or not.
pub(super) fn is_blob(value: &Dynamic) -> bool {
    value.is_blob() || value.is::<LongBlob>()
}

/// What scripts can ask of a long blob; the names are those of ordinary ones.
pub(super) fn register(module: &mut Module) {
    module.set_custom_type::<LongBlob>("blob");
    let len = |blob: &mut LongBlob| i64::try_from(blob.0.len()).unwrap_or(i64::MAX);
    FuncRegistration::new("len").set_into_module(module, len);
    FuncRegistration::new_getter("len").set_into_module(module, len);
    FuncRegistration::new("is_empty").set_into_module(module, |blob: &mut LongBlob| blob.0.is_empty());
    FuncRegistration::new_getter("is_empty").set_into_module(module, |blob: &mut LongBlob| blob.0.is_empty());
    FuncRegistration::new("as_string").set_into_module(module, |blob: &mut LongBlob| -> ImmutableString {
        String::from_utf8_lossy(&blob.0).into_owned().into()
    });
    FuncRegistration::new("==").set_into_module(module, |a: &mut LongBlob, b: LongBlob| a.0 == b.0);
    FuncRegistration::new("!=").set_into_module(module, |a: &mut LongBlob, b: LongBlob| a.0 != b.0);
    FuncRegistration::new("extract").set_into_module(module, extract);
    FuncRegistration::new_index_getter().set_into_module(module, index);
}

fn extract(blob: &mut LongBlob, start: i64, len: i64) -> Answer<Blob> {
    let part = usize::try_from(start).ok().zip(usize::try_from(len).ok()).and_then(|(start, len)| {
        let end = start.saturating_add(len).min(blob.0.len());
        blob.0.get(start..end).filter(|part| part.len() <= LONG_BLOB_BYTES)
    });
    part.map(<[u8]>::to_vec).ok_or_else(|| {
        let all = blob.0.len();
        runtime(format!(
            "extract({start}, {len}) of a blob of {all} bytes: start is within it, and at most {LONG_BLOB_BYTES} \
             bytes are taken at once"
        ))
    })
}

fn index(blob: &mut LongBlob, at: i64) -> Answer<i64> {
    let byte = usize::try_from(at).ok().and_then(|at| blob.0.get(at));
    byte.map(|byte| i64::from(*byte))
        .ok_or_else(|| EvalAltResult::ErrorArrayBounds(blob.0.len(), at, Position::NONE).into())
}
