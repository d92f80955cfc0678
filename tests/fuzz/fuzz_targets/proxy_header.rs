//! Any bytes, read as what a proxy sends first.
#![no_main]

#[path = "../check_proxy.rs"]
mod check_proxy;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check_proxy::check(bytes));
