//! The dispatcher's order: what is due, whose turn it is, how much may run at once (D2, D3, D13, D15).
//!
//! Owns: the ready lines, the due times, the ordered lines, what is held, the gate and the time alone. A pure data
//! structure: it is told what happened and answers what to start. Never does: append, apply, read a clock, start
//! anything, or hold more of waiting work than an id and a place.
//!
//! Invariants: E50 never more than `gate` executions hold a place, and never more than `threads_max` have begun; E51
//! sync work goes first, background work keeps a quarter of the gate (at least 1 from a gate of 2 on; in a gate of
//! 1 they take turns); E52 apps take turns; E53 while an execution runs alone nothing else starts; E54 pausing and
//! resuming cost the same however much waits; E55 to E57 the order within a line; E65 what is claimed ahead holds no
//! place, goes before other background work, and is over before anything runs alone.
//!
//! Work that was dropped one by one is not searched for: it is found gone when its turn comes.

mod lines;
mod turns;

use std::collections::{BTreeSet, HashMap, VecDeque};

use relive_log::events::Source;
use relive_log::{AppId, ExecutionId, Lsn, RouteId, TriggerId, UnixMicros};

pub(crate) use self::lines::Join;
use self::lines::{Joined, Lines, Place};
use self::turns::{Holds, Stream, Turns};

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

/// Where work comes from, as far as turns and pauses go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// What a trigger fired.
    Trigger(TriggerId),
    /// Calls of a route.
    Route(RouteId),
    /// Direct runs.
    Direct,
}

impl Origin {
    /// The origin of work with this source.
    pub(crate) const fn of(source: &Source) -> Origin {
        match source {
            Source::Route { route, .. } => Origin::Route(*route),
            Source::Kv { trigger }
            | Source::DeadLetter { trigger, .. }
            | Source::Cron { trigger }
            | Source::Queue { trigger } => Origin::Trigger(*trigger),
            Source::Direct => Origin::Direct,
        }
    }
}

/// Work that was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) app: AppId,
    pub(crate) origin: Origin,
    pub(crate) execution: ExecutionId,
    /// Not before.
    pub(crate) due_at: UnixMicros,
    pub(crate) lane: Lane,
    /// The key of its line, the LSN of its enqueue, and how it joins.
    pub(crate) ordered: Option<(&'a str, Lsn, Join)>,
}

/// What to start next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub app: AppId,
    pub execution: ExecutionId,
    pub lane: Lane,
    pub claim: Claim,
}

/// Whether what starts has its claim already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is claimed now.
    Now,
    /// It was claimed ahead, durably: it may begin at once.
    Ahead,
}

/// What work that may not start waits for; pauses are the registry's to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// Another execution of its line.
    Line(ExecutionId),
    /// The end of one that runs alone.
    Alone(ExecutionId),
    /// That everything else ended: it has to run alone.
    Others,
    /// A place.
    Place,
}

/// One stream: an app's work with one origin.
#[derive(Clone, Copy, Debug)]
struct StreamOf {
    app: AppId,
    origin: Origin,
}

/// Work that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: UnixMicros,
    execution: ExecutionId,
    stream: Stream,
    alone: bool,
}

/// An execution that began.
#[derive(Clone, Copy, Debug)]
struct Begun {
    lane: Lane,
    /// It waits for something outside and gave its place back.
    away: bool,
}

/// The dispatcher's state.
#[derive(Debug)]
pub(crate) struct Dispatch {
    gate: usize,
    threads_max: usize,
    streams: Vec<StreamOf>,
    stream_of: HashMap<(AppId, Origin), Stream>,
    holds: Holds,
    sync: Turns,
    background: Turns,
    alone: Turns,
    lines: Lines,
    running: HashMap<ExecutionId, Begun>,
    running_background: usize,
    away: usize,
    /// Executions that were away and want a place again.
    returning: VecDeque<ExecutionId>,
    due: BTreeSet<Due>,
    /// Claimed ahead and durable: next to begin.
    ahead: VecDeque<(AppId, ExecutionId)>,
    /// Claimed ahead, durable or not.
    claimed_ahead: usize,
    /// Calls that run without being in `running`, as of the last look.
    beside: usize,
    /// The execution that runs alone now.
    only: Option<ExecutionId>,
    last_was_sync: bool,
    draining: bool,
}

