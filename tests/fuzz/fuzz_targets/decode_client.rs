//! Any bytes, read as what servers send.
#![no_main]

use causeway_common::packet::Role;

#[path = "../check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(Role::Client, bytes));
