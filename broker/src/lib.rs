//! A node: a broker that takes a bounded number of connections.
//!
//! In the order a message meets them:
//!
//! * [`listener`] — accepts client connections, plain and with TLS.
//! * [`connection`] — one task a client: bytes, packets, the one loop.
//! * [`session`] — what MQTT asks of the server for one client; pure.
//! * [`store`] — what outlives the process.
//! * [`hub`] — who gets a message, here and elsewhere; pure.
//! * [`link`] — one task a bridge.
//! * [`membership`] — the node's lease and its clients' rows in the directory.
//! * `accept`, `places` — the next connection, for both listeners, and who gives way to it.
//! * [`acl`] — what a client may read and write; pure.
//! * [`auth`] — who may connect, and the files that say so.
//! * [`limits`] — how much anybody may use in how much time; pure.
//! * [`memory`] — how much of it is used.
//! * [`node`] — builds all of it and joins it.
//! * [`passwd`] — changes a password file.
//! * [`sys`] — lets the hub say under `$SYS` how the node is.
//! * [`config`], [`metrics`], [`count`] — the keys, the counters, and which counter an outcome has.

mod accept;
pub mod acl;
pub mod auth;
pub mod config;
pub mod connection;
pub mod count;
pub mod hub;
pub mod limits;
pub mod lines;
pub mod link;
pub mod listener;
pub mod membership;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod passwd;
mod places;
pub mod session;
pub mod store;
pub mod sys;
