//! All integration tests of the log, in one binary.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod conformance;
mod golden;
mod real;
mod rows;
mod sim;
