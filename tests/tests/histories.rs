//! P12, P11 on the real log and the real disk: digest(live) = digest(rebuild) at every LSN, over restarts and
//! damage; no value, superseded or not, stands in any file under `views/`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use relive_log::disk::{Disk, RealDisk};
use relive_log::events::{
    AfterFailure, AppCreated, AppEvent, AttemptFailed, AttemptRecord, Backoff, Claimed, Completed,
    DeadLetterEvent, DeadLetterRedriven, DeadLettered, Enqueued, ErrorKind, ErrorRecord, Event,
    ExecutionEvent, Input, KvDeleted, KvEvent, KvOps, KvPut, Ordering, OutputRecord, Pattern, Principal,
    RetryPolicy, ScriptDeployed, ScriptEvent, Source, TriggerCreated, TriggerEvent, TriggerSpec, Writer,
    decode_record,
};
use relive_log::{
    AppId, AppendError, Batch, ExecutionId, FreshIdentity, LetterId, LogOptions, Lsn, OpenedLog, Reader,
    StepOutcome, TriggerId, UnixMicros,
};
use relive_projections::{FoldedBatch, IfAhead, Limits, StoreKind, Trust, ValueSource, Views, ViewsOptions};
use relive_tests::damage::{Chance, files_with, spoil_views};

const BATCHES: usize = 400;
const MARKER: &str = "value-marker-";

/// A world of events that could have happened, in an order in which they could have happened.
struct World {
    chance: Chance,
    now: u64,
    ids: u64,
    apps: Vec<AppId>,
    /// Version of every live key.
    keys: BTreeMap<(AppId, String), Lsn>,
    open: Vec<Work>,
    letters: Vec<(AppId, LetterId, Lsn)>,
    versions: BTreeMap<AppId, u32>,
    values: u64,
}

