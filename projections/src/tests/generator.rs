//! Random histories: a few apps, keys and executions, so that events meet rows in every state, legal or not.

use std::sync::Arc;

use proptest::prelude::*;
use relive_log::events::*;
use relive_log::{
    AppId, BacktestId, ExecutionId, JobId, LetterId, Lsn, PrincipalId, RouteId, TriggerId, UnixMicros,
};

/// One event, before it is made.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    kind: u8,
    app: u8,
    who: u8,
    what: u8,
    flag: bool,
}

const KINDS: u8 = 55;

/// Batches of one to five events.
pub(crate) fn history(batches: usize) -> impl Strategy<Value = Vec<Vec<Op>>> {
    // Apps 2 and 3 are there only as forks.
    let app = prop_oneof![3 => 0..2_u8, 1 => 2..4_u8];
    let op = (0..KINDS, app, 0..6_u8, 0..8_u8, any::<bool>());
    let op = op.prop_map(|(kind, app, who, what, flag)| Op { kind, app, who, what, flag });
    prop::collection::vec(prop::collection::vec(op, 1..6), 1..batches)
}

pub(crate) fn app(n: u8) -> AppId {
    AppId::from_bytes([n + 1; 16])
}

pub(crate) fn execution(n: u8) -> ExecutionId {
    let mut bytes = [1; 16];
    bytes[15] = n;
    ExecutionId::from_bytes(bytes)
}

pub(crate) fn letter(n: u8) -> LetterId {
    LetterId::from_bytes([n + 40; 16])
}

pub(crate) fn trigger(n: u8) -> TriggerId {
    TriggerId::from_bytes([n + 80; 16])
}

pub(crate) fn someone() -> Principal {
    Principal { id: PrincipalId::from_bytes([9; 16]), name: "someone".into(), scopes: Scopes::APP_ADMIN }
}

pub(crate) fn token_created(app: Option<AppId>, token: PrincipalId, digest: u8) -> Event {
    Event::Token(TokenEvent::Created(TokenCreated {
        app,
        token,
        name: "ci".into(),
        scopes: Scopes::APP_READ,
        digest: [digest; 32],
        expires_at: Some(UnixMicros(1_000_000)),
        by: someone(),
    }))
}

pub(crate) fn put(app: AppId, collection: &str, key: &str, value: &str) -> Event {
    kv_put(app, collection, key, value, None)
}

/// A put with a time to live.
pub(crate) fn put_until(app: AppId, collection: &str, key: &str, value: &str, end: UnixMicros) -> Event {
    kv_put(app, collection, key, value, Some(end))
}

fn kv_put(app: AppId, collection: &str, key: &str, value: &str, expires_at: Option<UnixMicros>) -> Event {
    Event::Kv(KvEvent::Put(KvPut {
        app,
        collection: collection.into(),
        key: key.into(),
        value: Arc::from(value.as_bytes()),
        previous: None,
        expires_at,
        writer: Writer::Principal { id: PrincipalId::from_bytes([9; 16]), name: "someone".into() },
    }))
}

pub(crate) fn expired(app: AppId, collection: &str, key: &str, version: Lsn) -> Event {
    let (collection, key) = (collection.into(), key.into());
    Event::Kv(KvEvent::Expired(KvExpired { app, collection, key, version }))
}

pub(crate) fn delete(app: AppId, collection: &str, key: &str) -> Event {
    Event::Kv(KvEvent::Deleted(KvDeleted {
        app,
        collection: collection.into(),
        key: key.into(),
        previous: Lsn(1),
        writer: Writer::Execution { id: execution(0), line: 3 },
    }))
}

pub(crate) fn enqueued(app: AppId, id: ExecutionId, source: Source) -> Event {
    Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
        app,
        execution: id,
        root: id,
        depth: 0,
        cause: None,
        caused_by: None,
        script: "handler".into(),
        source,
        input: Input::Payload(None),
        due_at: UnixMicros(77),
        principal: Some(someone()),
        redrive_of: None,
        ordering_key: None,
        pinned_version: None,
        idempotency: (id.as_bytes()[15] % 2 == 1).then(|| {
            let key = format!("k{}", id.as_bytes()[15] % 3);
            Box::new(IdempotencyKey {
                route: "POST /x".into(),
                key,
                digest: *b"digest-digest-digest-digest-dige",
            })
        }),
    })))
}

