//! D11, D12, D18: dead letters closed by people, by scripts and in bulk, and their end.

use relive_engine::command::{Answer, Command, JobPlan, RedriveVersion};
use relive_log::events::{JobFilter, JobKind, JobOutcome, Principal, Scopes};
use relive_log::{JobId, LetterId};
use relive_projections::{JobRow, Resolution, Status};

use crate::dispatch::on;
use crate::world::{World, route};

const BROKEN: &str =
    r#"if kv::get("flags", "fixed") != true { throw "still broken" } kv::incr("done", "n", 1)"#;

/// An app with `count` dead letters of the trigger `t`.
fn with_letters(count: usize) -> World {
    let mut world = World::new();
    let scripts = [
        ("job", BROKEN),
        ("redrive", "dead_letters::redrive(ctx.request.body)"),
        ("resolve", r#"kv::set("c", "x", 1); dead_letters::resolve(ctx.request.body, "by script")"#),
        ("twice", "dead_letters::replay(ctx.request.body); dead_letters::redrive(ctx.request.body)"),
    ];
    let sync = relive_log::events::DispatchMode::Sync;
    let routes = ["redrive", "resolve", "twice"].map(|name| route(&format!("/{name}"), name, sync));
    world.deploy(&scripts, routes.to_vec(), vec![on("t", "in", "job", 1)]);
    for n in 0..count {
        world.put("in", &format!("k{n:04}"), "1");
        world.settle();
    }
    assert_eq!(world.letters().len(), count);
    world
}

fn admin() -> Principal {
    let scopes = Scopes::APP_ADMIN.with(Scopes::SCRIPT_WRITE);
    Principal { scopes, name: "ops".into(), ..Principal::instance() }
}

fn resolve(world: &mut World, letter: LetterId, resolution: Option<&str>) -> Result<(), String> {
    let resolution = resolution.map(str::to_owned);
    let command = Command::ResolveLetter { app: "shop".into(), letter, resolution, note: Some("n".into()) };
    world.submit(command).map(|_| ()).map_err(|e| e.to_string())
}

fn start(world: &mut World, kind: JobKind, interval_us: u64, stop: Option<u64>) -> JobId {
    let plan = JobPlan { kind, filter: JobFilter::default(), interval_us, stop_after_failures: stop };
    match world.submit(Command::StartJob { app: "shop".into(), plan }).unwrap().answer {
        Answer::Job(job) => job,
        other => panic!("{other:?}"),
    }
}

fn redrive() -> JobKind {
    JobKind::Redrive { version: RedriveVersion::Current }
}

fn job(world: &World, job: JobId) -> JobRow {
    world.views.jobs().get(world.app().id, job).unwrap()
}

fn open(world: &World) -> u64 {
    world.views.dead_letters().open_count(world.app().id)
}

#[test]
fn d12_e133_a_letter_is_closed_once() {
    let mut world = with_letters(1);
    let letter = world.letters()[0].letter;
    for reserved in ["redriven", "handler_failed", "no good"] {
        assert!(resolve(&mut world, letter, Some(reserved)).is_err(), "{reserved}");
    }
    resolve(&mut world, letter, None).unwrap();
    let row = world.letters().pop().unwrap();
    assert_eq!((row.resolution.as_ref().unwrap().name(), open(&world)), ("ignored", 0));
    let again = resolve(&mut world, letter, Some("done")).unwrap_err();
    assert!(again.contains("resolved already"), "{again}");
    let command =
        Command::Redrive { app: "shop".into(), letter, version: RedriveVersion::Current, proof: None };
    assert!(world.submit(command).unwrap_err().to_string().contains("resolved already"));
    assert!(resolve(&mut world, LetterId::default(), None).unwrap_err().contains("there is no dead letter"));
}

#[test]
fn d12_d18_a_script_closes_letters_in_its_own_batch_one_deeper() {
    let mut world = with_letters(2);
    let [second, first] = [world.letters()[0].letter, world.letters()[1].letter];
    world.put("flags", "fixed", "true");
    let done = world.call_with("/redrive", &first.to_string(), admin());
    let text = done.result.unwrap();
    world.settle();
    let run = world.rows().into_iter().find(|row| row.redrive_of == Some(first)).unwrap();
    assert_eq!(text, format!("200 {}", run.execution));
    assert_eq!((run.depth, run.caused_by, run.root), (1, Some(done.execution), done.execution));
    assert_eq!(run.status, Status::Completed);
    let letter = world.views.dead_letters().get(world.app().id, first).unwrap();
    let Some(Resolution::Redriven { by, by_execution, .. }) = letter.resolution else { panic!("redriven") };
    assert_eq!((by.name.as_str(), by_execution), ("ops", Some(done.execution)));
    let done = world.call_with("/resolve", &second.to_string(), admin());
    assert_eq!(done.result, Ok("204 ".into()));
    assert_eq!((open(&world), world.get("c", "x").as_deref()), (0, Some("1")));
}

#[test]
fn d12_a_script_needs_a_principal_with_app_admin_and_a_letter_that_is_open() {
    let mut world = with_letters(1);
    let id = world.letters()[0].letter.to_string();
    let anonymous = world.call("/redrive", &id).result.unwrap_err();
    assert!(anonymous.starts_with("permission:") && anonymous.contains("app:admin"), "{anonymous}");
    let reader = Principal { scopes: Scopes::APP_READ.with(Scopes::SCRIPT_WRITE), ..admin() };
    let poor = world.call_with("/resolve", &id, reader).result.unwrap_err();
    assert!(poor.starts_with("permission:") && poor.contains("app:admin"), "{poor}");
    assert_eq!(world.get("c", "x"), None, "a failed attempt leaves nothing behind");
    for (body, says) in [("nonsense", "no id"), ("00000000-0000-4000-8000-000000000000", "no dead letter")] {
        let error = world.call_with("/redrive", body, admin()).result.unwrap_err();
        assert!(error.starts_with("runtime:") && error.contains(says), "{error}");
    }
    let twice = world.call_with("/twice", &id, admin()).result.unwrap_err();
    assert!(twice.contains("resolved already"), "{twice}");
    assert_eq!(open(&world), 1);
}

#[test]
fn d12_two_scripts_that_close_one_letter_conflict_and_one_of_them_sees_it() {
    let mut world = with_letters(1);
    let id = world.letters()[0].letter.to_string();
    let (_, first) = world.admit_as("/resolve", &id, admin());
    let (_, second) = world.admit_as("/resolve", &id, admin());
    world.settle();
    let mut results = [first.one().result, second.one().result];
    results.sort();
    assert_eq!(results[0], Ok("204 ".into()));
    assert!(results[1].as_ref().unwrap_err().contains("resolved already"), "{results:?}");
}

#[test]
fn d12_a_job_redrives_what_was_there_and_counts_what_became_of_it() {
    let mut world = with_letters(250);
    world.put("flags", "fixed", "true");
    let id = start(&mut world, redrive(), 0, None);
    world.put("in", "later", "1");
    world.wait_ms(10);
    let row = job(&world, id);
    assert_eq!((row.total, row.done, row.succeeded, row.failed, row.skipped), (250, 250, 250, 0, 0));
    assert_eq!(row.ended.map(|(outcome, _)| outcome), Some(JobOutcome::Completed));
    assert_eq!((open(&world), world.get("done", "n").as_deref()), (0, Some("251")));
    let Some(Resolution::Redriven { job, .. }) = &world.letters()[0].resolution else { panic!("redriven") };
    assert_eq!(*job, Some(id));
}

#[test]
fn d12_e135_a_job_stops_after_so_many_failures_and_never_has_more_under_way() {
    let mut world = with_letters(20);
    let id = start(&mut world, redrive(), 0, Some(3));
    world.wait_ms(10);
    let row = job(&world, id);
    assert_eq!((row.done, row.failed, row.succeeded), (3, 3, 0));
    assert_eq!(row.ended.map(|(outcome, _)| outcome), Some(JobOutcome::Stopped));
    assert_eq!(open(&world), 20, "17 untouched, 3 died again");
}

#[test]
fn d12_a_job_keeps_its_rate_and_can_be_cancelled() {
    let mut world = with_letters(10);
    world.put("flags", "fixed", "true");
    let id = start(&mut world, redrive(), 1_000_000, None);
    world.settle();
    assert_eq!(job(&world, id).done, 1);
    for n in 2..=4 {
        world.wait_ms(1000);
        assert_eq!(job(&world, id).done, n);
    }
    let cancel = Command::CancelJob { app: "shop".into(), job: id };
    world.submit(cancel.clone()).unwrap();
    world.wait_ms(60_000);
    let row = job(&world, id);
    assert_eq!((row.done, row.ended.map(|(o, _)| o)), (4, Some(JobOutcome::Cancelled)));
    assert!(world.submit(cancel).unwrap_err().to_string().contains("ended already"));
    assert_eq!(open(&world), 6);
}

#[test]
fn d12_e134_a_job_goes_on_after_a_crash_where_it_stood() {
    let mut world = with_letters(6);
    world.put("flags", "fixed", "true");
    let id = start(&mut world, redrive(), 1_000_000, None);
    world.wait_ms(1000);
    world.wait_ms(1000);
    let done = job(&world, id).done;
    assert!(done > 1 && done < 6, "{done}");
    let mut world = world.crash();
    for _ in 0..10 {
        world.wait_ms(1000);
    }
    let row = job(&world, id);
    assert_eq!((row.done, row.succeeded, row.failed), (6, 6, 0));
    assert_eq!(row.ended.map(|(outcome, _)| outcome), Some(JobOutcome::Completed));
    assert_eq!(world.get("done", "n").as_deref(), Some("6"), "each once");
}

#[test]
fn d12_a_job_resolves() {
    let mut world = with_letters(3);
    let kind = JobKind::Resolve { resolution: "obsolete".into(), note: Some("v1 is gone".into()) };
    let id = start(&mut world, kind, 0, None);
    world.wait_ms(10);
    assert_eq!(job(&world, id).done, 3);
    assert!(world.letters().iter().all(|row| row.resolution.as_ref().unwrap().name() == "obsolete"));
}

#[test]
fn d11_letters_go_after_thirty_days_and_abandoned_records_after_seven() {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let mut world = with_letters(2);
    let letter = world.letters()[0].letter;
    resolve(&mut world, letter, None).unwrap();
    let (execution, _) = world.admit("/resolve", "x").unwrap();
    world.sync();
    let mut world = world.crash();
    world.settle();
    let records = |world: &World| world.views.abandoned().list(world.app().id, None, 10);
    assert_eq!(records(&world)[0].execution, execution);
    world.wait_ms(7 * DAY_MS - 60_000);
    assert_eq!(records(&world).len(), 1);
    world.wait_ms(120_000);
    assert_eq!((records(&world).len(), world.letters().len()), (0, 2));
    assert_eq!(world.row(execution).status, Status::Abandoned, "the execution itself stays");
    world.wait_ms(23 * DAY_MS);
    assert_eq!((world.letters().len(), open(&world)), (0, 0), "open and resolved alike");
    let kinds = world.kinds_since(relive_log::Lsn::ZERO);
    let count = |kind: &str| kinds.iter().filter(|known| **known == kind).count();
    assert_eq!((count("dead_letter_expired"), count("abandoned_expired")), (2, 1));
    let world = world.crash();
    assert_eq!((world.letters().len(), records(&world).len()), (0, 0));
}
