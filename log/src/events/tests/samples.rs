//! Sample events, at least one of every written kind, every tag of every nested enum among them.
//!
//! Owns: the values whose bytes stand in `log/tests/golden/events/`. A value here is never edited once its
//! bytes are released: a new shape gets a new sample. Shared by the codec's tests and by the example
//! `golden_events`, which prints the bytes; both hand in the vocabulary.

use std::sync::Arc;

use super::vocabulary::*;

const APP: AppId = AppId::from_bytes(*b"app-app-app-app!");
const EXECUTION: ExecutionId = ExecutionId::from_bytes([0x11; 16]);
const ROOT: ExecutionId = ExecutionId::from_bytes([0x22; 16]);
const LETTER: LetterId = LetterId::from_bytes([0x33; 16]);
const JOB: JobId = JobId::from_bytes([0x88; 16]);
const ROUTE: RouteId = RouteId::from_bytes([0x44; 16]);
const TRIGGER: TriggerId = TriggerId::from_bytes([0x55; 16]);
const PRINCIPAL: PrincipalId = PrincipalId::from_bytes([0x66; 16]);

/// Times of the samples: 2026-01-02T03:04:05.678901Z and later.
const AT: UnixMicros = UnixMicros(1_767_323_045_678_901);

/// Every sample: kind, what is special about it, the event.
pub(super) fn samples() -> Vec<(&'static str, &'static str, Event)> {
    let mut all = registry_samples();
    all.extend(kv_samples());
    all.extend(execution_samples());
    all.extend(dead_letter_samples());
    all.extend(job_samples());
    all.extend(cron_samples());
    all.extend(hold_samples());
    all
}

fn person() -> Principal {
    let scopes = Scopes(Scopes::APP_ADMIN.0 | Scopes::SCRIPT_WRITE.0 | Scopes::LOG_READ.0);
    Principal { id: PRINCIPAL, name: "Änne".into(), scopes }
}

fn sealed() -> SealedBytes {
    SealedBytes { key_id: [7; 8], nonce: [8; 24], ciphertext: (0..40).collect() }
}

fn retry(backoff: Backoff) -> RetryPolicy {
    RetryPolicy { max_attempts: 300, backoff, base_ms: 1000, max_ms: 60_000, jitter_pct: 20 }
}

