//! What is proved of a corpus.

use std::collections::{BTreeMap, BTreeSet};

use relive_engine::command::Command;
use relive_engine::replay::{
    Candidate, NoStep, NotReplayable, Recording, Replayed, Sealed, StepsWanted, replay, steps,
};
use relive_engine::settings::EngineSettings;
use relive_log::events::{DispatchMode, ErrorKind, Event, KvEvent};
use relive_log::{AppId, Lsn, UnixMicros};
use relive_projections::{AsOf, ExecutionRow};

use super::{BEFORE, Corpus, Dice, KEYS, census};
use crate::replay::all_faithful;
use crate::world::{World, route};

/// What the replays of all attempts came to.
#[derive(Debug, Default)]
struct Replays {
    faithful: usize,
    /// Attempts that a crash ended: there is nothing to compare with.
    unrecorded: usize,
    below_horizon: usize,
    /// Faithful runs to the end of scripts that ask for random numbers, or for the time.
    random: usize,
    timed: usize,
    /// Faithful runs to the end that write, or delete a key.
    wrote: usize,
    deleted: usize,
    /// Those that send messages.
    sent: usize,
}

impl Replays {
    /// What a run did, of one that went through all of its script.
    fn count(&mut self, recording: &Recording, got: &Replayed) {
        if got.result.is_err() {
            return;
        }
        // What stands at the top level has run if the script came to its end.
        let text = recording.source_text().unwrap_or_default();
        let asks = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let some = |is: bool| usize::from(is);
        self.random += some(asks(&RANDOM));
        self.timed += some(asks(&TIMED));
        self.wrote += some(got.writes.values().any(|write| write.value.is_some()));
        self.deleted += some(got.writes.values().any(|write| write.value.is_none()));
        self.sent += some(!got.sends.is_empty());
    }

    /// What events do not tell was met often enough.
    fn check_census(&self) {
        let met = [self.random, self.timed, self.wrote, self.deleted, self.sent];
        assert!(
            met.into_iter().zip(FLOORS).all(|(met, floor)| met >= floor),
            "{self:?} of at least {FLOORS:?}"
        );
    }
}

/// Of runs with random numbers, with the time, that wrote, that deleted, that sent.
const FLOORS: [usize; 5] = [100, 100, 500, 20, 100];

/// In lines of the grammar that ask for random numbers, and for the time, whatever else happens.
const RANDOM: [&str; 4] = ["dice: random::", "switch random::", "uuid::v4()", "random::bytes"];
const TIMED: [&str; 2] = ["time::rfc3339(time::now())", "at: time::now()"];

fn replays(world: &World) -> Replays {
    let archive = world.node.archive();
    let mut found = Replays::default();
    for row in world.rows() {
        for attempt in &row.attempts {
            let number = Some(attempt.attempt);
            let recording =
                archive.recording(&world.app(), &row, number, &Candidate::Recorded, Sealed::Opened);
            let recording = match recording {
                Ok(recording) => recording,
                Err(NotReplayable::BelowHorizon(first)) => {
                    assert_eq!(first, world.reader.first_lsn());
                    found.below_horizon += 1;
                    continue;
                }
                Err(why) => panic!("{why}: attempt {} of {row:?}", attempt.attempt),
            };
            let got = replay(&recording);
            let what = format!("attempt {} of {row:?}: {:?}", attempt.attempt, recording.recorded);
            assert_eq!(got.differences, Vec::new(), "{what}");
            assert_eq!(got.reason, None, "{what}");
            match got.faithful {
                Some(faithful) => {
                    assert!(faithful, "{what}");
                    found.faithful += 1;
                    found.count(&recording, &got);
                }
                None => found.unrecorded += 1,
            }
        }
    }
    found
}

/// KV of the corpus as of each LSN, folded from the log's events by other means than the views'.
#[derive(Default)]
struct Model {
    /// (collection, key): value and end of its time to live.
    state: BTreeMap<(String, String), (Vec<u8>, Option<UnixMicros>)>,
}

impl Model {
    fn fold(&mut self, event: Event, app: AppId) {
        match event {
            Event::Kv(KvEvent::Put(put)) if put.app == app => {
                self.state.insert((put.collection, put.key), (put.value.to_vec(), put.expires_at));
            }
            Event::Kv(KvEvent::Deleted(gone)) if gone.app == app => {
                self.state.remove(&(gone.collection, gone.key));
            }
            Event::Kv(KvEvent::Expired(gone)) if gone.app == app => {
                self.state.remove(&(gone.collection, gone.key));
            }
            _ => {}
        }
    }