impl Dispatch {
    /// With room for `gate` executions, at least one, and for `threads_max` with those that gave their place back.
    pub(crate) fn new(gate: usize, threads_max: usize) -> Dispatch {
        Dispatch {
            gate: gate.max(1),
            threads_max: threads_max.max(gate).max(1),
            streams: Vec::new(),
            stream_of: HashMap::default(),
            holds: Holds::default(),
            sync: Turns::default(),
            background: Turns::default(),
            alone: Turns::default(),
            lines: Lines::default(),
            running: HashMap::default(),
            running_background: 0,
            away: 0,
            returning: VecDeque::new(),
            due: BTreeSet::new(),
            ahead: VecDeque::new(),
            claimed_ahead: 0,
            beside: 0,
            only: None,
            last_was_sync: false,
            draining: false,
        }
    }

    fn stream(&mut self, app: AppId, origin: Origin) -> Stream {
        // One for each route and trigger that ever had work: a process does not see four thousand million of them.
        let next = Stream::try_from(self.streams.len()).unwrap_or(Stream::MAX);
        let stream = *self.stream_of.entry((app, origin)).or_insert(next);
        if stream == next {
            self.streams.push(StreamOf { app, origin });
        }
        stream
    }

    fn app_of(&self, stream: Stream) -> AppId {
        usize::try_from(stream)
            .ok()
            .and_then(|at| self.streams.get(at))
            .map_or_else(AppId::default, |s| s.app)
    }

    /// Work that was accepted, now or before the process began.
    pub(crate) fn arrive(&mut self, work: Arrival<'_>, now: UnixMicros) {
        let stream = self.stream(work.app, work.origin);
        let due = |at, execution| Due { at, execution, stream, alone: work.lane == Lane::Alone };
        let Some((key, lsn, join)) = work.ordered else {
            self.line_up(due(work.due_at, work.execution), work.lane, now);
            return;
        };
        match self.lines.join(lines::line(stream, key), work.due_at, lsn, work.execution, join) {
            Joined::Waits => {}
            Joined::Head(_) if join == Join::Begun => {
                self.line_up(due(work.due_at, work.execution), work.lane, now)
            }
            Joined::Head(head) => self.line_up(due(head.at, head.execution), work.lane, now),
            Joined::Before { head, displaced } => {
                self.due.remove(&due(displaced.at, displaced.execution));
                let at = if join == Join::Begun { work.due_at } else { head.at };
                self.line_up(due(at, head.execution), work.lane, now);
            }
        }
    }

    /// An execution that had begun when the process did, and whose attempt is about to be settled: it holds its line.
    pub(crate) fn holds_line(
        &mut self,
        app: AppId,
        origin: Origin,
        key: &str,
        lsn: Lsn,
        execution: ExecutionId,
    ) {
        let stream = self.stream(app, origin);
        self.lines.join(lines::line(stream, key), UnixMicros(0), lsn, execution, Join::Begun);
    }

    fn line_up(&mut self, due: Due, lane: Lane, now: UnixMicros) {
        if lane != Lane::Sync && due.at > now {
            self.due.insert(due);
        } else {
            self.ready(due.stream, due.execution, lane);
        }
    }

    fn ready(&mut self, stream: Stream, execution: ExecutionId, lane: Lane) {
        self.lines.fix(execution);
        let app = self.app_of(stream);
        let turns = match lane {
            Lane::Sync => &mut self.sync,
            Lane::Background => &mut self.background,
            Lane::Alone => &mut self.alone,
        };
        turns.push(app, stream, execution, &self.holds);
    }

    /// Work that began waits for its next attempt.
    pub(crate) fn again(
        &mut self,
        app: AppId,
        origin: Origin,
        execution: ExecutionId,
        due_at: UnixMicros,
        lane: Lane,
    ) {
        let stream = self.stream(app, origin);
        self.due.insert(Due { at: due_at, execution, stream, alone: lane == Lane::Alone });
    }

    /// Work whose claim could not be recorded waits for its turn again.
    pub(crate) fn ready_again(&mut self, app: AppId, origin: Origin, execution: ExecutionId, lane: Lane) {
        let stream = self.stream(app, origin);
        self.ready(stream, execution, lane);
    }

    /// Moves what is due by `now` to its line.
    pub(crate) fn advance(&mut self, now: UnixMicros) {
        while let Some(&Due { at, execution, stream, alone }) = self.due.first() {
            if at > now {
                return;
            }
            self.due.pop_first();
            self.ready(stream, execution, if alone { Lane::Alone } else { Lane::Background });
        }
    }

    /// When the next execution is due.
    pub(crate) fn next_due(&self) -> Option<UnixMicros> {
        self.due.first().map(|due| due.at)
    }

    /// The execution ended for good: the next of its line may go.
    pub(crate) fn closed(&mut self, execution: ExecutionId, now: UnixMicros) {
        let Some(next) = self.lines.leave(execution) else { return };
        let stream = next.stream();
        self.line_up(
            Due { at: next.at, execution: next.execution, stream, alone: false },
            Lane::Background,
            now,
        );
    }