fn registry_samples() -> Vec<(&'static str, &'static str, Event)> {
    let by = person;
    let name = || "orders".to_owned();
    let app = |e| Event::App(e);
    let script = |e| Event::Script(e);
    let secret = |e| Event::Secret(e);
    let created = |name| AppEvent::Created(AppCreated { app: APP, slug: "shop".into(), name, by: by() });
    let changed = |name, outgoing_calls| AppChanged { app: APP, name, outgoing_calls, by: by() };
    let base = |lsn| ForkBase { app: APP, slug: "shop".into(), lsn: Lsn(lsn), at: AT };
    let forked = |ancestors| AppForked {
        app: APP,
        slug: "scratch".into(),
        name: None,
        base: base(70_000),
        ancestors,
        by: by(),
    };
    let paused_app = |reason: AppPauseReason| app(AppEvent::Paused(AppPaused { app: APP, reason, by: by() }));
    let earlier = Fork { base: base(12), lsn: Lsn(300), at: AT };
    let mut all = vec![
        ("app_created", "named", app(created(Some("The shop".into())))),
        ("app_created", "by_the_instance", {
            let by = Principal::instance();
            app(AppEvent::Created(AppCreated { app: APP, slug: "s".into(), name: None, by }))
        }),
        ("app_changed", "unnamed", app(AppEvent::Changed(changed(None, OutgoingCalls::On)))),
        (
            "app_changed",
            "no_calls",
            app(AppEvent::Changed(changed(Some("Scratch".into()), OutgoingCalls::Off))),
        ),
        ("app_forked", "plain", app(AppEvent::Forked(Box::new(forked(Vec::new()))))),
        ("app_forked", "of_a_fork", app(AppEvent::Forked(Box::new(forked(vec![earlier]))))),
        ("app_paused", "asked", paused_app(AppPauseReason::Asked)),
        ("app_paused", "forked", paused_app(AppPauseReason::Forked)),
        (
            "app_paused",
            "leaks",
            paused_app(AppPauseReason::Leaks(Leak {
                script: name(),
                version: 70_000,
                bytes: 70_254_592,
                limit: 67_108_864,
            })),
        ),
        ("app_resumed", "plain", app(AppEvent::Resumed(AppResumed { app: APP, by: by() }))),
        ("app_deleted", "plain", app(AppEvent::Deleted(AppDeleted { app: APP, by: by() }))),
        (
            "script_deployed",
            "plain",
            script(ScriptEvent::Deployed(ScriptDeployed {
                app: APP,
                name: name(),
                version: 70_000,
                sha256: [0xab; 32],
                source: "let n = kv::incr(\"c\", \"k\", 1);\nn // ✓\n".into(),
                imports: vec!["mail".into(), "prices".into()],
                by: by(),
            })),
        ),
        (
            "script_deleted",
            "plain",
            script(ScriptEvent::Deleted(ScriptDeleted { app: APP, name: name(), by: by() })),
        ),
        (
            "secret_set",
            "plain",
            secret(SecretEvent::Set(SecretSet {
                app: APP,
                name: name(),
                version: 2,
                sealed: sealed(),
                by: by(),
            })),
        ),
        (
            "secret_deleted",
            "plain",
            secret(SecretEvent::Deleted(SecretDeleted { app: APP, name: name(), by: by() })),
        ),
    ];
    all.extend(route_samples());
    all.extend(trigger_samples());
    all.extend(token_samples());
    all
}

fn token_samples() -> Vec<(&'static str, &'static str, Event)> {
    let token = PrincipalId::from_bytes([0x77; 16]);
    let created = |app, expires_at| {
        let (name, scopes, digest) = ("ci".to_owned(), Scopes::APP_ADMIN, [0xcd; 32]);
        Event::Token(TokenEvent::Created(TokenCreated {
            app,
            token,
            name,
            scopes,
            digest,
            expires_at,
            by: person(),
        }))
    };
    let deleted = |app| Event::Token(TokenEvent::Deleted(TokenDeleted { app, token, by: person() }));
    vec![
        ("token_created", "of_an_app", created(Some(APP), Some(AT))),
        ("token_created", "of_the_instance", created(None, None)),
        ("token_deleted", "of_an_app", deleted(Some(APP))),
        ("token_deleted", "of_the_instance", deleted(None)),
    ]
}

fn route_samples() -> Vec<(&'static str, &'static str, Event)> {
    let created =
        |spec| Event::Route(RouteEvent::Created(RouteCreated { app: APP, route: ROUTE, spec, by: person() }));
    let sync = RouteSpec {
        method: "POST".into(),
        path: "/orders/{id}".into(),
        script: "orders".into(),
        mode: DispatchMode::Sync,
        timeout_ms: Some(5000),
        record: Record::Off,
        retry: None,
    };
    let async_ = RouteSpec {
        mode: DispatchMode::Async,
        timeout_ms: None,
        record: Record::Full,
        retry: Some(retry(Backoff::Linear)),
        ..sync.clone()
    };
    let deleted = RouteDeleted { app: APP, route: ROUTE, by: person() };
    vec![
        ("route_created", "sync", created(sync)),
        ("route_created", "async", created(async_)),
        ("route_deleted", "plain", Event::Route(RouteEvent::Deleted(deleted))),
    ]
}