    fn get(&self, collection: &str, key: &str, time: UnixMicros) -> Option<String> {
        let (value, end) = self.state.get(&(collection.to_owned(), key.to_owned()))?;
        end.is_none_or(|end| end > time).then(|| String::from_utf8(value.clone()).unwrap())
    }

    fn list(&self, collection: &str, time: UnixMicros) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.state
            .iter()
            .filter(|((of, _), (_, end))| of == collection && end.is_none_or(|end| end > time))
            .map(|((_, key), (value, _))| (key.clone(), text(value)))
            .collect()
    }
}

/// Every batch with its events, read before the log is cut.
type Batches = Vec<(Lsn, UnixMicros, Vec<Event>)>;

fn batches(world: &World) -> Batches {
    let mut scan = world.reader.scan(Lsn::FIRST).unwrap();
    let mut batches = Vec::new();
    while let Some(frame) = scan.next().transpose().unwrap() {
        let events = frame.records().map(|record| {
            relive_log::events::decode_record(record.type_, record.type_version, record.body).unwrap()
        });
        batches.push((frame.last_lsn, frame.commit_time, events.collect()));
    }
    batches
}

/// Every collection that the grammar writes or reads.
const COLLECTIONS: [&str; 12] =
    ["c", "n", "j", "copy", "loop", "b", "lib", "s", "old", "fan", "many", "seen"];

/// K3: as of every batch, as far back as the log goes, reads are the model's: a listing of what the batch wrote to and of
/// one collection more, and each key that it wrote by itself. A batch is one instant: nothing can be seen between its events.
fn as_of_every_lsn(world: &World, batches: Batches) -> AsOfLooks {
    let (app, first) = (world.app().id, world.reader.first_lsn());
    let mut model = Model::default();
    let mut looks = AsOfLooks::default();
    for (n, (lsn, time, events)) in batches.into_iter().enumerate() {
        let wrote: BTreeSet<(String, String)> =
            events.iter().filter_map(|event| written(event, app)).collect();
        events.into_iter().for_each(|event| model.fold(event, app));
        if lsn < first {
            continue;
        }
        looks.lsns += 1;
        let at = AsOf { lsn, time };
        let mut collections: BTreeSet<&str> =
            wrote.iter().map(|(collection, _)| collection.as_str()).collect();
        collections.extend(COLLECTIONS.get(n % COLLECTIONS.len()));
        for collection in collections.into_iter().filter(|collection| *collection != "filler") {
            assert_eq!(
                world.list_at(collection, at),
                model.list(collection, time),
                "{collection} as of {lsn}"
            );
            looks.listings += 1;
        }
        for (collection, key) in wrote {
            let model = model.get(&collection, &key, time);
            assert_eq!(world.get_at(&collection, &key, at), model, "{collection}/{key} as of {lsn}");
            looks.points += 1;
        }
    }
    looks
}

/// What was compared with the model.
#[derive(Debug, Default)]
struct AsOfLooks {
    lsns: usize,
    listings: usize,
    points: usize,
}

/// The key of the app that an event writes.
fn written(event: &Event, app: AppId) -> Option<(String, String)> {
    let Event::Kv(event) = event else { return None };
    let (of, collection, key) = match event {
        KvEvent::Put(put) => (put.app, &put.collection, &put.key),
        KvEvent::Deleted(gone) => (gone.app, &gone.collection, &gone.key),
        KvEvent::Expired(gone) => (gone.app, &gone.collection, &gone.key),
    };
    (of == app).then(|| (collection.clone(), key.clone()))
}

/// Steps that are walked one by one.
const WALKED_MAX: usize = 12;

