//! Lines in which apps take turns, and within an app its streams (E52); first in, first out within a stream.
//!
//! Owns: who is next among what may start. Never does: know why something is held. What is held keeps its place and
//! costs nothing: holding and releasing do not depend on how much waits (E54).

use std::collections::{HashMap, HashSet, VecDeque};

use relive_log::{AppId, ExecutionId};

/// All work of one app with one origin; see [`super::Streams`].
pub(super) type Stream = u32;

/// What is paused (D15).
#[derive(Debug, Default)]
pub(super) struct Holds {
    pub(super) apps: HashSet<AppId>,
    pub(super) streams: HashSet<Stream>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Apps with something to start.
    apps: VecDeque<AppId>,
    /// Streams with something to start, of apps held or not.
    rings: HashMap<AppId, VecDeque<Stream>>,
    lines: HashMap<Stream, VecDeque<ExecutionId>>,
}

impl Turns {
    pub(super) fn push(&mut self, app: AppId, stream: Stream, execution: ExecutionId, holds: &Holds) {
        let line = self.lines.entry(stream).or_default();
        line.push_back(execution);
        if line.len() == 1 {
            self.show(app, stream, holds);
        }
    }

    pub(super) fn pop(&mut self) -> Option<(AppId, ExecutionId)> {
        let app = self.apps.pop_front()?;
        let ring = self.rings.get_mut(&app)?;
        let stream = ring.pop_front()?;
        let line = self.lines.get_mut(&stream)?;
        let execution = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&stream);
        } else {
            ring.push_back(stream);
        }
        if ring.is_empty() {
            self.rings.remove(&app);
        } else {
            self.apps.push_back(app);
        }
        Some((app, execution))
    }

    /// Whether nothing may start.
    pub(super) fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    fn show(&mut self, app: AppId, stream: Stream, holds: &Holds) {
        if holds.streams.contains(&stream) {
            return;
        }
        let ring = self.rings.entry(app).or_default();
        ring.push_back(stream);
        if ring.len() == 1 && !holds.apps.contains(&app) {
            self.apps.push_back(app);
        }
    }

    fn hide(&mut self, app: AppId, stream: Stream) {
        let Some(ring) = self.rings.get_mut(&app) else { return };
        ring.retain(|other| *other != stream);
        if ring.is_empty() {
            self.rings.remove(&app);
            self.apps.retain(|other| *other != app);
        }
    }

    pub(super) fn hold_app(&mut self, app: AppId) {
        self.apps.retain(|other| *other != app);
    }

    pub(super) fn release_app(&mut self, app: AppId) {
        if self.rings.contains_key(&app) {
            self.apps.push_back(app);
        }
    }

    pub(super) fn hold_stream(&mut self, app: AppId, stream: Stream) {
        self.hide(app, stream);
    }

    /// `holds` does not hold the stream any more.
    pub(super) fn release_stream(&mut self, app: AppId, stream: Stream, holds: &Holds) {
        if self.lines.contains_key(&stream) {
            self.show(app, stream, holds);
        }
    }

    /// Forgets all that waits in a stream.
    pub(super) fn drop_stream(&mut self, app: AppId, stream: Stream) {
        self.hide(app, stream);
        self.lines.remove(&stream);
    }
}