fn trigger_samples() -> Vec<(&'static str, &'static str, Event)> {
    let kv = |backoff| TriggerSpec {
        name: "on-order".into(),
        pattern: Pattern::Kv { collection: "orders".into(), ops: KvOps::DEFAULT, key_prefix: "2026/".into() },
        script: "on_order".into(),
        ordering: Ordering::None,
        retry: Some(retry(backoff)),
    };
    let letters = |from_script, from_trigger| TriggerSpec {
        name: "alert".into(),
        pattern: Pattern::DeadLetter { from_script, from_trigger },
        script: "alert".into(),
        ordering: Ordering::None,
        retry: None,
    };
    let cron = |timezone| TriggerSpec {
        pattern: Pattern::Cron { schedule: "0 3 * * *".into(), timezone },
        ..letters(None, None)
    };
    let queue = TriggerSpec {
        pattern: Pattern::Queue { queue: "mails".into() },
        ordering: Ordering::Key,
        ..kv(Backoff::None)
    };
    let created = |spec| {
        Event::Trigger(TriggerEvent::Created(TriggerCreated {
            app: APP,
            trigger: TRIGGER,
            spec,
            by: person(),
        }))
    };
    let changed = |spec| {
        Event::Trigger(TriggerEvent::Changed(TriggerChanged {
            app: APP,
            trigger: TRIGGER,
            spec,
            by: person(),
        }))
    };
    let paused = |reason| {
        let paused = TriggerPaused { app: APP, trigger: TRIGGER, reason, by: person() };
        Event::Trigger(TriggerEvent::Paused(paused))
    };
    let resumed = TriggerResumed { app: APP, trigger: TRIGGER, by: person() };
    let deleted = TriggerDeleted { app: APP, trigger: TRIGGER, by: person() };
    vec![
        ("trigger_created", "kv", created(kv(Backoff::None))),
        ("trigger_created", "dead_letter", created(letters(Some("a".into()), Some("b".into())))),
        ("trigger_created", "cron", created(cron(None))),
        ("trigger_created", "cron_in_a_time_zone", created(cron(Some("Europe/Berlin".into())))),
        ("trigger_created", "queue_by_key", created(queue)),
        ("trigger_changed", "kv", changed(kv(Backoff::Fixed))),
        ("trigger_changed", "dead_letter", changed(letters(None, None))),
        ("trigger_paused", "asked", paused(PauseReason::Asked)),
        ("trigger_paused", "registrant_deleted", paused(PauseReason::RegistrantDeleted)),
        ("trigger_resumed", "plain", Event::Trigger(TriggerEvent::Resumed(resumed))),
        ("trigger_deleted", "plain", Event::Trigger(TriggerEvent::Deleted(deleted))),
    ]
}

fn kv_samples() -> Vec<(&'static str, &'static str, Event)> {
    let put_until = |value: &str, previous, expires_at, writer| {
        let value = Arc::from(value.as_bytes());
        let (collection, key) = ("orders".to_owned(), "2026/17 ü".to_owned());
        Event::Kv(KvEvent::Put(KvPut { app: APP, collection, key, value, previous, expires_at, writer }))
    };
    let put = |value: &str, previous, writer| put_until(value, previous, None, writer);
    let by_execution = || Writer::Execution { id: EXECUTION, line: 12 };
    let by_person = || Writer::Principal { id: PRINCIPAL, name: "Änne".into() };
    let by_undo = || Writer::Undo { id: PRINCIPAL, name: "Änne".into(), of: EXECUTION };
    let expired = KvExpired { app: APP, collection: "orders".into(), key: "k".into(), version: Lsn(300) };
    let deleted = KvDeleted {
        app: APP,
        collection: "orders".into(),
        key: String::new(),
        previous: Lsn(u64::MAX - 1),
        writer: by_execution(),
    };
    vec![
        ("kv_put", "insert_by_execution", put("{\"total\":12.5}", None, by_execution())),
        ("kv_put", "update_by_principal", put("null", Some(Lsn(1 << 40)), by_person())),
        ("kv_put", "by_undo", put("1", Some(Lsn(5)), by_undo())),
        (
            "kv_put",
            "until_a_time",
            put_until("2", None, Some(UnixMicros(1_800_000_000_000_000)), by_execution()),
        ),
        ("kv_deleted", "by_execution", Event::Kv(KvEvent::Deleted(deleted))),
        ("kv_expired", "plain", Event::Kv(KvEvent::Expired(expired))),
    ]
}