#[derive(Clone)]
struct Work {
    app: AppId,
    id: ExecutionId,
    enqueued: Lsn,
    attempt: u32,
    claimed: bool,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            chance: Chance::new(seed),
            now: 1_767_323_045_000_000,
            ids: 0,
            apps: Vec::new(),
            keys: BTreeMap::new(),
            open: Vec::new(),
            letters: Vec::new(),
            versions: BTreeMap::new(),
            values: 0,
        }
    }

    fn id(&mut self) -> [u8; 16] {
        self.ids += 1;
        let mut id = [0x70; 16];
        id[..8].copy_from_slice(&self.ids.to_be_bytes());
        id
    }

    fn time(&mut self) -> UnixMicros {
        self.now += 1 + self.chance.below(5000);
        UnixMicros(self.now)
    }

    /// The events of the next batch, which begins at `first`.
    fn batch(&mut self, first: Lsn) -> Vec<Event> {
        let mut events = Vec::new();
        if self.apps.is_empty() || self.chance.below(80) == 0 {
            self.new_app(&mut events);
        }
        for _ in 0..=self.chance.below(4) {
            let app = *self.chance.pick(&self.apps.clone()).unwrap();
            let next = first.plus(events.len() as u64);
            match self.chance.below(10) {
                0 => self.deploy(app, &mut events),
                1..=4 => self.write(app, next, &mut events),
                5 | 6 => self.enqueue(app, next, &mut events),
                _ => self.step(next, &mut events),
            }
        }
        events
    }

    fn new_app(&mut self, events: &mut Vec<Event>) {
        let app = AppId::from_bytes(self.id());
        let slug = format!("app-{}", self.apps.len());
        self.apps.push(app);
        events.push(Event::App(AppEvent::Created(AppCreated {
            app,
            slug,
            name: None,
            by: Principal::instance(),
        })));
        let retry =
            RetryPolicy { max_attempts: 3, backoff: Backoff::Fixed, base_ms: 5, max_ms: 5, jitter_pct: 0 };
        let pattern = Pattern::Kv { collection: "c".into(), ops: KvOps::DEFAULT, key_prefix: String::new() };
        let spec = TriggerSpec {
            name: "t".into(),
            pattern,
            script: "s".into(),
            ordering: Ordering::None,
            retry: Some(retry),
        };
        let trigger = TriggerId::from_bytes(self.id());
        let by = Principal::instance();
        events.push(Event::Trigger(TriggerEvent::Created(TriggerCreated { app, trigger, spec, by })));
    }

    fn deploy(&mut self, app: AppId, events: &mut Vec<Event>) {
        let version = self.versions.entry(app).or_default();
        *version += 1;
        let source = format!("{MARKER}source-{version}");
        let (name, version, by) = ("s".to_owned(), *version, Principal::instance());
        events.push(Event::Script(ScriptEvent::Deployed(ScriptDeployed {
            app,
            name,
            version,
            sha256: [3; 32],
            source,
            imports: Vec::new(),
            by,
        })));
    }

    fn write(&mut self, app: AppId, lsn: Lsn, events: &mut Vec<Event>) {
        let (collection, key) = ("c".to_owned(), format!("k{}", self.chance.below(60)));
        let writer = Writer::Principal { id: Principal::INSTANCE_ID, name: "instance".into() };
        let previous = self.keys.get(&(app, key.clone())).copied();
        match previous {
            Some(previous) if self.chance.below(4) == 0 => {
                self.keys.remove(&(app, key.clone()));
                events.push(Event::Kv(KvEvent::Deleted(KvDeleted {
                    app,
                    collection,
                    key,
                    previous,
                    writer,
                })));
            }
            _ => {
                self.values += 1;
                let value = Arc::from(format!("\"{MARKER}{:08}\"", self.values).as_bytes());
                self.keys.insert((app, key.clone()), lsn);
                events.push(Event::Kv(KvEvent::Put(KvPut {
                    app,
                    collection,
                    key,
                    value,
                    previous,
                    expires_at: None,
                    writer,
                })));
            }
        }
    }

    fn enqueued(&mut self, app: AppId, input: Input, redrive_of: Option<LetterId>) -> (ExecutionId, Event) {
        let execution = ExecutionId::from_bytes(self.id());
        let due_at = self.time();
        let event = Enqueued {
            app,
            execution,
            root: execution,
            depth: 0,
            cause: None,
            caused_by: None,
            script: "s".into(),
            source: Source::Direct,
            input,
            due_at,
            principal: None,
            redrive_of,
            ordering_key: None,
            pinned_version: None,
            idempotency: None,
        };
        (execution, Event::Execution(ExecutionEvent::Enqueued(Box::new(event))))
    }

    fn enqueue(&mut self, app: AppId, lsn: Lsn, events: &mut Vec<Event>) {
        self.values += 1;
        let payload = Arc::from(format!("\"{MARKER}{:08}\"", self.values).as_bytes());
        let (id, event) = self.enqueued(app, Input::Payload(Some(payload)), None);
        events.push(event);
        self.open.push(Work { app, id, enqueued: lsn, attempt: 0, claimed: false });
    }

    /// One transition of some open work, or a redrive.
    fn step(&mut self, lsn: Lsn, events: &mut Vec<Event>) {
        if self.open.is_empty() {
            return;
        }
        let at = usize::try_from(self.chance.below(self.open.len() as u64)).unwrap();
        let now = self.time();
        let Work { app, id: execution, attempt, claimed, enqueued } = self.open[at].clone();
        let event = Event::Execution;
        if !claimed {
            let (seed, snapshot, version) = ([9; 16], lsn.prev(), 1);
            let claim = Claimed {
                app,
                execution,
                attempt: attempt + 1,
                at: now,
                seed,
                snapshot,
                version,
                imports: Vec::new(),
                alone_ms: 0,
            };
            self.open[at].claimed = true;
            self.open[at].attempt += 1;
            return events.push(event(ExecutionEvent::Claimed(claim)));
        }
        if self.chance.below(2) == 0 {
            let head = format!("{MARKER}output").into_bytes();
            let output = OutputRecord { status: 200, head, ..OutputRecord::default() };
            let record = AttemptRecord::default();
            self.open.remove(at);
            return events.push(event(ExecutionEvent::Completed(Box::new(Completed {
                app,
                execution,
                attempt,
                output,
                record,
                reply: None,
            }))));
        }
        let error = ErrorRecord { kind: ErrorKind::Throw, message: "no".into(), line: 1, column: 1 };
        let last = attempt >= 3;
        let then =
            if last { AfterFailure::DeadLetter } else { AfterFailure::Retry { due_at: now.plus_millis(5) } };
        let failed = AttemptFailed {
            app,
            execution,
            attempt,
            counted: true,
            error: error.clone(),
            record: None,
            then,
        };
        events.push(event(ExecutionEvent::AttemptFailed(Box::new(failed))));
        self.open[at].claimed = false;
        if last {
            self.open.remove(at);
            let letter = LetterId::from_bytes(self.id());
            events.push(Event::DeadLetter(DeadLetterEvent::DeadLettered(Box::new(DeadLettered {
                app,
                letter,
                execution,
                root: execution,
                depth: 0,
                enqueued,
                script: "s".into(),
                version: 1,
                source: Source::Direct,
                ordering_key: None,
                principal: None,
                attempts: attempt,
                error,
                fingerprint: 7,
                first_attempt_at: now,
                last_attempt_at: now,
            }))));
            self.letters.push((app, letter, enqueued));
        } else if self.letters.len() > 3 {
            let (app, letter, input) = self.letters.remove(0);
            let (execution, enqueued) = self.enqueued(app, Input::SameAs(input), Some(letter));
            self.open.push(Work { app, id: execution, enqueued: lsn.plus(1), attempt: 0, claimed: false });
            events.push(enqueued);
            let by = Principal::instance();
            events.push(Event::DeadLetter(DeadLetterEvent::Redriven(DeadLetterRedriven {
                app,
                letter,
                execution,
                by,
                by_execution: None,
                job: None,
                proof: None,
            })));
        }
    }
}

fn open_log(dir: &Path) -> OpenedLog {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
    let identity = FreshIdentity { log_id: [1; 16], frame_magic: [2; 4] };
    relive_log::open(disk, dir, &options, identity, UnixMicros(1)).unwrap()
}

