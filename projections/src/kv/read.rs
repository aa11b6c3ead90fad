//! Reads of the KV view: each takes all layers at one instant, and an LSN.

use std::sync::Arc;

use relive_log::events::{Event, KvEvent, SharedBytes};
use relive_log::{AppId, FramePos, Lsn, UnixMicros};

use super::line::LineKeys;
use super::table::{Table, Write};
use super::types::{AsOf, KvBounds, KvItem, KvPage, KvRange, KvSlot, KvVersion};
use super::{KvView, key, written};
use crate::error::ReadError;
use crate::horizon::{Lowest, Visible};
use crate::layers::{Direction, KeyMerge, LayerCursor};
use crate::run::{Cursor, Run};

/// A version with its value, or with the place of its value.
pub(super) enum Found {
    InMemory(Write),
    InLog(KvVersion),
}

impl Found {
    pub(super) fn version(&self) -> KvVersion {
        match self {
            Found::InMemory(write) => write.version(),
            Found::InLog(version) => *version,
        }
    }

    /// The same, with a time to live that ends so many microseconds later.
    pub(super) fn later(mut self, micros: u64) -> Found {
        let expires_at = match &mut self {
            Found::InMemory(write) => &mut write.expires_at,
            Found::InLog(version) => &mut version.expires_at,
        };
        *expires_at = expires_at.map(|end| UnixMicros(end.0.saturating_add(micros)));
        self
    }
}

impl KvView {
    /// One key as of `at`.
    ///
    /// # Errors
    /// The log or a run could not be read.
    pub fn get(&self, app: AppId, collection: &str, key: &str, at: AsOf) -> Result<KvSlot, ReadError> {
        let Some(found) = self.find(app, collection, key, at.lsn)? else {
            return Ok(KvSlot::default());
        };
        let version = found.version();
        let lapsed = version.is_lapsed_at(at.time);
        let value = if lapsed { None } else { self.value(found)? };
        let expires_at = version.expires_at;
        Ok(KvSlot { version: version.lsn, value, pos: version.pos, expires_at, lapsed })
    }