fn enqueued(source: Source, input: Input) -> Enqueued {
    Enqueued {
        app: APP,
        execution: EXECUTION,
        root: ROOT,
        depth: 3,
        cause: Some(Lsn(99)),
        caused_by: Some(ROOT),
        script: "orders".into(),
        source,
        input,
        due_at: AT,
        ordering_key: None,
        principal: Some(person()),
        redrive_of: None,
        pinned_version: None,
        idempotency: None,
    }
}

fn request() -> RequestRecord {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    RequestRecord {
        method: "POST".into(),
        path: "/orders/a%20b".into(),
        params: vec![pair("id", "a b")],
        query: vec![pair("q", "1"), pair("q", "2")],
        headers: vec![
            ("content-type".into(), HeaderRecord::Clear("application/json".into())),
            ("authorization".into(), HeaderRecord::Digest([0xcd; 32])),
            ("cookie".into(), HeaderRecord::Sealed(sealed())),
        ],
        body: b"{\"n\":1}\xff".to_vec(),
        masked: true,
    }
}

fn call(outcome: CallOutcome) -> CallRecord {
    CallRecord {
        digest: [0xd1; 32],
        method: "POST".into(),
        url: "https://api.example.org/v1?key=‹secret:KEY›".into(),
        headers: vec![("authorization".into(), "‹header:authorization›".into())],
        body_len: 5000,
        body_head: b"{\"n\":1}".to_vec(),
        line: 7,
        took_ms: 31,
        outcome,
    }
}

fn record() -> AttemptRecord {
    let key = |key: &str, version, present| ReadRecord::Key {
        collection: "orders".into(),
        key: key.into(),
        version,
        present,
    };
    let line = |level, line| LogLine { level, message: "‹secret:KEY› seen".into(), line };
    AttemptRecord {
        reads: vec![
            key("a", Lsn(41), true),
            key("b", Lsn::ZERO, false),
            ReadRecord::Range {
                collection: "orders".into(),
                prefix: "2026/".into(),
                cursor: Some("2026/5".into()),
                reverse: true,
                limit: 100,
                items: vec![("2026/4".into(), Lsn(7)), ("2026/3".into(), Lsn(300))],
            },
            ReadRecord::KeyAt {
                collection: "orders".into(),
                key: "a".into(),
                at: Lsn(40),
                version: Lsn(39),
                present: true,
            },
            ReadRecord::History {
                collection: "orders".into(),
                key: "a".into(),
                limit: 2,
                versions: vec![Lsn(41), Lsn(39)],
            },
        ],
        secrets: vec![("KEY".into(), 2)],
        calls: vec![
            call(CallOutcome::Answered(CallAnswer {
                status: 404,
                headers: vec![("content-type".into(), "text/plain".into())],
                body: Arc::from(b"no such \xff".as_slice()),
                masked: true,
            })),
            call(CallOutcome::Failed("the connection was refused".into())),
        ],
        logs: vec![
            line(LogLevel::Debug, 1),
            line(LogLevel::Info, 2),
            line(LogLevel::Warn, 3),
            line(LogLevel::Error, 0),
        ],
        operations: 12_345,
        conflicts: 2,
        snapshot: Lsn(98),
        limits: vec![(4, 4096), (11, 1 << 20)],
    }
}

fn error(kind: ErrorKind) -> ErrorRecord {
    ErrorRecord { kind, message: "no such field: `totl`".into(), line: 4, column: 17 }
}

fn execution_samples() -> Vec<(&'static str, &'static str, Event)> {
    let mut all = enqueued_samples();
    all.extend(attempt_samples());
    let abandoned = |reason| {
        Event::Execution(ExecutionEvent::Abandoned(Abandoned { app: APP, execution: EXECUTION, reason }))
    };
    let dropped = Dropped { app: APP, execution: EXECUTION, reason: "its trigger was deleted".into() };
    all.extend([
        ("abandoned", "client_gone", abandoned(AbandonReason::ClientGone)),
        ("abandoned", "crash", abandoned(AbandonReason::Crash)),
        ("dropped", "plain", Event::Execution(ExecutionEvent::Dropped(dropped))),
    ]);
    all
}

