//! A recorded attempt as one portable file: a capsule.
//!
//! Owns: the format (JSON, `relive_capsule`), writing ([`capsule`]) and opening ([`opened`]) it. Never does: put a
//! secret or a withheld header into it: placeholders stand for both.
//!
//! A capsule has what the run read, not the app: the scripts, the input, the seed, the claim time, the keys and pages
//! that it asked for, and what was recorded of its end. What a run asks for beyond that ends it, by name. Events stand
//! in it as the log encodes them, so that comparing loses nothing.
//!
//! Invariants: E126 a capsule replays as its recording does, unless it needs what was withheld; then it says so.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use relive_log::events::{
    AfterFailure, AttemptFailed, Completed, Enqueued, ErrorRecord, Event, ExecutionEvent, Input, SharedBytes,
    decode_record, encode_record,
};
use relive_log::{AppId, ExecutionId, LetterId, Lsn, UnixMicros};
use serde::{Deserialize, Serialize};

use self::text::{
    BytesText, ErrorText, EventText, HistoryText, InputText, KeyText, LetterText, MomentText, PageText,
    PastKeyText, PastText, SendText, VersionText, WriteText,
};
use super::answers::{SecretAnswer, Secrets};
use super::recording::{Candidate, Recorded, Recording};
use super::run::{Replayed, replay};
use crate::node::input::Withheld;
use crate::script::{
    Context, ContextInput, CronTick, DeadLetter, KvEvent, ListItem, ListPage, ListQuery, QueueMessage,
    ReadFailed, Request, Slot, Snapshot, WriteEffect, compile,
};
use crate::script::{Imports, Moment, NoPast, PastVersion, SendEffect};
use crate::seams::Clock;
use crate::settings::EngineSettings;

/// The format that this version writes and reads.
pub const CAPSULE_FORMAT: u64 = 1;

/// Why a file is no capsule for this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCapsule {
    /// It is something else.
    #[error("this is no Relive capsule: {0}")]
    Foreign(String),
    /// Another version wrote it.
    #[error("the capsule has format {found} (written by {by}); this version reads format {CAPSULE_FORMAT}")]
    Format {
        /// Its format.
        found: u64,
        /// Who wrote it.
        by: String,
    },
    /// Its parts do not fit together.
    #[error("the capsule is damaged: {0}")]
    Damaged(String),
    /// The source to be tried does not compile.
    #[error("the source does not compile: {0}")]
    Source(crate::script::CompileError),
}

#[derive(Serialize, Deserialize)]
struct Head {
    relive_capsule: u64,
    #[serde(default)]
    made_by: String,
}

#[derive(Serialize, Deserialize)]
struct Capsule {
    #[serde(flatten)]
    head: Head,
    app: String,
    script: String,
    version: u32,
    execution_id: ExecutionId,
    attempt: u32,
    /// Sources by name; `script` is among them unless it was missing.
    scripts: BTreeMap<String, String>,
    input: InputText,
    withheld_headers: Vec<String>,
    input_masked: bool,
    snapshot_lsn: Lsn,
    claimed_at_us: UnixMicros,
    seed: String,
    keys: Vec<KeyText>,
    pages: Vec<PageText>,
    #[serde(default)]
    past: PastText,
    writes: Vec<WriteText>,
    #[serde(default)]
    sends: Vec<SendText>,
    #[serde(default)]
    sends_too_deep: usize,
    /// Who and where from, as the log encodes it.
    enqueued: EventText,
    /// How it ended; absent when nothing was recorded.
    ended: Option<EventText>,
}

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
    let seen = std::mem::take(&mut *tap.seen.lock());
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
        past: past_text(seen.moments, seen.past, seen.histories, seen.letters),
        keys: seen.keys.into_iter().map(key_text).collect(),
        pages: seen.pages.into_iter().map(page_text).collect(),
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
        sends_too_deep: recording.recorded.as_ref().map_or(0, |recorded| recorded.too_deep),
        enqueued: event_text(&enqueued_of(recording)),
        ended: recording.recorded.as_ref().map(|recorded| event_text(&ended_of(recording, recorded))),
    };
    serde_json::to_string_pretty(&capsule).unwrap_or_default()
}

