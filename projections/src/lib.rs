//! State that can be deleted and rebuilt from the log: registry, keys, outbox, executions, dead letters.
//!
//! Owns: the folds of all events ([`Views::apply`]), three layers of state (memory, sorted runs, a small store), and
//! everything under `views/`. Never does: decide what happens next, hold the only copy of anything, read a clock,
//! draw random numbers, or start threads (but the one that sled is opened on, V6).
//!
//! # Invariants
//!
//! | # | what | where |
//! |---|---|---|
//! | P1 | a cut is at the end of a batch, and takes every view as it is at that LSN | `views`, `disk::checkpoint` |
//! | P2 | nothing above the durable LSN reaches the disk | `disk::checkpoint` |
//! | P3 | layers are disjoint in LSNs and ordered in time: active, frozen, runs | `layers` |
//! | P4 | a reader takes all layers at one instant, and what it took stays readable for it | `layers`, `run` |
//! | P5 | a fold never depends on which layer holds a row: what the memory layer cannot decide is a patch | `executions` |
//! | P6 | an execution that came and went between two cuts leaves no trace in the store | `executions::outbox` |
//! | P7 | the batch that writes `!meta` is the one point at which a checkpoint happens | `disk::checkpoint` |
//! | P8 | every byte of a run is verified before it is used | `run` |
//! | P9 | a run's filter never denies a key that is there | `run::filter` |
//! | P10 | `CURRENT` names a generation only once that holds all that the log held when it was begun | `disk::generation` |
//! | P11 | no value, input, source or secret stands under `views/`: positions only | `kv`, `registry` |
//! | P17 | what a view shows depends on the horizon, never on whether a merge has dropped it already | `horizon` |
//! | P18 | a snapshot is the state of one checkpoint: store and runs are taken while nothing is written | `snapshot` |
//! | P19 | views that begin from a snapshot hold what a rebuild from the first event would | `snapshot` |
//! | P22 | an open execution rests only while its `enqueued` is all that happened to it, and can be read back | `executions::outbox` |
//! | P21 | rows of calls whose `Idempotency-Key` counts no longer may go, all others stay | `idempotency` |
//! | P12 | the digest of live views is that of a rebuild, at every LSN and over every sequence of cuts | all folds |
//! | P13 | rows of times to live that were dealt with may go, all other rows of the index stay | `index` |
//! | P14 | a difference of two instants is exactly the keys that differ between their listings | `kv::diff` |
//! | P20 | a fork reads what its base held at the moment of the fork, but for what was written in it | `kv::line` |
//! | P23 | a value that is read again without the log is the one that its event wrote | `kv::values` |
//! | P24 | an execution that came whole, in one batch, is folded as its events one by one would be | `executions::whole` |
//! | P25 | an open execution stands in the store or, by its newest row there, in a run of what waits, never in both | `executions::waiting` |
//! | P26 | rows that arrived since the last look are in order, the last of a key alone, whenever somebody looks | `lazy_map` |
//! | P27 | a store that is written anew has the same rows, whenever the process dies on the way | `store/renew` |
//! | P28 | a merge leaves fewer runs than it read: maintenance comes to an end whatever is applied meanwhile | `disk::merging` |
//! | P15 | the position of a schedule never goes back | `cron` |

mod abandoned;
mod cron;
mod dead_letters;
mod digest;
mod disk;
mod error;
mod executions;
mod holds;
mod horizon;
mod idempotency;
mod index;
mod jobs;
mod kv;
mod layers;
mod lazy_map;
mod options;
mod registry;
mod rows;
mod run;
mod snapshot;
mod source;
mod store;
mod views;

#[cfg(test)]
mod tests;

pub use abandoned::{Abandoned, AbandonedRecord};
pub use cron::{CronPosition, CronView};
pub use dead_letters::{DeadLetters, LetterFilter, LetterGroup, LetterRow, Resolution};
pub use error::{ReadError, RunError, StoreError, ViewsError};
pub use executions::{
    AttemptRef, Delivery, ExecutionFilter, ExecutionRow, Executions, OpenWork, Status, Woken,
};
pub use holds::{Hold, Holds};
pub use idempotency::{Idempotency, KeyedCall};
pub use index::{Due, Index, KeyReader};
pub use jobs::{JobRow, Jobs};
pub use kv::{
    AsOf, DiffPage, DiffRange, KvBounds, KvChange, KvItem, KvPage, KvRange, KvSlot, KvState, KvVersion,
    KvView,
};
pub use options::{
    IfAhead, Limits, Maintained, OpenedViews, RebuildReason, StoreKind, Trust, ViewsOptions, Waiting,
};
pub use registry::{App, Pause, Registry, Route, Script, ScriptVersion, Secret, Token, Trigger};
pub use snapshot::{SNAPSHOT_SCHEMA, SnapshotItems, SnapshotSource, StateAt};
pub use source::{At, FoldedBatch, ValueSource};
pub use store::MemoryStore;
pub use views::Views;
