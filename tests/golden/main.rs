//! What users write and read, held against files: the example configurations and the names of all
//! metrics. A changed name or default is a change of a file that can be seen.
//!
//! `UPDATE_GOLDEN=1` writes the metrics files anew. It leaves to others: what the values are.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "clippy counts only functions marked as tests as tests"
)]

#[path = "../fuzz/check_config.rs"]
mod check_config;
mod config;
mod metrics;
