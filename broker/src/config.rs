//! The keys of a node's configuration, with their defaults and ranges. `deploy/broker.toml` shows
//! every one of them; a test holds the two together.
//!
//! It leaves to others: reading ([`causeway_common::config`]), and what the keys do.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use causeway_common::{
    config::{
        self, Backend, DEVELOPMENT_SECRET, DURATION, DURATION_MAX, Invalid, LOG_FILTER, Log,
        Secret, ensure,
    },
    id::{MEMBER_NAME, valid_member_name},
    telemetry,
};
use serde::{Deserialize, Serialize};

use crate::listener::tls::Identity;

/// Everything a node can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[listener]`
    pub listener: Listener,
    /// `[listener_tls]`
    pub listener_tls: ListenerTls,
    /// `[session]`
    pub session: Session,
    /// `[inbox]`
    pub inbox: Inbox,
    /// `[auth]`
    pub auth: Auth,
    /// `[link]`
    pub link: Link,
    /// `[directory]`
    pub directory: Directory,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Its name, one of its own in the cluster and the same after a restart: 1 to 64 of
    /// `a-z A-Z 0-9 . _ -`.
    pub name: String,
}

/// Where clients connect, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// IP address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Connections at a time, at least 1. Further ones are answered with CONNACK 3.
    pub max_connections: usize,
    /// Time from the connection to a whole CONNECT, at least 1.
    pub connect_timeout_secs: u64,
    /// Connections over `max_connections` whose CONNECT is read and answered at a time, at least 1;
    /// further ones wait until they are accepted.
    pub refusals_max: usize,
}

/// Where clients connect with TLS. They count against the limits of `[listener]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTls {
    /// IP address and port; port 0 takes a free one. Without it, an empty text, there is no TLS.
    #[serde(with = "address_or_empty")]
    pub address: Option<SocketAddr>,
    /// PEM file with the node's certificate, followed by those between it and the authority.
    pub certificate: PathBuf,
    /// PEM file with the private key of the certificate.
    pub key: PathBuf,
    /// Time for a handshake, at least 1.
    pub handshake_timeout_secs: u64,
    /// Handshakes at a time, at least 1; further connections wait until they are accepted.
    pub handshakes_max: usize,
}

/// What one client may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Session {
    /// Messages of QoS 1 and 2 sent to a client and not yet acknowledged, 1 to 65,535.
    pub max_inflight: u16,
    /// Messages that wait for the window.
    pub queue_messages_max: usize,
    /// Bytes of messages that wait for the window.
    pub queue_bytes_max: usize,
    /// Bytes of messages that wait for the client's task; beyond it they are dropped.
    pub mailbox_bytes_max: usize,
    /// Size of a packet from a client, its header included; a larger one closes the connection.
    pub packet_bytes_max: usize,
    /// Levels of a topic or filter.
    pub topic_levels_max: usize,
    /// Filters a client may be subscribed to.
    pub filters_max: usize,
    /// Messages from a client that wait for their acknowledgement; at this number the node stops
    /// reading from it.
    pub owed_messages_max: usize,
    /// Bytes of such messages.
    pub owed_bytes_max: usize,
    /// The longest keep-alive a client is held to, 1 to 65,535; one that asks for more is closed
    /// after 1.5 times this without a packet.
    pub keep_alive_secs_max: u16,
}

/// The inbox `user/<user>/#`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inbox {
    /// Whether CONNECT subscribes a client to the inbox of its user, at QoS 1.
    pub auto_subscribe: bool,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether clients without user name and password may.
    pub allow_anonymous: bool,
}

/// The links to the bridges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// IP address and port where bridges connect, closed to clients; port 0 takes a free one.
    pub address: SocketAddr,
    /// The password of the bridges, the same for all nodes and bridges of a cluster.
    pub secret: Secret,
    /// How long a SUBACK waits for the new route to be effective on all nodes, at least 1.
    pub route_timeout_secs: u64,
    /// How long a CONNACK waits for another node to close the client's old connection, at least 1.
    pub takeover_timeout_secs: u64,
    /// Bytes of QoS 1 and 2 messages that wait for a bridge's acknowledgement; beyond it their
    /// publishers wait.
    pub backlog_bytes_max: usize,
    /// Bytes of QoS 0 messages that wait for one link; beyond it they are dropped.
    pub mailbox_bytes_max: usize,
    /// Time between two probes of the way to another node and back, at least 1.
    pub probe_interval_secs: u64,
}

/// Who is logged in where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Directory {
    /// `redis`, or `memory` for a cluster within one process.
    pub backend: Backend,
    /// Redis: `redis://[user:password@]host:port[/database]`. Never logged, as it may hold a
    /// password.
    pub url: Secret,
    /// What every key in Redis begins with; one for each cluster.
    pub prefix: String,
    /// How long this node counts as live after its last sign of life, at least 1.
    pub lease_secs: u64,
    /// Time for one command, at least 1.
    pub command_timeout_ms: u64,
    /// What becomes of new logins while the directory can't be reached.
    pub when_lost: WhenLost,
}

