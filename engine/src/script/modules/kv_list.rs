//! `kv::list`: pages of the snapshot merged with the run's own writes.
//!
//! Owns: the merge, the options, the cursor (the last key of the page). Never does: hold a page across calls.
//! Invariants: E43, E44 (every range asked of the snapshot is recorded).

use std::collections::VecDeque;
use std::ops::Bound;

use relive_log::events::{ErrorKind, ReadRecord, Scopes, SharedBytes};
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext as Call};

use super::super::errors::{Answer, runtime};
use super::super::host::Host;
use super::super::types::{Lapsed, ListItem, ListPage, ListQuery};
use super::kv::{check_collection, decode};
use crate::planted::{self, Bug};

pub(super) fn list(call: &Call<'_>, collection: ImmutableString) -> Answer<Map> {
    list_with(call, collection, Map::new())
}

pub(super) fn list_with(call: &Call<'_>, collection: ImmutableString, options: Map) -> Answer<Map> {
    let host = Host::of(call)?;
    host.allow(Scopes::SCRIPT_READ, "kv::list")?;
    check_collection(&host, &collection)?;
    let query = query(&host, &collection, &options)?;
    let mut page = Merge::new(&host, call, query).page()?;
    if planted::is(Bug::HashOrder) {
        page.items = planted::shuffled(page.items);
    }
    let mut items = Array::with_capacity(page.items.len());
    for (key, value) in page.items {
        let mut item = Map::new();
        item.insert("key".into(), key.into());
        item.insert("value".into(), decode(&host, call, &value)?);
        items.push(Dynamic::from_map(item));
    }
    let mut answer = Map::new();
    answer.insert("items".into(), Dynamic::from_array(items));
    answer.insert("cursor".into(), page.cursor.map_or(Dynamic::UNIT, Dynamic::from));
    Ok(answer)
}

fn query(host: &Host, collection: &str, options: &Map) -> Answer<ListQuery> {
    let mut query = ListQuery {
        collection: collection.to_owned(),
        prefix: String::new(),
        cursor: None,
        reverse: false,
        limit: host.limits.list_page_default,
    };
    for (name, value) in options.iter().filter(|(_, value)| !value.is_unit()) {
        let wrong = |kind: &str| runtime(format!("kv::list: {name} is not {kind}"));
        match name.as_str() {
            "prefix" => query.prefix = value.clone().into_string().map_err(|_| wrong("a string"))?,
            "cursor" => query.cursor = Some(value.clone().into_string().map_err(|_| wrong("a string"))?),
            "reverse" => query.reverse = value.as_bool().map_err(|_| wrong("a bool"))?,
            "limit" => {
                let asked = value.as_int().map_err(|_| wrong("an integer"))?;
                let max = host.limits.list_page_max;
                let fits = usize::try_from(asked).ok().filter(|limit| (1..=max).contains(limit));
                query.limit = fits.ok_or_else(|| {
                    runtime(format!("kv::list: limit is {asked}, not 1 to {max} (RELIVE_MAX_LIST_PAGE)"))
                })?;
            }
            unknown => return Err(runtime(format!("kv::list knows no option {unknown}"))),
        }
    }
    Ok(query)
}

struct Page {
    items: Vec<(String, SharedBytes)>,
    cursor: Option<String>,
}

/// Walks the snapshot and the own writes side by side, in the order of the listing.
struct Merge<'a, 'c> {
    host: &'a Host,
    call: &'a Call<'c>,
    query: ListQuery,
    /// Read from the snapshot and not yet used, in order.
    stored: VecDeque<ListItem>,
    /// Where the next page of the snapshot starts; `None` when there is no further one.
    next: Option<ListQuery>,
    /// Own writes in the range, in order.
    own: VecDeque<(String, Option<SharedBytes>)>,
}

impl<'a, 'c> Merge<'a, 'c> {
    fn new(host: &'a Host, call: &'a Call<'c>, query: ListQuery) -> Merge<'a, 'c> {
        let own = own_writes(host, &query);
        Merge { host, call, next: Some(query.clone()), query, stored: VecDeque::new(), own }
    }