pub(crate) fn claimed(app: AppId, execution: ExecutionId, attempt: u32) -> Event {
    Event::Execution(ExecutionEvent::Claimed(Claimed {
        app,
        execution,
        attempt,
        at: UnixMicros(78),
        seed: [3; 16],
        snapshot: Lsn(1),
        version: 1,
        imports: Vec::new(),
        alone_ms: 0,
    }))
}

pub(crate) fn completed(app: AppId, execution: ExecutionId, attempt: u32) -> Event {
    Event::Execution(ExecutionEvent::Completed(Box::new(Completed {
        app,
        execution,
        attempt,
        reply: None,
        output: OutputRecord::default(),
        record: AttemptRecord::default(),
    })))
}

pub(crate) fn completed_reading(
    app: AppId,
    execution: ExecutionId,
    reads: Vec<ReadRecord>,
    snapshot: Lsn,
) -> Event {
    Event::Execution(ExecutionEvent::Completed(Box::new(Completed {
        reply: None,
        app,
        execution,
        attempt: 1,
        output: OutputRecord::default(),
        record: AttemptRecord { reads, snapshot, ..AttemptRecord::default() },
    })))
}

pub(crate) fn failed(
    app: AppId,
    execution: ExecutionId,
    attempt: u32,
    kind: ErrorKind,
    then: AfterFailure,
) -> Event {
    Event::Execution(ExecutionEvent::AttemptFailed(Box::new(AttemptFailed {
        app,
        execution,
        attempt,
        counted: kind != ErrorKind::Crashed,
        error: ErrorRecord { kind, message: "boom 42".into(), line: 1, column: 2 },
        record: None,
        then,
    })))
}

pub(crate) fn abandoned(app: AppId, execution: ExecutionId, reason: AbandonReason) -> Event {
    Event::Execution(ExecutionEvent::Abandoned(Abandoned { app, execution, reason }))
}

pub(crate) fn dead_lettered(app: AppId, letter: LetterId, execution: ExecutionId, source: Source) -> Event {
    Event::DeadLetter(DeadLetterEvent::DeadLettered(Box::new(DeadLettered {
        app,
        letter,
        execution,
        root: execution,
        depth: 0,
        enqueued: Lsn(1),
        script: "handler".into(),
        version: 1,
        source,
        ordering_key: None,
        principal: None,
        attempts: 3,
        error: ErrorRecord { kind: ErrorKind::Throw, message: "boom".into(), line: 1, column: 1 },
        fingerprint: 5,
        first_attempt_at: UnixMicros(1),
        last_attempt_at: UnixMicros(2),
    })))
}

pub(crate) fn app_created(app: AppId, slug: &str) -> Event {
    Event::App(AppEvent::Created(AppCreated { app, slug: slug.into(), name: None, by: someone() }))
}

pub(crate) fn deployed(app: AppId, name: &str, version: u32, source: &str) -> Event {
    Event::Script(ScriptEvent::Deployed(ScriptDeployed {
        app,
        name: name.into(),
        version,
        sha256: [1; 32],
        source: source.into(),
        imports: vec!["lib".into()],
        by: someone(),
    }))
}

pub(crate) fn secret_set(app: AppId, name: &str, version: u32) -> Event {
    let sealed = SealedBytes { key_id: [1; 8], nonce: [2; 24], ciphertext: b"sealed-secret-bytes".to_vec() };
    Event::Secret(SecretEvent::Set(SecretSet { app, name: name.into(), version, sealed, by: someone() }))
}

pub(crate) fn route_spec() -> RouteSpec {
    RouteSpec {
        method: "GET".into(),
        path: "/a/{id}".into(),
        script: "handler".into(),
        mode: DispatchMode::Sync,
        timeout_ms: None,
        record: Record::Full,
        retry: None,
    }
}

