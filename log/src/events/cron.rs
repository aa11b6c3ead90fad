//! Family `cron`: the moments of schedules that were accounted for (D16).

use bincode::{Decode, Encode};

use crate::ids::{AppId, ExecutionId, TriggerId};
use crate::types::UnixMicros;

/// `cron_ticked`: every scheduled time up to this one is accounted for, so that none runs twice, also over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CronTicked {
    /// The app.
    pub app: AppId,
    /// The trigger.
    pub trigger: TriggerId,
    /// The latest scheduled time accounted for.
    pub scheduled_at: UnixMicros,
    /// How many scheduled times this event accounts for, the latest included; at least 1.
    pub ticks: u64,
    /// The run that stands in the same batch; `None`: skipped, because the last run of the trigger was unfinished.
    pub execution: Option<ExecutionId>,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronEvent {
    /// `cron_ticked`
    Ticked(CronTicked),
}
