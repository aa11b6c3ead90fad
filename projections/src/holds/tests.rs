//! Holds: the first of a name stays, the lowest counts, a release makes room for a new one.

use relive_log::Lsn;
use relive_log::events::Event;

use crate::tests::generator::{hold_released, hold_set};
use crate::tests::log::MemoryLog;

/// Name and LSN of an event; LSN 0 releases.
fn check(events: &[(&str, u64)], rows: &[(&str, u64)], oldest: Option<u64>) {
    let log = MemoryLog::new();
    let views = log.rebuilt(Lsn::ZERO);
    for (name, from) in events {
        let event = if *from == 0 { hold_released(name) } else { hold_set(name, Lsn(*from)) };
        log.commit(&views, vec![Event::Retention(event)]);
    }
    let holds = views.holds();
    let got: Vec<_> = holds.list().into_iter().map(|hold| (hold.name, hold.from.0)).collect();
    let want: Vec<_> = rows.iter().map(|(name, from)| ((*name).to_owned(), *from)).collect();
    assert_eq!((got, holds.oldest().map(|lsn| lsn.0)), (want, oldest), "{events:?}");
}

#[test]
fn the_lowest_hold_counts_and_the_first_of_a_name_stays() {
    check(&[], &[], None);
    check(&[("a", 7)], &[("a", 7)], Some(7));
    check(&[("b", 7), ("a", 9)], &[("a", 9), ("b", 7)], Some(7));
    check(&[("a", 7), ("a", 3)], &[("a", 7)], Some(7));
    check(&[("a", 7), ("b", 9), ("a", 0)], &[("b", 9)], Some(9));
    check(&[("a", 7), ("a", 0), ("a", 8)], &[("a", 8)], Some(8));
    check(&[("a", 0)], &[], None);
}