fn enqueued_samples() -> Vec<(&'static str, &'static str, Event)> {
    let event = |e| Event::Execution(ExecutionEvent::Enqueued(Box::new(e)));
    let route = |sync| Source::Route { route: ROUTE, sync };
    let letters = Source::DeadLetter { trigger: TRIGGER, letter: LETTER };
    let kv = Source::Kv { trigger: TRIGGER };
    let payload = |text: &str| Input::Payload(Some(Arc::from(text.as_bytes())));
    let anonymous = Enqueued {
        root: EXECUTION,
        depth: 0,
        cause: None,
        caused_by: None,
        principal: None,
        ..enqueued(route(true), Input::Request(Box::new(request())))
    };
    let keyed = Enqueued {
        idempotency: Some(Box::new(IdempotencyKey {
            route: "POST /orders/{id}".into(),
            key: "a key".into(),
            digest: [0xbe; 32],
        })),
        ..anonymous.clone()
    };
    let redrive = Enqueued {
        redrive_of: Some(LETTER),
        pinned_version: Some(4),
        idempotency: None,
        ..enqueued(kv.clone(), Input::SameAs(Lsn(17)))
    };
    let tick = Input::Tick { scheduled_at: AT, missed: 300 };
    let message = Enqueued {
        ordering_key: Some("ü".into()),
        ..enqueued(
            Source::Queue { trigger: TRIGGER },
            Input::Message { queue: "mails".into(), message: Arc::from(b"{\"to\":\"a\"}".as_slice()) },
        )
    };
    let too_deep = DepthExceeded {
        app: APP,
        execution: EXECUTION,
        root: ROOT,
        depth: 9,
        cause: Lsn(99),
        caused_by: None,
        script: "orders".into(),
        source: kv.clone(),
    };
    vec![
        ("enqueued", "keyed", event(keyed)),
        ("enqueued", "sync_route", event(anonymous)),
        ("enqueued", "async_route_not_recorded", event(enqueued(route(false), Input::NotRecorded))),
        ("enqueued", "kv", event(enqueued(kv, Input::Mutation(Lsn(99))))),
        ("enqueued", "dead_letter", event(enqueued(letters, Input::Letter(Lsn(251))))),
        ("enqueued", "redrive", event(redrive)),
        ("enqueued", "cron", event(enqueued(Source::Cron { trigger: TRIGGER }, tick))),
        ("enqueued", "queue_by_key", event(message)),
        ("enqueued", "direct", event(enqueued(Source::Direct, payload("[1,2]")))),
        ("enqueued", "direct_without_payload", event(enqueued(Source::Direct, Input::Payload(None)))),
        ("depth_exceeded", "plain", Event::Execution(ExecutionEvent::DepthExceeded(Box::new(too_deep)))),
    ]
}

