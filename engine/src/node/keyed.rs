//! Calls with an `Idempotency-Key` (D14): the first outcome within a day counts for all.
//!
//! Owns: the digest of a call, what is known of its key, the record of an answer that can be given again, and giving
//! it. Never does: keep anything in memory; which call a key led to is a view, its outcome stands in the log.
//!
//! Invariants: E130 of the calls with one key of one route within the window, one runs, until one that committed
//! nothing frees the key; E131 what a replay answers is what the first caller was answered, byte for byte; E132 an
//! answer under a key leaves only after its own record is durable, also where it only read.

use std::sync::Arc;

use relive_log::events::{
    Completed, ErrorKind, Event, ExecutionEvent, IdempotencyKey, KeptAnswer, KeptReply, OutputRecord,
    RouteSpec, SealedBytes,
};
use relive_log::{ExecutionId, Lsn, UnixMicros};
use relive_projections::{App, ExecutionRow, Status};
use sha2::{Digest, Sha256};

use super::{Node, Outcome, Reply};
use crate::refusal::{Failure, Refusal, SubmitError};
use crate::script::{Request, Response};
use crate::seams::Entropy;
use crate::secrets::{InstanceKey, Masked, Masker, open, seal};

/// How long a key counts: 24 hours.
pub(super) const WINDOW_MS: u64 = 24 * 60 * 60 * 1000;

/// What the caller sent that makes two calls the same one, beside the request itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// The query string as it was sent.
    pub query: String,
    /// `authorization` as it was sent; only a keyed digest of it is kept.
    pub authorization: Option<String>,
}

impl Idempotency {
    /// The longest key, bytes.
    pub const KEY_BYTES_MAX: usize = 255;

    /// What is recorded of a call.
    pub(super) fn of(self, key: &InstanceKey, route: &RouteSpec, request: &Request) -> IdempotencyKey {
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            // The length keeps (ab, c) and (a, bc) apart.
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            digest.update(part);
        };
        add(request.method.as_bytes());
        add(request.path.as_bytes());
        add(self.query.as_bytes());
        add(&request.body);
        match &self.authorization {
            Some(value) => add(&key.header_digest("authorization", value)),
            None => add(&[]),
        }
        let route = format!("{} {}", route.method, route.path);
        IdempotencyKey { route, key: self.key, digest: digest.finalize().into() }
    }
}

/// What is known of a key.
pub(super) enum Known {
    /// Nothing that counts: the call runs.
    Free,
    /// The first call has no outcome yet.
    InFlight(ExecutionId),
    /// The first call: its outcome, or of async work its acceptance, counts.
    First(Box<ExecutionRow>),
}

impl Node {
    /// What a call with this key leads to. The caller holds the sequencer's lock, so that no second call slips in.
    pub(super) fn known(
        &self,
        app: &App,
        keyed: &IdempotencyKey,
        now: UnixMicros,
    ) -> Result<Known, SubmitError> {
        let failed = |error: relive_projections::ReadError| Failure::Read { message: error.to_string() };
        let found = self.views.idempotency().find(app.id, &keyed.route, &keyed.key).map_err(failed)?;
        let Some(first) = found.filter(|first| now < first.at.plus_millis(WINDOW_MS)) else {
            return Ok(Known::Free);
        };
        let Some(row) = self.views.executions().get(app.id, first.execution).map_err(failed)? else {
            return Ok(Known::Free);
        };
        if frees_its_key(&row) {
            return Ok(Known::Free);
        }
        if first.digest != keyed.digest {
            return Err(Refusal::KeyReused { execution: first.execution }.into());
        }
        let open = row.status.is_open() && row.source.reply_to();
        Ok(if open { Known::InFlight(first.execution) } else { Known::First(Box::new(row)) })
    }

    /// The outcome of a call that ended, as its first caller got it (E131). Its row is durable; reads the log.
    ///
    /// # Errors
    /// When the log cannot be read, or a secret in the answer is sealed with a key that is not here.
    pub fn remembered(&self, row: &ExecutionRow) -> Result<Outcome, Failure> {
        let broken = |message: String| Failure::Read { message };
        let ended =
            row.ended_at.ok_or_else(|| broken(format!("execution {} has not ended", row.execution)))?;
        let read = |error: relive_log::ReadError| broken(error.to_string());
        let (event, _) = self.reader.read_event(ended.pos, ended.lsn).map_err(read)?;
        let last = self.reader.frame_of(ended.lsn).map_err(read)?.last_lsn;
        let outcome = |lsn, result| Outcome { execution: row.execution, lsn, result, logs: Vec::new() };
        let kind = event.kind().name;
        let no_end = || broken(format!("event {} is a {kind}, not an end", ended.lsn));
        let Event::Execution(event) = event else { return Err(no_end()) };
        match event {
            ExecutionEvent::AttemptFailed(failed) => Ok(outcome(last, Err(failed.error))),
            ExecutionEvent::Completed(completed) => {
                let Completed { output, reply, .. } = *completed;
                let kept =
                    reply.ok_or_else(|| broken(format!("the answer of {} was not kept", row.execution)))?;
                let lsn = kept.read_only_at.unwrap_or(last);
                let response = answer(self.vaults.key(), row.execution, output, *kept)?;
                Ok(outcome(lsn, Ok(Reply::Response(response))))
            }
            ExecutionEvent::Enqueued(_)
            | ExecutionEvent::Claimed(_)
            | ExecutionEvent::AloneEnded(_)
            | ExecutionEvent::Released(_)
            | ExecutionEvent::Abandoned(_)
            | ExecutionEvent::Dropped(_)
            | ExecutionEvent::DepthExceeded(_) => Err(no_end()),
        }
    }
}

