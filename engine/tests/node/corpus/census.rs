//! What a corpus met, counted: it cannot quietly stop covering something.

use std::collections::BTreeMap;

use relive_log::events::{AttemptRecord, CallOutcome, Event, ExecutionEvent, ReadRecord, Source};

use crate::world::World;

/// What each seed has to meet at least so often.
const FLOORS: [(&str, usize); 44] = [
    ("completed", 1000),
    ("failed", 100),
    ("dead_lettered", 20),
    ("retried", 50),
    ("dropped", 20),
    // Where the work came from.
    ("from route", 1000),
    ("from kv trigger", 300),
    ("from cron trigger", 20),
    ("from queue", 100),
    ("from dead letter", 20),
    ("from direct run", 20),
    ("from expiry", 20),
    ("redriven", 10),
    // Failures of every kind that a script or its surroundings can cause.
    ("error throw", 50),
    ("error runtime", 50),
    ("error bad_response", 10),
    ("error operations", 5),
    ("error call_depth", 5),
    ("error size", 5),
    ("error fan_out", 5),
    ("error writes", 2),
    ("error memory", 5),
    ("error timeout", 20),
    ("error permission", 5),
    ("error script_missing", 3),
    ("error key_missing", 2),
    ("error crashed", 1),
    ("error shutting_down", 1),
    ("inside an import", 5),
    ("timeout within the script", 5),
    // What attempts did.
    ("conflict", 20),
    ("conflict with calls", 3),
    ("read", 500),
    ("absent", 100),
    ("list", 100),
    ("read of the past", 50),
    ("history", 50),
    ("letter", 5),
    ("log", 500),
    ("secret", 50),
    ("call answered", 200),
    ("call failed", 50),
    ("import", 300),
    ("versions of scripts", 40),
];

pub(super) type Census = BTreeMap<String, usize>;

/// Counts everything that the log and the views have of a world.
pub(super) fn of(world: &World) -> Census {
    let mut census = Census::new();
    for row in world.rows() {
        count(&mut census, row.status.name());
        if row.attempts.len() > 1 {
            count(&mut census, "retried");
        }
        if row.redrive_of.is_some() {
            count(&mut census, "redriven");
        }
        if row.source == Source::Direct {
            count(&mut census, "from direct run");
        }
        if row.script == "on_exp" {
            count(&mut census, "from expiry");
        }
    }
    let app = world.app();
    let versions = app.scripts.values().map(|script| script.versions.len()).sum();
    census.insert("versions of scripts".to_owned(), versions);
    for event in world.events() {
        match event {
            Event::Execution(ExecutionEvent::Enqueued(sent)) => {
                count(&mut census, from(&sent.source, &sent.input))
            }
            Event::Execution(ExecutionEvent::Claimed(claimed)) if !claimed.imports.is_empty() => {
                count(&mut census, "import");
            }
            Event::Execution(ExecutionEvent::Completed(completed)) => attempt(&mut census, &completed.record),
            Event::Execution(ExecutionEvent::AttemptFailed(failed)) => {
                count(&mut census, &format!("error {}", failed.error.kind.name()));
                if failed.error.message.contains("(in `lib") {
                    count(&mut census, "inside an import");
                }
                let Some(record) = failed.record else { continue };
                if failed.error.kind == relive_log::events::ErrorKind::Timeout && record.operations > 0 {
                    count(&mut census, "timeout within the script");
                }
                attempt(&mut census, &record);
            }
            _ => {}
        }
    }
    census
}

fn count(census: &mut Census, what: &str) {
    *census.entry(what.to_owned()).or_default() += 1;
}

fn from(source: &Source, input: &relive_log::events::Input) -> &'static str {
    use relive_log::events::Input;
    match (source, input) {
        (_, Input::Tick { .. }) => "from cron trigger",
        (_, Input::Message { .. }) => "from queue",
        (_, Input::Letter(_)) => "from dead letter",
        (_, Input::Mutation(_)) => "from kv trigger",
        (_, Input::Request(_)) => "from route",
        (_, Input::SameAs(_) | Input::Payload(_) | Input::NotRecorded) => "from something else",
    }
}

fn attempt(census: &mut Census, record: &AttemptRecord) {
    let reads = |wanted: fn(&ReadRecord) -> bool| record.reads.iter().any(wanted);
    let found = [
        ("conflict", record.conflicts > 0),
        ("conflict with calls", record.conflicts > 0 && !record.calls.is_empty()),
        ("read", reads(|read| matches!(read, ReadRecord::Key { .. }))),
        ("absent", reads(|read| matches!(read, ReadRecord::Key { present: false, .. }))),
        ("list", reads(|read| matches!(read, ReadRecord::Range { .. }))),
        ("read of the past", reads(|read| matches!(read, ReadRecord::KeyAt { .. }))),
        ("history", reads(|read| matches!(read, ReadRecord::History { .. }))),
        ("letter", reads(|read| matches!(read, ReadRecord::Letter { .. }))),
        ("log", !record.logs.is_empty()),
        ("secret", !record.secrets.is_empty()),
        ("call answered", record.calls.iter().any(|call| matches!(call.outcome, CallOutcome::Answered(_)))),
        ("call failed", record.calls.iter().any(|call| matches!(call.outcome, CallOutcome::Failed(_)))),
    ];
    found.into_iter().filter(|(_, met)| *met).for_each(|(what, _)| count(census, what));
}

/// Every floor is reached.
pub(super) fn check(census: &Census) {
    let missed: Vec<String> = FLOORS
        .iter()
        .map(|(what, floor)| (what, floor, census.get(*what).copied().unwrap_or(0)))
        .filter(|(_, floor, met)| met < *floor)
        .map(|(what, floor, met)| format!("{what}: {met} of at least {floor}"))
        .collect();
    assert!(missed.is_empty(), "{missed:?} in {census:?}");
}
