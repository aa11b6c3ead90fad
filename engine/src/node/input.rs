//! Inputs: what goes into the log of a request, and what an attempt gets back out of it (T1, T5).
//!
//! Owns: masking and withholding before the append, resolving references after it. Invariants: E70 a sensitive
//! header's value never enters an event in clear; E71 a secret's value in a request is masked in its record.

use std::sync::Arc;

use relive_log::events::{
    DeadLetterEvent, DeadLettered, Enqueued, Event, ExecutionEvent, HeaderRecord, Input, KvEvent,
    RequestRecord,
};
use relive_log::{FramePos, Lsn, ReadError, Reader, TriggerId, UnixMicros};
use relive_projections::{App, At, Views};

use super::vault::{AppVault, Vaults};
use crate::refusal::Failure;
use crate::script::{ContextInput, CronTick, DeadLetter, KvEvent as KvContext, QueueMessage, Request};
use crate::seams::Entropy;
use crate::secrets::{Masked, open, seal};

/// Authenticated with a sealed header.
const HEADER_AAD: &[u8] = b"relive header\0";
/// How deep references between inputs may go (a redrive of a redrive of …).
const REFERENCES_MAX: usize = 64;

/// How sensitive headers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withhold {
    /// As a keyed digest: the only attempt runs on the live request (sync routes).
    Digest,
    /// Encrypted: attempts come later (async routes).
    Seal,
}

/// What recording needs beside the request.
pub(super) struct Recorder<'a> {
    pub vaults: &'a Vaults,
    pub vault: &'a AppVault,
    pub entropy: &'a dyn Entropy,
    pub sensitive: &'a [String],
}

impl Recorder<'_> {
    /// The record of a request.
    pub(super) fn record(&self, request: &Request, withhold: Withhold) -> RequestRecord {
        let mut masked = false;
        let masker = self.vault.masker();
        let mut text = |text: &str| {
            let mut text = text.to_owned();
            masked |= masker.mask_text(&mut text) == Masked::Yes;
            text
        };
        let mut pairs = |pairs: &[(String, String)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| (name.clone(), text(value))).collect()
        };
        let params = pairs(&request.params);
        let query = pairs(&request.query);
        let path = text(&request.path);
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| {
                let kept = if self.sensitive.iter().any(|s| s == name) {
                    self.withhold(name, value, withhold)
                } else {
                    HeaderRecord::Clear(text(value))
                };
                (name.clone(), kept)
            })
            .collect();
        let mut body = request.body.clone();
        masked |= masker.mask_bytes(&mut body) == Masked::Yes;
        RequestRecord { method: request.method.clone(), path, params, query, headers, body, masked }
    }

    fn withhold(&self, name: &str, value: &str, withhold: Withhold) -> HeaderRecord {
        match withhold {
            Withhold::Digest => HeaderRecord::Digest(self.vaults.key().header_digest(name, value)),
            Withhold::Seal => {
                let mut nonce = [0_u8; 24];
                self.entropy.fill(&mut nonce);
                // Sealing fails above 256 GiB only; a header that could not be sealed is never kept in clear.
                seal(self.vaults.key(), nonce, HEADER_AAD, value.as_bytes()).map_or_else(
                    |_| HeaderRecord::Digest(self.vaults.key().header_digest(name, value)),
                    HeaderRecord::Sealed,
                )
            }
        }
    }
}

/// Who looks at an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// An attempt: sealed headers are opened.
    Attempt,
    /// People: withheld headers show as `‹header:NAME›`.
    Eyes,
}

/// Why an input is not there.
#[derive(Debug)]
pub(crate) enum NoInput {
    /// It was not recorded.
    NotRecorded,
    /// It is sealed with a key that is not here.
    KeyMissing,
    /// It was cut off: the log begins here now.
    BelowHorizon(Lsn),
    /// The log could not be read, or does not hold what it should.
    Failed(Failure),
}

fn unreadable(error: impl std::fmt::Display) -> NoInput {
    NoInput::Failed(Failure::Read { message: error.to_string() })
}

fn unread(error: ReadError) -> NoInput {
    match error.horizon() {
        Some(first) => NoInput::BelowHorizon(first),
        None => unreadable(error),
    }
}

/// Reads inputs back from the log.
pub(crate) struct Inputs<'a> {
    pub views: &'a Views,
    pub reader: &'a Reader,
    pub vaults: &'a Vaults,
    pub app: &'a App,
    pub who: For,
}

/// What an input lacks in clear, or must not be shown in clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Withheld {
    /// Headers of which only a digest is left.
    pub digests: Vec<String>,
    /// Headers that are sealed, with their values where they open.
    pub sealed: Vec<(String, Option<String>)>,
    /// Whether a secret's value was masked in it.
    pub masked: bool,
}

