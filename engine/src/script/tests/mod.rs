//! Tests of the runtime as a whole: a script in, its result or its error out.
//!
//! Owns: the fixture (a fixed snapshot, fixed secrets, a fixed seed) and the `check` helpers. The allocator is
//! metered in this test binary, as it is in the server.

mod budgets;
mod documents;
mod effects;
mod functions;
mod http;
mod imports;
mod language;
mod past;
mod responses;

use std::collections::BTreeMap;
use std::sync::Arc;

use relive_log::events::{CallAnswer, CallOutcome, ErrorKind, ErrorRecord, Principal, Scopes};
use relive_log::{ExecutionId, Lsn, PrincipalId, UnixMicros};

use super::memory::MeteredAlloc;
use super::{
    Asked, CallReply, CallRequest, CallStop, Calls, Context, ContextInput, Finished, Limits, ListItem,
    ListPage, ListQuery, Moment, NoPast, PastVersion, ReadFailed, Request, Run, SCRIPT_STACK_BYTES,
    SecretLookup, SecretSource, Slot, Snapshot, StopCause, Stopwatch, Unhurried, compile, run, to_json,
};

#[global_allocator]
static ALLOCATOR: MeteredAlloc = MeteredAlloc;

/// KV in memory: (collection, key) to (version, value).
#[derive(Default)]
pub(super) struct Fixed {
    pub(super) slots: BTreeMap<(String, String), (u64, Option<String>)>,
    /// Ends pages after so many items, whatever was asked for.
    pub(super) page_max: Option<usize>,
    pub(super) broken: Option<String>,
}

impl Fixed {
    pub(super) fn new(slots: &[(&str, &str, u64, Option<&str>)]) -> Fixed {
        let slots = slots.iter().map(|(c, k, version, value)| {
            ((c.to_string(), k.to_string()), (*version, value.map(str::to_owned)))
        });
        Fixed { slots: slots.collect(), ..Fixed::default() }
    }

    fn sound(&self) -> Result<(), ReadFailed> {
        self.broken.clone().map_or(Ok(()), |message| Err(ReadFailed { message }))
    }
}

impl Snapshot for Fixed {
    fn get(&self, collection: &str, key: &str) -> Result<Slot, ReadFailed> {
        self.sound()?;
        let found = self.slots.get(&(collection.to_owned(), key.to_owned()));
        Ok(found.map_or_else(Slot::default, |(version, value)| Slot {
            version: Lsn(*version),
            value: value.as_ref().map(|value| value.as_bytes().into()),
            ..Slot::default()
        }))
    }

    fn letter(&self, _: relive_log::LetterId) -> Result<Option<bool>, ReadFailed> {
        Ok(None)
    }

    fn list(&self, query: &ListQuery) -> Result<ListPage, ReadFailed> {
        self.sound()?;
        let mut items: Vec<ListItem> = self
            .slots
            .iter()
            .filter(|((collection, key), _)| {
                *collection == query.collection && key.starts_with(&query.prefix)
            })
            .filter(|((_, key), _)| match (&query.cursor, query.reverse) {
                (None, _) => true,
                (Some(cursor), true) => key < cursor,
                (Some(cursor), false) => key > cursor,
            })
            .filter_map(|((_, key), (version, value))| {
                let value = value.as_ref()?.as_bytes().into();
                Some(ListItem { key: key.clone(), version: Lsn(*version), value })
            })
            .collect();
        if query.reverse {
            items.reverse();
        }
        let limit = self.page_max.unwrap_or(query.limit).min(query.limit);
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(ListPage { items, more, ..ListPage::default() })
    }

    /// Batches of ten: LSN 91 to 100 is the last one, committed at the claim time; the log starts at LSN 11.
    fn resolve(&self, at: Moment) -> Result<Lsn, NoPast> {
        match at {
            Moment::Lsn(lsn) if lsn > Lsn(100) => Err(NoPast::InTheFuture),
            Moment::Lsn(lsn) if lsn < Lsn(11) => Err(NoPast::BelowHorizon { first: Lsn(11) }),
            Moment::Lsn(lsn) => Ok(Lsn(lsn.0.div_ceil(10) * 10)),
            Moment::Time(_) => Ok(Lsn(100)),
        }
    }

    fn get_at(&self, collection: &str, key: &str, at: Lsn) -> Result<Slot, ReadFailed> {
        self.sound()?;
        let value = format!("\"{collection}/{key} as of {at}\"");
        Ok(Slot { version: at.prev(), value: Some(value.into_bytes().into()), ..Slot::default() })
    }

    fn history(&self, _: &str, _: &str, limit: usize, _: usize) -> Result<Vec<PastVersion>, ReadFailed> {
        self.sound()?;
        let version = |lsn, op, value: Option<&str>| PastVersion {
            lsn: Lsn(lsn),
            at: UnixMicros::from_millis(1_700_000_000_000 + lsn),
            op,
            value: value.map(|value| value.as_bytes().into()),
        };
        let all =
            [version(40, "delete", None), version(30, "update", Some("2")), version(20, "insert", Some("1"))];
        Ok(all.into_iter().take(limit).collect())
    }
}

struct Secrets;

impl SecretSource for Secrets {
    fn get(&self, name: &str) -> SecretLookup {
        match name {
            "stripe" => SecretLookup::Found { version: 3, value: "sk_live_12345".into() },
            "lost" => SecretLookup::KeyMissing,
            _ => SecretLookup::Absent,
        }
    }
}

