//! What differs between two instants, and which version follows another.
//!
//! Invariant: P14 a difference of two instants is exactly the keys whose listed value or version differs between the
//! listings as of both.

use std::ops::Range;

use relive_log::events::SharedBytes;
use relive_log::{AppId, Lsn};

use super::line::{Level, LineKeys};
use super::read::Found;
use super::types::{AsOf, KvBounds};
use super::{KvView, key};
use crate::error::ReadError;
use crate::layers::Direction;
use crate::run::Cursor;

/// A value as of an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvState {
    /// The write that left it.
    pub version: Lsn,
    /// JSON text.
    pub value: SharedBytes,
}

/// A key that differs between two instants; one of both may lack it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvChange {
    /// Its collection.
    pub collection: String,
    /// Its name.
    pub key: String,
    /// As of the first instant.
    pub before: Option<KvState>,
    /// As of the second.
    pub after: Option<KvState>,
}

/// Which differences are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffRange {
    /// Of this collection only.
    pub collection: Option<String>,
    /// Behind this collection and key.
    pub after: Option<(String, String)>,
    /// At most so many.
    pub limit: usize,
    /// At most so many bytes of keys and values, but at least one item.
    pub bytes_max: usize,
}

/// One page of differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffPage {
    /// By collection and key.
    pub items: Vec<KvChange>,
    /// Whether more follow; the last item is the place to go on from.
    pub more: bool,
}

impl KvView {
    /// What differs between two instants, in either order. Visits every key of the range.
    ///
    /// # Errors
    /// The log or a run could not be read.
    pub fn diff(&self, app: AppId, range: &DiffRange, from: AsOf, to: AsOf) -> Result<DiffPage, ReadError> {
        let layers = self.layers.now();
        let highest = from.lsn.max(to.lsn);
        let range_of = |app| diff_range(app, range);
        let mut keys = LineKeys::new(&layers, &self.lines, app, [from.lsn, to.lsn], range_of, Direction::Up)?;
        let mut page = DiffPage::default();
        let mut bytes = 0_usize;
        while let Some((encoded, [before, after])) = keys.next()? {
            let before = before.filter(|found| found.version().is_present_at(from.time));
            let after = after.filter(|found| found.version().is_present_at(to.time));
            let lsn = |found: &Option<Found>| found.as_ref().map(|found| found.version().lsn);
            if lsn(&before) == lsn(&after) {
                continue;
            }
            if page.items.len() >= range.limit || (bytes > range.bytes_max && !page.items.is_empty()) {
                page.more = true;
                return Ok(page);
            }
            let (collection, key) = key::decode(&encoded).ok_or(ReadError::WrongEvent { lsn: highest })?;
            let (before, after) = (self.state(before)?, self.state(after)?);
            let len = |state: &Option<KvState>| state.as_ref().map_or(0, |state| state.value.len());
            bytes = bytes.saturating_add(key.len() + len(&before) + len(&after));
            page.items.push(KvChange { collection, key, before, after });
        }
        Ok(page)
    }

    fn state(&self, found: Option<Found>) -> Result<Option<KvState>, ReadError> {
        let Some(found) = found else { return Ok(None) };
        let version = found.version().lsn;
        Ok(self.value(found)?.map(|value| KvState { version, value }))
    }

    /// The first write of a key above `lsn`.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn version_after(
        &self,
        app: AppId,
        collection: &str,
        key: &str,
        lsn: Lsn,
    ) -> Result<Option<Lsn>, ReadError> {
        // Oldest first: what a fork began with lies below all that was written in it.
        let levels: Vec<Level> = self.lines.levels(app, Lsn::MAX).collect();
        for level in levels.into_iter().rev() {
            let key = key::encode(level.app, collection, key);
            let next = self.own_version_after(&key, lsn)?.filter(|next| *next <= level.lsn);
            if next.is_some() {
                return Ok(next);
            }
        }
        Ok(None)
    }

    fn own_version_after(&self, key: &[u8], lsn: Lsn) -> Result<Option<Lsn>, ReadError> {
        let layers = self.layers.now();
        // Oldest first: the first layer that has one has the lowest (P3).
        for run in layers.runs.iter().rev().filter(|run| run.meta().last > lsn && run.may_contain(key)) {
            let mut cursor = Cursor::new(run);
            let before = cursor.seek_before(key, lsn)?.filter(|row| row.key == key);
            if let Some(row) = before {
                return Ok(Some(row.lsn));
            }
        }
        let tables = layers.frozen.iter().rev().chain(std::iter::once(&layers.active));
        Ok(tables.filter_map(|table| table.version_after(key, lsn)).next())
    }
}

fn diff_range(app: AppId, range: &DiffRange) -> Range<Vec<u8>> {
    let whole = match &range.collection {
        Some(collection) => key::bounds_range(app, collection, &KvBounds::default()),
        None => key::app_range(app),
    };
    let start = match &range.after {
        Some((collection, key)) => key::after_key(&key::encode(app, collection, key)),
        None => whole.start.clone(),
    };
    start.max(whole.start)..whole.end
}
