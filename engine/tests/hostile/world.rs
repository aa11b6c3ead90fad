//! What a hostile script finds around it: some keys, a helper to import, a network that answers anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relive_engine::script::memory::held_bytes;
use relive_engine::script::{
    Asked, CallReply, Calls, Context, ContextInput, Imports, Limits, ListItem, ListPage, ListQuery, Moment,
    NoPast, PastVersion, ReadFailed, Run, SCRIPT_STACK_BYTES, SecretLookup, SecretSource, Slot, Snapshot,
    StopCause, Stopwatch, compile,
};
use relive_log::events::{CallAnswer, CallOutcome, SharedBytes};
use relive_log::{ExecutionId, Lsn, UnixMicros};

/// The memory budget of a script.
pub(crate) const MEMORY_BYTES: u64 = 64 << 20;
const OPERATIONS: u64 = 2_000_000;
const WALL_CLOCK: Duration = Duration::from_secs(2);

/// A store in which every collection has 100,000 keys with long values.
struct Endless;

fn value() -> SharedBytes {
    format!("\"{}\"", "v".repeat(100_000)).into_bytes().into()
}

impl Snapshot for Endless {
    fn get(&self, _: &str, _: &str) -> Result<Slot, ReadFailed> {
        Ok(Slot { version: Lsn(5), value: Some(value()), ..Slot::default() })
    }

    fn letter(&self, _: relive_log::LetterId) -> Result<Option<bool>, ReadFailed> {
        Ok(None)
    }

    fn list(&self, query: &ListQuery) -> Result<ListPage, ReadFailed> {
        let from: usize = query.cursor.as_ref().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let keys = (from + 1..=100_000).take(query.limit.min(9));
        let item = |n: usize| ListItem { key: format!("{n:06}"), version: Lsn(5), value: value() };
        let items: Vec<ListItem> = keys.map(item).collect();
        Ok(ListPage { more: from < 99_000, items, lapsed: Vec::new() })
    }

    fn resolve(&self, _: Moment) -> Result<Lsn, NoPast> {
        Ok(Lsn(3))
    }

    fn get_at(&self, collection: &str, key: &str, _: Lsn) -> Result<Slot, ReadFailed> {
        self.get(collection, key)
    }

    fn history(&self, _: &str, _: &str, limit: usize, _: usize) -> Result<Vec<PastVersion>, ReadFailed> {
        let version = |n: usize| PastVersion {
            lsn: Lsn(n as u64),
            at: UnixMicros(1),
            op: "update",
            value: Some(value()),
        };
        Ok((0..limit.min(9)).map(version).collect())
    }
}

/// Every call is answered with a megabyte of the most expensive JSON there is.
struct Generous;

impl Calls for Generous {
    fn ask(&self, _: Asked<'_>) -> CallReply {
        let body: SharedBytes = format!("[{}[]]", "[],".repeat(300_000)).into_bytes().into();
        let answer = CallAnswer { status: 200, headers: Vec::new(), body, masked: false };
        CallReply::Outcome { outcome: CallOutcome::Answered(answer), took_ms: 0 }
    }
}

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn get(&self, _: &str) -> SecretLookup {
        SecretLookup::Absent
    }
}

struct Deadline(Instant);

impl Stopwatch for Deadline {
    fn expired(&self) -> Option<StopCause> {
        (Instant::now() > self.0).then_some(StopCause::Timeout)
    }
}

const HELPERS: [(&str, &str); 3] = [
    ("deep", "fn f(n) { f(n + 1) }"),
    ("loops", "loop { }"),
    ("grows", "export let s = \"x\"; for i in 0..40 { s += s; }"),
];

pub(crate) fn given(source: &str) -> Run {
    let helper = |(name, source): (&str, &str)| (name.to_owned(), compile(name, source).unwrap());
    Run {
        compiled: compile("hostile", source).unwrap_or_else(|why| panic!("{why}")),
        imports: Imports::new(BTreeMap::from(HELPERS.map(helper))),
        context: Context {
            app: "shop".into(),
            script: "hostile".into(),
            version: 1,
            execution: ExecutionId::from_bytes([1; 16]),
            root: ExecutionId::from_bytes([1; 16]),
            depth: 0,
            attempt: 1,
            principal: None,
            lsn: Lsn(10),
            input: ContextInput::Payload(None),
        },
        snapshot: Arc::new(Endless),
        secrets: Arc::new(NoSecrets),
        calls: Arc::new(Generous),
        limits: Limits { operations: OPERATIONS, memory_bytes: MEMORY_BYTES, ..Limits::default() },
        seed: [7; 16],
        claim_time: UnixMicros::from_millis(1_700_000_000_000),
        stopwatch: Arc::new(Deadline(Instant::now() + WALL_CLOCK)),
    }
}

/// What a source comes to (`ok`, a kind of error, or `refused` by the compiler) and what stays allocated.
pub(crate) fn run(source: String) -> (String, i64) {
    let thread = std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES).spawn(move || {
        if compile("hostile", &source).is_err() {
            return ("refused".to_owned(), 0);
        }
        let given = given(&source);
        let before = held_bytes();
        let outcome = outcome(given);
        (outcome, held_bytes() - before)
    });
    thread.unwrap().join().unwrap()
}

fn outcome(given: Run) -> String {
    match relive_engine::script::run(given).outcome {
        Ok(_) => "ok".to_owned(),
        Err(error) => {
            eprintln!("{}: {}", error.kind.name(), error.message);
            error.kind.name().to_owned()
        }
    }
}
