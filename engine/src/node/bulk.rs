//! Jobs and expiry as time goes by: the next step of a job, what is no longer kept.
//!
//! Owns: when. Never does: decide what a step does (`decide/bulk`, `decide/retention`).

use std::sync::Arc;

use relive_log::{AppId, JobId, UnixMicros};

use super::Node;
use super::core::Core;
use crate::decide::bulk::{Next, step};
use crate::decide::retention;
use crate::node::keyed::WINDOW_MS;

/// How long a step waits after the log had no room for it, microseconds.
const AGAIN_US: u64 = 1_000_000;

impl Node {
    /// One step of every job that is due; called with the lock held whenever something may have changed.
    pub(super) fn step_jobs(self: &Arc<Self>, core: &mut Core, now: UnixMicros) {
        if core.jobs.is_empty() {
            return;
        }
        let due = |at: &Option<UnixMicros>| at.is_none_or(|at| at <= now);
        let due: Vec<(AppId, JobId)> =
            core.jobs.iter().filter(|(_, at)| due(at)).map(|(key, _)| *key).collect();
        for key in due {
            let next = self.step_job(core, key, now);
            match next {
                Some(at) => drop(core.jobs.insert(key, at)),
                None => drop(core.jobs.remove(&key)),
            }
        }
    }

    /// When the next step comes (`Some(None)`: once something ended), or none.
    fn step_job(
        self: &Arc<Self>,
        core: &mut Core,
        (app, job): (AppId, JobId),
        now: UnixMicros,
    ) -> Option<Option<UnixMicros>> {
        let scene = self.scene();
        let row = self.views.jobs().get(app, job).filter(|row| row.ended.is_none())?;
        let app = Arc::clone(scene.registry.app(app)?);
        let mut decision = core.decision();
        let next = step(&scene, &app, &row, &mut decision);
        if !decision.is_empty()
            && let Err(why) = core.append(&decision, &self.views, now)
        {
            tracing::error!(%job, ?why, "a step of a job could not be recorded; it is tried again");
            return Some(Some(UnixMicros(now.0.saturating_add(AGAIN_US))));
        }
        match next {
            Next::After(us) => Some(Some(UnixMicros(now.0.saturating_add(us)))),
            Next::Room => Some(None),
            Next::Ended => None,
        }
    }

    /// Ends what is no longer kept, and says when to look again.
    pub(super) fn expire_records(self: &Arc<Self>, core: &mut Core, now: UnixMicros) {
        if core.records_until.is_some_and(|at| at > now) {
            return;
        }
        let scene = self.scene();
        // D14: whoever comes now asks for nothing older.
        self.views.idempotency().forget_before(UnixMicros(scene.steady.0.saturating_sub(WINDOW_MS * 1000)));
        let mut decision = core.decision();
        retention::expire(&scene, &mut decision);
        if !decision.is_empty()
            && let Err(why) = core.append(&decision, &self.views, now)
        {
            tracing::error!(?why, "what is no longer kept could not be recorded; it is tried again");
            core.records_until = Some(UnixMicros(now.0.saturating_add(AGAIN_US)));
            return;
        }
        core.records_until = Some(retention::next(&scene).unwrap_or(UnixMicros(u64::MAX)));
    }
}
