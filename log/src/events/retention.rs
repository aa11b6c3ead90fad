//! Family `retention`: what is no longer kept, and what has to be.

use bincode::{Decode, Encode};

use super::common::Principal;
use crate::Lsn;
use crate::ids::{AppId, ExecutionId};

/// `abandoned_expired`: the abandoned record of an execution is gone (D11); the execution itself stays.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AbandonedExpired {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
}

/// `hold_set`: history from an LSN on is not cut, whatever retention asks for. Of the instance, not of an app.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HoldSet {
    /// Its name; no other hold has it while it is there.
    pub name: String,
    /// The first LSN that stays.
    pub from: Lsn,
    /// Why, for people.
    pub reason: Option<String>,
    /// Who asked for it.
    pub by: Principal,
}

/// `hold_released`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HoldReleased {
    /// The hold.
    pub name: String,
    /// Who asked for it.
    pub by: Principal,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetentionEvent {
    /// `abandoned_expired`
    AbandonedExpired(AbandonedExpired),
    /// `hold_set`
    HoldSet(Box<HoldSet>),
    /// `hold_released`
    HoldReleased(Box<HoldReleased>),
}
