//! The whole system, as a black box: the real binary, its HTTP, its command line, its files. One module per part
//! of `semantics.md`; the names of the tests quote its rules.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they measured"
)]

mod admin;
mod admin_time;
mod backtests;
mod bulk;
mod calls;
mod cli;
mod crashes;
mod dap;
mod dead_letters;
mod dev;
mod faults;
mod forks;
mod histories;
mod horizons;
mod idempotency;
mod isolation;
mod kill;
mod leaks;
mod limits;
mod log_stream;
mod log_tools;
mod no_space;
mod outgoing;
mod provenance;
mod queues;
mod replays;
mod retention;
mod retries;
mod starts;
mod status;
mod tokens;
mod transactions;
mod triggers;
mod vanished;
mod webhooks;
mod withheld;
