//! Cron triggers in a running node: the timers wake for the next moment, never in between (D16).

use std::sync::Arc;

use relive_log::{AppId, TriggerId, UnixMicros};

use super::Node;
use super::core::{Core, NotAppended};
use crate::decide::cron::tick;
use crate::refusal::Failure;

/// How long a tick waits whose batch could not be appended, milliseconds.
const RETRY_TICK_MS: u64 = 500;

impl Node {
    /// When a cron trigger runs next; `None` if it is paused, or no cron trigger.
    pub fn next_tick(&self, app: AppId, trigger: TriggerId) -> Option<UnixMicros> {
        self.core.lock().cron.next_of(app, trigger)
    }

    /// Runs, or skips, what is due by now.
    pub(super) fn tick_schedules(self: &Arc<Self>, core: &mut Core, now: UnixMicros) {
        while core.admitting
            && let Some((app_id, trigger_id, schedule)) = core.cron.due(now)
        {
            let scene = self.scene();
            let app = scene.registry.app(app_id).cloned();
            let trigger = app.as_ref().and_then(|app| app.triggers.get(&trigger_id));
            let position = self.views.cron().get(app_id, trigger_id);
            let (Some(app), Some(trigger), Some(position)) = (&app, trigger, position) else {
                core.cron.rearm(app_id, trigger_id, None);
                continue;
            };
            let Some(ticks) = schedule.between(position.until, now) else {
                core.cron.rearm(app_id, trigger_id, schedule.next(position.until.max(now)));
                continue;
            };
            let mut decision = core.decision();
            tick(&scene, app, trigger, &position, ticks, &mut decision);
            let next = match core.append_new(&decision, &self.views, now) {
                Ok(_) => schedule.next(ticks.latest),
                // The log says so itself, once.
                Err(NotAppended::Failed(Failure::NoSpace { .. })) => Some(now.plus_millis(RETRY_TICK_MS)),
                Err(why) => {
                    tracing::error!(trigger = %trigger.spec.name, ?why, "a tick could not be recorded; it waits");
                    Some(now.plus_millis(RETRY_TICK_MS))
                }
            };
            core.cron.rearm(app_id, trigger_id, next);
        }
    }
}
