//! A node: a broker that takes a bounded number of connections.
//!
//! * [`config`] — the keys of its configuration.
//! * [`metrics`] — what it counts.

pub mod config;
pub mod metrics;
