//! Any bytes, read as a password file.
#![no_main]

#[path = "../check_files.rs"]
#[allow(dead_code, reason = "each target checks one kind of file")]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check_passwords(bytes));
