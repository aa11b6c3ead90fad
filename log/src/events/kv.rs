//! Family `kv`: mutations of keys. The values of all versions stand here and nowhere else.

use bincode::{Decode, Encode};

use super::common::{SharedBytes, Writer};
use crate::ids::AppId;
use crate::types::{Lsn, UnixMicros};

/// `kv_put`: an insert if `previous` is `None`, else an update.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KvPut {
    /// The app.
    pub app: AppId,
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// The value, JSON text.
    pub value: SharedBytes,
    /// Version of the value that this one replaces; `None` if the key was absent.
    pub previous: Option<Lsn>,
    /// From this time on the key reads as absent (K2); `None`: it stays.
    pub expires_at: Option<UnixMicros>,
    /// Who wrote it.
    pub writer: Writer,
}

/// `kv_deleted`: only ever of a key that was present.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KvDeleted {
    /// The app.
    pub app: AppId,
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// Version of the value that is gone.
    pub previous: Lsn,
    /// Who deleted it.
    pub writer: Writer,
}

/// `kv_expired`: a time to live ended (K2). Only ever of the version that is the key's newest: where the key was
/// rewritten meanwhile, nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KvExpired {
    /// The app.
    pub app: AppId,
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// The version that it ends.
    pub version: Lsn,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvEvent {
    /// `kv_put`
    Put(KvPut),
    /// `kv_deleted`
    Deleted(KvDeleted),
    /// `kv_expired`
    Expired(KvExpired),
}
