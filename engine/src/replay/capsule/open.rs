//! Reading a capsule: a recording whose store is what the recorded run read.
//!
//! Owns: [`opened`], and the refusals of what is no capsule. Never does: answer what the capsule does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relive_log::events::{
    AttemptRecord, ErrorKind, ErrorRecord, Event, ExecutionEvent, OutputRecord, SharedBytes, decode_record,
};
use relive_log::{LetterId, Lsn};

use super::text::{BytesText, ErrorText, EventText, InputText, KeyText, PageText, PastText, WriteText};
use super::{CAPSULE_FORMAT, Capsule, Head, NoCapsule, Seen, moment_text};
use crate::node::input::Withheld;
use crate::replay::answers::{SecretAnswer, Secrets, UNTOLD_MS};
use crate::replay::recording::{Candidate, Recorded, Recording, Runnable};
use crate::script::{
    Context, ContextInput, CronTick, DeadLetter, Imports, KvEvent, LetterEffect, LetterVerb, Limits,
    ListItem, ListPage, ListQuery, Moment, NoPast, PastVersion, QueueMessage, ReadFailed, Request,
    SendEffect, Slot, Snapshot, WriteEffect, compile,
};
use crate::seams::Clock;

/// A recording from a capsule, to be run with the script in it or another source.
///
/// # Errors
/// When the text is no capsule, or one of another format.
pub fn opened(text: &[u8], candidate: &Candidate, clock: Arc<dyn Clock>) -> Result<Recording, NoCapsule> {
    let head: Head = serde_json::from_slice(text).map_err(|error| NoCapsule::Foreign(error.to_string()))?;
    if head.relive_capsule != CAPSULE_FORMAT {
        return Err(NoCapsule::Format { found: head.relive_capsule, by: head.made_by });
    }
    let mut capsule: Capsule =
        serde_json::from_slice(text).map_err(|error| NoCapsule::Damaged(error.to_string()))?;
    let damaged = |what: &str| NoCapsule::Damaged(what.to_owned());
    let Event::Execution(ExecutionEvent::Enqueued(enqueued)) = event(&capsule.enqueued)? else {
        return Err(damaged("`enqueued` is another event"));
    };
    let seed = hex::decode(&capsule.seed).ok().and_then(|seed| <[u8; 16]>::try_from(seed).ok());
    let seed = seed.ok_or_else(|| damaged("`seed` is not 16 bytes"))?;
    let recorded = recorded_of(&mut capsule)?;
    let (source_text, script, version) = script_of(&capsule, candidate)?;
    let (imports, imported) = imports_of(&capsule)?;
    let record = recorded.as_ref().and_then(|recorded| recorded.record.as_ref());
    let limits = record.map_or_else(Limits::default, |record| Limits::default().as_recorded(&record.limits));
    Ok(Recording {
        leaks: Arc::default(),
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
        script,
        source_text,
        imported,
        kv: Arc::new(Kept::of(capsule.keys, capsule.pages, capsule.past)?),
        imports,
        secrets: secrets_of(record),
        withheld: Withheld {
            digests: capsule.withheld_headers,
            sealed: Vec::new(),
            masked: capsule.input_masked,
        },
        recorded,
        limits,
        untold_ms: UNTOLD_MS,
        clock,
    })
}

/// What was recorded of its end, taken out of a capsule.
fn recorded_of(capsule: &mut Capsule) -> Result<Option<Recorded>, NoCapsule> {
    let Some(ended) = &capsule.ended else { return Ok(None) };
    let (result, record) = end_of(event(ended)?)?;
    let writes = std::mem::take(&mut capsule.writes).into_iter().map(write_of).collect();
    let sends = std::mem::take(&mut capsule.sends).into_iter().map(|send| SendEffect {
        execution: send.execution,
        queue: send.queue,
        message: shared(send.message),
        delay_ms: 0,
        key: send.key,
        line: 0,
    });
    let letters = std::mem::take(&mut capsule.letters).into_iter().map(|closed| LetterEffect {
        letter: closed.dead_letter_id,
        verb: closed
            .redriven_as
            .map_or_else(|| LetterVerb::Resolve(closed.note.unwrap_or_default()), LetterVerb::Redrive),
    });
    let (sends, letters) = (sends.collect(), letters.collect());
    Ok(Some(Recorded { result, record, writes, sends, letters, too_deep: capsule.sends_too_deep }))
}

