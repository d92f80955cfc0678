//! Any bytes, read as the configuration of a node and of a bridge.
#![no_main]

use std::sync::LazyLock;

use tempfile::TempDir;

#[path = "../check_config.rs"]
mod check_config;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check_config::check(bytes, FOLDER.path()));
