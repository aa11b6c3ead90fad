//! Family `secret`: values encrypted with the instance key; never in clear in the log.

use bincode::{Decode, Encode};

use super::common::{Principal, SealedBytes};
use crate::ids::AppId;

/// `secret_set`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SecretSet {
    /// The app.
    pub app: AppId,
    /// The secret's name.
    pub name: String,
    /// 1, 2, 3… per name; goes on counting after a deletion.
    pub version: u32,
    /// The value, sealed; app, name and version are authenticated with it.
    pub sealed: SealedBytes,
    /// Who did it.
    pub by: Principal,
}

/// `secret_deleted`: no script, API or replay gets any version of it from here on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SecretDeleted {
    /// The app.
    pub app: AppId,
    /// The secret's name.
    pub name: String,
    /// Who did it.
    pub by: Principal,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretEvent {
    /// `secret_set`
    Set(SecretSet),
    /// `secret_deleted`
    Deleted(SecretDeleted),
}
