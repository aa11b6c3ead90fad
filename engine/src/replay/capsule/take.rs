//! Writing a capsule: the recording runs, and what it asks of the store is noted.
//!
//! Owns: [`capsule`]. Never does: decide what of an input may be seen; the recording has placeholders already.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use relive_log::events::{
    AfterFailure, AttemptFailed, Completed, Enqueued, Event, ExecutionEvent, Input, SharedBytes,
    encode_record,
};
use relive_log::{AppId, LetterId, Lsn};

use super::text::{
    BytesText, ClosedText, ErrorText, EventText, HistoryText, InputText, KeyText, LetterText, MomentText,
    PageText, PastKeyText, PastText, SendText, VersionText, WriteText,
};
use super::{CAPSULE_FORMAT, Capsule, Head, Seen, moment_text};
use crate::replay::recording::{Recorded, Recording};
use crate::replay::run::{Replayed, replay};
use crate::script::{
    ContextInput, LetterEffect, LetterVerb, ListPage, ListQuery, Moment, NoPast, PastVersion, ReadFailed,
    Slot, Snapshot, WriteEffect,
};

/// The capsule of a recording, JSON text. The recording runs once, to learn what it reads; `original` is the same
/// attempt with withheld values opened, where they may be (its reads are those that were).
#[must_use]
pub fn capsule(recording: &Recording, original: &Recording, made_by: &str) -> String {
    let tap = Arc::new(Tap { inner: Arc::clone(&recording.kv), seen: Mutex::default() });
    for one in [recording, original] {
        let mut tapped = one.clone();
        tapped.kv = Arc::clone(&tap) as Arc<dyn Snapshot>;
        let _replayed: Replayed = replay(&tapped);
    }
    let mut seen = std::mem::take(&mut *tap.seen.lock());
    let (keys, pages) = (std::mem::take(&mut seen.keys), std::mem::take(&mut seen.pages));
    let context = &recording.context;
    let capsule = Capsule {
        head: Head { relive_capsule: CAPSULE_FORMAT, made_by: made_by.to_owned() },
        app: context.app.clone(),
        script: context.script.clone(),
        version: recording.recorded_version,
        execution_id: context.execution,
        attempt: context.attempt,
        scripts: recording
            .source_text
            .iter()
            .map(|text| (context.script.clone(), text.to_string()))
            .chain(recording.imported.iter().map(|(name, text)| (name.clone(), text.to_string())))
            .collect(),
        input: input_text(&context.input),
        withheld_headers: recording.withheld.digests.clone(),
        input_masked: recording.withheld.masked,
        snapshot_lsn: context.lsn,
        claimed_at_us: recording.claim_time,
        seed: hex::encode(recording.seed),
        keys: keys.into_iter().map(key_text).collect(),
        pages: pages.into_iter().map(page_text).collect(),
        past: past_text(seen),
        writes: recording.recorded.iter().flat_map(|recorded| &recorded.writes).map(write_text).collect(),
        sends: recording
            .recorded
            .iter()
            .flat_map(|recorded| &recorded.sends)
            .map(|send| SendText {
                execution: send.execution,
                queue: send.queue.clone(),
                message: lossy(&send.message),
                key: send.key.clone(),
            })
            .collect(),
        letters: recording.recorded.iter().flat_map(|recorded| &recorded.letters).map(closed_text).collect(),
        sends_too_deep: recording.recorded.as_ref().map_or(0, |recorded| recorded.too_deep),
        enqueued: event_text(&enqueued_of(recording)),
        ended: recording.recorded.as_ref().map(|recorded| event_text(&ended_of(recording, recorded))),
    };
    serde_json::to_string_pretty(&capsule).unwrap_or_default()
}

/// Notes what a run asks of the store.
struct Tap {
    inner: Arc<dyn Snapshot>,
    seen: Mutex<Seen>,
}

impl Snapshot for Tap {
    fn get(&self, collection: &str, key: &str) -> Result<Slot, ReadFailed> {
        let slot = self.inner.get(collection, key)?;
        self.seen.lock().keys.insert((collection.to_owned(), key.to_owned()), slot.clone());
        Ok(slot)
    }

    fn list(&self, query: &ListQuery) -> Result<ListPage, ReadFailed> {
        let page = self.inner.list(query)?;
        self.seen.lock().pages.insert(query.clone(), page.clone());
        Ok(page)
    }

    fn resolve(&self, at: Moment) -> Result<Lsn, NoPast> {
        let name = moment_text(&at);
        let lsn = self.inner.resolve(at);
        self.seen.lock().moments.insert(name, lsn.clone());
        lsn
    }

    fn get_at(&self, collection: &str, key: &str, at: Lsn) -> Result<Slot, ReadFailed> {
        let slot = self.inner.get_at(collection, key, at)?;
        self.seen.lock().past.insert((collection.to_owned(), key.to_owned(), at), slot.clone());
        Ok(slot)
    }