impl Inputs<'_> {
    /// The input of the `enqueued` event at `lsn`, in the frame at `pos`.
    pub(crate) fn of(&self, pos: FramePos, lsn: Lsn) -> Result<ContextInput, NoInput> {
        let (event, sent) = self.reader.read_event(pos, lsn).map_err(unread)?;
        self.of_enqueued(enqueued(event, lsn)?, sent, (Some(pos), 0))
    }

    /// The input of an `enqueued` that was read already.
    pub(crate) fn of_read(&self, enqueued: Enqueued, at: At) -> Result<ContextInput, NoInput> {
        self.of_enqueued(enqueued, at.time, (Some(at.pos), 0))
    }

    /// What the input of an `enqueued` lacks in clear.
    pub(crate) fn withheld_of_enqueued(&self, first: &Enqueued) -> Result<Withheld, NoInput> {
        let mut read;
        let mut enqueue = first;
        for _ in 0..REFERENCES_MAX {
            let lsn = match &enqueue.input {
                Input::SameAs(lsn) => *lsn,
                Input::Letter(lsn) => {
                    let letter = self.event(*lsn)?;
                    let Event::DeadLetter(DeadLetterEvent::DeadLettered(letter)) = letter else { break };
                    letter.enqueued
                }
                Input::Request(request) => return Ok(self.withheld_of(request)),
                Input::Mutation(_)
                | Input::Payload(_)
                | Input::NotRecorded
                | Input::Tick { .. }
                | Input::Message { .. } => break,
            };
            read = enqueued(self.event(lsn)?, lsn)?;
            enqueue = &read;
        }
        Ok(Withheld::default())
    }

    fn withheld_of(&self, request: &RequestRecord) -> Withheld {
        let mut withheld = Withheld { masked: request.masked, ..Withheld::default() };
        for (name, value) in &request.headers {
            match value {
                HeaderRecord::Clear(_) => {}
                HeaderRecord::Digest(_) => withheld.digests.push(name.clone()),
                HeaderRecord::Sealed(sealed) => {
                    let plain = open(self.vaults.key(), HEADER_AAD, sealed).ok();
                    let plain = plain.map(|plain| String::from_utf8_lossy(&plain).into_owned());
                    withheld.sealed.push((name.clone(), plain));
                }
            }
        }
        withheld
    }

    fn event(&self, lsn: Lsn) -> Result<Event, NoInput> {
        self.event_and_time(lsn).map(|(event, _)| event)
    }

    /// The event and the commit time of its batch.
    fn event_and_time(&self, lsn: Lsn) -> Result<(Event, UnixMicros), NoInput> {
        self.reader.event_at(lsn).map_err(unread)
    }

    /// What an `enqueued` that was committed at `sent`, in the frame at `near`, runs on.
    fn of_enqueued(
        &self,
        enqueue: Enqueued,
        sent: UnixMicros,
        (near, references): (Option<FramePos>, usize),
    ) -> Result<ContextInput, NoInput> {
        if references > REFERENCES_MAX {
            return Err(unreadable(format!("input of {} refers too far", enqueue.execution)));
        }
        match enqueue.input {
            Input::Request(record) => self.request(*record).map(|r| ContextInput::Request(Arc::new(r))),
            Input::Mutation(lsn) => self.mutation(lsn, near),
            Input::Letter(lsn) => self.letter(lsn, references),
            Input::SameAs(lsn) => {
                let (event, sent) = self.event_and_time(lsn)?;
                self.of_enqueued(enqueued(event, lsn)?, sent, (None, references + 1))
            }
            Input::Payload(payload) => Ok(ContextInput::Payload(payload)),
            Input::NotRecorded => Err(NoInput::NotRecorded),
            Input::Tick { scheduled_at, missed } => Ok(ContextInput::Cron(CronTick { scheduled_at, missed })),
            Input::Message { queue, message } => {
                Ok(ContextInput::Queue(QueueMessage { queue, message, enqueued_at: sent }))
            }
        }
    }

    fn request(&self, record: RequestRecord) -> Result<Request, NoInput> {
        let mut headers = Vec::with_capacity(record.headers.len());
        for (name, value) in record.headers {
            let text = match (value, self.who) {
                (HeaderRecord::Clear(text), _) => text,
                (HeaderRecord::Digest(_), _) | (HeaderRecord::Sealed(_), For::Eyes) => {
                    format!("‹header:{name}›")
                }
                (HeaderRecord::Sealed(sealed), For::Attempt) => {
                    let plain =
                        open(self.vaults.key(), HEADER_AAD, &sealed).map_err(|_| NoInput::KeyMissing)?;
                    String::from_utf8_lossy(&plain).into_owned()
                }
            };
            headers.push((name, text));
        }
        Ok(Request {
            method: record.method,
            path: record.path,
            params: record.params,
            query: record.query,
            headers,
            body: record.body,
        })
    }

    fn mutation(&self, lsn: Lsn, near: Option<FramePos>) -> Result<ContextInput, NoInput> {
        let no_mutation = || unreadable(format!("event {lsn} is no mutation"));
        // What fired stands in the frame of what it fired: no need to look for it.
        let beside = near.and_then(|pos| self.reader.read_event(pos, lsn).ok()).map(|(event, _)| event);
        let event = beside.map_or_else(|| self.event(lsn), Ok)?;
        let Event::Kv(event) = event else { return Err(no_mutation()) };
        Ok(ContextInput::Kv(match event {
            KvEvent::Put(put) => KvContext {
                op: if put.previous.is_some() { "update" } else { "insert" },
                old_value: put.previous.map(|previous| self.value(previous)).transpose()?.flatten(),
                collection: put.collection,
                key: put.key,
                value: Some(put.value),
                lsn,
            },
            KvEvent::Expired(expired) => KvContext {
                op: "expire",
                old_value: self.value(expired.version)?,
                collection: expired.collection,
                key: expired.key,
                value: None,
                lsn,
            },
            KvEvent::Deleted(deleted) => KvContext {
                op: "delete",
                old_value: self.value(deleted.previous)?,
                collection: deleted.collection,
                key: deleted.key,
                value: None,
                lsn,
            },
        }))
    }

    fn value(&self, lsn: Lsn) -> Result<Option<relive_log::events::SharedBytes>, NoInput> {
        match self.event(lsn)? {
            Event::Kv(KvEvent::Put(put)) => Ok(Some(put.value)),
            Event::Kv(KvEvent::Deleted(_) | KvEvent::Expired(_))
            | Event::App(_)
            | Event::Script(_)
            | Event::Route(_)
            | Event::Trigger(_)
            | Event::Token(_)
            | Event::Secret(_)
            | Event::Execution(_)
            | Event::DeadLetter(_)
            | Event::Job(_)
            | Event::Retention(_)
            | Event::Cron(_) => Ok(None),
        }
    }

    fn letter(&self, lsn: Lsn, references: usize) -> Result<ContextInput, NoInput> {
        let event = self.event(lsn)?;
        let Event::DeadLetter(DeadLetterEvent::DeadLettered(letter)) = event else {
            return Err(unreadable(format!("event {lsn} is no dead letter")));
        };
        let DeadLettered {
            letter: id, execution, root, enqueued: at, script, source, attempts, error, ..
        } = *letter;
        let (died, sent) = self.event_and_time(at)?;
        let original = self.of_enqueued(enqueued(died, at)?, sent, (None, references + 1))?;
        let trigger = source.trigger().map(|trigger| self.trigger_name(trigger, lsn)).transpose()?.flatten();
        Ok(ContextInput::DeadLetter(Box::new(DeadLetter {
            id: id.to_string(),
            execution,
            root,
            original,
            script,
            trigger,
            attempts,
            last_error: error,
            first_attempt_at: letter.first_attempt_at,
            last_attempt_at: letter.last_attempt_at,
        })))
    }
}

