//! Who may connect, and what they may read and write, from outside: real processes, real files, and
//! mosquitto on the same files.
//!
//! Every test has processes and files of its own, so that all may run at once, and waits for conditions,
//! so that a busy machine makes it slow and not red.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy takes only functions marked as tests for tests"
)]

mod credentials;
mod inbox;
mod reload;
mod rules;
mod stage;
mod storm;
mod tool;
