//! What outlives a connection, a process and a restart, from outside: real processes with their
//! stores on disk, a real Redis, real clients. One module for each thing that must be shown.
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

mod astray;
mod crowd;
mod damage;
mod dice;
mod disk_full;
mod durable;
mod erasure;
mod home;
mod kill;
mod ledger;
mod listener;
mod paho;
mod restart;
mod retained;
mod scale;
mod stage;
mod stranger;
mod sys;
mod takeover;
mod talker;
mod turning;
mod wills;
