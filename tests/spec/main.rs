//! MQTT 3.1.1, statement by statement: raw bytes on a socket, and the bytes that must come back.
//!
//! Every test names in its first line of documentation the statements that it shows
//! (`/// [MQTT-3.8.4-3]`). `docs/conformance.md` is the table of all of them; [`conformance`] holds
//! the two together. What concerns two clients runs twice: both on one node, and on two.
//!
//! The packets are written here by hand ([`bytes`]), not by Causeway's own codec, so that a fault
//! of that does not hide itself. All tests share one cluster ([`stage`]), each with client ids and
//! topics of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy takes only functions marked as tests for tests"
)]

mod bytes;
mod chapter1;
mod chapter2;
mod chapter7;
mod conformance;
mod connack;
mod connect;
mod disconnect;
mod errors;
mod flows;
mod keep_alive;
mod order;
mod peer;
mod publish;
mod quirks;
mod retain;
mod session;
mod stage;
mod subscribe;
mod topics;
mod unsubscribe;
mod will;