/// T3, E125: executions chosen at random are walked forwards in one run, then step k and back to step k − 1 show what
/// was there on the way forwards, down to the first.
fn steps_both_ways(world: &World, dice: &mut Dice, rows: &[ExecutionRow]) -> [usize; 2] {
    let archive = world.node.archive();
    let (mut walked, mut stepped) = (0, 0);
    for _ in 0..60 {
        let at = usize::try_from(dice.next(rows.len() as u64)).unwrap();
        let Some(row) = rows.get(at) else { continue };
        let found = archive.recording(&world.app(), row, None, &Candidate::Recorded, Sealed::Opened);
        let Ok(recording) = found else { continue };
        let walk = |from: u64, limit: usize| {
            let wanted = StepsWanted { from: Some(from), limit, ..StepsWanted::default() };
            steps(&recording, &wanted)
        };
        let total = match walk(1, 1) {
            Ok(stepped) => stepped.total,
            Err(NoStep::NothingRan(_)) => continue,
            Err(why) => panic!("{why}"),
        };
        let first = 1 + dice.next(total);
        let forwards = walk(first, WALKED_MAX).unwrap().steps;
        let there = usize::try_from(total - first + 1).unwrap().min(WALKED_MAX);
        assert_eq!(forwards.len(), there, "from {first} of {total}");
        for (after, seen) in forwards.iter().enumerate().rev() {
            let k = first + after as u64;
            let again = walk(k, 1).unwrap().steps;
            assert_eq!(again, std::slice::from_ref(seen), "back at step {k} of {total}");
            stepped += 1;
        }
        walked += 1;
    }
    [walked, stepped]
}

fn campaign(seed: u64, executions_min: usize) -> String {
    let mut corpus = Corpus::new(seed);
    corpus.grow(executions_min / 2);
    corpus = corpus.adversity();
    corpus.grow(executions_min);
    for _ in 0..10 {
        corpus.rest();
    }
    let counts = census::of(&corpus.world);
    census::check(&counts);
    let before = replays(&corpus.world);
    before.check_census();

    // Everything changes: scripts, data, the views; and the log is cut below the corpus.
    corpus.deploy();
    for key in KEYS {
        corpus.world.put("c", key, "\"changed since\"");
    }
    corpus.world.put("old", "key-1", "\"changed since\"");
    let (app, name) = ("shop".to_owned(), "on_c".to_owned());
    corpus.world.submit(Command::DeleteScript { app, name }).unwrap();
    for _ in 0..10 {
        corpus.rest();
    }
    let batches = batches(&corpus.world);
    corpus.world.take_snapshot();
    corpus.world.put("c", "a", "1");
    corpus.world.take_snapshot();
    let keep_from = corpus.before.next();
    let start = corpus.world.cut(keep_from);
    assert!(start > Lsn(u64::try_from(BEFORE).unwrap() * 4) && start <= keep_from, "cut at {start}");
    let Corpus { world, mut dice, .. } = corpus;
    let mut world = world.crash_and_lose_the_views();
    for _ in 0..10 {
        world.pass_ms(2_500);
        world.settle_beside();
    }
    assert_eq!(world.reader.first_lsn(), start);

    let after = replays(&world);
    assert!(after.faithful >= before.faithful - BEFORE, "{before:?} {after:?}");
    assert_eq!(after.below_horizon, 0, "records expire with their journals");
    assert!(after.unrecorded <= 20, "only a crash leaves nothing to compare with: {after:?}");
    let looks = as_of_every_lsn(&world, batches);
    let [walked, stepped] = steps_both_ways(&world, &mut dice, &world.rows());
    assert!(after.faithful >= executions_min && walked > 30 && stepped > 90, "{after:?} {walked} {stepped}");
    assert!(looks.lsns > 3000 && looks.listings > looks.lsns && looks.points > 1500, "{looks:?}");
    format!("seed {seed}: {after:?}, {looks:?}, {walked} walks of {stepped} steps; {counts:?}")
}

#[test]
fn t2_a_corpus_of_random_scripts_replays_faithfully_1() {
    println!("{}", campaign(1, 3400));
}

#[test]
fn t2_a_corpus_of_random_scripts_replays_faithfully_2() {
    println!("{}", campaign(2, 3400));
}

#[test]
fn t2_a_corpus_of_random_scripts_replays_faithfully_3() {
    println!("{}", campaign(3, 3400));
}

#[test]
fn t2_time_limits_are_replayed_to_the_operation() {
    let settings = EngineSettings { timeout_ms: 1, brief_operations: 0, ..EngineSettings::default() };
    let mut world = World::with(settings);
    let source = "let n = random::int(1, 50); loop { n += 1; if n % 97 == 0 { log::info(`${n}`) } }";
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    for _ in 0..10 {
        assert!(world.call("/w", "").result.unwrap_err().starts_with("timeout"));
    }
    assert_eq!(all_faithful(&world), 10);
    assert!(world.rows().iter().all(|row| row.last_error.as_ref().unwrap().kind == ErrorKind::Timeout));
}
