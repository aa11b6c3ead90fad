//! K1 to K3, E115: random histories of writes, times to live, deletions, executions and undos; every instant of the
//! past is what it was.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use relive_engine::command::{Command, Condition, ImportRow};
use relive_engine::refusal::{Refusal, SubmitError};
use relive_log::events::DispatchMode;
use relive_log::{ExecutionId, Lsn, UnixMicros};
use relive_projections::AsOf;

use crate::world::{World, route};

type Value = (String, Option<UnixMicros>);
type State = BTreeMap<String, Value>;

/// An execution that wrote: for each key what it replaced, and its own version.
struct Wrote {
    execution: ExecutionId,
    keys: BTreeMap<String, (Option<Value>, Lsn)>,
}

/// The state as a map, beside the real thing.
struct Twin {
    world: World,
    state: State,
    /// The version that last wrote each key, deletions included.
    versions: BTreeMap<String, Lsn>,
    /// Every write of each key: its version, and the value, or `None` for a deletion.
    history: BTreeMap<String, Vec<(Lsn, Option<String>)>>,
    wrote: Vec<Wrote>,
    /// What was to be seen after each step.
    seen: Vec<(AsOf, Vec<(String, String)>)>,
    seed: u64,
    /// Undos carried out, and refused.
    undos: [usize; 2],
}

