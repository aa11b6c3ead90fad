//! The node, stepped by a loop with a clock of its own over a simulated disk: rules of the dispatcher, of
//! transactions and of crashes, one test each, named after the rule.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]
#![expect(clippy::wildcard_enum_match_arm, reason = "tests look for one kind of event")]
#![expect(clippy::disallowed_methods, reason = "conflicts need real threads")]

use relive_engine::script::memory::MeteredAlloc;

#[global_allocator]
static ALLOCATOR: MeteredAlloc = MeteredAlloc;

mod brief;
mod calling;
mod corpus;
mod dead_letters;
mod deploys;
mod dispatch;
mod expiry;
mod fork;
mod horizon;
mod imports;
mod keyed;
mod letters;
mod pausing;
#[cfg(feature = "planted-bugs")]
mod planted;
mod queues;
mod recording;
mod records;
mod replay;
mod schedules;
mod time_travel;
mod transactions;
mod world;
