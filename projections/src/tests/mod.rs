//! Tests of the views as a whole: against a model, over every kind of restart, against damage.

mod damage;
pub(crate) mod disk;
pub(crate) mod generator;
mod history;
mod killed;
pub(crate) mod log;
mod model;
mod opening;
mod real_log;
pub(crate) mod rig;
mod snapshots;
mod speed;
