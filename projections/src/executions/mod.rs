//! The `outbox` and `executions` views.

mod row;

pub use row::{AttemptRef, Delivery, ExecutionFilter, ExecutionRow, Status};
