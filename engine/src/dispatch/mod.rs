//! The dispatcher's order: what is due, whose turn it is, how much may run at once (D2, D3).
//!
//! Owns: the ready lines, the due times, the gate and the time alone. A pure data structure: it is told what
//! happened and answers what to start. Never does: append, apply, read a clock, start anything.
//!
//! Invariants: E50 never more than `gate` executions run; E51 sync work goes first, background work keeps a
//! quarter of the gate (at least 1 from a gate of 2 on; in a gate of 1 they take turns); E52 apps take turns;
//! E53 while an execution runs alone nothing else starts.

mod fair;

use std::collections::{BTreeSet, HashMap};

use relive_log::{AppId, ExecutionId, UnixMicros};

use self::fair::FairQueue;

/// Which line an execution waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// A caller waits for the outcome.
    Sync,
    /// Everything else.
    Background,
    /// Cut off by a crash before: runs alone (D3).
    Alone,
}

/// What to start next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub app: AppId,
    pub execution: ExecutionId,
    pub lane: Lane,
}

/// The dispatcher's state.
#[derive(Debug)]
pub(crate) struct Dispatch {
    gate: usize,
    sync: FairQueue,
    background: FairQueue,
    alone: FairQueue,
    running: HashMap<ExecutionId, Lane>,
    running_background: usize,
    due: BTreeSet<(UnixMicros, ExecutionId, AppId, bool)>,
    /// The execution that runs alone now.
    only: Option<ExecutionId>,
    last_was_sync: bool,
    draining: bool,
}

impl Dispatch {
    /// With room for `gate` executions, at least one.
    pub(crate) fn new(gate: usize) -> Dispatch {
        Dispatch {
            gate: gate.max(1),
            sync: FairQueue::default(),
            background: FairQueue::default(),
            alone: FairQueue::default(),
            running: HashMap::default(),
            running_background: 0,
            due: BTreeSet::new(),
            only: None,
            last_was_sync: false,
            draining: false,
        }
    }

    /// Work that may start as soon as there is room.
    pub(crate) fn ready(&mut self, app: AppId, execution: ExecutionId, lane: Lane) {
        self.lane_mut(lane).push(app, execution);
    }

    /// Background work that may start from `due_at` on.
    pub(crate) fn later(&mut self, app: AppId, execution: ExecutionId, due_at: UnixMicros, lane: Lane) {
        self.due.insert((due_at, execution, app, lane == Lane::Alone));
    }

    /// Moves what is due by `now` to its line.
    pub(crate) fn advance(&mut self, now: UnixMicros) {
        while let Some(&(due_at, execution, app, alone)) = self.due.first() {
            if due_at > now {
                return;
            }
            self.due.pop_first();
            self.ready(app, execution, if alone { Lane::Alone } else { Lane::Background });
        }
    }

    /// When the next execution is due.
    pub(crate) fn next_due(&self) -> Option<UnixMicros> {
        self.due.first().map(|(due_at, ..)| *due_at)
    }

    /// Forgets work that will not run any more; no-op if it waits nowhere.
    pub(crate) fn forget(&mut self, app: AppId, execution: ExecutionId) {
        for lane in [Lane::Sync, Lane::Background, Lane::Alone] {
            self.lane_mut(lane).remove(app, execution);
        }
        self.due.retain(|(_, other, ..)| *other != execution);
    }

    /// From now on only sync work that waits already starts (an orderly shutdown).
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether a sync call that arrives now would start at once.
    pub(crate) fn has_room_for_sync(&self) -> bool {
        self.sync.is_empty()
            && self.peek_lane() != Some(Lane::Alone)
            && self.free()
            && self.only.is_none()
            && {
                let reserved = self.reserved_for_background();
                self.background.is_empty() || self.running_background >= reserved
            }
    }

    /// Takes the next execution to start, if there is room for one (E50 to E53).
    pub(crate) fn next(&mut self) -> Option<Start> {
        let lane = self.peek_lane()?;
        let (app, execution) = self.lane_mut(lane).pop()?;
        self.last_was_sync = lane == Lane::Sync;
        self.started(execution, lane);
        Some(Start { app, execution, lane })
    }

    /// Counts an execution as running (one that `next` gave is counted already).
    pub(crate) fn started(&mut self, execution: ExecutionId, lane: Lane) {
        if self.running.insert(execution, lane).is_none() && lane != Lane::Sync {
            self.running_background += 1;
        }
        if lane == Lane::Alone {
            self.only = Some(execution);
        }
    }

    /// The execution does not run any more.
    pub(crate) fn ended(&mut self, execution: ExecutionId) {
        if let Some(lane) = self.running.remove(&execution)
            && lane != Lane::Sync
        {
            self.running_background -= 1;
        }
        self.alone_ended(execution);
    }

    /// The execution outlived its time alone, or ended: others may join.
    pub(crate) fn alone_ended(&mut self, execution: ExecutionId) {
        if self.only == Some(execution) {
            self.only = None;
        }
    }

    /// The execution that runs alone.
    pub(crate) const fn only(&self) -> Option<ExecutionId> {
        self.only
    }

    /// How many sync calls wait.
    pub(crate) fn sync_waiting(&self) -> usize {
        self.sync.len()
    }

    fn free(&self) -> bool {
        self.running.len() < self.gate
    }

    const fn reserved_for_background(&self) -> usize {
        match self.gate {
            1 => 0,
            gate => {
                let quarter = gate / 4;
                if quarter == 0 { 1 } else { quarter }
            }
        }
    }

    fn peek_lane(&self) -> Option<Lane> {
        if self.only.is_some() || !self.free() {
            return None;
        }
        if !self.draining && !self.alone.is_empty() {
            return if self.running.is_empty() { Some(Lane::Alone) } else { None };
        }
        let background = !self.draining && !self.background.is_empty();
        match (!self.sync.is_empty(), background) {
            (false, false) => None,
            (true, false) => Some(Lane::Sync),
            (false, true) => Some(Lane::Background),
            (true, true) if self.gate == 1 => {
                Some(if self.last_was_sync { Lane::Background } else { Lane::Sync })
            }
            (true, true) if self.running_background < self.reserved_for_background() => {
                Some(Lane::Background)
            }
            (true, true) => Some(Lane::Sync),
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut FairQueue {
        match lane {
            Lane::Sync => &mut self.sync,
            Lane::Background => &mut self.background,
            Lane::Alone => &mut self.alone,
        }
    }
}

#[cfg(test)]
mod tests;