pub(crate) fn trigger_spec(name: &str) -> TriggerSpec {
    let pattern = Pattern::Kv { collection: "c".into(), ops: KvOps::DEFAULT, key_prefix: String::new() };
    TriggerSpec {
        name: name.into(),
        pattern,
        script: "handler".into(),
        ordering: Ordering::None,
        retry: None,
    }
}

pub(crate) fn hold_set(name: &str, from: Lsn) -> RetentionEvent {
    RetentionEvent::HoldSet(Box::new(HoldSet { name: name.into(), from, reason: None, by: someone() }))
}

pub(crate) fn hold_released(name: &str) -> RetentionEvent {
    RetentionEvent::HoldReleased(Box::new(HoldReleased { name: name.into(), by: someone() }))
}

impl Op {
    pub(crate) fn event(&self, lsn: Lsn) -> Event {
        let id = app(self.app);
        let key = format!("k{}", self.who);
        let collection = ["c", "c\0x", "d"][usize::from(self.what % 3)];
        match self.kind {
            // Batches are committed at 1,000,000 + LSN: some of these end within the history.
            0..=2 => {
                let end = UnixMicros(1_000_000 + lsn.0 + u64::from(self.what) * 4);
                put_until(id, collection, &key, &format!("\"{}-{lsn}\"", self.what), end)
            }
            3..=9 => put(id, collection, &key, &format!("\"{}-{lsn}\"", self.what)),
            10..=11 => delete(id, collection, &key),
            12..=13 => expired(id, collection, &key, Lsn(u64::from(self.who))),
            14..=39 => self.work(id),
            40 => app_created(id, ["one", "two"][usize::from(self.flag)]),
            41 if self.flag => Event::App(AppEvent::Deleted(AppDeleted { app: id, by: someone() })),
            41 => Event::App(AppEvent::Changed(AppChanged {
                app: id,
                name: Some(key),
                outgoing_calls: [OutgoingCalls::On, OutgoingCalls::Off][usize::from(self.who % 2)],
                by: someone(),
            })),
            42..=45 => self.configuration(id),
            46 => self.pausing(id),
            47 => self.fork(lsn),
            _ => self.schedule(id),
        }
    }

    /// A fork of an app as of some events ago; half of them of an app that is a fork, too.
    fn fork(&self, lsn: Lsn) -> Event {
        let base = |of: u8, lsn: u64| ForkBase {
            app: app(of),
            slug: "base".into(),
            lsn: Lsn(lsn),
            at: UnixMicros(1_000_000 + lsn),
        };
        let at = lsn.0.saturating_sub(u64::from(self.what) * 5 + 1);
        let earlier = Fork {
            base: base((self.app + 1) % 4, at / 3),
            lsn: Lsn(at / 2),
            at: UnixMicros(1_000_000 + at / 2),
        };
        Event::App(AppEvent::Forked(Box::new(AppForked {
            app: app(2 + self.who % 2),
            slug: ["one", "three", "four"][usize::from(self.who % 3)].into(),
            name: None,
            base: base(self.app, at),
            ancestors: if self.flag { vec![earlier] } else { Vec::new() },
            by: someone(),
        })))
    }

