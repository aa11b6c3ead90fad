//! What is proved of a corpus.

use std::collections::BTreeMap;

use relive_engine::command::Command;
use relive_engine::replay::{Candidate, NoStep, NotReplayable, Sealed, StepsWanted, replay, steps};
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
}

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

/// K3: a listing as of every batch is the model's, as far back as the log goes.
fn as_of_every_lsn(world: &World, batches: Batches) -> usize {
    let (app, first) = (world.app().id, world.reader.first_lsn());
    let mut model = Model::default();
    let mut looks = 0;
    for (n, (lsn, time, events)) in batches.into_iter().enumerate() {
        let wrote = events.iter().any(|event| matches!(event, Event::Kv(_)));
        events.into_iter().for_each(|event| model.fold(event, app));
        if lsn < first || !wrote {
            continue;
        }
        let collections = ["c", "n", "j", "copy", "loop", "b"];
        for collection in collections.into_iter().skip(n % collections.len()).step_by(2) {
            let listed = world.list_at(collection, AsOf { lsn, time });
            assert_eq!(listed, model.list(collection, time), "{collection} as of {lsn}");
            looks += 1;
        }
    }
    looks
}

/// T3, E125: step k, and back to k − 1, of executions chosen at random.
fn steps_both_ways(world: &World, dice: &mut Dice, rows: &[ExecutionRow]) -> usize {
    let archive = world.node.archive();
    let mut walked = 0;
    for _ in 0..60 {
        let at = usize::try_from(dice.next(rows.len() as u64)).unwrap();
        let Some(row) = rows.get(at) else { continue };
        let found = archive.recording(&world.app(), row, None, &Candidate::Recorded, Sealed::Opened);
        let Ok(recording) = found else { continue };
        let step = |from: u64| {
            let wanted = StepsWanted { from: Some(from), limit: 1, ..StepsWanted::default() };
            steps(&recording, &wanted).map(|stepped| (stepped.steps, stepped.total))
        };
        let total = match step(1) {
            Ok((_, total)) => total,
            Err(NoStep::NothingRan(_)) => continue,
            Err(why) => panic!("{why}"),
        };
        let k = 1 + dice.next(total);
        let (there, before) = (step(k).unwrap(), (k > 1).then(|| step(k - 1).unwrap()));
        assert_eq!(step(k).unwrap(), there, "step {k} of {total}");
        if let Some(before) = before {
            assert_eq!(step(k - 1).unwrap(), before, "and back");
        }
        walked += 1;
    }
    walked
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
    let walked = steps_both_ways(&world, &mut dice, &world.rows());
    assert!(after.faithful >= executions_min && looks > 3000 && walked > 30, "{after:?} {looks} {walked}");
    format!("seed {seed}: {after:?}, {looks} listings as of LSNs, {walked} walks; {counts:?}")
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
