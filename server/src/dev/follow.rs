//! Follows the log in the terminal: one line for what a person wants to see happen.
//!
//! Owns: the lines. Never does: show an event before it is durable.

use std::collections::HashMap;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, sync_channel};

use relive_engine::node::Node;
use relive_log::events::{
    AfterFailure, AttemptFailed, AttemptRecord, CronEvent, DeadLetterEvent, Enqueued, Event, ExecutionEvent,
    Input, Source, decode_record,
};
use relive_log::{AppId, Durability, ExecutionId, Lsn, TriggerId, UnixMicros};
use relive_projections::Registry;

use crate::out;

/// What is known of work that has not ended.
struct Work {
    label: String,
    script: String,
    since: UnixMicros,
}

/// Follows one node's log.
pub(super) struct Follower {
    next: Lsn,
    /// Says that more became durable.
    more: Receiver<()>,
    work: HashMap<ExecutionId, Work>,
}

impl Follower {
    /// From the present end of the log.
    pub(super) fn new(durability: &Durability) -> Follower {
        // Room for one: a look shows everything that is durable by then, so a second word says nothing more.
        let (tell, more) = sync_channel(1);
        durability.on_change(Box::new(move |_| {
            let _full = tell.try_send(());
        }));
        Follower { next: durability.durable().next(), more, work: HashMap::new() }
    }

    /// Follows until the node is gone; asleep while nothing happens.
    pub(super) fn run(mut self, node: &Weak<Node>) {
        while self.more.recv().is_ok() {
            let Some(node) = node.upgrade() else { return };
            if node.durable() >= self.next
                && let Err(message) = self.look(&node)
            {
                out::complain(&format!("the log cannot be followed: {message}"));
                return;
            }
        }
    }

    fn look(&mut self, node: &Node) -> Result<(), String> {
        let registry = node.views().registry();
        for frame in node.reader().scan(self.next).map_err(|e| e.to_string())? {
            // No gap can stand here: only a salvage leaves one, and it starts no instance.
            let frame = frame.map_err(|e| e.to_string())?;
            let next = self.next;
            for raw in frame.records().filter(|raw| raw.lsn >= next) {
                let event =
                    decode_record(raw.type_, raw.type_version, raw.body).map_err(|e| e.to_string())?;
                self.event(&registry, &event, frame.commit_time);
            }
            self.next = frame.last_lsn.next();
        }
        Ok(())
    }

    fn event(&mut self, registry: &Registry, event: &Event, at: UnixMicros) {
        match event {
            Event::Execution(event) => self.execution(registry, event, at),
            Event::DeadLetter(event) => self.dead_letter(event, at),
            Event::Cron(CronEvent::Ticked(e)) if e.execution.is_none() => {
                let name = trigger_name(registry, e.app, &e.trigger);
                line(at, "skipped", &format!("{name}: its last run is unfinished"));
            }
            // Deploys are shown by whoever deploys; keys are too many.
            Event::App(_)
            | Event::Script(_)
            | Event::Route(_)
            | Event::Trigger(_)
            | Event::Job(_)
            | Event::Retention(_)
            | Event::Token(_)
            | Event::Secret(_)
            | Event::Kv(_)
            | Event::Cron(_) => {}
        }
    }

    fn execution(&mut self, registry: &Registry, event: &ExecutionEvent, at: UnixMicros) {
        match event {
            ExecutionEvent::Enqueued(e) => {
                let work = Work { label: label(registry, e), script: e.script.clone(), since: at };
                self.work.insert(e.execution, work);
            }
            ExecutionEvent::Claimed(e) => {
                if let Some(work) = self.work.get_mut(&e.execution).filter(|_| e.attempt > 1) {
                    work.since = e.at;
                }
            }
            ExecutionEvent::Completed(e) => {
                self.logs(&e.execution, &e.record);
                let Some(work) = self.work.remove(&e.execution) else { return };
                let status = if e.output.status == 0 { "ok".to_owned() } else { e.output.status.to_string() };
                let again = if e.attempt > 1 { format!("  (attempt {})", e.attempt) } else { String::new() };
                line(at, "ok", &format!("{} → {status}  {}{again}", work.label, millis(work.since, at)));
            }
            ExecutionEvent::AttemptFailed(e) => self.failed(e, at),
            ExecutionEvent::Abandoned(e) => {
                line(at, "abandoned", &format!("{}: {}", self.name(&e.execution), e.reason.name()));
            }
            ExecutionEvent::Dropped(e) => {
                line(at, "dropped", &format!("{}: {}", self.name(&e.execution), e.reason));
                self.work.remove(&e.execution);
            }
            ExecutionEvent::DepthExceeded(e) => {
                line(at, "dropped", &format!("{}: depth {} is too deep, not run", e.script, e.depth));
            }
            ExecutionEvent::AloneEnded(_) | ExecutionEvent::Released(_) => {}
        }
    }