    fn page(mut self) -> Answer<Page> {
        let mut items: Vec<(String, SharedBytes)> = Vec::new();
        let mut bytes = 0_usize;
        while let Some((key, value)) = self.step()? {
            let Some(value) = value else { continue };
            let size = key.len() + value.len();
            let full = items.len() == self.query.limit;
            let heavy = !items.is_empty() && bytes + size > self.host.limits.list_bytes_max;
            if full || heavy {
                let cursor = items.last().map(|(key, _)| key.clone());
                return Ok(Page { items, cursor });
            }
            bytes += size;
            items.push((key, value));
            if items.len() == self.query.limit && self.stored.is_empty() && self.own.is_empty() {
                // Do not fetch a page only to learn that there is one: the cursor may lead to an empty page.
                let cursor = self.next.is_some().then(|| items.last().map(|(key, _)| key.clone())).flatten();
                return Ok(Page { items, cursor });
            }
        }
        Ok(Page { items, cursor: None })
    }

    /// The next key with its value as the run sees it; `None` at the end.
    fn step(&mut self) -> Answer<Option<(String, Option<SharedBytes>)>> {
        if self.stored.is_empty() {
            self.fetch()?;
        }
        let own_first = match (self.own.front(), self.stored.front()) {
            (Some((own, _)), Some(stored)) => {
                if *own == stored.key {
                    self.stored.pop_front();
                    true
                } else {
                    (*own < stored.key) != self.query.reverse
                }
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        if own_first {
            return Ok(self.own.pop_front());
        }
        Ok(self.stored.pop_front().map(|item| (item.key, Some(item.value))))
    }

    fn fetch(&mut self) -> Answer<()> {
        let Some(query) = self.next.take() else { return Ok(()) };
        let page = self.host.snapshot.list(&query).map_err(|failed| self.host.broken(self.call, &failed))?;
        self.record(&query, &page);
        if page.more {
            let Some(last) = page.items.last() else {
                let why = "the store answered an empty page that goes on".to_owned();
                return Err(self.host.end(self.call, ErrorKind::Internal, why));
            };
            self.next = Some(ListQuery { cursor: Some(last.key.clone()), ..query });
        }
        self.stored = page.items.into();
        Ok(())
    }

    fn record(&self, query: &ListQuery, page: &ListPage) {
        let mut effects = self.host.effects.lock();
        effects.depends_on = effects.depends_on.max(self.host.context.lsn);
        let lapsed = page.lapsed.iter().map(|(key, version)| Lapsed {
            collection: query.collection.clone(),
            key: key.clone(),
            version: *version,
        });
        effects.lapsed.extend(lapsed);
        if effects.listed.insert(query.clone()) {
            let read = ReadRecord::Range {
                collection: query.collection.clone(),
                prefix: query.prefix.clone(),
                cursor: query.cursor.clone(),
                reverse: query.reverse,
                limit: u32::try_from(query.limit).unwrap_or(u32::MAX),
                items: page.items.iter().map(|item| (item.key.clone(), item.version)).collect(),
            };
            effects.read(self.call, read);
        }
    }
}

fn own_writes(host: &Host, query: &ListQuery) -> VecDeque<(String, Option<SharedBytes>)> {
    let effects = host.effects.lock();
    let from = (query.collection.clone(), query.prefix.clone());
    let in_range = effects
        .writes
        .range((Bound::Included(from), Bound::Unbounded))
        .take_while(|((collection, key), _)| {
            *collection == query.collection && key.starts_with(&query.prefix)
        })
        .filter(|((_, key), _)| match &query.cursor {
            None => true,
            Some(cursor) if query.reverse => key < cursor,
            Some(cursor) => key > cursor,
        })
        .map(|((_, key), effect)| (key.clone(), effect.value.clone()));
    let mut own: VecDeque<_> = in_range.collect();
    if query.reverse {
        own.make_contiguous().reverse();
    }
    own
}
