//! The KV view against a map that keeps everything, at every LSN and with times to live as of several times.

use std::collections::{BTreeMap, BTreeSet};

use relive_log::events::{AppEvent, Event, Fork, KvEvent};
use relive_log::{AppId, Lsn, UnixMicros};

use super::log::Batch;
use crate::{AsOf, DiffRange, KvBounds, KvRange, KvSlot, Views};

/// One write: `None` is a deletion or the end of a time to live.
#[derive(Clone)]
struct Written {
    lsn: Lsn,
    value: Option<Vec<u8>>,
    expires_at: Option<UnixMicros>,
}

impl Written {
    /// The value, if it is there at this time.
    fn value_at(&self, time: UnixMicros) -> Option<&Vec<u8>> {
        self.value.as_ref().filter(|_| self.expires_at.is_none_or(|end| end > time))
    }
}

type Versions = Vec<Written>;

/// Every version of every key.
#[derive(Default)]
pub(crate) struct Model {
    keys: BTreeMap<Name, Versions>,
    /// Of each app that is there: its slug, and the forks that it comes from.
    apps: BTreeMap<AppId, (String, Vec<Fork>)>,
    last: Lsn,
}

/// App, collection, key.
type Name = (AppId, String, String);

impl Model {
    pub(crate) fn of(batches: &[Batch]) -> Model {
        let mut model = Model::default();
        for batch in batches {
            for (i, event) in batch.events.iter().enumerate() {
                let lsn = batch.first.plus(i as u64);
                let (key, value, expires_at) = match event {
                    Event::Kv(KvEvent::Put(e)) => {
                        let key = (e.app, e.collection.clone(), e.key.clone());
                        (key, Some(e.value.to_vec()), e.expires_at)
                    }
                    Event::Kv(KvEvent::Deleted(e)) => {
                        ((e.app, e.collection.clone(), e.key.clone()), None, None)
                    }
                    Event::Kv(KvEvent::Expired(e)) => {
                        ((e.app, e.collection.clone(), e.key.clone()), None, None)
                    }
                    Event::App(event) => {
                        model.app(event, lsn, UnixMicros(1_000_000 + batch.first.0));
                        continue;
                    }
                    Event::Script(_)
                    | Event::Route(_)
                    | Event::Trigger(_)
                    | Event::Token(_)
                    | Event::Secret(_)
                    | Event::Execution(_)
                    | Event::DeadLetter(_)
                    | Event::Job(_)
                    | Event::Retention(_)
                    | Event::Cron(_) => continue,
                };
                model.keys.entry(key).or_default().push(Written { lsn, value, expires_at });
            }
            model.last = batch.last();
        }
        model
    }

    fn app(&mut self, event: &AppEvent, lsn: Lsn, at: UnixMicros) {
        let (id, slug, line) = match event {
            AppEvent::Created(e) => (e.app, &e.slug, Vec::new()),
            AppEvent::Forked(e) => {
                let own = Fork { base: e.base.clone(), lsn, at };
                (e.app, &e.slug, std::iter::once(own).chain(e.ancestors.iter().cloned()).collect())
            }
            AppEvent::Deleted(e) => {
                self.apps.remove(&e.app);
                return;
            }
            AppEvent::Changed(_) | AppEvent::Paused(_) | AppEvent::Resumed(_) => return,
        };
        if !self.apps.contains_key(&id) && self.apps.values().all(|(taken, _)| taken != slug) {
            self.apps.insert(id, (slug.clone(), line));
        }
    }

    /// P20: what a key of an app is as of an LSN: its own versions, and below them what it began with.
    fn versions(&self, (app, collection, key): &Name, at: Lsn) -> Versions {
        let mut layers = Vec::new();
        let (mut app, mut at, mut shift) = (*app, at, 0);
        let line = self.apps.get(&app).map(|(_, line)| line.as_slice()).unwrap_or_default();
        for fork in line.iter().map(Some).chain([None]) {
            let own = self.keys.get(&(app, collection.clone(), key.clone())).into_iter().flatten();
            let own = own.filter(|written| written.lsn <= at).cloned().map(|mut written| {
                written.expires_at = written.expires_at.map(|end| UnixMicros(end.0 + shift));
                written
            });
            layers.push(own.collect::<Vec<_>>());
            let Some(fork) = fork else { break };
            app = fork.base.app;
            if at >= fork.lsn {
                shift += fork.at.0.saturating_sub(fork.base.at.0);
                at = fork.base.lsn;
            } else {
                at = at.min(fork.base.lsn);
            }
        }
        layers.into_iter().rev().flatten().collect()
    }