const KEYS: u64 = 6;
const SCRIPT: &str = r#"
    for part in ctx.request.body.split(" ") {
        let key = part.sub_string(1);
        switch part[0] {
            's' => kv::set("c", key, ctx.execution_id),
            't' => kv::set("c", key, ctx.execution_id, #{ttl_ms: 20}),
            'd' => kv::delete("c", key),
        }
    }
"#;

fn visible(state: &State, time: UnixMicros) -> Vec<(String, String)> {
    let there = state.iter().filter(|(_, (_, end))| end.is_none_or(|end| end > time));
    there.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
}

impl Twin {
    fn new(seed: u64) -> Twin {
        let mut world = World::new();
        world.deploy(&[("w", SCRIPT)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
        let (state, versions, history) = (State::new(), BTreeMap::new(), BTreeMap::new());
        Twin { world, state, versions, history, wrote: Vec::new(), seen: Vec::new(), seed, undos: [0; 2] }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % n
    }

    fn key(&mut self) -> String {
        format!("k{}", self.below(KEYS))
    }

    /// Keys whose time to live is over are gone, in the twin at once.
    fn lapse(&mut self, time: UnixMicros) {
        self.state.retain(|_, (_, end)| end.is_none_or(|end| end > time));
    }

    fn slot(&self, key: &str) -> relive_projections::KvSlot {
        let at = AsOf { lsn: Lsn::MAX, time: UnixMicros(0) };
        self.world.views.kv().get(self.world.app().id, "c", key, at).unwrap()
    }

    /// Takes over what was written: version and end of the time to live.
    fn took(&mut self, key: &str, value: Option<String>) {
        let slot = self.slot(key);
        self.versions.insert(key.to_owned(), slot.version);
        self.history.entry(key.to_owned()).or_default().push((slot.version, value.clone()));
        match value {
            Some(value) => drop(self.state.insert(key.to_owned(), (value, slot.expires_at))),
            None => drop(self.state.remove(key)),
        }
    }

    fn step(&mut self) {
        let now = self.world.node.now().time;
        self.lapse(now);
        match self.below(12) {
            0 | 1 => self.put(None),
            2 | 3 => {
                let ttl = 1 + self.below(40);
                self.put(Some(ttl));
            }
            4 => self.delete(),
            5..=7 => self.run(),
            8 | 9 => self.undo(),
            10 => {
                let ms = self.below(30);
                self.world.pass_ms(ms);
            }
            _ => self.world.settle(),
        }
        self.look();
    }

    fn put(&mut self, ttl: Option<u64>) {
        let (key, value) = (self.key(), format!("{}", self.below(1000)));
        match ttl {
            Some(ttl) => self.world.put_for("c", &key, &value, ttl),
            None => self.world.put("c", &key, &value),
        };
        self.took(&key, Some(value));
    }

    fn delete(&mut self) {
        let key = self.key();
        let (app, collection) = ("shop".to_owned(), "c".to_owned());
        let command = Command::DeleteKey { app, collection, key: key.clone(), condition: Condition::Always };
        let done = self.world.submit(command);
        assert_eq!(done.is_ok(), self.state.contains_key(&key), "{key}: {done:?}");
        if done.is_ok() {
            self.took(&key, None);
        }
    }

    fn run(&mut self) {
        let mut parts = BTreeMap::new();
        for _ in 0..1 + self.below(3) {
            let what = ["s", "t", "d"][usize::try_from(self.below(3)).unwrap()];
            parts.insert(self.key(), what);
        }
        let body: Vec<String> = parts.iter().map(|(key, what)| format!("{what}{key}")).collect();
        let before = self.state.clone();
        let (execution, mailbox) = self.world.admit("/w", &body.join(" ")).unwrap();
        assert!(self.world.node.step_scripts());
        self.world.sync();
        mailbox.one().result.unwrap();
        let mut keys = BTreeMap::new();
        for (key, what) in parts {
            // A deletion of what was not there is no write.
            if what == "d" && !before.contains_key(&key) {
                continue;
            }
            let value = (what != "d").then(|| format!("\"{execution}\""));
            self.took(&key, value);
            keys.insert(key.clone(), (before.get(&key).cloned(), self.versions[&key]));
        }
        self.wrote.push(Wrote { execution, keys });
    }

    fn undo(&mut self) {
        if self.wrote.is_empty() {
            return;
        }
        let at = usize::try_from(self.below(self.wrote.len() as u64)).unwrap();
        let row = self.world.row(self.wrote[at].execution);
        let now = self.world.node.now().time;
        self.lapse(now);
        let plan = self.world.node.undo_plan(&row).unwrap();
        let keys: Vec<(String, Option<Value>, Lsn)> = self.wrote[at]
            .keys
            .iter()
            .map(|(key, (old, version))| (key.clone(), old.clone(), *version))
            .collect();
        let mut clean = true;
        let mut restored = Vec::new();
        for (key, old, version) in keys {
            let old = old.filter(|(_, end)| end.is_none_or(|end| end > now));
            let slot = self.slot(&key);
            let wrote_value = self.wrote_value(at, &key);
            if !wrote_value && old.is_none() {
                // It deleted what would be gone by now: nothing to do.
                continue;
            }
            let untouched = slot.version == version && (!wrote_value || self.state.contains_key(&key));
            clean &= untouched;
            restored.push((key, old));
        }
        let planned: Vec<&str> = plan.changes.iter().map(|change| change.key.as_str()).collect();
        let expected: Vec<&str> = restored.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(planned, expected);
        let (app, execution) = ("shop".to_owned(), row.execution);
        let done = self.world.submit(Command::Undo { app, execution, changes: plan.changes });
        match done {
            Ok(_) => {
                assert!(clean, "E115: something was written since");
                self.undos[0] += usize::from(!restored.is_empty());
                for (key, old) in restored {
                    self.took(&key, old.map(|(value, _)| value));
                }
            }
            Err(SubmitError::Refused(Refusal::UndoConflicts { conflicts, .. })) => {
                assert!(!clean && !conflicts.is_empty(), "E115: nothing was written since");
                self.undos[1] += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Whether the execution left a value under this key (else it deleted it).
    fn wrote_value(&self, at: usize, key: &str) -> bool {
        let (_, version) = self.wrote[at].keys[key];
        let kv = self.world.views.kv();
        kv.version_at(self.world.app().id, "c", key, version).unwrap().is_some_and(|v| !v.deleted)
    }

    fn look(&mut self) {
        let now = self.world.node.now();
        assert_eq!(
            self.world.list_at("c", AsOf { lsn: Lsn::MAX, time: now.time }),
            visible(&self.state, now.time)
        );
        let lsn = self.world.node.applied();
        self.world.sync();
        let commit = self.world.reader.frame_of(lsn).unwrap().commit_time;
        // As of this LSN, that is as of its commit: what lapsed since was there then.
        let at = AsOf { lsn, time: commit };
        let listed = self.world.list_at("c", at);
        if self.seen.last().is_none_or(|(last, _)| last.lsn < lsn) {
            for (key, value) in visible(&self.state, commit) {
                assert!(listed.contains(&(key.clone(), value)), "{key} as of {at:?}");
            }
        }
        self.seen.push((at, listed));
        self.seen.push((AsOf { lsn, time: now.time }, visible(&self.state, now.time)));
    }

    /// The past is what it was, whatever came later.
    fn check(&self) {
        for (at, seen) in &self.seen {
            assert_eq!(self.world.list_at("c", *at), *seen, "as of {at:?}");
        }
        for (key, wrote) in &self.history {
            self.check_history(key, wrote);
        }
    }

    /// The history of a key is what was written, undos among it, and ends of times to live of what was written with one.
    fn check_history(&self, key: &str, wrote: &[(Lsn, Option<String>)]) {
        let (app, kv) = (self.world.app().id, self.world.views.kv());
        let mut history = kv.history(app, "c", key, Lsn::MAX, 1000).unwrap();
        history.reverse();
        let mut left = wrote.iter();
        let mut ends = false;
        for version in history {
            let is_write = left.as_slice().first().is_some_and(|(lsn, _)| *lsn == version.lsn);
            if !is_write {
                assert!(version.deleted && ends, "{key}: {version:?} was not written");
                ends = false;
                continue;
            }
            let Some((lsn, value)) = left.next() else { return };
            let at = AsOf { lsn: *lsn, time: UnixMicros(0) };
            assert_eq!(self.world.get_at("c", key, at), *value, "{key} as of {lsn}");
            assert_eq!(version.deleted, value.is_none(), "{key}: {version:?}");
            ends = version.expires_at.is_some();
        }
        assert_eq!(left.as_slice(), [], "{key}: written, and not in its history");
    }
}

#[test]
fn k3_every_instant_of_a_random_history_stays_what_it_was() {
    // E115, K2: also over undos, times to live and crashes.
    let (mut undos, mut looks) = ([0; 2], 0);
    for seed in 0..40 {
        let mut twin = Twin::new(seed);
        for _ in 0..60 {
            twin.step();
        }
        twin.check();
        twin.world = twin.world.crash();
        twin.check();
        looks += twin.seen.len();
        undos = [undos[0] + twin.undos[0], undos[1] + twin.undos[1]];
    }
    println!("histories=40 instants={looks} undone={} refused={}", undos[0], undos[1]);
    assert!(looks > 4000 && undos.iter().all(|undos| *undos > 30), "{looks} {undos:?}");
}

#[test]
fn e115_an_undo_is_whole_or_not_at_all_and_the_history_shows_it() {
    let mut world = World::new();
    let scripts = [("w", SCRIPT), ("job", r#"kv::incr("fired", ctx.event.key, 1)"#)];
    world.deploy(
        &scripts,
        vec![route("/w", "w", DispatchMode::Sync)],
        vec![crate::dispatch::on("t", "c", "job", 1)],
    );
    world.put("c", "a", "1");
    world.put("c", "gone", "2");
    world.settle();
    let execution = world.call("/w", "sa snew dgone").execution;
    let plan = world.node.undo_plan(&world.row(execution)).unwrap();
    let show: Vec<(&str, bool, bool)> =
        plan.changes.iter().map(|c| (c.key.as_str(), c.before.is_some(), c.after.is_some())).collect();
    assert_eq!(show, [("a", true, true), ("gone", false, true), ("new", true, false)]);
    let undo = |changes| Command::Undo { app: "shop".into(), execution, changes };
    // Something stands against it: all of it is refused, with what.
    world.put("c", "new", "9");
    let refused = world.submit(undo(plan.changes.clone())).unwrap_err();
    let SubmitError::Refused(Refusal::UndoConflicts { conflicts, .. }) = refused else { panic!("{refused}") };
    assert_eq!(conflicts.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_ne!(world.get("c", "a").as_deref(), Some("1"), "E1");
    // Another run, nothing against it.
    let execution = world.call("/w", "sa dnew").execution;
    let changes = world.node.undo_plan(&world.row(execution)).unwrap().changes;
    let fired: u64 = world.get("fired", "a").unwrap().parse().unwrap();
    world.submit(Command::Undo { app: "shop".into(), execution, changes: changes.clone() }).unwrap();
    world.settle();
    assert_eq!(world.get("c", "new").as_deref(), Some("9"));
    assert_eq!(world.get("fired", "a").unwrap().parse::<u64>().unwrap(), fired + 1, "S5: triggers fire");
    let again = world.submit(Command::Undo { app: "shop".into(), execution, changes });
    assert!(again.is_err(), "undone once");
}

#[test]
fn s5_an_import_is_one_batch_and_fires_once_a_key() {
    let mut world = World::new();
    world.deploy(
        &[("job", r#"kv::incr("fired", ctx.event.key, 1)"#)],
        vec![],
        vec![crate::dispatch::on("t", "c", "job", 1)],
    );
    let row = |key: &str, value: &str| ImportRow {
        collection: "c".into(),
        key: key.into(),
        value: value.as_bytes().into(),
        expires_at: None,
    };
    let rows = vec![row("a", "1"), row("b", "2"), row("a", "3")];
    let lsn = world.submit(Command::ImportKeys { app: "shop".into(), rows }).unwrap().lsn;
    let frame = world.reader.frame_of(lsn).unwrap();
    assert_eq!(frame.last_lsn.0 - frame.first_lsn.0, 3, "two puts, two executions");
    world.settle();
    assert_eq!(world.list("c"), [("a".to_owned(), "3".to_owned()), ("b".to_owned(), "2".to_owned())]);
    assert_eq!(world.list("fired").len(), 2);
}