/// A recording from a capsule, to be run with the script in it or another source.
///
/// # Errors
/// When the text is no capsule, or one of another format.
pub fn opened(
    text: &[u8],
    candidate: &Candidate,
    settings: &EngineSettings,
    clock: Arc<dyn Clock>,
) -> Result<Recording, NoCapsule> {
    let head: Head = serde_json::from_slice(text).map_err(|error| NoCapsule::Foreign(error.to_string()))?;
    if head.relive_capsule != CAPSULE_FORMAT {
        return Err(NoCapsule::Format { found: head.relive_capsule, by: head.made_by });
    }
    let capsule: Capsule =
        serde_json::from_slice(text).map_err(|error| NoCapsule::Damaged(error.to_string()))?;
    let damaged = |what: &str| NoCapsule::Damaged(what.to_owned());
    let Event::Execution(ExecutionEvent::Enqueued(enqueued)) = event(&capsule.enqueued)? else {
        return Err(damaged("`enqueued` is another event"));
    };
    let seed = hex::decode(&capsule.seed).ok().and_then(|seed| <[u8; 16]>::try_from(seed).ok());
    let seed = seed.ok_or_else(|| damaged("`seed` is not 16 bytes"))?;
    let writes: BTreeMap<_, _> = capsule.writes.into_iter().map(write_of).collect();
    let sends: Vec<SendEffect> = capsule
        .sends
        .into_iter()
        .map(|send| SendEffect {
            execution: send.execution,
            queue: send.queue,
            message: shared(send.message),
            delay_ms: 0,
            key: send.key,
            line: 0,
        })
        .collect();
    let ended = capsule.ended.as_ref().map(|ended| end_of(event(ended)?)).transpose()?;
    let too_deep = capsule.sends_too_deep;
    let recorded = ended.map(|(result, record)| Recorded { result, record, writes, sends, too_deep });
    let record = recorded.as_ref().and_then(|recorded| recorded.record.as_ref());
    let secrets = record.iter().flat_map(|record| &record.secrets).map(|(name, version)| {
        let answer = if *version == 0 { SecretAnswer::Absent } else { SecretAnswer::Withheld(*version) };
        (name.clone(), answer)
    });
    let secrets = Secrets::new(secrets.collect(), SecretAnswer::Withheld(0));
    let recorded_text = capsule.scripts.get(&capsule.script).map(|text| Arc::<str>::from(text.as_str()));
    let (source_text, version) = match candidate {
        Candidate::Source(text) => (Some(Arc::clone(text)), None),
        Candidate::Recorded | Candidate::Version(_) => (recorded_text, Some(capsule.version)),
    };
    let script = match &source_text {
        None => Err(ErrorRecord::without_place(
            relive_log::events::ErrorKind::ScriptMissing,
            format!("there is no script `{}`", capsule.script),
        )),
        Some(text) => match (compile(&capsule.script, text), version) {
            (Ok(compiled), _) => Ok(compiled),
            (Err(error), None) => return Err(NoCapsule::Source(error)),
            (Err(error), Some(_)) => Err(ErrorRecord {
                kind: relive_log::events::ErrorKind::Parse,
                message: error.message,
                line: error.line,
                column: error.column,
            }),
        },
    };
    let imported = capsule.scripts.iter().filter(|(name, _)| **name != capsule.script);
    let imported: BTreeMap<String, Arc<str>> =
        imported.map(|(name, text)| (name.clone(), Arc::from(text.as_str()))).collect();
    let compiled = imported.iter().map(|(name, text)| Ok((name.clone(), compile(name, text)?)));
    let imports = Imports::new(compiled.collect::<Result<_, _>>().map_err(NoCapsule::Source)?);
    Ok(Recording {
        context: Context {
            app: capsule.app,
            script: capsule.script,
            version: version.unwrap_or(capsule.version),
            execution: capsule.execution_id,
            root: enqueued.root,
            depth: enqueued.depth,
            attempt: capsule.attempt,
            principal: enqueued.principal,
            lsn: capsule.snapshot_lsn,
            input: input_of(capsule.input)?,
        },
        source: enqueued.source,
        recorded_version: capsule.version,
        version,
        seed,
        claim_time: capsule.claimed_at_us,
        recorded,
        script,
        source_text,
        imported,
        kv: Arc::new(Kept::of(capsule.keys, capsule.pages, capsule.past)?),
        imports,
        secrets,
        withheld: Withheld {
            digests: capsule.withheld_headers,
            sealed: Vec::new(),
            masked: capsule.input_masked,
        },
        limits: settings.limits,
        response_body_max: settings.response_body_max,
        clock,
    })
}

/// Notes what a run asks of the store.
struct Tap {
    inner: Arc<dyn Snapshot>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    keys: BTreeMap<(String, String), Slot>,
    pages: BTreeMap<ListQuery, ListPage>,
    moments: BTreeMap<String, Result<Lsn, NoPast>>,
    past: BTreeMap<(String, String, Lsn), Slot>,
    histories: BTreeMap<(String, String, usize, usize), Vec<PastVersion>>,
    letters: BTreeMap<LetterId, Option<bool>>,
}

