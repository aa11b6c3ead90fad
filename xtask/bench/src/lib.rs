//! What the load generator and the floors share: a histogram of latencies and a small HTTP client connection.
//!
//! Owns measuring, nothing of Relive: the product is met over a socket only.

pub mod client;
pub mod histogram;
