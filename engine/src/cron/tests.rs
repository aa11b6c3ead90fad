//! Moments of schedules: examples at changes of the clock, and a model that only looks at a clock on the wall.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> UnixMicros {
    micros(text.parse().unwrap())
}

fn schedule(text: &str, zone: &str) -> Schedule {
    Schedule::parse(text, Some(zone)).unwrap()
}

/// The next moments after a time.
fn next(text: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
    let schedule = schedule(text, zone);
    let mut at = at(after);
    (0..n)
        .map(|_| {
            at = schedule.next(at).unwrap();
            timestamp(at).unwrap().to_string()
        })
        .collect()
}

#[test]
fn d16_a_time_that_the_clock_skips_runs_once_right_after_the_gap() {
    // Berlin, 30 March 2025: 01:59:59 CET (00:59:59Z), then 03:00 CEST.
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", 2),
        ["2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"]
    );
    assert_eq!(
        next("*/20 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", 2),
        ["2025-03-30T01:00:00Z", "2025-03-31T00:00:00Z"],
        "three times that are skipped are one moment"
    );
    assert_eq!(
        next("0 2,3 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", 2),
        ["2025-03-30T01:00:00Z", "2025-03-31T00:00:00Z"],
        "the first moment after the gap is there already"
    );
}

#[test]
fn d16_a_time_that_repeats_runs_once() {
    // Berlin, 26 October 2025: 02:59:59 CEST (00:59:59Z), then 02:00 CET.
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z", 2),
        ["2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"]
    );
    assert_eq!(
        next("0 * * * *", "Europe/Berlin", "2025-10-25T23:30:00Z", 3),
        ["2025-10-26T00:00:00Z", "2025-10-26T02:00:00Z", "2025-10-26T03:00:00Z"]
    );
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2025-10-26T00:45:00Z", 1), ["2025-10-27T01:30:00Z"]);
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2025-10-26T01:15:00Z", 1), ["2025-10-27T01:30:00Z"]);
}

#[test]
fn d16_a_day_that_a_zone_leaves_out_runs_once_after_it() {
    // Apia went from 29 to 31 December 2011.
    assert_eq!(
        next("0 12 * * *", "Pacific/Apia", "2011-12-29T23:00:00Z", 2),
        ["2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"]
    );
}

#[test]
fn d16_five_fields_or_six_with_seconds() {
    assert_eq!(
        next("15 30 * * * *", "UTC", "2025-01-01T00:00:00Z", 2),
        ["2025-01-01T00:30:15Z", "2025-01-01T01:30:15Z"]
    );
    assert_eq!(
        next("0 0 29 2 *", "UTC", "2025-01-01T00:00:00Z", 2),
        ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]
    );
    assert_eq!(
        next("0 0 1 * MON", "UTC", "2025-06-03T00:00:00Z", 2),
        ["2025-06-09T00:00:00Z", "2025-06-16T00:00:00Z"],
        "either day"
    );
}

#[test]
fn d16_what_makes_no_sense_is_refused_with_the_reason() {
    for (text, zone, part) in [
        ("* * * *", None, "has 4 fields"),
        ("* * * * * * *", None, "has 7 fields"),
        ("@daily", None, "has 1 fields"),
        ("", None, "has 0 fields"),
        ("61 * * * *", None, "61"),
        ("* 24 * * *", None, "24"),
        ("a b c d e", None, "illegal"),
        ("0 0 30 2 *", None, "never comes"),
        ("0 0 31 4,6 *", None, "never comes"),
        ("* * * * *", Some("Mars/Olympus"), "no time zone"),
        ("* * * * *", Some(""), "no time zone"),
        ("* * * * *", Some("+02:00"), "no time zone"),
    ] {
        let refused = Schedule::parse(text, zone).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(part), "{text} {zone:?}: {refused}");
    }
}

