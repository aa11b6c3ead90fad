//! Family `token`: who may. The text of a token is shown once and stands nowhere; the log has its digest.

use bincode::{Decode, Encode};

use super::common::{Principal, Scopes};
use crate::ids::{AppId, PrincipalId};
use crate::types::UnixMicros;

/// `token_created`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TokenCreated {
    /// The app that it is bound to; `None`: it is of the instance, and good for every app.
    pub app: Option<AppId>,
    /// The new id: who acts with it is the principal of this id.
    pub token: PrincipalId,
    /// A name for people.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// SHA-256 of its text.
    pub digest: [u8; 32],
    /// From then on it is no longer live.
    pub expires_at: Option<UnixMicros>,
    /// Who made it.
    pub by: Principal,
}

/// `token_deleted`: from here on it opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TokenDeleted {
    /// The app that it was bound to.
    pub app: Option<AppId>,
    /// The token.
    pub token: PrincipalId,
    /// Who did it.
    pub by: Principal,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// `token_created`
    Created(TokenCreated),
    /// `token_deleted`
    Deleted(TokenDeleted),
}
