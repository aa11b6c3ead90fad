//! What a returned value means for the work that returned it: an answer for whoever waits, and its record.
//!
//! Owns: [`answer`]. Never does: know whether anybody waits still. A replay shapes what it got with it, too.

use relive_log::events::{ErrorKind, ErrorRecord, OutputRecord, SharedBytes, Source};
use sha2::{Digest, Sha256};

use super::Reply;
use crate::script::{Returned, to_json, to_response};

/// The answer and its record (digest, length, the first bytes; not masked yet).
///
/// # Errors
/// `bad_response`, where a caller waits and this is no valid answer.
pub(crate) fn answer(
    source: &Source,
    returned: &Returned,
    response_body_max: usize,
) -> Result<(Option<Reply>, OutputRecord), ErrorRecord> {
    match source {
        Source::Route { sync: true, .. } => {
            let response = to_response(returned)?;
            let (bytes, limit) = (response.body.len(), response_body_max);
            if bytes > limit {
                let message = format!(
                    "the response body has {bytes} bytes, the limit is {limit} (RELIVE_MAX_RESPONSE_BODY)"
                );
                return Err(ErrorRecord::without_place(ErrorKind::BadResponse, message));
            }
            let content_type = response.content_type.clone().unwrap_or_default();
            let output = output(response.status, content_type, &response.body);
            Ok((Some(Reply::Response(response)), output))
        }
        Source::Direct => {
            let json = to_json(returned)?;
            let output = output(200, "application/json".to_owned(), &json);
            Ok((Some(Reply::Value(SharedBytes::from(json))), output))
        }
        Source::Route { sync: false, .. }
        | Source::Kv { .. }
        | Source::DeadLetter { .. }
        | Source::Cron { .. }
        | Source::Queue { .. } => {
            // Recorded, not checked: nobody waits for it.
            let json = to_json(returned).unwrap_or_else(|why| why.message.into_bytes());
            Ok((None, output(0, "application/json".to_owned(), &json)))
        }
    }
}

fn output(status: u16, content_type: String, body: &[u8]) -> OutputRecord {
    let head = body.get(..OutputRecord::HEAD_BYTES_MAX).unwrap_or(body).to_vec();
    OutputRecord { status, content_type, len: body.len() as u64, sha256: Sha256::digest(body).into(), head }
}