    /// The last write of a key at or before `at`, without its value.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn version_at(
        &self,
        app: AppId,
        collection: &str,
        key: &str,
        at: Lsn,
    ) -> Result<Option<KvVersion>, ReadError> {
        Ok(self.find(app, collection, key, at)?.map(|found| found.version()))
    }

    /// One page of a collection as of `at`.
    ///
    /// # Errors
    /// The log or a run could not be read.
    pub fn list(&self, app: AppId, collection: &str, range: &KvRange, at: AsOf) -> Result<KvPage, ReadError> {
        let mut bounds = KvBounds { prefix: range.prefix.clone(), ..KvBounds::default() };
        let direction = if range.reverse {
            bounds.before.clone_from(&range.cursor);
            Direction::Down
        } else {
            bounds.after.clone_from(&range.cursor);
            Direction::Up
        };
        let layers = self.layers.now();
        let range_of = |app| key::bounds_range(app, collection, &bounds);
        let mut keys = LineKeys::new(&layers, &self.lines, app, [at.lsn], range_of, direction)?;
        let mut page = KvPage::default();
        let mut bytes = 0_usize;
        while let Some((encoded, [found])) = keys.next()? {
            let Some(found) = found.filter(|found| !found.version().deleted) else { continue };
            let KvVersion { lsn: version, expires_at, .. } = found.version();
            let decoded = || key::decode(&encoded).ok_or(ReadError::WrongEvent { lsn: version });
            if found.version().is_lapsed_at(at.time) {
                page.lapsed.push((decoded()?.1, version));
                continue;
            }
            if page.items.len() >= range.limit {
                page.more = true;
                break;
            }
            let (_, key) = decoded()?;
            let Some(value) = self.value(found)? else { continue };
            bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
            if bytes > range.bytes_max && !page.items.is_empty() {
                page.more = true;
                break;
            }
            page.items.push(KvItem { key, version, value, expires_at });
        }
        Ok(page)
    }

    /// Versions of a key at or before `at`, newest first, down to the one that was current at the horizon (P17).
    ///
    /// # Errors
    /// A run could not be read.
    pub fn history(
        &self,
        app: AppId,
        collection: &str,
        key: &str,
        at: Lsn,
        limit: usize,
    ) -> Result<Vec<KvVersion>, ReadError> {
        let mut out = Vec::new();
        for level in self.lines.levels(app, at) {
            let key = key::encode(level.app, collection, key);
            let mut found = self.versions(&key, level.lsn, limit.saturating_sub(out.len()))?;
            let later = |end: UnixMicros| UnixMicros(end.0.saturating_add(level.later));
            found.iter_mut().for_each(|version| version.expires_at = version.expires_at.map(later));
            out.append(&mut found);
            if out.len() >= limit {
                break;
            }
        }
        Ok(out)
    }

    /// Versions of one encoded key that are to be seen, newest first.
    fn versions(&self, key: &[u8], at: Lsn, limit: usize) -> Result<Vec<KvVersion>, ReadError> {
        let layers = self.layers.now();
        let mut out = Vec::new();
        for table in std::iter::once(&layers.active).chain(&layers.frozen) {
            table.versions(key, at, limit, &mut out);
        }
        for run in layers.runs.iter().filter(|run| run.meta().first <= at && run.may_contain(key)) {
            if out.len() >= limit {
                break;
            }
            let mut cursor = Cursor::new(run);
            cursor.seek(key, at)?;
            while let Some(row) = cursor.row().filter(|row| row.key == key && out.len() < limit) {
                out.push(written::decode(row.lsn, row.value).ok_or(ReadError::WrongEvent { lsn: row.lsn })?);
                cursor.advance()?;
            }
        }
        let mut visible = Visible::new(self.horizon.get());
        out.retain(|version| visible.take(version.lsn, version.deleted));
        Ok(out)
    }

    /// The collections that hold a key as of `at`, with the number of their keys, by name. Visits every key.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn collections(&self, app: AppId, at: AsOf) -> Result<Vec<(String, u64)>, ReadError> {
        let layers = self.layers.now();
        let mut keys = LineKeys::new(&layers, &self.lines, app, [at.lsn], key::app_range, Direction::Up)?;
        let mut out: Vec<(String, u64)> = Vec::new();
        while let Some((encoded, [found])) = keys.next()? {
            let version = found.map(|found| found.version());
            let Some(version) = version.filter(|version| version.is_present_at(at.time)) else { continue };
            let (collection, _) = key::decode(&encoded).ok_or(ReadError::WrongEvent { lsn: version.lsn })?;
            match out.last_mut().filter(|(name, _)| *name == collection) {
                Some((_, count)) => *count += 1,
                None => out.push((collection, 1)),
            }
        }
        Ok(out)
    }

    /// The newest write of a key. Memory first: what was written lately is there.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn last_write(
        &self,
        app: AppId,
        collection: &str,
        key: &str,
    ) -> Result<Option<KvVersion>, ReadError> {
        self.version_at(app, collection, key, Lsn::MAX)
    }

    /// Whether a key within the bounds was written (or deleted) above `since`.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn range_written_since(
        &self,
        app: AppId,
        collection: &str,
        bounds: &KvBounds,
        since: Lsn,
    ) -> Result<bool, ReadError> {
        let range = key::bounds_range(app, collection, bounds);
        let layers = self.layers.now();
        if std::iter::once(&layers.active)
            .chain(&layers.frozen)
            .any(|table| table.written_since(&range, since))
        {
            return Ok(true);
        }
        for run in layers.runs.iter().filter(|run| run.meta().last > since) {
            let mut cursor = Cursor::new(run);
            cursor.seek(&range.start, Lsn::MAX)?;
            while let Some(row) = cursor.row().filter(|row| row.key < range.end.as_slice()) {
                if row.lsn > since {
                    return Ok(true);
                }
                cursor.advance()?;
            }
        }
        Ok(false)
    }

    /// What was current below `start` of the keys that are wanted: at most `limit` writes above `after`, by LSN.
    ///
    /// # Errors
    /// A run could not be read.
    pub(crate) fn current_below(
        &self,
        start: Lsn,
        is_wanted: impl Fn(&[u8]) -> bool,
        lowest: &mut Lowest,
    ) -> Result<(), ReadError> {
        let at = start.prev();
        let layers = self.layers.now();
        let mut keys = KeyMerge::new(&layers, Vec::new()..vec![0xff; 64], Direction::Up, at)?;
        while let Some((key, found)) = keys.next(|layer, key| version_in(layer, key, at))? {
            if let Some(version) = found.map(|found| found.version()).filter(|version| !version.deleted)
                && is_wanted(&key)
            {
                lowest.offer(version.lsn, version.pos);
            }
        }
        Ok(())
    }

    /// Every version of every key that is to be seen, in the order of runs.
    pub(crate) fn for_each_version(&self, mut take: impl FnMut(&[u8], KvVersion)) -> Result<(), ReadError> {
        let layers = self.layers.now();
        let mut keys = KeyMerge::new(&layers, Vec::new()..vec![0xff; 64], Direction::Up, Lsn::MAX)?;
        while let Some((key, _)) = keys.next(|_, _| Ok::<_, ReadError>(None::<()>))? {
            let mut versions = Vec::new();
            for table in std::iter::once(&layers.active).chain(&layers.frozen) {
                table.versions(&key, Lsn::MAX, usize::MAX, &mut versions);
            }
            for run in layers.runs.iter().filter(|run| run.may_contain(&key)) {
                let mut cursor = Cursor::new(run);
                cursor.seek(&key, Lsn::MAX)?;
                while let Some(row) = cursor.row().filter(|row| row.key == key) {
                    versions.push(
                        written::decode(row.lsn, row.value).ok_or(ReadError::WrongEvent { lsn: row.lsn })?,
                    );
                    cursor.advance()?;
                }
            }
            let mut visible = Visible::new(self.horizon.get());
            versions.retain(|version| visible.take(version.lsn, version.deleted));
            versions.into_iter().for_each(|version| take(&key, version));
        }
        Ok(())
    }

    /// The last write at or before `at`, in the app or in what it began with (P20).
    fn find(&self, app: AppId, collection: &str, key: &str, at: Lsn) -> Result<Option<Found>, ReadError> {
        for level in self.lines.levels(app, at) {
            if let Some(found) = self.find_own(&key::encode(level.app, collection, key), level.lsn)? {
                return Ok(Some(found.later(level.later)));
            }
        }
        Ok(None)
    }

    /// The last write at or before `at`: the first layer that has one has the newest (P3).
    fn find_own(&self, key: &[u8], at: Lsn) -> Result<Option<Found>, ReadError> {
        let layers = self.layers.now();
        for table in std::iter::once(&layers.active).chain(&layers.frozen) {
            if let Some(write) = table.write_at(key, at) {
                return Ok(Some(Found::InMemory(write)));
            }
        }
        for run in layers.runs.iter().filter(|run| run.meta().first <= at && run.may_contain(key)) {
            if let Some(version) = version_in_run(run, key, at)? {
                return Ok(Some(Found::InLog(version)));
            }
        }
        Ok(None)
    }

    pub(super) fn value(&self, found: Found) -> Result<Option<SharedBytes>, ReadError> {
        match found {
            Found::InMemory(write) => Ok(write.value),
            Found::InLog(version) if version.deleted => Ok(None),
            Found::InLog(version) => self.read_value(version.pos, version.lsn).map(Some),
        }
    }

    /// The value that the write at this place wrote.
    ///
    /// # Errors
    /// The log could not be read, or another event stands there.
    pub fn read_value(&self, pos: FramePos, lsn: Lsn) -> Result<SharedBytes, ReadError> {
        if let Some(value) = self.values.get(lsn) {
            return Ok(value);
        }
        match self.source.event(pos, lsn).map_err(|source| ReadError::Log { lsn, source })? {
            Event::Kv(KvEvent::Put(put)) => {
                self.values.keep(lsn, &put.value);
                Ok(put.value)
            }
            Event::Kv(KvEvent::Deleted(_) | KvEvent::Expired(_))
            | Event::App(_)
            | Event::Script(_)
            | Event::Route(_)
            | Event::Trigger(_)
            | Event::Token(_)
            | Event::Secret(_)
            | Event::Execution(_)
            | Event::DeadLetter(_)
            | Event::Job(_)
            | Event::Retention(_)
            | Event::Cron(_) => Err(ReadError::WrongEvent { lsn }),
        }
    }
}

fn version_in_run(run: &Arc<Run>, key: &[u8], at: Lsn) -> Result<Option<KvVersion>, ReadError> {
    version_at_cursor(&mut Cursor::new(run), key, at)
}

fn version_at_cursor(cursor: &mut Cursor, key: &[u8], at: Lsn) -> Result<Option<KvVersion>, ReadError> {
    match cursor.seek(key, at)?.filter(|row| row.key == key) {
        Some(row) => {
            written::decode(row.lsn, row.value).map(Some).ok_or(ReadError::WrongEvent { lsn: row.lsn })
        }
        None => Ok(None),
    }
}

pub(super) fn version_in(
    layer: &mut LayerCursor<'_, Table>,
    key: &[u8],
    at: Lsn,
) -> Result<Option<Found>, ReadError> {
    match layer {
        LayerCursor::Table(table) => Ok(table.write_at(key, at).map(Found::InMemory)),
        LayerCursor::Run(cursor) => Ok(version_at_cursor(cursor, key, at)?.map(Found::InLog)),
    }
}
