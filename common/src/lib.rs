//! The words all parts of Causeway share.
//!
//! * [`id`], [`qos`], [`message`] — who, how surely, what.
//! * [`topic`] — topic names, topic filters, and the one tree that matches them.
//! * [`packet`] — MQTT 3.1.1 on the wire: strict rules around `mqttbytes`.
//! * [`delivery`] — what both halves of a QoS exchange need: a window of packet identifiers.
//! * [`link`] — what travels between a node and a bridge.
//! * [`directory`] — who is logged in where: the trait, in memory, in Redis.
//! * [`wire`] — a socket with its buffers and the codec.
//! * [`proxy`], [`tls`], [`watch`] — what stands in front of a socket, and files that are read anew when they change.
//! * [`mailbox`] — the bounded queue in front of every task that owns something.
//! * [`stint`] — how long a task works before it gives way to the others of its thread.
//! * [`keyed`] — hash maps of which every connection has some.
//! * [`config`], [`telemetry`], [`mod@metrics`], [`admin`] — how a service is set up and seen.
//!
//! It leaves to others: sockets (but for the directory's and the admin page's), sessions, routing.

pub mod admin;
pub mod config;
pub mod delivery;
pub mod directory;
pub mod id;
pub mod keyed;
pub mod link;
pub mod mailbox;
pub mod message;
pub mod metrics;
pub mod packet;
pub mod proxy;
pub mod qos;
pub mod service;
pub mod stint;
pub mod telemetry;
pub mod tls;
pub mod topic;
pub mod watch;
pub mod wire;
