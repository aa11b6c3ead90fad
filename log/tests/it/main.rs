//! All integration tests of the log, in one binary.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests: they may panic, start threads and print their figures"
)]

mod conformance;
mod failures;
mod fault_points;
mod fixture;
mod fixture_contents;
mod fork_cut;
mod golden;
mod reading;
mod real;
mod rows;
mod salvage_cut;
mod sim;
mod snapshots;
mod tools;
