//! Drives the real binary from outside: processes, HTTP, files on disk. The tests stand in `tests/system.rs`.
//!
//! Owns: [`Launch`] and [`Server`] (a process that never outlives its test), [`Http`] and [`App`] (the API and the
//! routes as a client sees them), [`Manifest`] (what is deployed), [`Ledger`] (what a client knows that it was
//! promised), [`damage`] (what happens to disks), [`until`] (waiting for a fact, never for luck). Never does: link
//! the server; everything is checked through what `docs/` promises to the outside.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a harness that cannot go on fails its test"
)]

mod app;
mod cli;
pub mod damage;
mod events;
mod http;
mod ledger;
mod manifest;
mod process;
mod site;
mod wait;

pub use app::App;
pub use cli::{Cli, Output};
pub use events::{Events, StreamEvent};
pub use http::{Http, Reply};
pub use ledger::{Known, Ledger};
pub use manifest::{Manifest, busy, forever};
pub use process::{Ended, Launch, Server, binary, repository};
pub use site::Site;
pub use wait::{WAIT_MAX, until};