    fn work(&self, app: AppId) -> Event {
        let id = execution(self.who);
        let attempt = u32::from(self.what % 3) + 1;
        let source = match self.what % 3 {
            0 => Source::Direct,
            1 => Source::Kv { trigger: trigger(self.what) },
            _ => Source::Route { route: RouteId::from_bytes([5; 16]), sync: self.flag },
        };
        let kind = if self.flag { ErrorKind::Crashed } else { ErrorKind::Throw };
        match self.kind {
            14..=17 => enqueued(app, id, source),
            18..=20 => claimed(app, id, attempt),
            21 => {
                let collection = ["c", "d"][usize::from(self.flag)].to_owned();
                let (key, version) = (format!("k{}", self.who), Lsn(u64::from(self.what)));
                let one = ReadRecord::Key { collection, key, version, present: self.flag };
                completed_reading(app, id, vec![one], version)
            }
            22 => completed(app, id, attempt),
            23 => failed(app, id, attempt, kind, AfterFailure::Retry { due_at: UnixMicros(500) }),
            24 => failed(app, id, attempt, kind, AfterFailure::DeadLetter),
            25 => failed(app, id, attempt, kind, AfterFailure::End),
            26 => abandoned(app, id, AbandonReason::ClientGone),
            27 => abandoned(app, id, AbandonReason::Crash),
            28 => Event::Execution(ExecutionEvent::Dropped(Dropped {
                app,
                execution: id,
                reason: "gone".into(),
            })),
            29 => Event::Execution(ExecutionEvent::Released(Released { app, execution: id, attempt })),
            30 => dead_lettered(app, letter(self.what), id, source),
            31 if self.flag => {
                let event = DeadLetterHandlerFailed { app, letter: letter(self.what), execution: id };
                Event::DeadLetter(DeadLetterEvent::HandlerFailed(event))
            }
            31 => {
                let event = DeadLetterRedriven {
                    app,
                    letter: letter(self.what),
                    execution: id,
                    by: someone(),
                    by_execution: None,
                    job: self.job(),
                    proof: self.proof(),
                };
                Event::DeadLetter(DeadLetterEvent::Redriven(event))
            }
            33 => self.token(app),
            34 => self.resolved(app, id),
            35 | 36 => self.job_event(app),
            37 => Event::Retention(RetentionEvent::AbandonedExpired(AbandonedExpired { app, execution: id })),
            38 => Event::Job(JobEvent::Expired(JobExpired { app, job: self.job().unwrap_or_default() })),
            39 if self.flag => {
                Event::Retention(hold_set(&format!("h{}", self.what), Lsn(u64::from(self.who))))
            }
            39 => Event::Retention(hold_released(&format!("h{}", self.what))),
            32 => Event::Execution(ExecutionEvent::AloneEnded(AloneEnded { app, execution: id, attempt })),
            _ => Event::Execution(ExecutionEvent::DepthExceeded(Box::new(DepthExceeded {
                app,
                execution: execution(self.who + 100),
                root: id,
                depth: 9,
                cause: Lsn(1),
                caused_by: Some(id),
                script: "deep".into(),
                source,
            }))),
        }
    }

    fn proof(&self) -> Option<Box<RedriveProof>> {
        let proof = RedriveProof {
            backtest: BacktestId::from_bytes([self.who; 16]),
            attempt: 1,
            version: u32::from(self.what),
            sha256: [1; 32],
            verdict: Verdict::Fixed,
            lsn: Lsn(1),
        };
        (self.what < 2).then(|| Box::new(proof))
    }

    fn job(&self) -> Option<JobId> {
        (self.what < 4).then(|| JobId::from_bytes([self.what % 2 + 1; 16]))
    }

    fn resolved(&self, app: AppId, execution: ExecutionId) -> Event {
        let letter = letter(self.what);
        Event::DeadLetter(if self.flag {
            DeadLetterEvent::Expired(DeadLetterExpired { app, letter })
        } else {
            DeadLetterEvent::Resolved(Box::new(DeadLetterResolved {
                app,
                letter,
                resolution: "ignored".into(),
                note: None,
                by: someone(),
                execution: Some(execution),
                job: self.job(),
            }))
        })
    }

    fn job_event(&self, app: AppId) -> Event {
        let job = self.job().unwrap_or_default();
        Event::Job(match self.who {
            0..3 => JobEvent::Created(Box::new(JobCreated {
                app,
                job,
                kind: JobKind::Redrive { version: VersionChoice::Current },
                filter: JobFilter::default(),
                total: 3,
                interval_us: 0,
                stop_after_failures: self.flag.then_some(2),
                by: someone(),
            })),
            3..5 => JobEvent::Progressed(JobProgressed {
                app,
                job,
                done: 2,
                skipped: 1,
                cursor: letter(self.what),
            }),
            _ => JobEvent::Ended(JobEnded { app, job, outcome: JobOutcome::Completed, by: None }),
        })
    }

