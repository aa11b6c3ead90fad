//! `kv::get_at`, `kv::history`: what a script may ask of the past, and what is recorded of it.

use relive_log::Lsn;
use relive_log::events::{ErrorKind, ReadRecord, Scopes};

use super::{Run, check, check_error, check_refusal, finish, given, principal};

#[test]
fn k3_the_past_is_read_as_of_a_whole_batch_up_to_the_snapshot() {
    for (source, expected) in [
        (r#"kv::get_at("orders", "a", 42)"#, r#""orders/a as of 50""#),
        (r#"kv::get_at("orders", "a", 50)"#, r#""orders/a as of 50""#),
        (r#"kv::get_at("orders", "a", 100)"#, r#"{"total":5}"#),
        (r#"kv::set("orders", "a", 1); kv::get_at("orders", "a", 100)"#, r#"{"total":5}"#),
        (r#"kv::get_at("orders", "zz", 95)"#, "null"),
        (r#"kv::get_at("orders", "a", "2023-11-14T22:13:20Z")"#, r#"{"total":5}"#),
    ] {
        check(source, expected);
    }
    for (source, part) in [
        (r#"kv::get_at("orders", "a", 101)"#, "in_the_future: the snapshot of this attempt is LSN 100"),
        (r#"kv::get_at("orders", "a", "2023-11-14T22:13:20.124Z")"#, "in_the_future"),
        (r#"kv::get_at("orders", "a", 10)"#, "below_horizon: the history starts at LSN 11"),
        (r#"kv::get_at("orders", "a", -1)"#, "-1 is no LSN"),
        (r#"kv::get_at("orders", "a", "yesterday")"#, "is not an RFC 3339 time"),
        (r#"kv::get_at("orders", "a", 1.5)"#, "an LSN (an integer) or a time"),
        (r#"kv::get_at("orders", "", 50)"#, "the key is empty"),
    ] {
        check_error(source, ErrorKind::Runtime, 1, part);
    }
}

#[test]
fn e44_the_past_is_recorded_with_what_was_seen() {
    let source = r#"
        kv::get_at("orders", "a", 42);
        kv::get_at("orders", "b", 100);
        kv::history("orders", "c", 2)"#;
    let finished = finish(given(source));
    let key = |text: &str| text.to_owned();
    assert_eq!(
        finished.record.reads,
        [
            ReadRecord::KeyAt {
                collection: key("orders"),
                key: key("a"),
                at: Lsn(50),
                version: Lsn(49),
                present: true
            },
            ReadRecord::Key { collection: key("orders"), key: key("b"), version: Lsn(12), present: true },
            ReadRecord::History {
                collection: key("orders"),
                key: key("c"),
                limit: 2,
                versions: vec![Lsn(40), Lsn(30)]
            },
        ]
    );
    assert_eq!(finished.depends_on, Lsn(100), "a history depends on the snapshot");
}

#[test]
fn a_history_is_newest_first_and_bounded() {
    check(
        r#"kv::history("orders", "a", 2)"#,
        concat!(
            r#"[{"at":"2023-11-14T22:13:20.040Z","lsn":40,"op":"delete","value":null},"#,
            r#"{"at":"2023-11-14T22:13:20.030Z","lsn":30,"op":"update","value":2}]"#
        ),
    );
    check_error(r#"kv::history("orders", "a", 0)"#, ErrorKind::Runtime, 1, "limit is 0, not 1 to 1000");
    check_error(r#"kv::history("orders", "a", 1001)"#, ErrorKind::Runtime, 1, "not 1 to 1000");
}

#[test]
fn the_past_needs_log_read() {
    for source in [r#"kv::get_at("orders", "a", 50)"#, r#"kv::history("orders", "a", 1)"#] {
        for (scopes, refused) in [(Scopes::SCRIPT_READ, true), (Scopes::LOG_READ, false)] {
            let mut run: Run = given(source);
            run.context.principal = Some(principal(scopes));
            if refused {
                check_refusal(run, ErrorKind::Permission, 1, "log:read");
            } else {
                assert!(finish(run).outcome.is_ok(), "{source}");
            }
        }
    }
}
