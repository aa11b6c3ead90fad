//! P20, E140: an app forked as of any moment reads as it did then, whatever happens to the app that it came from.
use std::collections::BTreeMap;

use relive_engine::command::{Command, Condition, Switch};
use relive_engine::refusal::{Refusal, SubmitError};
use relive_engine::replay::{Candidate, Sealed, replay};
use relive_log::events::{
    AppPauseReason, DispatchMode, KvOps, Ordering, OutgoingCalls, Pattern, PauseReason, TriggerSpec,
};
use relive_log::{ExecutionId, Lsn};
use relive_projections::AsOf;

use crate::world::{World, answered, route};

/// Forks the world's app; the world is about the fork then.
fn fork(world: &mut World, slug: &'static str, at: AsOf) -> Result<(), SubmitError> {
    let plan = world.node.fork_plan(&world.app(), at)?;
    world.submit(Command::Fork { slug: slug.into(), plan })?;
    world.slug = slug;
    Ok(())
}

fn now(world: &World) -> AsOf {
    AsOf { lsn: world.node.applied(), time: world.node.now().time }
}

fn faithful(world: &World, execution: ExecutionId) -> Option<bool> {
    let archive = world.node.archive();
    let recording =
        archive.recording(&world.app(), &world.row(execution), None, &Candidate::Recorded, Sealed::Opened);
    replay(&recording.unwrap()).faithful
}

fn on_kv() -> TriggerSpec {
    let pattern = Pattern::Kv { collection: "c".into(), ops: KvOps::DEFAULT, key_prefix: String::new() };
    TriggerSpec { name: "t".into(), pattern, script: "w".into(), ordering: Ordering::None, retry: None }
}

const COUNT: &str = r#"kv::incr("c", "n", 1)"#;