fn attempt_samples() -> Vec<(&'static str, &'static str, Event)> {
    let event = Event::Execution;
    let (app, execution) = (APP, EXECUTION);
    let claimed = |version, alone_ms| {
        let seed = *b"sixteen-byte-sed";
        let imports = if version == 0 {
            Vec::new()
        } else {
            vec![ImportedVersion { script: "prices".into(), version: 300 }]
        };
        let claim = Claimed {
            app,
            execution,
            attempt: 2,
            at: AT,
            seed,
            snapshot: Lsn(98),
            version,
            imports,
            alone_ms,
        };
        event(ExecutionEvent::Claimed(claim))
    };
    let output = OutputRecord {
        status: 200,
        content_type: "application/json".into(),
        len: 70_000,
        sha256: [0xef; 32],
        head: b"{\"ok\":true".to_vec(),
    };
    let replied = |output, record, reply| {
        let completed = Completed { app, execution, attempt: 2, output, record, reply };
        event(ExecutionEvent::Completed(Box::new(completed)))
    };
    let completed = |output, record| replied(output, record, None);
    let kept = |read_only_at, answer| Some(Box::new(KeptReply { read_only_at, typed: true, answer }));
    let headers = vec![("x-a".to_owned(), "1".to_owned())];
    let clear = kept(Some(Lsn(300)), KeptAnswer::Clear { headers });
    let headers = vec![("x-a".to_owned(), sealed())];
    let hidden = kept(None, KeptAnswer::Sealed { headers, body: sealed() });
    let failed = |counted, kind, record, then| {
        let error = error(kind);
        let failed = AttemptFailed { app, execution, attempt: 2, counted, error, record, then };
        event(ExecutionEvent::AttemptFailed(Box::new(failed)))
    };
    let retry = AfterFailure::Retry { due_at: AT.plus_millis(1234) };
    let mut all = vec![
        ("claimed", "ordinary", claimed(3, 0)),
        ("claimed", "alone_without_script", claimed(0, 2000)),
        (
            "alone_ended",
            "plain",
            event(ExecutionEvent::AloneEnded(AloneEnded { app, execution, attempt: 2 })),
        ),
        ("released", "plain", event(ExecutionEvent::Released(Released { app, execution, attempt: 2 }))),
        ("completed", "full", completed(output, record())),
        ("completed", "kept", replied(OutputRecord::default(), AttemptRecord::default(), clear)),
        ("completed", "kept_sealed", replied(OutputRecord::default(), AttemptRecord::default(), hidden)),
        ("completed", "empty", completed(OutputRecord::default(), AttemptRecord::default())),
        ("attempt_failed", "retry", failed(true, ErrorKind::Throw, Some(record()), retry)),
        ("attempt_failed", "not_counted", failed(false, ErrorKind::Crashed, None, AfterFailure::DeadLetter)),
    ];
    for (kind, name) in ErrorKind::NAMES {
        all.push(("attempt_failed", name, failed(true, kind, None, AfterFailure::End)));
    }
    all
}

fn dead_letter_samples() -> Vec<(&'static str, &'static str, Event)> {
    let event = Event::DeadLetter;
    let letter = DeadLettered {
        app: APP,
        letter: LETTER,
        execution: EXECUTION,
        root: ROOT,
        depth: 1,
        enqueued: Lsn(65_536),
        script: "on_order".into(),
        version: 3,
        source: Source::Kv { trigger: TRIGGER },
        ordering_key: None,
        principal: Some(person()),
        attempts: 3,
        error: error(ErrorKind::Runtime),
        fingerprint: 0x0123_4567_89ab_cdef,
        first_attempt_at: AT,
        last_attempt_at: AT.plus_millis(3000),
    };
    let failed = DeadLetterHandlerFailed { app: APP, letter: LETTER, execution: EXECUTION };
    let redriven = DeadLetterRedriven {
        app: APP,
        letter: LETTER,
        execution: EXECUTION,
        by: person(),
        by_execution: None,
        job: Some(JOB),
        proof: None,
    };
    let by_script = DeadLetterRedriven { by_execution: Some(ROOT), job: None, ..redriven.clone() };
    let proof = RedriveProof {
        backtest: BacktestId::from_bytes([6; 16]),
        attempt: 3,
        version: 4,
        sha256: [5; 32],
        verdict: Verdict::Fixed,
        lsn: Lsn(70_000),
    };
    let proven = DeadLetterRedriven { job: None, proof: Some(Box::new(proof)), ..redriven.clone() };
    let resolved = |note, execution, job| DeadLetterResolved {
        app: APP,
        letter: LETTER,
        resolution: "ignored".into(),
        note,
        by: person(),
        execution,
        job,
    };
    let plain = resolved(None, None, None);
    let noted = resolved(Some("handled by hand".into()), Some(ROOT), Some(JOB));
    let expired = DeadLetterExpired { app: APP, letter: LETTER };
    vec![
        ("dead_lettered", "plain", event(DeadLetterEvent::DeadLettered(Box::new(letter)))),
        ("dead_letter_handler_failed", "plain", event(DeadLetterEvent::HandlerFailed(failed))),
        ("dead_letter_redriven", "by_a_job", event(DeadLetterEvent::Redriven(redriven))),
        ("dead_letter_redriven", "by_a_script", event(DeadLetterEvent::Redriven(by_script))),
        ("dead_letter_redriven", "proven", event(DeadLetterEvent::Redriven(proven))),
        ("dead_letter_resolved", "plain", event(DeadLetterEvent::Resolved(Box::new(plain)))),
        ("dead_letter_resolved", "noted", event(DeadLetterEvent::Resolved(Box::new(noted)))),
        ("dead_letter_expired", "plain", event(DeadLetterEvent::Expired(expired))),
    ]
}

