//! Family `retention`: what is no longer kept.

use bincode::{Decode, Encode};

use crate::ids::{AppId, ExecutionId};

/// `abandoned_expired`: the abandoned record of an execution is gone (D11); the execution itself stays.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AbandonedExpired {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetentionEvent {
    /// `abandoned_expired`
    AbandonedExpired(AbandonedExpired),
}