/// A moment as the name of an entry.
fn moment_text(at: &Moment) -> String {
    match at {
        Moment::Lsn(lsn) => format!("lsn {lsn}"),
        Moment::Time(time) => format!("us {}", time.0),
    }
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

/// What a capsule holds of the store.
struct Kept(Seen);

impl Kept {
    fn of(keys: Vec<KeyText>, pages: Vec<PageText>, past: PastText) -> Result<Kept, NoCapsule> {
        let keys = keys.into_iter().map(|key| {
            let slot = Slot {
                version: key.version,
                value: key.value.map(shared),
                expires_at: key.expires_at_us,
                lapsed: key.lapsed,
            };
            ((key.collection, key.key), slot)
        });
        let pages = pages.into_iter().map(|page| {
            let query = ListQuery {
                collection: page.collection,
                prefix: page.prefix,
                cursor: page.cursor,
                reverse: page.reverse,
                limit: page.limit,
            };
            let items = page.items.into_iter();
            let items = items.map(|(key, version, value)| ListItem { key, version, value: shared(value) });
            (query, ListPage { items: items.collect(), more: page.more, lapsed: page.lapsed })
        });
        let PastText { moments, keys: past, histories, letters } = past;
        let moments = moments.into_iter().map(|moment| {
            let lsn = match (moment.lsn, moment.below_horizon) {
                (Some(lsn), _) => Ok(lsn),
                (None, Some(first)) => Err(NoPast::BelowHorizon { first }),
                (None, None) => Err(NoPast::InTheFuture),
            };
            (moment.at, lsn)
        });
        let past = past.into_iter().map(|past| {
            let slot = Slot {
                version: past.key.version,
                value: past.key.value.map(shared),
                expires_at: past.key.expires_at_us,
                lapsed: past.key.lapsed,
            };
            ((past.key.collection, past.key.key, past.at), slot)
        });
        let histories = histories.into_iter().map(|history| {
            let versions = history.versions.into_iter().map(|version| {
                Ok(PastVersion {
                    lsn: version.lsn,
                    at: version.at_us,
                    op: op_of(&version.op)?,
                    value: version.value.map(shared),
                })
            });
            let asked = (history.collection, history.key, history.limit, history.bytes_max);
            Ok((asked, versions.collect::<Result<_, NoCapsule>>()?))
        });
        Ok(Kept(Seen {
            keys: keys.collect(),
            pages: pages.collect(),
            moments: moments.collect(),
            past: past.collect(),
            histories: histories.collect::<Result<_, NoCapsule>>()?,
            letters: letters.into_iter().collect(),
        }))
    }
}

impl Snapshot for Kept {
    fn get(&self, collection: &str, key: &str) -> Result<Slot, ReadFailed> {
        let slot = self.0.keys.get(&(collection.to_owned(), key.to_owned())).cloned();
        let message = || {
            format!("the capsule does not have the key {collection}/{key}: the recorded run did not read it")
        };
        slot.ok_or_else(|| ReadFailed { message: message() })
    }

    fn list(&self, query: &ListQuery) -> Result<ListPage, ReadFailed> {
        let page = self.0.pages.get(query).cloned();
        let message = || {
            format!(
                "the capsule does not have this listing of {} (prefix `{}`): the recorded run did not ask for it",
                query.collection, query.prefix
            )
        };
        page.ok_or_else(|| ReadFailed { message: message() })
    }

    fn resolve(&self, at: Moment) -> Result<Lsn, NoPast> {
        let name = moment_text(&at);
        let message =
            format!("the capsule does not have the moment `{name}`: the recorded run did not ask for it");
        self.0.moments.get(&name).cloned().unwrap_or(Err(NoPast::Failed(ReadFailed { message })))
    }

    fn get_at(&self, collection: &str, key: &str, at: Lsn) -> Result<Slot, ReadFailed> {
        let slot = self.0.past.get(&(collection.to_owned(), key.to_owned(), at)).cloned();
        slot.ok_or_else(|| ReadFailed {
            message: format!("the capsule does not have {collection}/{key} as of LSN {at}: the recorded run did not read it"),
        })
    }

    fn history(
        &self,
        collection: &str,
        key: &str,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<PastVersion>, ReadFailed> {
        let asked = (collection.to_owned(), key.to_owned(), limit, bytes_max);
        self.0.histories.get(&asked).cloned().ok_or_else(|| ReadFailed {
            message: format!("the capsule does not have this history of {collection}/{key}: the recorded run did not ask for it"),
        })
    }

    fn letter(&self, letter: LetterId) -> Result<Option<bool>, ReadFailed> {
        self.0.letters.get(&letter).copied().ok_or_else(|| ReadFailed {
            message: format!(
                "the capsule does not know the dead letter {letter}: the recorded run did not ask"
            ),
        })
    }
}

fn shared(text: String) -> SharedBytes {
    text.into_bytes().into()
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

fn past_text(
    moments: BTreeMap<String, Result<Lsn, NoPast>>,
    past: BTreeMap<(String, String, Lsn), Slot>,
    histories: BTreeMap<(String, String, usize, usize), Vec<PastVersion>>,
    letters: BTreeMap<LetterId, Option<bool>>,
) -> PastText {
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

fn write_of(text: WriteText) -> ((String, String), WriteEffect) {
    let effect =
        WriteEffect { value: text.value.map(shared), line: text.line, expires_at: text.expires_at_us };
    ((text.collection, text.key), effect)
}

fn event_text(event: &Event) -> EventText {
    let mut bytes = Vec::new();
    let (r#type, version) = encode_record(event, &mut bytes);
    EventText { r#type, version, data: STANDARD.encode(bytes) }
}

fn event(text: &EventText) -> Result<Event, NoCapsule> {
    let bytes = STANDARD.decode(&text.data).map_err(|error| NoCapsule::Damaged(error.to_string()))?;
    decode_record(text.r#type, text.version, &bytes).map_err(|error| NoCapsule::Damaged(error.to_string()))
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

type End = (Result<relive_log::events::OutputRecord, ErrorRecord>, Option<relive_log::events::AttemptRecord>);

fn end_of(event: Event) -> Result<End, NoCapsule> {
    if let Event::Execution(ExecutionEvent::Completed(completed)) = event {
        return Ok((Ok(completed.output), Some(completed.record)));
    }
    if let Event::Execution(ExecutionEvent::AttemptFailed(failed)) = event {
        return Ok((Err(failed.error), failed.record));
    }
    Err(NoCapsule::Damaged("`ended` is another event".to_owned()))
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

fn input_of(text: InputText) -> Result<ContextInput, NoCapsule> {
    Ok(match text {
        InputText::Request { method, path, params, query, headers, body } => {
            let body = match body {
                BytesText::Text(text) => text.into_bytes(),
                BytesText::Base64(text) => {
                    STANDARD.decode(text).map_err(|error| NoCapsule::Damaged(error.to_string()))?
                }
            };
            ContextInput::Request(Arc::new(Request { method, path, params, query, headers, body }))
        }
        InputText::Kv { op, collection, key, value, old_value, lsn } => ContextInput::Kv(KvEvent {
            op: op_of(&op)?,
            collection,
            key,
            value: value.map(shared),
            old_value: old_value.map(shared),
            lsn,
        }),
        InputText::DeadLetter(letter) => ContextInput::DeadLetter(Box::new(DeadLetter {
            id: letter.id,
            execution: letter.execution,
            root: letter.root,
            original: input_of(letter.original)?,
            script: letter.script,
            trigger: letter.trigger,
            attempts: letter.attempts,
            last_error: error_of(letter.error)?,
            first_attempt_at: letter.first_attempt_at_us,
            last_attempt_at: letter.last_attempt_at_us,
        })),
        InputText::Payload(payload) => ContextInput::Payload(payload.map(shared)),
        InputText::Cron { scheduled_at_us, missed } => {
            ContextInput::Cron(CronTick { scheduled_at: scheduled_at_us, missed })
        }
        InputText::Queue { queue, message, enqueued_at_us } => {
            ContextInput::Queue(QueueMessage { queue, message: shared(message), enqueued_at: enqueued_at_us })
        }
    })
}

fn op_of(name: &str) -> Result<&'static str, NoCapsule> {
    let known: BTreeSet<&'static str> = ["insert", "update", "delete", "expire"].into();
    known.get(name).copied().ok_or_else(|| NoCapsule::Damaged(format!("`{name}` is no operation")))
}

fn error_of(text: ErrorText) -> Result<ErrorRecord, NoCapsule> {
    let known = relive_log::events::ErrorKind::NAMES.iter().find(|(_, name)| *name == text.kind);
    let (kind, _) =
        known.ok_or_else(|| NoCapsule::Damaged(format!("`{}` is no kind of error", text.kind)))?;
    Ok(ErrorRecord { kind: *kind, message: text.message, line: text.line, column: text.column })
}
