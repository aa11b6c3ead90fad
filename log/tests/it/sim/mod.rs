//! The storage simulation: a model of what must be in the log, random and exhaustive crash campaigns, corruption,
//! and the scoreboard of planted bugs.

pub(crate) mod campaign;
mod corruption;
mod exhaustive;
pub(crate) mod model;
mod planted;
mod twins;
