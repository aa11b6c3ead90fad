//! State that can be deleted and rebuilt from the log: registry, keys, outbox, executions, dead letters.

mod dead_letters;
mod error;
mod executions;
mod kv;
mod options;
mod registry;
mod skeleton;
mod source;
mod store;

pub use dead_letters::{LetterFilter, LetterRow, Resolution};
pub use error::{ReadError, RunError, StoreError, ViewsError};
pub use executions::{AttemptRef, Delivery, ExecutionFilter, ExecutionRow, Status};
pub use kv::{KvBounds, KvItem, KvPage, KvRange, KvSlot, KvVersion};
pub use options::{IfAhead, Limits, Maintained, OpenedViews, RebuildReason, StoreKind, Trust, ViewsOptions, Waiting};
pub use registry::{App, Registry, Route, Script, ScriptVersion, Secret, Trigger};
pub use skeleton::*;
pub use store::MemoryStore;
pub use source::{At, FoldedBatch, ValueSource};