    /// Forgets all that waits with this origin.
    pub(crate) fn drop_origin(&mut self, app: AppId, origin: Origin) {
        if let Some(stream) = self.stream_of.get(&(app, origin)).copied() {
            self.drop_stream(app, stream);
            self.due.retain(|due| due.stream != stream);
        }
    }

    fn drop_stream(&mut self, app: AppId, stream: Stream) {
        for turns in [&mut self.sync, &mut self.background, &mut self.alone] {
            turns.drop_stream(app, stream);
        }
        self.holds.streams.remove(&stream);
        self.lines.drop_stream(stream);
    }

    /// Forgets all that waits in an app.
    pub(crate) fn drop_app(&mut self, app: AppId) {
        let origins: Vec<Origin> = self.streams.iter().filter(|s| s.app == app).map(|s| s.origin).collect();
        let mut gone = BTreeSet::new();
        for origin in origins {
            if let Some(stream) = self.stream_of.get(&(app, origin)).copied() {
                self.drop_stream(app, stream);
                gone.insert(stream);
            }
        }
        self.due.retain(|due| !gone.contains(&due.stream));
        self.holds.apps.remove(&app);
    }

    /// Background work of the app does not start from here on (D15).
    pub(crate) fn pause_app(&mut self, app: AppId) {
        if self.holds.apps.insert(app) {
            self.background.hold_app(app);
            self.alone.hold_app(app);
        }
    }

    /// It does again.
    pub(crate) fn resume_app(&mut self, app: AppId) {
        if self.holds.apps.remove(&app) {
            self.background.release_app(app);
            self.alone.release_app(app);
        }
    }

    /// Work of the trigger does not start from here on (D15).
    pub(crate) fn pause_trigger(&mut self, app: AppId, trigger: TriggerId) {
        let stream = self.stream(app, Origin::Trigger(trigger));
        if self.holds.streams.insert(stream) {
            self.background.hold_stream(app, stream);
            self.alone.hold_stream(app, stream);
        }
    }

    /// It does again.
    pub(crate) fn resume_trigger(&mut self, app: AppId, trigger: TriggerId) {
        let stream = self.stream(app, Origin::Trigger(trigger));
        if self.holds.streams.remove(&stream) {
            self.background.release_stream(app, stream, &self.holds);
            self.alone.release_stream(app, stream, &self.holds);
        }
    }

    /// From now on only sync work that waits already starts (an orderly shutdown).
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether a sync call that arrives now would start at once.
    pub(crate) fn has_room_for_sync(&self) -> bool {
        self.room_for_sync() > 0
    }

    /// How many sync calls that arrive now would start at once.
    pub(crate) fn room_for_sync(&self) -> usize {
        let in_turn = self.sync.is_empty()
            && !self.alone_waits()
            && self.only.is_none()
            && (!self.background_waits() || self.running_background >= self.reserved_for_background());
        if in_turn { self.places() } else { 0 }
    }

    /// Takes the next execution to start, if there is room for one (E50 to E53).
    pub(crate) fn next(&mut self) -> Option<Start> {
        let lane = self.peek_lane()?;
        if lane == Lane::Background
            && let Some((app, execution)) = self.ahead.pop_front()
        {
            self.claimed_ahead -= 1;
            self.last_was_sync = false;
            self.started(execution, lane);
            return Some(Start { app, execution, lane, claim: Claim::Ahead });
        }
        let turns = match lane {
            Lane::Sync => &mut self.sync,
            Lane::Background => &mut self.background,
            Lane::Alone => &mut self.alone,
        };
        let (app, execution) = turns.pop()?;
        self.last_was_sync = lane == Lane::Sync;
        self.started(execution, lane);
        Some(Start { app, execution, lane, claim: Claim::Now })
    }

    /// How many more may be claimed ahead, so that `most` are: none before half of them began, so that they are
    /// claimed in batches, and none while something has to run alone (E65).
    pub(crate) fn room_ahead(&self, most: usize) -> usize {
        if self.draining || self.only.is_some() || !self.alone.is_empty() || self.claimed_ahead > most / 2 {
            return 0;
        }
        most - self.claimed_ahead
    }

    /// Takes background work to be claimed before there is a place for it: it begins as soon as there is one.
    pub(crate) fn claim_ahead(&mut self) -> Option<Start> {
        let (app, execution) = self.background.pop()?;
        self.claimed_ahead += 1;
        Some(Start { app, execution, lane: Lane::Background, claim: Claim::Ahead })
    }

