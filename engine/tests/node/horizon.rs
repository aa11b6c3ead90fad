//! T2 below a cut of the log: what a replay needs and the log does not have any more is refused with the horizon.

use relive_engine::command::{Command, RedriveVersion};
use relive_engine::replay::{Backtest, BacktestAsked, Candidate, NotReplayable, Sealed, replay};
use relive_engine::settings::EngineSettings;
use relive_log::events::DispatchMode;
use relive_log::{BacktestId, ExecutionId, Lsn};

use crate::dispatch::on;
use crate::world::{World, route};

fn fill(world: &mut World) {
    let filler = format!("\"{}\"", "x".repeat(200_000));
    for _ in 0..12 {
        world.put("filler", "k", &filler);
    }
    world.settle();
}

/// Cuts everything before this moment that may go.
fn cut(world: &mut World) -> Lsn {
    fill(world);
    let keep_from = world.node.applied().next();
    world.take_snapshot();
    world.put("c", "other", "1");
    world.settle();
    world.take_snapshot();
    world.cut(keep_from)
}

fn why_not(world: &World, execution: ExecutionId) -> Option<NotReplayable> {
    let archive = world.node.archive();
    let row = match archive.row(world.app().id, execution) {
        Ok(row) => row,
        Err(why) => return Some(why),
    };
    match archive.recording(&world.app(), &row, None, &Candidate::Recorded, Sealed::Opened) {
        Ok(recording) => {
            let got = replay(&recording);
            assert_eq!((got.faithful, &got.differences), (Some(true), &Vec::new()));
            None
        }
        Err(why) => Some(why),
    }
}

#[test]
fn t2_what_was_cut_off_is_below_the_horizon() {
    let mut world = World::stored(EngineSettings::default());
    let scripts = [
        ("w", "kv::set(\"c\", \"k\", ctx.request.json); 1"),
        ("past", "kv::get_at(\"c\", \"k\", ctx.request.json)"),
        ("versions", "kv::history(\"c\", \"k\", 5).len()"),
        ("now", "kv::get(\"c\", \"k\")"),
        ("bad", "if kv::get(\"c\", \"mended\") == () { throw \"no\" } 1"),
    ];
    let names = ["w", "past", "versions", "now"];
    let routes = names.map(|name| route(&format!("/{name}"), name, DispatchMode::Sync)).to_vec();
    world.deploy(&scripts, routes, vec![on("t", "in", "bad", 1)]);
    let old = world.call("/w", "1").execution;
    let then = world.node.applied();
    world.call("/w", "2");
    world.put("in", "k", "1");
    world.settle();
    let letter = world.letters().pop().unwrap();
    fill(&mut world);

    // Whatever looks below the cut that is to come.
    let past = world.call("/past", &then.0.to_string());
    assert_eq!(past.result.unwrap(), "200 1");
    let versions = world.call("/versions", "").execution;
    let now = world.call("/now", "").execution;
    world.put("c", "mended", "true");
    let redrive = Command::Redrive {
        app: "shop".into(),
        letter: letter.letter,
        version: RedriveVersion::Current,
        proof: None,
    };
    let relive_engine::command::Answer::Execution(redriven) = world.submit(redrive).unwrap().answer else {
        panic!("a redrive is an execution")
    };
    world.settle();
    let all = [old, past.execution, versions, now, redriven];
    assert!(all.iter().all(|execution| why_not(&world, *execution).is_none()), "nothing is cut yet");

    // The executions stay, what they looked at goes.
    let keep_from = world.row(past.execution).enqueued.lsn;
    world.take_snapshot();
    world.put("c", "other", "1");
    world.settle();
    world.take_snapshot();
    let first = world.cut(keep_from);
    assert!(first > then && first <= keep_from, "{first}");
    let below = Some(NotReplayable::BelowHorizon(first));
    let found = all.map(|execution| why_not(&world, execution));
    assert_eq!(found, [below.clone(), below.clone(), below.clone(), None, below]);
    // A backtest passes over them, and says why.
    let asked = BacktestAsked {
        script: "past".into(),
        candidate: Candidate::Source("1".into()),
        limit: 10,
        ..BacktestAsked::default()
    };
    let backtest = Backtest::new(world.node.archive(), world.app(), &asked, Sealed::Opened).unwrap();
    backtest.run();
    let report = backtest.report(BacktestId::default()).unwrap();
    let [(skipped, why)] = report.skipped.as_slice() else { panic!("{report:?}") };
    assert_eq!((*skipped, report.tested.len()), (past.execution, 0));
    assert!(why.contains(&format!("back to LSN {first}")), "{why}");

    // And then they go too.
    let first = cut(&mut world);
    let mut world = world.crash_and_lose_the_views();
    world.settle();
    for execution in all {
        assert_eq!(why_not(&world, execution), Some(NotReplayable::BelowHorizon(first)));
    }
    let never = ExecutionId::from_bytes([0xFF; 16]);
    assert!(matches!(why_not(&world, never), Some(NotReplayable::NotFound { .. })));
}
