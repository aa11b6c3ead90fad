//! Codec and registry of events: round trips, truncations, bit flips, golden bytes (L20 to L22).

use super::codec::WRITTEN;
use super::*;

#[test]
fn l20_registry_is_sorted_unique_and_agrees_with_the_codec() {
    assert!(registry::KINDS.is_sorted_by(|a, b| a.number < b.number));
    let mut names: Vec<_> = registry::KINDS.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    assert!(names.is_sorted_by(|a, b| a < b), "a name stands twice");
    let written: Vec<_> = registry::KINDS.iter().filter(|k| k.written).map(|k| (k.number, k.name)).collect();
    assert_eq!(written, WRITTEN);
}