/// What a node does with a CONNECT while the directory can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenLost {
    /// Accepts it: the client is entered once the directory is back.
    Serve,
    /// Answers CONNACK 3.
    Refuse,
}

/// The page for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port of `/metrics`, `/healthz`, `/readyz`; port 0 takes a free one.
    pub address: SocketAddr,
}

impl config::Config for Config {
    fn validate(&self) -> Result<(), Invalid> {
        ensure(valid_member_name(&self.node.name), "node.name", MEMBER_NAME)?;
        for (key, at_least_one) in self.counts() {
            ensure(at_least_one, key, "at least 1")?;
        }
        for (key, duration) in self.durations() {
            ensure((1..=DURATION_MAX).contains(&duration), key, DURATION)?;
        }
        let tls = &self.listener_tls;
        if tls.address.is_some() {
            Identity::load(&tls.certificate, &tls.key)?;
        }
        let plain_secret = (1..=65_535).contains(&self.link.secret.expose().len());
        ensure(plain_secret, "link.secret", "1 to 65,535 bytes long")?;
        ensure(!self.directory.prefix.is_empty(), "directory.prefix", "at least one character")?;
        ensure(telemetry::valid_filter(&self.log.filter), "log.filter", LOG_FILTER)
    }
}

impl Config {
    fn counts(&self) -> [(&'static str, bool); 12] {
        let Self { listener, listener_tls: tls, session, .. } = self;
        [
            ("listener.max_connections", listener.max_connections > 0),
            ("listener.refusals_max", listener.refusals_max > 0),
            ("listener_tls.handshakes_max", tls.handshakes_max > 0),
            ("session.max_inflight", session.max_inflight > 0),
            ("session.queue_messages_max", session.queue_messages_max > 0),
            ("session.queue_bytes_max", session.queue_bytes_max > 0),
            ("session.packet_bytes_max", session.packet_bytes_max > 0),
            ("session.topic_levels_max", session.topic_levels_max > 0),
            ("session.filters_max", session.filters_max > 0),
            ("session.owed_messages_max", session.owed_messages_max > 0),
            ("session.owed_bytes_max", session.owed_bytes_max > 0),
            ("session.keep_alive_secs_max", session.keep_alive_secs_max > 0),
        ]
    }
}

impl Config {
    fn durations(&self) -> [(&'static str, u64); 7] {
        let Self { listener, listener_tls: tls, link, directory, .. } = self;
        [
            ("listener.connect_timeout_secs", listener.connect_timeout_secs),
            ("listener_tls.handshake_timeout_secs", tls.handshake_timeout_secs),
            ("link.route_timeout_secs", link.route_timeout_secs),
            ("link.takeover_timeout_secs", link.takeover_timeout_secs),
            ("link.probe_interval_secs", link.probe_interval_secs),
            ("directory.lease_secs", directory.lease_secs),
            ("directory.command_timeout_ms", directory.command_timeout_ms),
        ]
    }
}

impl Default for Node {
    fn default() -> Self {
        let name = "node-1".to_owned();
        Self { name }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: local(1883),
            max_connections: 500,
            connect_timeout_secs: 10,
            refusals_max: 64,
        }
    }
}

impl Default for ListenerTls {
    fn default() -> Self {
        Self {
            address: None,
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            handshake_timeout_secs: 10,
            handshakes_max: 64,
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            max_inflight: 20,
            queue_messages_max: 100_000,
            queue_bytes_max: 8 * MIB,
            mailbox_bytes_max: 4 * MIB,
            packet_bytes_max: 2 * MIB,
            topic_levels_max: 200,
            filters_max: 10_000,
            owed_messages_max: 100,
            owed_bytes_max: 4 * MIB,
            keep_alive_secs_max: u16::MAX,
        }
    }
}

impl Default for Inbox {
    fn default() -> Self {
        let auto_subscribe = true;
        Self { auto_subscribe }
    }
}

impl Default for Auth {
    fn default() -> Self {
        let allow_anonymous = true;
        Self { allow_anonymous }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            address: local(2883),
            secret: DEVELOPMENT_SECRET.into(),
            route_timeout_secs: 5,
            takeover_timeout_secs: 5,
            backlog_bytes_max: 64 * MIB,
            mailbox_bytes_max: 16 * MIB,
            probe_interval_secs: 3,
        }
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            backend: Backend::Redis,
            url: "redis://127.0.0.1:6379".into(),
            prefix: "causeway".to_owned(),
            lease_secs: 6,
            command_timeout_ms: 1000,
            when_lost: WhenLost::Serve,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        let address = local(9883);
        Self { address }
    }
}

/// TOML has no way to say nothing, so an empty text says it.
mod address_or_empty {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = address.map(|address| address.to_string());
        serializer.serialize_str(&text.unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        let address = text.parse();
        address.map(Some).map_err(|_| Error::custom("expected a socket address, or an empty text"))
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

const MIB: usize = 1024 * 1024;
