//! What is shipped beside the programs: images and their composition, units of systemd, what Prometheus is
//! told. Each is tried with the program it is meant for.
//!
//! Docker and systemd-analyze are not everywhere: without one its tests are skipped, and say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy takes only functions marked as tests for tests"
)]

mod compose;
mod engine;
mod health;
mod notify;
mod prometheus;
mod scrape;
mod units;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Says on the tester's own standard error, which is not held back, what is not tested, and why.
fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}