fn cron_samples() -> Vec<(&'static str, &'static str, Event)> {
    let ticked = |ticks, execution| {
        let ticked = CronTicked { app: APP, trigger: TRIGGER, scheduled_at: AT, ticks, execution };
        Event::Cron(CronEvent::Ticked(ticked))
    };
    vec![("cron_ticked", "ran", ticked(1, Some(EXECUTION))), ("cron_ticked", "skipped", ticked(300, None))]
}

fn job_samples() -> Vec<(&'static str, &'static str, Event)> {
    let created = |kind, filter, stop_after_failures| {
        Event::Job(JobEvent::Created(Box::new(JobCreated {
            app: APP,
            job: JOB,
            kind,
            filter,
            total: 70_000,
            interval_us: 100_000,
            stop_after_failures,
            by: person(),
        })))
    };
    let redrive = |version| JobKind::Redrive { version };
    let all_set = JobFilter {
        script: Some("s".into()),
        trigger: Some(TRIGGER),
        fingerprint: Some(7),
        error: Some("no".into()),
    };
    let resolve = JobKind::Resolve { resolution: "ignored".into(), note: Some("n".into()) };
    let none = JobFilter::default;
    let ended = |outcome, by| Event::Job(JobEvent::Ended(JobEnded { app: APP, job: JOB, outcome, by }));
    let progressed = JobProgressed { app: APP, job: JOB, done: 100, skipped: 1, cursor: LETTER };
    let expired = AbandonedExpired { app: APP, execution: EXECUTION };
    vec![
        ("job_created", "redrive", created(redrive(VersionChoice::Current), all_set, Some(3))),
        ("job_created", "redrive_original", created(redrive(VersionChoice::Original), none(), None)),
        ("job_created", "redrive_number", created(redrive(VersionChoice::Number(4)), none(), None)),
        ("job_created", "resolve", created(resolve, none(), None)),
        ("job_progressed", "plain", Event::Job(JobEvent::Progressed(progressed))),
        ("job_ended", "completed", ended(JobOutcome::Completed, None)),
        ("job_ended", "stopped", ended(JobOutcome::Stopped, None)),
        ("job_ended", "cancelled", ended(JobOutcome::Cancelled, Some(person()))),
        ("job_expired", "plain", Event::Job(JobEvent::Expired(JobExpired { app: APP, job: JOB }))),
        ("abandoned_expired", "plain", Event::Retention(RetentionEvent::AbandonedExpired(expired))),
    ]
}

fn hold_samples() -> Vec<(&'static str, &'static str, Event)> {
    let set = |reason| HoldSet { name: "audit-2026".into(), from: Lsn(70_000), reason, by: person() };
    let set = |reason| Event::Retention(RetentionEvent::HoldSet(Box::new(set(reason))));
    let released = HoldReleased { name: "audit-2026".into(), by: person() };
    vec![
        ("hold_set", "with_a_reason", set(Some("case 4711".into()))),
        ("hold_set", "without", set(None)),
        ("hold_released", "plain", Event::Retention(RetentionEvent::HoldReleased(Box::new(released)))),
    ]
}
