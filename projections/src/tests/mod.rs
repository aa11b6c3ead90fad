//! Tests of the views as a whole: against a model, over every kind of restart, against damage.

mod damage;
mod disk;
mod generator;
mod history;
mod log;
mod model;
mod opening;
mod rig;
mod speed;
