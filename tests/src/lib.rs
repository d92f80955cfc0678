//! What the tests that cross a process share: the processes of a cluster, clients that talk to
//! them, and ways to wait without sleeping.
//!
//! * [`process`], [`redis_server`], [`cluster`] — real processes on ports that the system gave.
//! * [`keeper`] — ends them when many tests share them.
//! * [`client`], [`mosquitto`] — an own client for numbers and oddities, strangers for honesty.
//! * [`certificates`] — authorities, what they sign and revoke, and clients that speak TLS.
//! * [`bystanders`] — two who talk on while others do their worst.
//! * [`metrics`] — what the processes say of themselves.
//! * [`wait`] — a condition, a deadline, a sentence.
//!
//! It leaves to the tests what must hold. Everything here panics with a sentence when the world
//! is not as the test assumed: that is how a test fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "clippy takes only functions marked as tests for tests"
)]

pub mod bystanders;
pub mod certificates;
pub mod client;
pub mod cluster;
pub mod keeper;
pub mod metrics;
pub mod mosquitto;
pub mod process;
pub mod redis_server;
pub mod wait;
