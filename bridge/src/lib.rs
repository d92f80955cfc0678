//! The bridge: links the nodes of a cluster and keeps nothing.
//!
//! * [`config`] — the keys of its configuration.
//! * [`metrics`] — what it counts.

pub mod config;
pub mod metrics;