    /// Every key that may be read, of forks too.
    fn names(&self) -> BTreeSet<Name> {
        let mut names: BTreeSet<Name> = self.keys.keys().cloned().collect();
        for (app, (_, line)) in &self.apps {
            for fork in line {
                let of_base = self.keys.keys().filter(|(of, ..)| *of == fork.base.app);
                names.extend(of_base.map(|(_, collection, key)| (*app, collection.clone(), key.clone())));
            }
        }
        names
    }

    fn at(versions: &Versions, at: Lsn) -> Option<&Written> {
        versions.iter().rev().find(|written| written.lsn <= at)
    }

    /// Compares every read at every LSN.
    pub(crate) fn check(&self, views: &Views) {
        for at in 0..=self.last.0 {
            // As of its commit (K3), and some while later (the newest state as of now).
            for later in [0, 13] {
                self.check_at(views, AsOf { lsn: Lsn(at), time: UnixMicros(1_000_000 + at + later) });
            }
        }
        self.check_at(views, AsOf { lsn: Lsn::MAX, time: UnixMicros(u64::MAX) });
        self.check_newest(views);
        for from in (0..=self.last.0).step_by(9) {
            for to in (0..=self.last.0).step_by(11) {
                self.check_diff(views, Lsn(from), Lsn(to));
            }
        }
    }

    /// P14: the difference is what differs between the two listings, page by page.
    fn check_diff(&self, views: &Views, from: Lsn, to: Lsn) {
        let instant = |lsn: Lsn| AsOf { lsn, time: UnixMicros(1_000_000 + lsn.0) };
        let (from, to) = (instant(from), instant(to));
        let state = |versions: &Versions, at: AsOf| {
            let written = Model::at(versions, at.lsn)?;
            Some((written.lsn, written.value_at(at.time)?.clone()))
        };
        let names = self.names();
        let apps: BTreeSet<AppId> = names.iter().map(|(app, ..)| *app).collect();
        for app in apps {
            let mut expected = Vec::new();
            for name in &names {
                let (a, collection, key) = name;
                let before = state(&self.versions(name, from.lsn), from);
                let after = state(&self.versions(name, to.lsn), to);
                if *a == app && before.as_ref().map(|s| s.0) != after.as_ref().map(|s| s.0) {
                    expected.push((collection.clone(), key.clone(), before, after));
                }
            }
            let mut found = Vec::new();
            let mut range = DiffRange { limit: 2, bytes_max: 1000, ..DiffRange::default() };
            loop {
                let page = views.kv().diff(app, &range, from, to).unwrap();
                range.after = page.items.last().map(|item| (item.collection.clone(), item.key.clone()));
                found.extend(page.items.into_iter().map(|item| {
                    let state = |state: crate::KvState| (state.version, state.value.to_vec());
                    (item.collection, item.key, item.before.map(state), item.after.map(state))
                }));
                if !page.more {
                    break;
                }
            }
            assert_eq!(found, expected, "{from:?} to {to:?}");
        }
    }