fn open_views(dir: &Path, log: &OpenedLog) -> (Views, bool) {
    let options = ViewsOptions {
        dir: dir.join("views"),
        quarantine: dir.join("quarantine"),
        disk: Arc::new(RealDisk::new()),
        log_id: log.log_id,
        timeline: log.timeline,
        last_lsn: log.report.valid_lsn,
        first_lsn: log.report.start_lsn,
        snapshots: Some(Arc::new(log.snapshots.clone())),
        trust: Trust::Open,
        if_ahead: IfAhead::Refuse,
        store: StoreKind::Sled,
        limits: Limits { seal_rows: 50, round_rows: 20, tier_rows: 64, merge_ratio: 3, ..Limits::default() },
    };
    let source: Arc<dyn ValueSource> = Arc::new(log.reader.clone());
    let (views, opened) = Views::open(options, source).unwrap();
    views.catch_up(&log.reader, &mut |_| {}).unwrap();
    (views, opened.rebuilt.is_some())
}

/// A fresh fold of the log's first `last` events.
fn rebuilt(reader: &Reader, last: Lsn) -> u128 {
    let views = Views::in_memory(Arc::new(reader.clone()));
    for frame in reader.scan(Lsn::FIRST).unwrap() {
        let frame = frame.unwrap();
        if frame.first_lsn > last {
            break;
        }
        let events: Vec<_> =
            frame.records().map(|r| decode_record(r.type_, r.type_version, r.body).unwrap()).collect();
        views.apply(&FoldedBatch {
            first: frame.first_lsn,
            last: frame.last_lsn,
            commit_time: frame.commit_time,
            pos: frame.pos,
            events: &events,
        });
    }
    assert_eq!(views.applied(), last);
    views.digest().unwrap()
}

fn sync(log: &mut OpenedLog, last: Lsn) {
    for _ in 0..10_000 {
        if log.durability.durable() >= last {
            return;
        }
        if let StepOutcome::WaitingForSegment { .. } = log.committer.step() {
            log.preparer.step();
        }
    }
    panic!("{last} does not become durable");
}

fn run(seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut world = World::new(seed);
    let mut damage = Chance::new(seed ^ 0xdead);
    let mut log = open_log(&data);
    let (mut views, _) = open_views(&data, &log);
    let (mut digests, mut restarts, mut rebuilds, mut events_in_all) = (0, 0, 0, 0_usize);
    for batch_number in 0..BATCHES {
        let events = world.batch(log.appender.next_lsn());
        if events.is_empty() {
            continue;
        }
        let mut batch = Batch::new();
        events.iter().for_each(|event| batch.push(event));
        let time = world.time();
        let appended = loop {
            match log.appender.append(&batch, time) {
                Err(AppendError::Busy) => {
                    log.preparer.step();
                }
                appended => break appended.unwrap(),
            }
        };
        views.apply(&FoldedBatch {
            first: appended.first,
            last: appended.last,
            commit_time: appended.commit_time,
            pos: appended.pos,
            events: &events,
        });
        events_in_all += events.len();
        sync(&mut log, appended.last);
        log.preparer.step();
        if batch_number % 3 == 0 {
            while views.maintain(log.durability.durable()).unwrap().more {}
        }
        let live = views.digest().unwrap();
        assert_eq!(
            live,
            rebuilt(&log.reader, appended.last),
            "seed {seed:#x}: batch {batch_number}, LSN {}",
            appended.last
        );
        digests += 1;
        if batch_number % 50 == 49 {
            let durable = log.durability.durable();
            match damage.below(3) {
                0 => views.close(durable).unwrap(),
                1 => while views.maintain(durable).unwrap().more {},
                _ => {}
            }
            drop(views);
            log.committer.close().unwrap();
            drop(log);
            let spoiled = spoil_views(&data, &mut damage);
            log = open_log(&data);
            let (opened, rebuilt_now) = open_views(&data, &log);
            assert_eq!(opened.digest().unwrap(), live, "seed {seed:#x}: after a restart: {spoiled}");
            views = opened;
            restarts += 1;
            rebuilds += usize::from(rebuilt_now);
        }
    }
    views.close(log.durability.durable()).unwrap();
    drop(views);
    let leaked = files_with(&data.join("views"), MARKER.as_bytes());
    assert!(leaked.is_empty(), "seed {seed:#x}: values under views/: {leaked:?}");
    assert!(!files_with(&data.join("log"), MARKER.as_bytes()).is_empty(), "the markers stand in the log");
    println!(
        "seed={seed:#x} batches={digests} events={events_in_all} digests={digests} restarts={restarts} rebuilds={rebuilds} values={}",
        world.values
    );
    assert!(digests > 300 && events_in_all > 700 && world.values > 150);
}

#[test]
fn p12_digest_of_live_views_is_that_of_a_rebuild_at_every_lsn_and_p11_no_value_stands_in_views_seed_1() {
    run(1);
}

#[test]
fn p12_digest_of_live_views_is_that_of_a_rebuild_at_every_lsn_and_p11_no_value_stands_in_views_seed_2() {
    run(0x5eed);
}
