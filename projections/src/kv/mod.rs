//! The `kv` view.

mod types;

pub use types::{KvBounds, KvItem, KvPage, KvRange, KvSlot, KvVersion};
