//! The cluster from outside: real processes, a real Redis, real clients. One module for each thing
//! that the cluster must show.
//!
//! Every test starts a cluster of its own, so that all may run at once, and waits for conditions,
//! so that a busy machine makes it slow and not red.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy takes only functions marked as tests for tests"
)]

mod abuse;
mod across;
mod bridge_loss;
mod capacity;
mod certificates;
mod chat;
mod exposition;
mod fairness;
mod handshakes;
mod hostile;
mod limits;
mod link_tls;
mod memory;
mod names;
mod node_loss;
mod pause;
mod proxied;
mod redis_loss;
mod renewal;
mod retained;
mod revocation;
mod shortage;
mod stream;
mod subscribe;
mod tls;