#[test]
fn d16_years_of_seconds_are_counted_by_the_day() {
    let every_second = schedule("* * * * * *", "Europe/Berlin");
    let (from, to) = ("2021-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
    let found = every_second.between(at(from), at(to)).unwrap();
    // Four changes back: each hour that repeats runs once.
    assert_eq!(found.count, (4 * 365 + 1) * 86_400 - 4 * 3600);
    assert_eq!(found.latest, at(to));
    let mondays = schedule("0 0 * * 1", "UTC").between(at(from), at(to)).unwrap();
    assert_eq!((mondays.count, mondays.latest), (209, at("2024-12-30T00:00:00Z")));
}

/// Places and times of changes: both directions, half an hour, midnight, a day left out, none.
const CHANGES: &[(&str, &str)] = &[
    ("Europe/Berlin", "2025-03-30T01:00:00Z"),
    ("Europe/Berlin", "2025-10-26T01:00:00Z"),
    ("America/New_York", "2025-03-09T07:00:00Z"),
    ("America/New_York", "2025-11-02T06:00:00Z"),
    ("Australia/Lord_Howe", "2025-04-05T15:00:00Z"),
    ("Australia/Lord_Howe", "2025-10-04T15:30:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Sao_Paulo", "2019-02-17T02:00:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("Asia/Kathmandu", "2025-06-01T00:00:00Z"),
    ("UTC", "2025-06-01T00:00:00Z"),
];

/// The moments of a window by the wall: a civil minute happens when the clock shows it first, or, if it never does,
/// when the clock first shows something later.
fn by_the_wall(
    minutes: &[u8],
    hours: &[u8],
    zone: &TimeZone,
    from: Timestamp,
    to: Timestamp,
) -> Vec<Timestamp> {
    let start = from.checked_sub(48.hours()).unwrap();
    let end = to.checked_add(48.hours()).unwrap();
    let mut shown = Vec::new();
    let mut now = start;
    while now < end {
        shown.push((zone.to_datetime(now), now));
        now = now.checked_add(1.minute()).unwrap();
    }
    let mut moments = Vec::new();
    let mut civil = shown.first().unwrap().0;
    let last = shown.last().unwrap().0;
    // First moment at which the clock shows at least this much: it may go back later, which does not matter.
    let mut highest = Vec::new();
    for (civil, now) in &shown {
        if highest.last().is_none_or(|(before, _)| civil > before) {
            highest.push((*civil, *now));
        }
    }
    while civil < last {
        let fits = minutes.contains(&(civil.minute() as u8)) && hours.contains(&(civil.hour() as u8));
        if fits {
            let reached = highest.partition_point(|(shown, _)| *shown < civil);
            moments.push(highest[reached].1);
        }
        civil = civil.checked_add(1.minute()).unwrap();
    }
    moments.dedup();
    moments.retain(|moment| *moment > from && *moment <= to);
    moments
}

fn list(of: &[u8]) -> String {
    of.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// E64: every moment is found, once, whichever way one walks.
    #[test]
    fn d16_moments_are_those_of_a_clock_on_the_wall(
        change in 0..CHANGES.len(),
        minutes in prop::collection::btree_set(0..60_u8, 1..4),
        hours in prop::collection::btree_set(0..24_u8, 1..24),
        before in 0..40_i64,
    ) {
        let (name, change) = CHANGES[change];
        let (minutes, hours) = (Vec::from_iter(minutes), Vec::from_iter(hours));
        let schedule = schedule(&format!("{} {} * * *", list(&minutes), list(&hours)), name);
        let from = change.parse::<Timestamp>().unwrap().checked_sub(before.hours()).unwrap();
        let to = from.checked_add(60.hours()).unwrap();
        let want = by_the_wall(&minutes, &hours, &schedule.zone, from, to);
        let mut got = Vec::new();
        let mut at = micros(from);
        while let Some(moment) = schedule.next(at).filter(|moment| *moment <= micros(to)) {
            got.push(timestamp(moment).unwrap());
            at = moment;
        }
        prop_assert_eq!(&got, &want, "{} around {}", name, change);
        let counted = schedule.between(micros(from), micros(to));
        let expect = want.last().map(|latest| Moments { latest: micros(*latest), count: want.len() as u64 });
        prop_assert_eq!(counted, expect);
    }
}
