//! Family `script`: immutable versions of named sources.

use bincode::{Decode, Encode};

use super::common::Principal;
use crate::ids::AppId;

/// `script_deployed`: a changed source makes a new version (D17).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ScriptDeployed {
    /// The app.
    pub app: AppId,
    /// The script's name.
    pub name: String,
    /// 1, 2, 3… per name; goes on counting after a deletion.
    pub version: u32,
    /// SHA-256 of the source.
    pub sha256: [u8; 32],
    /// The source.
    pub source: String,
    /// Names of the scripts that the source imports itself, sorted.
    pub imports: Vec<String>,
    /// Who did it.
    pub by: Principal,
}

/// The version of an imported script that an attempt used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct ImportedVersion {
    /// The imported script.
    pub script: String,
    /// Its version; 0 if there was no such script.
    pub version: u32,
}

/// `script_deleted`: old versions stay in the log, work that needs it dead-letters (D17).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ScriptDeleted {
    /// The app.
    pub app: AppId,
    /// The script's name.
    pub name: String,
    /// Who did it.
    pub by: Principal,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptEvent {
    /// `script_deployed`
    Deployed(ScriptDeployed),
    /// `script_deleted`
    Deleted(ScriptDeleted),
}
