//! Outgoing calls as a run sees them: a question, its place in the order of questions, and what comes of it.
//!
//! Owns: [`CallRequest`], its digest, and the seam [`Calls`] through which a run asks. Never does: touch the world,
//! wait, or judge addresses; the engine answers from the attempt's journal or asks outside, a replay answers
//! from the recorded journal alone.
//!
//! Invariants: **E150** a run asks its n-th question with position n, and gets the journalled outcome as long as it
//! asks the same in the same order (S2, T1); **E151** no outcome reaches a script that is not in the run's record.

use relive_log::Lsn;
use relive_log::events::CallOutcome;
use sha2::{Digest, Sha256};

use super::types::StopCause;
use crate::secrets::Masker;

/// What a script asks of the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRequest {
    /// Method, upper case.
    pub method: String,
    /// The URL as the script wrote it.
    pub url: String,
    /// Headers in order, lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// How long the script waits at most, milliseconds; `None`: as long as its own time lasts.
    pub timeout_ms: Option<u64>,
}

const DIGEST_DOMAIN: &[u8] = b"relive outgoing call 1";

impl CallRequest {
    /// The digest in the journal: SHA-256 over method, URL, headers, body (each with its length, 8 bytes
    /// little-endian) and the time limit, after `masker` replaced the secrets that the run had taken.
    #[must_use]
    pub fn digest(&self, masker: &Masker) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let masked = |text: &str| {
            let mut text = text.to_owned();
            masker.mask_text(&mut text);
            text
        };
        part(DIGEST_DOMAIN);
        part(self.method.as_bytes());
        part(masked(&self.url).as_bytes());
        part(&(self.headers.len() as u64).to_le_bytes());
        for (name, value) in &self.headers {
            part(name.as_bytes());
            part(masked(value).as_bytes());
        }
        let mut body = self.body.clone();
        masker.mask_bytes(&mut body);
        part(&body);
        part(&self.timeout_ms.unwrap_or(0).to_le_bytes());
        hash.finalize().into()
    }
}

/// One question of a run.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// How many questions the run asked before this one.
    pub position: usize,
    /// [`CallRequest::digest`] with the secrets that the run had taken by then.
    pub digest: [u8; 32],
    /// The question.
    pub request: &'a CallRequest,
    /// The highest version that the run has read so far: what it asks may depend on it (S3).
    pub depends_on: Lsn,
}

/// What comes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallReply {
    /// An outcome, in clear.
    Outcome {
        /// What came of it.
        outcome: CallOutcome,
        /// How long the first run that asked waited, milliseconds.
        took_ms: u64,
    },
    /// None: the run ends here, and no `catch` changes that.
    Stop(CallStop),
}

/// Why a question ends a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallStop {
    /// The attempt's own time is over, or the instance shuts down.
    Ended(StopCause),
    /// It asked more often than it may.
    TooMany {
        /// How often it may.
        limit: usize,
    },
    /// The engine makes the call first and runs the script again (S2); or a replay has no recorded outcome.
    /// Ends the run as `internal` with this text.
    Aside(String),
}

/// Answers the questions of one attempt; its runs share it.
pub trait Calls: Send + Sync {
    /// Answers one question; blocks until there is an outcome.
    fn ask(&self, asked: Asked<'_>) -> CallReply;
}

/// The world is out of reach: every call fails with this text.
#[derive(Debug)]
pub struct NoCalls(pub &'static str);

impl Calls for NoCalls {
    fn ask(&self, _: Asked<'_>) -> CallReply {
        CallReply::Outcome { outcome: CallOutcome::Failed(self.0.to_owned()), took_ms: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> CallRequest {
        CallRequest {
            method: "POST".into(),
            url: "https://a.example/x?k=sk_live_12345".into(),
            headers: vec![("authorization".into(), "Bearer sk_live_12345".into())],
            body: b"{\"n\":1}".to_vec(),
            timeout_ms: Some(100),
        }
    }

    #[test]
    fn t1_the_digest_covers_every_part_of_the_question() {
        let none = Masker::default();
        let all = [
            request(),
            CallRequest { method: "PUT".into(), ..request() },
            CallRequest { url: "https://a.example/y".into(), ..request() },
            CallRequest { headers: vec![], ..request() },
            CallRequest { headers: vec![("authorizationb".into(), "earer".into())], ..request() },
            CallRequest { body: b"{\"n\":2}".to_vec(), ..request() },
            CallRequest { timeout_ms: None, ..request() },
        ];
        let digests: std::collections::BTreeSet<_> = all.iter().map(|one| one.digest(&none)).collect();
        assert_eq!(digests.len(), all.len());
        assert_eq!(request().digest(&none), request().digest(&none));
    }

    #[test]
    fn t6_a_placeholder_asks_with_the_digest_of_the_value() {
        let masker = Masker::new([("stripe".to_owned(), "sk_live_12345".to_owned())]);
        let mut withheld = request();
        for text in [&mut withheld.url].into_iter().chain(withheld.headers.iter_mut().map(|(_, v)| v)) {
            *text = text.replace("sk_live_12345", "‹secret:stripe›");
        }
        assert_eq!(request().digest(&masker), withheld.digest(&Masker::default()));
    }
}