/// No value of a secret is in a capsule.
fn secrets_of(record: Option<&AttemptRecord>) -> Arc<Secrets> {
    let secrets = record.into_iter().flat_map(|record| &record.secrets).map(|(name, version)| {
        let answer = if *version == 0 { SecretAnswer::Absent } else { SecretAnswer::Withheld(*version) };
        (name.clone(), answer)
    });
    Secrets::new(secrets.collect(), SecretAnswer::Withheld(0))
}

/// The text that runs, compiled, and its version; `None`: a source that is no version.
type Runs = (Option<Arc<str>>, Runnable, Option<u32>);

fn script_of(capsule: &Capsule, candidate: &Candidate) -> Result<Runs, NoCapsule> {
    let recorded = capsule.scripts.get(&capsule.script).map(|text| Arc::<str>::from(text.as_str()));
    let (text, version) = match candidate {
        Candidate::Source(text) => (Some(Arc::clone(text)), None),
        Candidate::Recorded | Candidate::Version(_) => (recorded, Some(capsule.version)),
    };
    let Some(source) = &text else {
        let why = format!("there is no script `{}`", capsule.script);
        return Ok((None, Err(ErrorRecord::without_place(ErrorKind::ScriptMissing, why)), version));
    };
    let script = match (compile(&capsule.script, source), version) {
        (Ok(compiled), _) => Ok(compiled),
        (Err(error), None) => return Err(NoCapsule::Source(error)),
        (Err(error), Some(_)) => Err(ErrorRecord {
            kind: ErrorKind::Parse,
            message: error.message,
            line: error.line,
            column: error.column,
        }),
    };
    Ok((text, script, version))
}

fn imports_of(capsule: &Capsule) -> Result<(Imports, BTreeMap<String, Arc<str>>), NoCapsule> {
    let imported = capsule.scripts.iter().filter(|(name, _)| **name != capsule.script);
    let imported: BTreeMap<String, Arc<str>> =
        imported.map(|(name, text)| (name.clone(), Arc::from(text.as_str()))).collect();
    let compiled = imported.iter().map(|(name, text)| Ok((name.clone(), compile(name, text)?)));
    let imports = Imports::new(compiled.collect::<Result<_, _>>().map_err(NoCapsule::Source)?);
    Ok((imports, imported))
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

fn write_of(text: WriteText) -> ((String, String), WriteEffect) {
    let effect =
        WriteEffect { value: text.value.map(shared), line: text.line, expires_at: text.expires_at_us };
    ((text.collection, text.key), effect)
}

fn event(text: &EventText) -> Result<Event, NoCapsule> {
    let bytes = STANDARD.decode(&text.data).map_err(|error| NoCapsule::Damaged(error.to_string()))?;
    decode_record(text.r#type, text.version, &bytes).map_err(|error| NoCapsule::Damaged(error.to_string()))
}

type End = (Result<OutputRecord, ErrorRecord>, Option<AttemptRecord>);

fn end_of(event: Event) -> Result<End, NoCapsule> {
    if let Event::Execution(ExecutionEvent::Completed(completed)) = event {
        return Ok((Ok(completed.output), Some(completed.record)));
    }
    if let Event::Execution(ExecutionEvent::AttemptFailed(failed)) = event {
        return Ok((Err(failed.error), failed.record));
    }
    Err(NoCapsule::Damaged("`ended` is another event".to_owned()))
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
