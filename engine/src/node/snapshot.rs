//! KV as of one instant, as a script sees it.

use std::sync::Arc;

use relive_log::AppId;
use relive_projections::{AsOf, KvRange, Views};

use crate::script::{ListItem, ListPage, ListQuery, ReadFailed, Slot, Snapshot};

/// The views of one app as of one instant: the snapshot's LSN and the claim time (K1).
pub(crate) struct ViewSnapshot {
    pub views: Arc<Views>,
    pub app: AppId,
    pub at: AsOf,
    /// Bytes of keys and values in one page.
    pub list_bytes_max: usize,
}

fn failed(error: impl std::fmt::Display) -> ReadFailed {
    ReadFailed { message: error.to_string() }
}

impl Snapshot for ViewSnapshot {
    fn get(&self, collection: &str, key: &str) -> Result<Slot, ReadFailed> {
        let slot = self.views.kv().get(self.app, collection, key, self.at).map_err(failed)?;
        let relive_projections::KvSlot { version, value, expires_at, lapsed, pos: _ } = slot;
        Ok(Slot { version, value, expires_at, lapsed })
    }

    fn list(&self, query: &ListQuery) -> Result<ListPage, ReadFailed> {
        let range = KvRange {
            prefix: query.prefix.clone(),
            cursor: query.cursor.clone(),
            reverse: query.reverse,
            limit: query.limit,
            bytes_max: self.list_bytes_max,
        };
        let page = self.views.kv().list(self.app, &query.collection, &range, self.at).map_err(failed)?;
        let item = |item: relive_projections::KvItem| ListItem {
            key: item.key,
            version: item.version,
            value: item.value,
        };
        Ok(ListPage {
            items: page.items.into_iter().map(item).collect(),
            more: page.more,
            lapsed: page.lapsed,
        })
    }
}
