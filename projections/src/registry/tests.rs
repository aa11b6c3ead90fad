//! The registry's fold, and what survives deletion.

use std::sync::Arc;

use relive_log::events::*;
use relive_log::{Lsn, PrincipalId, RouteId, UnixMicros};

use crate::Views;
use crate::tests::generator::*;
use crate::tests::log::MemoryLog;

fn after(events: Vec<Event>) -> Views {
    let log = MemoryLog::new();
    let views = log.rebuilt(Lsn::ZERO);
    log.commit(&views, events);
    views
}

fn app_deleted() -> Event {
    Event::App(AppEvent::Deleted(AppDeleted { app: app(0), by: someone() }))
}

#[test]
fn d17_versions_of_scripts_go_on_counting_after_a_deletion() {
    let deleted = ScriptDeleted { app: app(0), name: "s".into(), by: someone() };
    let views = after(vec![
        app_created(app(0), "shop"),
        deployed(app(0), "s", 1, "1"),
        deployed(app(0), "s", 2, "22"),
        Event::Script(ScriptEvent::Deleted(deleted)),
    ]);
    let registry = views.registry();
    let shop = registry.app_by_slug("shop").unwrap();
    assert!(shop.live_script("s").is_none());
    assert_eq!(shop.next_script_version("s"), 3);
    assert_eq!(shop.next_script_version("new"), 1);
    let script = &shop.scripts["s"];
    assert_eq!((&*script.source, script.current, script.version(2).unwrap().bytes), ("", 0, 2));
    assert_eq!(shop.changed_lsn, Lsn(4));
}

#[test]
fn versions_of_secrets_go_on_counting_after_a_deletion() {
    let deleted = SecretDeleted { app: app(0), name: "k".into(), by: someone() };
    let mut events =
        vec![app_created(app(0), "shop"), secret_set(app(0), "k", 1), secret_set(app(0), "k", 2)];
    assert_eq!(after(events.clone()).registry().app(app(0)).unwrap().secrets["k"].version, 2);
    events.push(Event::Secret(SecretEvent::Deleted(deleted)));
    let registry = after(events).registry();
    let shop = registry.app(app(0)).unwrap();
    assert!(shop.secrets.is_empty());
    assert_eq!((shop.next_secret_version("k"), shop.next_secret_version("new")), (3, 1));
}

#[test]
fn routes_and_triggers_come_change_and_go() {
    let route = RouteId::from_bytes([4; 16]);
    let id = trigger(1);
    let spec = |name| trigger_spec(name);
    let mut events = vec![
        app_created(app(0), "shop"),
        Event::Route(RouteEvent::Created(RouteCreated {
            app: app(0),
            route,
            spec: route_spec(),
            by: someone(),
        })),
        Event::Trigger(TriggerEvent::Created(TriggerCreated {
            app: app(0),
            trigger: id,
            spec: spec("a"),
            by: someone(),
        })),
        Event::Trigger(TriggerEvent::Changed(TriggerChanged {
            app: app(0),
            trigger: id,
            spec: spec("b"),
            by: someone(),
        })),
    ];
    let registry = after(events.clone()).registry();
    let shop = registry.app(app(0)).unwrap();
    assert_eq!(shop.routes[&route].lsn, Lsn(2));
    assert_eq!((shop.triggers[&id].spec.name.as_str(), shop.triggers[&id].lsn), ("b", Lsn(4)));
    events.push(Event::Route(RouteEvent::Deleted(RouteDeleted { app: app(0), route, by: someone() })));
    events.push(Event::Trigger(TriggerEvent::Deleted(TriggerDeleted {
        app: app(0),
        trigger: id,
        by: someone(),
    })));
    let registry = after(events).registry();
    let shop = registry.app(app(0)).unwrap();
    assert!(shop.routes.is_empty() && shop.triggers.is_empty());
}

#[test]
fn s6_a_slug_that_is_used_again_sees_nothing_of_its_predecessor() {
    let views = after(vec![
        app_created(app(0), "shop"),
        deployed(app(0), "s", 1, "1"),
        put(app(0), "c", "k", "1"),
        app_deleted(),
        deployed(app(0), "late", 1, "1"),
        app_created(app(1), "shop"),
    ]);
    let registry = views.registry();
    assert_eq!(registry.app(app(0)), None);
    let shop = registry.app_by_slug("shop").unwrap();
    assert_eq!((shop.id, shop.scripts.len()), (app(1), 0));
    assert!(
        views
            .kv()
            .collections(app(1), crate::AsOf { lsn: Lsn(6), time: relive_log::UnixMicros(0) })
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_snapshot_that_somebody_holds_never_changes() {
    let log = MemoryLog::new();
    let views = log.rebuilt(Lsn::ZERO);
    log.commit(&views, vec![app_created(app(0), "one"), app_created(app(1), "two")]);
    let before = views.registry();
    log.commit(&views, vec![deployed(app(0), "s", 1, "1")]);
    let after = views.registry();
    assert!(before.app(app(0)).unwrap().scripts.is_empty());
    assert_eq!(after.app(app(0)).unwrap().scripts.len(), 1);
    let shared = |registry: &super::Registry| Arc::as_ptr(registry.app(app(1)).unwrap());
    assert_eq!(shared(&before), shared(&after), "only the app that changed is copied");
}

#[test]
fn s6_tokens_are_found_by_digest_while_they_live_and_go_with_their_app() {
    let id = |n| PrincipalId::from_bytes([n; 16]);
    let mut events = vec![
        app_created(app(0), "shop"),
        token_created(Some(app(0)), id(1), 1),
        token_created(None, id(2), 2),
        token_created(Some(app(1)), id(3), 3),
        token_created(None, id(4), 2),
    ];
    let registry = after(events.clone()).registry();
    let found = |registry: &crate::Registry, digest: u8, now| {
        registry.live_token(&[digest; 32], UnixMicros(now)).map(|token| token.id)
    };
    assert_eq!(found(&registry, 1, 999_999), Some(id(1)));
    assert_eq!(found(&registry, 1, 1_000_000), None, "expired, to the microsecond");
    assert_eq!(found(&registry, 2, 0), Some(id(2)), "the first with a digest keeps it");
    assert_eq!(found(&registry, 3, 0), None, "its app is not there");
    events.push(app_deleted());
    let registry = after(events.clone()).registry();
    assert_eq!((found(&registry, 1, 0), found(&registry, 2, 0)), (None, Some(id(2))));
    events.push(Event::Token(TokenEvent::Deleted(TokenDeleted { app: None, token: id(2), by: someone() })));
    assert!(after(events).registry().tokens.is_empty());
}
