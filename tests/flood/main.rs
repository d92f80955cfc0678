//! Floods that take most of the files a process may have open: apart from the other tests, which need some too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy takes only functions marked as tests for tests"
)]

mod half_open;