    fn failed(&mut self, e: &AttemptFailed, at: UnixMicros) {
        if let Some(record) = &e.record {
            self.logs(&e.execution, record);
        }
        let script = self.work.get(&e.execution).map(|work| work.script.clone()).unwrap_or_default();
        let place = if e.error.line == 0 {
            format!("{script}.rhai")
        } else {
            format!("{script}.rhai:{}", e.error.line)
        };
        let what = format!(
            "{}, attempt {}  {place}: {}: {}",
            self.name(&e.execution),
            e.attempt,
            e.error.kind.name(),
            e.error.message
        );
        line(at, "FAILED", &what);
        match e.then {
            AfterFailure::Retry { due_at } => {
                let wait = millis(at, due_at);
                line(at, "retry", &format!("{} in {wait}, at {}", self.name(&e.execution), clock(due_at)));
            }
            AfterFailure::DeadLetter => {}
            AfterFailure::End => drop(self.work.remove(&e.execution)),
        }
    }

    fn dead_letter(&mut self, event: &DeadLetterEvent, at: UnixMicros) {
        match event {
            DeadLetterEvent::DeadLettered(e) => {
                let name = self.name(&e.execution);
                line(
                    at,
                    "DEAD",
                    &format!("{name} after {} attempts: relive dl show {}", e.attempts, e.letter),
                );
                self.work.remove(&e.execution);
            }
            DeadLetterEvent::HandlerFailed(e) => line(at, "DEAD", &format!("handler of {} failed", e.letter)),
            DeadLetterEvent::Resolved(e) => {
                line(at, "ok", &format!("{} resolved as {}", e.letter, e.resolution))
            }
            DeadLetterEvent::Expired(_) => {}
            DeadLetterEvent::Redriven(e) => {
                line(at, "redrive", &format!("{} as execution {}", e.letter, e.execution));
            }
        }
    }

    fn name(&self, execution: &ExecutionId) -> String {
        self.work.get(execution).map_or_else(|| execution.to_string(), |work| work.label.clone())
    }

    fn logs(&self, execution: &ExecutionId, record: &AttemptRecord) {
        let script = self.work.get(execution).map(|work| work.script.as_str()).unwrap_or_default();
        for logged in &record.logs {
            out::say(&format!(
                "          {script}.rhai:{} {}: {}",
                logged.line,
                logged.level.name(),
                logged.message
            ));
        }
    }
}

fn trigger_name(registry: &Registry, app: AppId, trigger: &TriggerId) -> String {
    let found = registry.app(app).and_then(|app| app.triggers.get(trigger));
    found.map_or_else(|| "trigger".to_owned(), |trigger| trigger.spec.name.clone())
}

fn label(registry: &Registry, e: &Enqueued) -> String {
    let trigger = |id| format!("{} ({})", trigger_name(registry, e.app, id), e.script);
    match (&e.source, &e.input) {
        (Source::Route { .. }, Input::Request(request)) => format!("{} {}", request.method, request.path),
        (Source::Route { .. }, _) => format!("route ({})", e.script),
        (
            Source::Kv { trigger: id }
            | Source::DeadLetter { trigger: id, .. }
            | Source::Cron { trigger: id }
            | Source::Queue { trigger: id },
            _,
        ) => trigger(id),
        (Source::Direct, _) => format!("invoke {}", e.script),
    }
}

fn millis(from: UnixMicros, to: UnixMicros) -> String {
    let micros = to.0.saturating_sub(from.0);
    if micros < 10_000 {
        format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
    } else {
        format!("{} ms", micros / 1000)
    }
}

fn clock(at: UnixMicros) -> String {
    let seconds = i64::try_from(at.0 / 1_000_000).unwrap_or_default();
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}

fn line(at: UnixMicros, what: &str, text: &str) {
    out::say(&format!("{}  {what:<9} {text}", clock(at)));
}