    fn history(
        &self,
        collection: &str,
        key: &str,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<PastVersion>, ReadFailed> {
        let versions = self.inner.history(collection, key, limit, bytes_max)?;
        let asked = (collection.to_owned(), key.to_owned(), limit, bytes_max);
        self.seen.lock().histories.insert(asked, versions.clone());
        Ok(versions)
    }

    fn letter(&self, letter: LetterId) -> Result<Option<bool>, ReadFailed> {
        let open = self.inner.letter(letter)?;
        self.seen.lock().letters.insert(letter, open);
        Ok(open)
    }
}

fn lossy(bytes: &SharedBytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn key_text(((collection, key), slot): ((String, String), Slot)) -> KeyText {
    KeyText {
        collection,
        key,
        version: slot.version,
        value: slot.value.as_ref().map(lossy),
        expires_at_us: slot.expires_at,
        lapsed: slot.lapsed,
    }
}

fn past_text(seen: Seen) -> PastText {
    let Seen { moments, past, histories, letters, .. } = seen;
    let moments = moments.into_iter().map(|(at, lsn)| {
        let below_horizon = if let Err(NoPast::BelowHorizon { first }) = &lsn { Some(*first) } else { None };
        MomentText { at, lsn: lsn.ok(), below_horizon }
    });
    let keys = past
        .into_iter()
        .map(|((collection, key, at), slot)| PastKeyText { at, key: key_text(((collection, key), slot)) });
    let histories = histories.into_iter().map(|((collection, key, limit, bytes_max), versions)| {
        let versions = versions.into_iter().map(|version| VersionText {
            lsn: version.lsn,
            at_us: version.at,
            op: version.op.to_owned(),
            value: version.value.as_ref().map(lossy),
        });
        HistoryText { collection, key, limit, bytes_max, versions: versions.collect() }
    });
    PastText {
        moments: moments.collect(),
        keys: keys.collect(),
        histories: histories.collect(),
        letters: letters.into_iter().collect(),
    }
}

fn page_text((query, page): (ListQuery, ListPage)) -> PageText {
    PageText {
        collection: query.collection,
        prefix: query.prefix,
        cursor: query.cursor,
        reverse: query.reverse,
        limit: query.limit,
        items: page.items.into_iter().map(|item| (item.key, item.version, lossy(&item.value))).collect(),
        more: page.more,
        lapsed: page.lapsed,
    }
}

fn write_text(((collection, key), effect): (&(String, String), &WriteEffect)) -> WriteText {
    WriteText {
        collection: collection.clone(),
        key: key.clone(),
        value: effect.value.as_ref().map(lossy),
        line: effect.line,
        expires_at_us: effect.expires_at,
    }
}

fn closed_text(effect: &LetterEffect) -> ClosedText {
    let (redriven_as, note) = match &effect.verb {
        LetterVerb::Redrive(execution) => (Some(*execution), None),
        LetterVerb::Resolve(note) => (None, Some(note.clone())),
    };
    ClosedText { dead_letter_id: effect.letter, redriven_as, note }
}

fn event_text(event: &Event) -> EventText {
    let mut bytes = Vec::new();
    let (r#type, version) = encode_record(event, &mut bytes);
    EventText { r#type, version, data: STANDARD.encode(bytes) }
}

fn enqueued_of(recording: &Recording) -> Event {
    let context = &recording.context;
    Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
        app: AppId::default(),
        execution: context.execution,
        root: context.root,
        depth: context.depth,
        cause: None,
        caused_by: None,
        script: context.script.clone(),
        source: recording.source.clone(),
        input: Input::NotRecorded,
        due_at: recording.claim_time,
        ordering_key: None,
        principal: context.principal.clone(),
        redrive_of: None,
        idempotency: None,
        pinned_version: None,
    })))
}

fn ended_of(recording: &Recording, recorded: &Recorded) -> Event {
    let (app, execution, attempt) =
        (AppId::default(), recording.context.execution, recording.context.attempt);
    Event::Execution(match &recorded.result {
        Ok(output) => ExecutionEvent::Completed(Box::new(Completed {
            app,
            execution,
            attempt,
            output: output.clone(),
            record: recorded.record.clone().unwrap_or_default(),
            reply: None,
        })),
        Err(error) => ExecutionEvent::AttemptFailed(Box::new(AttemptFailed {
            app,
            execution,
            attempt,
            counted: true,
            error: error.clone(),
            record: recorded.record.clone(),
            then: AfterFailure::End,
        })),
    })
}

fn bytes_text(bytes: &[u8]) -> BytesText {
    match std::str::from_utf8(bytes) {
        Ok(text) => BytesText::Text(text.to_owned()),
        Err(_) => BytesText::Base64(STANDARD.encode(bytes)),
    }
}

fn input_text(input: &ContextInput) -> InputText {
    match input {
        ContextInput::Request(request) => InputText::Request {
            method: request.method.clone(),
            path: request.path.clone(),
            params: request.params.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body: bytes_text(&request.body),
        },
        ContextInput::Kv(event) => InputText::Kv {
            op: event.op.to_owned(),
            collection: event.collection.clone(),
            key: event.key.clone(),
            value: event.value.as_ref().map(lossy),
            old_value: event.old_value.as_ref().map(lossy),
            lsn: event.lsn,
        },
        ContextInput::DeadLetter(letter) => InputText::DeadLetter(Box::new(LetterText {
            id: letter.id.clone(),
            execution: letter.execution,
            root: letter.root,
            original: input_text(&letter.original),
            script: letter.script.clone(),
            trigger: letter.trigger.clone(),
            attempts: letter.attempts,
            error: ErrorText {
                kind: letter.last_error.kind.name().to_owned(),
                message: letter.last_error.message.clone(),
                line: letter.last_error.line,
                column: letter.last_error.column,
            },
            first_attempt_at_us: letter.first_attempt_at,
            last_attempt_at_us: letter.last_attempt_at,
        })),
        ContextInput::Payload(payload) => InputText::Payload(payload.as_ref().map(lossy)),
        ContextInput::Cron(tick) => {
            InputText::Cron { scheduled_at_us: tick.scheduled_at, missed: tick.missed }
        }
        ContextInput::Queue(message) => InputText::Queue {
            queue: message.queue.clone(),
            message: lossy(&message.message),
            enqueued_at_us: message.enqueued_at,
        },
    }
}