    fn check_at(&self, views: &Views, at: AsOf) {
        let kv = views.kv();
        let mut collections: BTreeMap<AppId, BTreeMap<String, u64>> = BTreeMap::new();
        for name in &self.names() {
            let (app, collection, key) = name;
            let versions = &self.versions(name, at.lsn);
            let slot = kv.get(*app, collection, key, at).unwrap();
            match Model::at(versions, at.lsn) {
                None => assert_eq!(slot, KvSlot::default(), "{key} at {at:?}"),
                Some(written) => {
                    let value = written.value_at(at.time);
                    assert_eq!(slot.version, written.lsn, "{key} at {at:?}");
                    assert_eq!(slot.value.as_deref(), value.map(Vec::as_slice), "K2: {key} at {at:?}");
                    assert_eq!(slot.lapsed, written.value.is_some() && value.is_none(), "{key} at {at:?}");
                    assert_eq!(slot.expires_at, written.expires_at);
                    if value.is_some() {
                        *collections.entry(*app).or_default().entry(collection.clone()).or_default() += 1;
                    }
                }
            }
            let history = kv.history(*app, collection, key, at.lsn, 3).unwrap();
            let history: Vec<_> = history.iter().map(|version| (version.lsn, version.deleted)).collect();
            let past = versions.iter().rev().filter(|written| written.lsn <= at.lsn).take(3);
            assert_eq!(history, past.map(|w| (w.lsn, w.value.is_none())).collect::<Vec<_>>());
        }
        for (app, expected) in &collections {
            assert_eq!(kv.collections(*app, at).unwrap(), expected.clone().into_iter().collect::<Vec<_>>());
            for collection in expected.keys() {
                self.check_pages(views, *app, collection, at);
            }
        }
    }

    fn check_pages(&self, views: &Views, app: AppId, collection: &str, at: AsOf) {
        let live: Vec<(String, Lsn, Vec<u8>)> = self
            .names()
            .iter()
            .filter(|(a, c, _)| *a == app && c == collection)
            .filter_map(|name| {
                let versions = self.versions(name, at.lsn);
                let written = Model::at(&versions, at.lsn)?;
                Some((name.2.clone(), written.lsn, written.value_at(at.time)?.clone()))
            })
            .collect();
        for (limit, reverse, prefix) in [(2, false, "k"), (3, true, ""), (100, false, "k1"), (100, true, "k")]
        {
            let mut expected: Vec<_> =
                live.iter().filter(|(key, ..)| key.starts_with(prefix)).cloned().collect();
            if reverse {
                expected.reverse();
            }
            let mut range = KvRange { prefix: prefix.into(), cursor: None, reverse, limit, bytes_max: 1000 };
            let mut found = Vec::new();
            loop {
                let page = views.kv().list(app, collection, &range, at).unwrap();
                assert!(page.items.len() <= limit);
                assert!(!page.more || page.items.len() == limit);
                range.cursor = page.items.last().map(|item| item.key.clone());
                found
                    .extend(page.items.into_iter().map(|item| (item.key, item.version, item.value.to_vec())));
                if !page.more {
                    break;
                }
            }
            assert_eq!(found, expected, "{collection} at {at:?}, limit {limit}, reverse {reverse}");
        }
    }

    fn check_newest(&self, views: &Views) {
        let kv = views.kv();
        for name in &self.names() {
            let (app, collection, key) = name;
            let versions = self.versions(name, Lsn::MAX);
            let own = self.keys.get(name).and_then(|own| own.last()).map(|written| written.lsn);
            let last = versions.last().map(|w| (w.lsn, w.value.is_none(), w.expires_at));
            let found = kv.last_write(*app, collection, key).unwrap();
            assert_eq!(found.map(|v| (v.lsn, v.deleted, v.expires_at)), last);
            for since in 0..=self.last.0 {
                let after = versions.iter().map(|w| w.lsn).find(|lsn| lsn.0 > since);
                assert_eq!(kv.version_after(*app, collection, key, Lsn(since)).unwrap(), after);
                let bounds =
                    KvBounds { from: Some(key.clone()), to: Some(key.clone()), ..KvBounds::default() };
                let written = kv.range_written_since(*app, collection, &bounds, Lsn(since)).unwrap();
                assert_eq!(written, own.is_some_and(|lsn| lsn.0 > since), "{key} since {since}");
                let expected = self.keys.iter().any(|((a, c, k), v)| {
                    a == app
                        && c == collection
                        && k > key
                        && v.last().is_some_and(|written| written.lsn.0 > since)
                });
                let bounds = KvBounds { after: Some(key.clone()), ..KvBounds::default() };
                let written = kv.range_written_since(*app, collection, &bounds, Lsn(since)).unwrap();
                assert_eq!(written, expected, "after {key} since {since}");
            }
        }
    }
}