    /// Its claim is durable.
    pub(crate) fn ahead_is_durable(&mut self, app: AppId, execution: ExecutionId) {
        self.ahead.push_back((app, execution));
    }

    /// It was not claimed after all.
    pub(crate) fn not_ahead(&mut self) {
        self.claimed_ahead -= 1;
    }

    /// Whether something waits to run alone (D3): nothing else begins before it.
    pub(crate) fn alone_waits(&self) -> bool {
        !self.draining && !self.alone.is_empty()
    }

    /// So many calls run that are not counted here: nothing runs alone beside them.
    pub(crate) const fn beside(&mut self, calls: usize) {
        self.beside = calls;
    }

    fn background_waits(&self) -> bool {
        !self.ahead.is_empty() || !self.draining && !self.background.is_empty()
    }

    /// Counts an execution as running (one that `next` gave is counted already).
    pub(crate) fn started(&mut self, execution: ExecutionId, lane: Lane) {
        if self.running.insert(execution, Begun { lane, away: false }).is_none() && lane != Lane::Sync {
            self.running_background += 1;
        }
        if lane == Lane::Alone {
            self.only = Some(execution);
        }
    }

    /// The execution does not run any more.
    pub(crate) fn ended(&mut self, execution: ExecutionId) {
        match self.running.remove(&execution) {
            Some(Begun { away: true, .. }) => {
                self.away -= 1;
                self.returning.retain(|other| *other != execution);
            }
            Some(Begun { lane, away: false }) if lane != Lane::Sync => self.running_background -= 1,
            Some(Begun { .. }) | None => {}
        }
        self.alone_ended(execution);
    }

    /// The execution waits for something outside: its place is free (D2).
    pub(crate) fn leave_place(&mut self, execution: ExecutionId) {
        let Some(begun) = self.running.get_mut(&execution).filter(|begun| !begun.away) else { return };
        begun.away = true;
        self.away += 1;
        self.running_background -= usize::from(begun.lane != Lane::Sync);
    }

    /// The execution goes on as soon as there is a place: [`Dispatch::give_places`] says when.
    pub(crate) fn want_place(&mut self, execution: ExecutionId) {
        self.returning.push_back(execution);
    }

    /// Whether the execution has no place.
    pub(crate) fn is_away(&self, execution: ExecutionId) -> bool {
        self.running.get(&execution).is_some_and(|begun| begun.away)
    }

    /// How many executions gave their place back.
    pub(crate) const fn away(&self) -> usize {
        self.away
    }

    /// Gives places to those that come back, before anything else starts. Answers whether one got one.
    pub(crate) fn give_places(&mut self) -> bool {
        let mut given = false;
        while self.running.len() - self.away < self.gate {
            let Some(at) = self.returning.iter().position(|e| self.only.is_none_or(|only| only == *e)) else {
                break;
            };
            let Some(execution) = self.returning.remove(at) else { break };
            if let Some(begun) = self.running.get_mut(&execution).filter(|begun| begun.away) {
                begun.away = false;
                self.away -= 1;
                self.running_background += usize::from(begun.lane != Lane::Sync);
                given = true;
            }
        }
        given
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

    /// What due work that does not run waits for.
    pub(crate) fn waits_for(
        &self,
        app: AppId,
        origin: Origin,
        execution: ExecutionId,
        key: Option<&str>,
        lane: Lane,
    ) -> WaitsFor {
        let stream = self.stream_of.get(&(app, origin)).copied();
        let head = stream.zip(key).and_then(|(stream, key)| self.lines.head(lines::line(stream, key)));
        match (head.filter(|head| *head != execution), self.only) {
            (Some(head), _) => WaitsFor::Line(head),
            (None, Some(only)) => WaitsFor::Alone(only),
            (None, None) if lane == Lane::Alone => WaitsFor::Others,
            (None, None) => WaitsFor::Place,
        }
    }

    fn free(&self) -> bool {
        self.places() > 0
    }

    /// Places that nobody has and nobody who was away wants back.
    fn places(&self) -> usize {
        if !self.returning.is_empty() {
            return 0;
        }
        let (held, running) = (self.running.len() - self.away, self.running.len());
        self.gate.saturating_sub(held).min(self.threads_max.saturating_sub(running))
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
        if self.alone_waits() {
            let nothing_runs = self.running.is_empty() && self.claimed_ahead == 0 && self.beside == 0;
            return match (self.ahead.is_empty(), nothing_runs) {
                (false, _) => Some(Lane::Background),
                (true, true) => Some(Lane::Alone),
                (true, false) => None,
            };
        }
        let background = self.background_waits();
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
}

impl Place {
    const fn stream(&self) -> Stream {
        self.line.0
    }
}

#[cfg(test)]
mod tests;