#[test]
fn p20_a_fork_reads_as_of_its_moment_and_writes_on_its_own() {
    let mut world = World::new();
    world.deploy(&[("w", COUNT)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    assert_eq!(world.call("/w", "").result.unwrap(), "200 1");
    world.put("c", "gone", "1");
    world.put("d", "x", "\"then\"");
    let then = now(&world);
    world.put("d", "x", "\"later\"");
    world.put("d", "new", "1");
    assert_eq!(world.call("/w", "").result.unwrap(), "200 2");

    fork(&mut world, "scratch", then).unwrap();
    assert_eq!(world.list("c"), [("gone".into(), "1".into()), ("n".into(), "1".into())]);
    assert_eq!(world.list("d"), [("x".into(), "\"then\"".into())]);
    let command = Command::DeleteKey {
        app: "scratch".into(),
        collection: "c".into(),
        key: "gone".into(),
        condition: Condition::Present,
    };
    world.submit(command).unwrap();
    world.submit(Command::SwitchApp { app: "scratch".into(), to: Switch::Running }).unwrap();
    // It counts on from what was then; the other app does not see it.
    let counted = world.call("/w", "");
    assert_eq!(counted.result.unwrap(), "200 2");
    assert_eq!(faithful(&world, counted.execution), Some(true));
    assert_eq!(world.list("c"), [("n".into(), "2".into())]);
    let history = |world: &World| {
        let versions = world.views.kv().history(world.app().id, "c", "n", Lsn::MAX, 9).unwrap();
        versions.len()
    };
    assert_eq!(history(&world), 2, "its own version, and the one that it began with");
    world.slug = "shop";
    assert_eq!((world.list("c").len(), history(&world)), (2, 2));
    assert_eq!(world.list("d").len(), 2);
    let mut world = world.crash();
    world.slug = "scratch";
    assert_eq!(world.list("c"), [("n".into(), "2".into())]);
}

#[test]
fn p20_what_was_left_of_a_time_to_live_goes_on_in_the_fork() {
    let mut world = World::new();
    world.deploy(&[("w", COUNT)], vec![], vec![]);
    world.put_for("c", "short", "1", 1000);
    world.put_for("c", "long", "2", 5000);
    world.wait_ms(400);
    let then = now(&world);
    world.wait_ms(10_000);
    assert_eq!(world.list("c"), []);
    fork(&mut world, "scratch", then).unwrap();
    assert_eq!(world.list("c").len(), 2, "600 ms of the one are left, 4,600 of the other");
    world.wait_ms(500);
    assert_eq!(world.list("c").len(), 2);
    world.wait_ms(200);
    assert_eq!(world.list("c"), [("long".into(), "2".into())]);
    world.wait_ms(4000);
    assert_eq!(world.list("c"), []);
    // Writing over what ended is an insert, and says so (K2, E111).
    let before = world.node.applied();
    world.put("c", "short", "3");
    assert_eq!(world.kinds_since(before), ["kv_expired", "kv_put"]);
    assert_eq!(world.list("c"), [("short".into(), "3".into())]);
}

#[test]
fn e140_a_fork_is_quiet_and_cannot_reach_out_until_somebody_lets_it() {
    let mut world = World::new();
    let asks = r#"let told = ""; try { told = http::get("http://a.example/").body } catch (e) { told = `${e}` } told"#;
    let routes = vec![route("/w", "w", DispatchMode::Sync)];
    world.deploy(&[("w", asks), ("old", "1")], routes, vec![on_kv()]);
    world.web.answer_with(|_| answered("out"));
    assert_eq!(world.call("/w", "").result.unwrap(), "200 out");
    let secret = Command::SetSecret { app: "shop".into(), name: "s".into(), value: "hush-hush".into() };
    world.submit(secret).unwrap();
    let then = now(&world);
    world.submit(Command::DeleteScript { app: "shop".into(), name: "old".into() }).unwrap();
    world.web.take_asked();
    fork(&mut world, "scratch", then).unwrap();

    let app = world.app();
    assert_eq!(app.paused.as_ref().map(|pause| &pause.reason), Some(&AppPauseReason::Forked));
    assert_eq!((app.routes.len(), app.triggers.len(), app.secrets.len()), (1, 1, 0));
    assert!(app.live_script("old").is_some(), "as of then it was there");
    assert!(
        app.triggers.values().all(|it| it.paused.as_ref().map(|p| p.reason) == Some(PauseReason::Forked))
    );
    assert!(matches!(world.admit("/w", ""), Err(SubmitError::Refused(Refusal::AppPaused { .. }))));
    world.put("c", "k", "1");
    world.settle();
    assert!(world.rows().iter().all(|row| row.status.name() == "pending"), "{:?}", world.statuses());

    world.submit(Command::SwitchApp { app: "scratch".into(), to: Switch::Running }).unwrap();
    world.settle();
    assert_eq!(world.statuses(), ["w pending"], "its trigger is paused on its own");
    let asked = world.call("/w", "");
    assert!(asked.result.as_ref().unwrap().contains("outgoing_calls_off"), "{asked:?}");
    assert!(world.web.take_asked().is_empty());
    assert_eq!(faithful(&world, asked.execution), Some(true), "the refusal is in the journal");
    let on = Command::SwitchCalls { app: "scratch".into(), to: OutgoingCalls::On };
    world.submit(on).unwrap();
    assert_eq!(world.call("/w", "").result.unwrap(), "200 out");
    assert_eq!(faithful(&world, asked.execution), Some(true), "also after it was let out");
}

#[test]
fn p20_a_fork_outlives_what_it_came_from_and_forks_of_forks_read_through_all() {
    let mut world = World::new();
    world.deploy(&[("w", COUNT)], vec![], vec![]);
    for key in ["a", "b", "c"] {
        world.put("c", key, "\"shop\"");
    }
    let then = now(&world);
    fork(&mut world, "one", then).unwrap();
    world.put("c", "b", "\"one\"");
    let then = now(&world);
    world.put("c", "a", "\"late\"");
    fork(&mut world, "two", then).unwrap();
    world.put("c", "c", "\"two\"");
    for slug in ["shop", "one"] {
        world.submit(Command::DeleteApp { slug: slug.into() }).unwrap();
    }
    // A slug that is used again sees nothing of its predecessor, and changes nothing for the fork (S6).
    world.submit(Command::CreateApp { slug: "shop".into(), name: None }).unwrap();
    let expected = ["\"shop\"", "\"one\"", "\"two\""];
    let values = |world: &World| world.list("c").into_iter().map(|(_, value)| value).collect::<Vec<_>>();
    assert_eq!(values(&world), expected);
    let mut world = world.crash();
    assert_eq!(values(&world), expected);
    assert_eq!(world.views.oldest_needed().unwrap(), world.app().line.iter().map(|fork| fork.base.lsn).min());
    world.slug = "shop";
    assert_eq!(values(&world), [""; 0]);
}

#[test]
fn e140_what_cannot_be_forked_is_refused_and_leaves_nothing() {
    let mut world = World::new();
    world.submit(Command::CreateApp { slug: "other".into(), name: None }).unwrap();
    world.deploy(&[("w", COUNT)], vec![], vec![]);
    let then = now(&world);
    let plan = world.node.fork_plan(&world.app(), then).unwrap();
    let taken = world.submit(Command::Fork { slug: "shop".into(), plan: plan.clone() });
    assert!(matches!(taken, Err(SubmitError::Refused(Refusal::Exists { .. }))), "{taken:?}");
    let bad = world.submit(Command::Fork { slug: "Shop!".into(), plan: plan.clone() });
    assert!(matches!(bad, Err(SubmitError::Refused(Refusal::Invalid { .. }))), "{bad:?}");
    let early = AsOf { lsn: Lsn(1), time: relive_log::UnixMicros(1) };
    let early = world.node.fork_plan(&world.app(), early);
    assert!(matches!(early, Err(SubmitError::Refused(Refusal::Invalid { .. }))), "{early:?}");
    world.submit(Command::DeleteApp { slug: "shop".into() }).unwrap();
    let gone = world.submit(Command::Fork { slug: "late".into(), plan });
    assert!(matches!(gone, Err(SubmitError::Refused(Refusal::NotFound { .. }))), "{gone:?}");
    assert!(world.views.registry().app_by_slug("late").is_none());
}

#[test]
fn e140_a_line_of_forks_has_an_end() {
    let mut world = World::new();
    world.deploy(&[("w", COUNT)], vec![], vec![]);
    let slugs = ["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8"];
    for slug in slugs {
        let then = now(&world);
        fork(&mut world, slug, then).unwrap();
    }
    let then = now(&world);
    let deeper = fork(&mut world, "f9", then);
    assert!(
        matches!(deeper, Err(SubmitError::Refused(Refusal::Conflict { code: "fork_too_deep", .. }))),
        "{deeper:?}"
    );
}

/// Random writes, times to live and deletions; at the end a fork as of every instant shows what was to be seen then.
#[test]
fn p20_forks_of_every_instant_of_a_random_history() {
    let mut seed = 7_u64;
    let mut below = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let mut world = World::new();
    world.deploy(&[("w", COUNT)], vec![], vec![]);
    let mut seen: BTreeMap<usize, (AsOf, Vec<(String, String)>)> = BTreeMap::new();
    for step in 0..60 {
        let key = format!("k{}", below(8));
        match below(6) {
            0..=2 => drop(world.put("c", &key, &step.to_string())),
            3 => drop(world.put_for("c", &key, &step.to_string(), 10 + below(300))),
            4 => {
                let condition = Condition::Always;
                let (app, collection) = ("shop".into(), "c".into());
                // Of an absent key this is refused, which is as well.
                let _ = world.submit(Command::DeleteKey { app, collection, key, condition });
            }
            _ => world.wait_ms(below(120)),
        }
        seen.insert(step, (now(&world), world.list("c")));
    }
    let slugs: Vec<&'static str> = (0..60).map(|n| &*format!("fork-{n}").leak()).collect();
    for (step, (at, expected)) in &seen {
        world.slug = "shop";
        fork(&mut world, slugs[*step], *at).unwrap();
        assert_eq!(world.list("c"), *expected, "as of {at:?}");
    }
    let world = world.crash();
    let digest = world.views.digest().unwrap();
    assert_eq!(digest, world.crash().views.digest().unwrap());
}