/// The world: answers by URL, and remembers what it was asked.
#[derive(Default)]
pub(super) struct Web {
    pub(super) asked: parking_lot::Mutex<Vec<String>>,
}

impl Calls for Web {
    fn ask(&self, asked: Asked<'_>) -> CallReply {
        let CallRequest { method, url, headers, body, timeout_ms } = asked.request;
        let text = String::from_utf8_lossy(body);
        let line = format!("{} {method} {url} {headers:?} {text} {timeout_ms:?}", asked.position);
        self.asked.lock().push(line);
        let answer = |status, body: &[u8]| {
            CallOutcome::Answered(CallAnswer {
                status,
                headers: vec![("x-a".into(), "1".into()), ("x-a".into(), "2".into())],
                body: body.into(),
                masked: false,
            })
        };
        let outcome = match url.rsplit('/').next().unwrap_or_default() {
            "json" => answer(200, br#"{"n": 7}"#),
            "missing" => answer(404, b"gone"),
            "bytes" => answer(200, b"\xff\xfe"),
            "empty" => answer(204, b""),
            "big" => answer(200, format!("\"{}\"", "x".repeat(1_047_998)).as_bytes()),
            "huge" => answer(200, "x".repeat(1 << 20).as_bytes()),
            "echo" => answer(200, format!("{headers:?} {text}").as_bytes()),
            "late" => return CallReply::Stop(CallStop::Ended(StopCause::Timeout)),
            "aside" => return CallReply::Stop(CallStop::Aside("made first".into())),
            _ => CallOutcome::Failed("http: no connection".into()),
        };
        CallReply::Outcome { outcome, took_ms: 5 }
    }
}

pub(super) struct Already(pub(super) StopCause);

impl Stopwatch for Already {
    fn expired(&self) -> Option<StopCause> {
        Some(self.0)
    }
}

pub(super) fn principal(scopes: Scopes) -> Principal {
    Principal { id: PrincipalId::from_bytes([7; 16]), name: "ci".into(), scopes }
}

/// A run of `source` against a small shop; tests change what they are about.
pub(super) fn given(source: &str) -> Run {
    let compiled = compile("test", source).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let snapshot = Fixed::new(&[
        ("orders", "a", 11, Some(r#"{"total": 5}"#)),
        ("orders", "b", 12, Some(r#"{"total": 15}"#)),
        ("orders", "c", 13, Some(r#"{"total": 25}"#)),
        ("orders", "gone", 14, None),
        ("counters", "visits", 20, Some("41")),
        ("counters", "text", 21, Some(r#""x""#)),
    ]);
    let request = Request {
        method: "POST".into(),
        path: "/orders/7".into(),
        params: vec![("id".into(), "7".into())],
        query: vec![("q".into(), "1".into()), ("q".into(), "2".into())],
        headers: vec![("x-a".into(), "1".into()), ("x-a".into(), "2".into())],
        body: br#"{"total": 12, "big": 18446744073709551615}"#.to_vec(),
    };
    Run {
        compiled,
        imports: super::Imports::default(),
        context: Context {
            app: "shop".into(),
            script: "test".into(),
            version: 4,
            execution: ExecutionId::from_bytes([1; 16]),
            root: ExecutionId::from_bytes([2; 16]),
            depth: 1,
            attempt: 2,
            principal: None,
            lsn: Lsn(100),
            input: ContextInput::Request(Arc::new(request)),
        },
        snapshot: Arc::new(snapshot),
        secrets: Arc::new(Secrets),
        calls: Arc::new(Web::default()),
        limits: Limits::default(),
        seed: [9; 16],
        claim_time: UnixMicros::from_millis(1_700_000_000_123),
        stopwatch: Arc::new(Unhurried),
    }
}

/// Runs on a stack of the size that the contract of [`run`] asks for.
#[expect(clippy::disallowed_methods, reason = "the test lends the thread that a run needs")]
pub(super) fn finish(given: Run) -> Finished {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES);
        let handle = thread.spawn_scoped(scope, || run(given)).expect("a thread starts");
        handle.join().expect("run never panics")
    })
}

pub(super) fn json_of(finished: &Finished) -> Result<String, ErrorRecord> {
    let returned = finished.outcome.as_ref().map_err(Clone::clone)?;
    to_json(returned).map(|json| String::from_utf8_lossy(&json).into_owned())
}

/// The script's result as JSON.
#[track_caller]
pub(super) fn check(source: &str, expected: &str) {
    let found = json_of(&finish(given(source)));
    assert_eq!(found.as_deref(), Ok(expected), "\n{source}");
}

/// The error's kind and line, and a part of its message.
#[track_caller]
pub(super) fn check_error(source: &str, kind: ErrorKind, line: u32, part: &str) {
    check_refusal(given(source), kind, line, part);
}

#[track_caller]
pub(super) fn check_refusal(given: Run, kind: ErrorKind, line: u32, part: &str) {
    let finished = finish(given);
    match &finished.outcome {
        Err(error) => {
            assert_eq!((error.kind, error.line), (kind, line), "{error:?}");
            assert!(error.message.contains(part), "{:?} lacks {part:?}", error.message);
            assert!(error.line == 0 || error.column > 0, "{error:?}");
        }
        Ok(returned) => panic!("no error but {returned:?}"),
    }
}