    fn token(&self, app: AppId) -> Event {
        let id = PrincipalId::from_bytes([self.who + 120; 16]);
        let of = self.flag.then_some(app);
        match self.what {
            0..6 => token_created(of, id, self.what),
            _ => Event::Token(TokenEvent::Deleted(TokenDeleted { app: of, token: id, by: someone() })),
        }
    }

    fn pausing(&self, app: AppId) -> Event {
        let (trigger, by) = (trigger(self.who), someone());
        let reason = [PauseReason::Asked, PauseReason::RegistrantDeleted][usize::from(self.flag)];
        match self.what % 4 {
            0 => {
                let leak = Leak { script: "leaky".to_owned(), version: 3, bytes: 70 << 20, limit: 64 << 20 };
                let reason = if self.flag { AppPauseReason::Leaks(leak) } else { AppPauseReason::Asked };
                Event::App(AppEvent::Paused(AppPaused { app, reason, by }))
            }
            1 => Event::App(AppEvent::Resumed(AppResumed { app, by })),
            2 => Event::Trigger(TriggerEvent::Paused(TriggerPaused { app, trigger, reason, by })),
            _ => Event::Trigger(TriggerEvent::Resumed(TriggerResumed { app, trigger, by })),
        }
    }

    fn schedule(&self, app: AppId) -> Event {
        let trigger = trigger(self.who % 3);
        let (schedule, timezone) = (format!("{} * * * *", self.what % 2), self.flag.then(|| "UTC".into()));
        let spec = TriggerSpec { pattern: Pattern::Cron { schedule, timezone }, ..trigger_spec("cron") };
        match self.kind {
            48 if self.flag => {
                Event::Trigger(TriggerEvent::Created(TriggerCreated { app, trigger, spec, by: someone() }))
            }
            48 => Event::Trigger(TriggerEvent::Changed(TriggerChanged { app, trigger, spec, by: someone() })),
            _ => Event::Cron(CronEvent::Ticked(CronTicked {
                app,
                trigger,
                scheduled_at: UnixMicros(u64::from(self.what) * 100),
                ticks: u64::from(self.who) + 1,
                execution: self.flag.then(|| execution(self.who)),
            })),
        }
    }

    fn configuration(&self, app: AppId) -> Event {
        let name = ["s", "s2", ""][usize::from(self.who % 3)];
        match (self.what, self.flag) {
            (0 | 1, _) => deployed(app, name, u32::from(self.who) + 1, &format!("source {name}")),
            (2, _) => {
                Event::Script(ScriptEvent::Deleted(ScriptDeleted { app, name: name.into(), by: someone() }))
            }
            (3, true) => Event::Route(RouteEvent::Created(RouteCreated {
                app,
                route: RouteId::from_bytes([self.who; 16]),
                spec: route_spec(),
                by: someone(),
            })),
            (3, false) => Event::Route(RouteEvent::Deleted(RouteDeleted {
                app,
                route: RouteId::from_bytes([self.who; 16]),
                by: someone(),
            })),
            (4, _) => Event::Trigger(TriggerEvent::Created(TriggerCreated {
                app,
                trigger: trigger(self.who),
                spec: trigger_spec(name),
                by: someone(),
            })),
            (5, true) => Event::Trigger(TriggerEvent::Changed(TriggerChanged {
                app,
                trigger: trigger(self.who),
                spec: trigger_spec("changed"),
                by: someone(),
            })),
            (5, false) => Event::Trigger(TriggerEvent::Deleted(TriggerDeleted {
                app,
                trigger: trigger(self.who),
                by: someone(),
            })),
            (6, _) => secret_set(app, name, u32::from(self.who) + 1),
            (_, _) => {
                Event::Secret(SecretEvent::Deleted(SecretDeleted { app, name: name.into(), by: someone() }))
            }
        }
    }
}
