//! A queue in which apps take turns (E52); first in, first out within an app.

use std::collections::{HashMap, VecDeque};

use relive_log::{AppId, ExecutionId};

/// Executions by app; whose turn it is goes round.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    turns: VecDeque<AppId>,
    lines: HashMap<AppId, VecDeque<ExecutionId>>,
    len: usize,
}

impl FairQueue {
    pub(super) fn push(&mut self, app: AppId, execution: ExecutionId) {
        let line = self.lines.entry(app).or_default();
        if line.is_empty() {
            self.turns.push_back(app);
        }
        line.push_back(execution);
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(AppId, ExecutionId)> {
        let app = self.turns.pop_front()?;
        let line = self.lines.get_mut(&app)?;
        let execution = line.pop_front()?;
        self.len -= 1;
        if line.is_empty() {
            self.lines.remove(&app);
        } else {
            self.turns.push_back(app);
        }
        Some((app, execution))
    }

    pub(super) fn remove(&mut self, app: AppId, execution: ExecutionId) {
        let Some(line) = self.lines.get_mut(&app) else { return };
        let before = line.len();
        line.retain(|other| *other != execution);
        self.len -= before - line.len();
        if line.is_empty() {
            self.lines.remove(&app);
            self.turns.retain(|other| *other != app);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}