/// An execution that a crash abandoned, that a shutdown cut off or that was dropped before it ran committed nothing.
/// Async work is never abandoned: its key stands for its acceptance.
fn frees_its_key(row: &ExecutionRow) -> bool {
    if !row.source.reply_to() {
        return false;
    }
    match row.status {
        Status::Abandoned | Status::Dropped => true,
        Status::Failed => row.last_error.as_ref().is_some_and(|e| e.kind == ErrorKind::ShuttingDown),
        Status::Pending | Status::Running | Status::Retrying | Status::Completed | Status::DeadLettered => {
            false
        }
    }
}

fn aad(execution: ExecutionId) -> Vec<u8> {
    [b"relive answer\0".as_slice(), execution.as_bytes()].concat()
}

/// What makes records of answers.
pub(super) struct Keeper<'a> {
    pub key: &'a InstanceKey,
    pub entropy: &'a dyn Entropy,
    /// Of the secrets that the run took, and of all of the app.
    pub maskers: [&'a Masker; 2],
}

impl Keeper<'_> {
    /// The record of an answer. One that holds a secret's value is sealed; `output` is to be masked then.
    pub(super) fn keep(
        &self,
        execution: ExecutionId,
        response: &Response,
        read_only_at: Option<Lsn>,
    ) -> Result<KeptReply, Failure> {
        let typed = response.content_type.is_some();
        let headers = response.headers.iter();
        let answer = if self.holds_a_secret(response) {
            let sealed = |value: &[u8]| self.seal(execution, value);
            let headers = headers
                .map(|(name, value)| Ok((name.clone(), sealed(value.as_bytes())?)))
                .collect::<Result<_, Failure>>()?;
            KeptAnswer::Sealed { headers, body: sealed(&response.body)? }
        } else {
            KeptAnswer::Clear { headers: headers.cloned().collect() }
        };
        Ok(KeptReply { read_only_at, typed, answer })
    }

    fn holds_a_secret(&self, response: &Response) -> bool {
        self.maskers.iter().filter(|masker| !masker.is_empty()).any(|masker| {
            masker.mask_bytes(&mut response.body.clone()) == Masked::Yes
                || response
                    .headers
                    .iter()
                    .any(|(_, value)| masker.mask_text(&mut value.clone()) == Masked::Yes)
        })
    }

    fn seal(&self, execution: ExecutionId, plain: &[u8]) -> Result<SealedBytes, Failure> {
        let mut nonce = [0_u8; 24];
        self.entropy.fill(&mut nonce);
        seal(self.key, nonce, &aad(execution), plain)
            .map_err(|error| Failure::Read { message: error.to_string() })
    }
}

fn answer(
    key: &InstanceKey,
    execution: ExecutionId,
    output: OutputRecord,
    kept: KeptReply,
) -> Result<Response, Failure> {
    let opened = |sealed: &SealedBytes| {
        open(key, &aad(execution), sealed).map_err(|error| Failure::Read {
            message: format!("the answer of {execution} holds a secret and cannot be opened: {error}"),
        })
    };
    let (headers, body) = match kept.answer {
        KeptAnswer::Clear { headers } => (headers, output.head),
        KeptAnswer::Sealed { headers, body } => {
            let text = |value: &SealedBytes| Ok(String::from_utf8_lossy(&opened(value)?).into_owned());
            let headers = headers
                .iter()
                .map(|(name, value)| Ok((name.clone(), text(value)?)))
                .collect::<Result<_, Failure>>()?;
            (headers, opened(&body)?)
        }
    };
    let content_type = kept.typed.then_some(output.content_type);
    Ok(Response { status: output.status, headers, content_type, body })
}

/// Callers whose call is another one's, to be told its outcome.
pub(super) type Followers = Vec<super::ReplyTo>;

impl Node {
    /// Tells the outcome to every caller that waits for it as its own, once `after` is durable.
    pub(super) fn tell_followers(
        self: &Arc<Self>,
        core: &mut super::core::Core,
        after: Lsn,
        outcome: &Outcome,
    ) {
        for reply in core.followers.remove(&outcome.execution).unwrap_or_default() {
            let outcome = outcome.clone();
            let tell = move |durable: Result<(), Failure>| {
                if durable.is_ok() {
                    // Whether this one took it is of no consequence: the execution has a caller of its own.
                    let _ = reply(outcome);
                }
            };
            self.waiters.queue_up(after, Box::new(tell));
        }
    }
}
