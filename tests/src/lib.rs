//! What the tests of this package share.

pub mod redis_server;