impl Inputs<'_> {
    /// The name of a trigger that was there at `lsn`: it may be gone by now, and what a handler is told stays the same.
    fn trigger_name(&self, trigger: TriggerId, lsn: Lsn) -> Result<Option<String>, NoInput> {
        let name = |app: &App| app.triggers.get(&trigger).map(|found| found.spec.name.clone());
        match name(self.app) {
            Some(now) => Ok(Some(now)),
            None => self.views.app_as_of(self.app, lsn).map(|then| name(&then)).map_err(unreadable),
        }
    }
}

fn enqueued(event: Event, lsn: Lsn) -> Result<Enqueued, NoInput> {
    match event {
        Event::Execution(ExecutionEvent::Enqueued(enqueued)) => Ok(*enqueued),
        Event::Execution(
            ExecutionEvent::Claimed(_)
            | ExecutionEvent::AloneEnded(_)
            | ExecutionEvent::Released(_)
            | ExecutionEvent::Completed(_)
            | ExecutionEvent::AttemptFailed(_)
            | ExecutionEvent::Abandoned(_)
            | ExecutionEvent::Dropped(_)
            | ExecutionEvent::DepthExceeded(_),
        )
        | Event::App(_)
        | Event::Script(_)
        | Event::Route(_)
        | Event::Trigger(_)
        | Event::Token(_)
        | Event::Secret(_)
        | Event::Kv(_)
        | Event::DeadLetter(_)
        | Event::Job(_)
        | Event::Retention(_)
        | Event::Cron(_) => Err(unreadable(format!("event {lsn} is no enqueue"))),
    }
}
