//! The start of a node: what a crash left behind is settled, what waits is lined up (D3).
//!
//! Invariants: E95 after the start no row is `running`; E96 reply-to work without an outcome is `abandoned`;
//! E97 a crash counts as an attempt only if the attempt ran alone then; E98 what was open when events were lost never
//! runs again by itself: it becomes a dead letter.

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Condvar;
use relive_log::events::{AbandonReason, Abandoned, ErrorKind, ErrorRecord, Event, ExecutionEvent};
use relive_log::{Gap, Lsn, Reader, UnixMicros};
use relive_projections::{ExecutionRow, Status};

use super::core::{Core, NotAppended, Stood, crashed};
use super::jobs::Jobs;
use super::leaks::Leaks;
use super::routes::RouteCache;
use super::sequencer::Sequencer;
use super::vault::Vaults;
use super::waiters::Waiters;
use super::{Node, NodeParts};
use crate::command::Switch;
use crate::decide::failure::{FailedAttempt, fail};
use crate::decide::pause::all_apps;
use crate::decide::{Decision, Scene};
use crate::refusal::Failure;
use crate::seams::Steady;

/// Events of one batch of settlements.
const SETTLE_EVENTS_MAX: usize = 1000;

impl Node {
    /// Starts on views that are caught up with the log: settles what a crash left behind and lines up what
    /// waits. Nothing runs before threads are lent.
    ///
    /// # Errors
    /// When the log fails.
    pub fn start(parts: NodeParts) -> Result<Arc<Node>, Failure> {
        let NodeParts { appender, reader, durability, views, clock, entropy, outgoing, key, settings, begin } =
            parts;
        let waiters = Arc::new(Waiters::new(durability.clone()));
        let wake = Arc::clone(&waiters);
        durability.on_change(Box::new(move |_| wake.log_moved()));
        let steady = Arc::new(Steady::new(Arc::clone(&clock), appender.last_commit_time()));
        let supply = appender.supply();
        let node = Arc::new(Node {
            core: Sequencer::new(Core::new(appender, settings.gate, Arc::clone(&steady)), durability.clone()),
            views,
            reader,
            durability,
            supply,
            waiters,
            jobs: Arc::new(Jobs::default()),
            routes: RouteCache::default(),
            vaults: Arc::new(Vaults::new(key)),
            leaks: Leaks::new(settings.leaked_bytes_max),
            replay_leaks: Arc::new(crate::replay::Leaks::new(settings.leaked_bytes_max)),
            compiled: Arc::default(),
            clock,
            steady,
            entropy,
            outgoing,
            settings,
            timers: Condvar::new(),
            unlocked: Condvar::new(),
            idle: Condvar::new(),
            places: Condvar::new(),
        });
        node.settle_crash()?;
        if begin == Switch::Paused {
            node.pause_all()?;
        }
        Ok(node)
    }

    fn settle_crash(self: &Arc<Self>) -> Result<(), Failure> {
        let mut core = self.core.lock();
        core.hold(&self.views.registry(), self.views.cron());
        let now = self.clock.now();
        core.jobs = self.views.jobs().running().into_iter().map(|key| (key, Some(now))).collect();
        let cut_off = self.line_up_open(&mut core, now)?;
        for rows in cut_off.chunks(SETTLE_EVENTS_MAX / 4) {
            let scene = self.scene();
            let mut decision = core.decision();
            for row in rows {
                settle(&scene, row, lost_by(&self.reader, row.enqueued.lsn), &mut decision);
            }
            self.append_at_start(&mut core, &decision, scene.now)?;
        }
        if !cut_off.is_empty() {
            tracing::warn!(
                executions = cut_off.len(),
                "the last run ended without settling these; settled now"
            );
        }
        Ok(())
    }
}

/// The first gap in the log that may hold events of an open execution that was enqueued then.
fn lost_by(reader: &Reader, enqueued: Lsn) -> Option<Gap> {
    reader.gaps().iter().find(|gap| enqueued < gap.from).copied()
}

impl Node {
    /// Lines up all work that nobody waits for, in the order of its enqueues. Answers what was cut off, or waited for.
    fn line_up_open(&self, core: &mut Core, now: UnixMicros) -> Result<Vec<ExecutionRow>, Failure> {
        let executions = self.views.executions();
        let mut open = Vec::with_capacity(executions.open_count());
        executions.visit_open(|work| {
            open.push((work.lsn, work.execution));
            ControlFlow::Continue(())
        });
        open.sort_unstable();
        let mut cut_off = Vec::new();
        for (lsn, execution) in open {
            let lost = lost_by(&self.reader, lsn).is_some();
            let rests = executions.with_open(execution, |work| {
                let plain = work.row.is_none() && !work.ordered && !lost;
                if plain {
                    core.line_up_resting(&work, now);
                }
                plain
            });
            if rests == Some(true) {
                continue;
            }
            let read = executions.open_row(execution);
            let Some(row) = read.map_err(|e| Failure::Read { message: e.to_string() })? else { continue };
            // What lost events left open is settled as if it had run: it holds its line until then.
            let is_cut_off = row.status == Status::Running || lost;
            if !row.source.reply_to() {
                core.line_up(&row, if is_cut_off { Stood::CutOff } else { Stood::Waiting }, now);
            }
            if row.source.reply_to() || is_cut_off {
                cut_off.push(row);
            }
        }
        Ok(cut_off)
    }

    /// Starts paused (D15): every app that runs is paused, in the log, until somebody resumes it.
    fn pause_all(&self) -> Result<(), Failure> {
        let mut core = self.core.lock();
        let scene = self.scene();
        let mut decision = core.decision();
        all_apps(&scene, &mut decision);
        if decision.is_empty() {
            return Ok(());
        }
        self.append_at_start(&mut core, &decision, scene.now)
    }

    fn append_at_start(&self, core: &mut Core, decision: &Decision, now: UnixMicros) -> Result<(), Failure> {
        match core.append(decision, &self.views, now) {
            Ok(_) => Ok(()),
            Err(NotAppended::Failed(failure)) => Err(failure),
            Err(NotAppended::TooLarge { bytes, limit }) => Err(Failure::Log {
                message: format!("a batch of the start of {bytes} bytes is over the limit of {limit}"),
            }),
        }
    }
}

/// What a crash, or lost events, mean for one execution that they cut off.
fn settle(scene: &Scene<'_>, row: &ExecutionRow, lost: Option<Gap>, out: &mut Decision) {
    if row.source.reply_to() {
        out.push(Event::Execution(ExecutionEvent::Abandoned(Abandoned {
            app: row.app,
            execution: row.execution,
            reason: AbandonReason::Crash,
        })));
        return;
    }
    let Some(app) = scene.registry.app(row.app) else { return };
    if let Some(gap) = lost {
        let message = format!(
            "LSN {gap} of the log were lost while this was open: whether it ran, and what it did, is unknown"
        );
        let error = ErrorRecord::without_place(ErrorKind::LogGap, message);
        fail(scene, app, row, &crashed(row), FailedAttempt { error, record: None, counted: true }, out);
        return;
    }
    let was_alone = row.last_attempt().is_some_and(|attempt| attempt.alone_ms > 0 && !attempt.alone_ended);
    let message = if was_alone {
        "the process ended while this attempt ran alone"
    } else {
        "the process ended while this attempt ran; it does not count, the next one runs alone"
    };
    let error = ErrorRecord::without_place(ErrorKind::Crashed, message);
    let failed = FailedAttempt { error, record: None, counted: was_alone };
    fail(scene, app, row, &crashed(row), failed, out);
}
