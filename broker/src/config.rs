//! The keys of a node's configuration, with their defaults and ranges. `deploy/broker.toml` shows
//! every one of them; a test holds the two together.
//!
//! It leaves to others: reading ([`causeway_common::config`]), and what the keys do.

mod address;
mod anonymous;
mod limits;
mod listener;
mod ranges;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use causeway_common::{
    config::{Backend, DEVELOPMENT_SECRET, Log, Runtime, Secret},
    tls::{ClientCertificates, ServerFiles, TlsVersion},
};
use serde::{Deserialize, Serialize};

pub use limits::Limits;
pub use listener::{AllowAnonymous, Connections, Listener, UserFrom};

use crate::store::disk::SEGMENT_BYTES;

/// Everything a node can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[[listener]]`, at least one.
    pub listener: Vec<Listener>,
    /// `[connections]`
    pub connections: Connections,
    /// `[limits]`
    pub limits: Limits,
    /// `[session]`
    pub session: Session,
    /// `[store]`
    pub store: Store,
    /// `[retained]`
    pub retained: Retained,
    /// `[inbox]`
    pub inbox: Inbox,
    /// `[auth]`
    pub auth: Auth,
    /// `[link]`
    pub link: Link,
    /// `[directory]`
    pub directory: Directory,
    /// `[sys]`
    pub sys: Sys,
    /// `[admin]`
    pub admin: Admin,
    /// `[runtime]`
    pub runtime: Runtime,
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
    /// Host name or IP address, without a port, under which clients and bridges reach this node;
    /// an empty text for the addresses that it listens on.
    pub advertised_address: String,
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
    /// Size of a packet from a client, its header included, 1 to 268,434,436: what stands around its
    /// message on a link must have room too. A larger one closes the connection.
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
    /// How long a durable session (clean session 0) waits for its client before it is forgotten with
    /// all its messages; 0: for ever.
    pub expiry_secs: u64,
    /// The longest keep-alive a client is held to, 1 to 65,535; one that asks for more is closed
    /// after 1.5 times this without a packet.
    pub keep_alive_secs_max: u16,
}

/// Where durable sessions, their messages and what is retained are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// A folder of this node's own, made if it is not there. Without it, an empty text, all is kept in
    /// memory and ends with the process.
    pub folder: PathBuf,
    /// Bytes that the folder may take; beyond it the store is as on a full disk. 0: as many as there are.
    pub bytes_max: u64,
    /// Bytes of one file of it, at least 4,096.
    pub segment_bytes: u64,
}

/// What is retained. The same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retained {
    /// Topics with a retained message; beyond it those of new topics are delivered and not retained.
    pub messages_max: usize,
    /// Bytes of retained messages, with their bookkeeping; beyond it nothing is retained that needs more.
    pub bytes_max: usize,
    /// How long a node remembers that a topic's message was deleted, at least 1. A node that was gone for
    /// longer may bring the message back.
    pub tombstone_secs: u64,
    /// Time between two comparisons with another node, at least 1.
    pub sync_interval_secs: u64,
}

/// The inbox `user/<user>/#`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inbox {
    /// Whether CONNECT subscribes a client to the inbox of its user, at QoS 1.
    pub auto_subscribe: bool,
}

/// Who may connect, and what they may do then. Both files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether clients without a user name may. `local`: at listeners that only this machine reaches,
    /// if there is no password file.
    #[serde(with = "anonymous::or_local")]
    pub allow_anonymous: Option<bool>,
    /// Users and their hashed passwords, in mosquitto's format. Without it, an empty text, a password
    /// proves nothing.
    pub password_file: PathBuf,
    /// What users may read and write, in mosquitto's format. Without it, an empty text, everybody may
    /// everything.
    pub acl_file: PathBuf,
}

/// The links to the bridges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// IP address and port where bridges connect, closed to clients; port 0 takes a free one.
    pub address: SocketAddr,
    /// The password of the bridges, the same for all nodes and bridges of a cluster.
    pub secret: Secret,
    /// PEM file with the node's certificate for links. With it links speak TLS, and a bridge needs a
    /// certificate; without it, an empty text, they do not.
    pub certificate: PathBuf,
    /// PEM file with the private key of the certificate.
    pub key: PathBuf,
    /// PEM file with the authority that has signed the certificates of bridges; no client's.
    pub authority: PathBuf,
    /// PEM files with what this authority has revoked.
    pub revocation_lists: Vec<PathBuf>,
    /// How long a SUBACK waits for the new route to be effective on all nodes, at least 1.
    pub route_timeout_secs: u64,
    /// How long a CONNACK waits for another node to close the client's old connection, at least 1.
    pub takeover_timeout_secs: u64,
    /// How long QoS 1 and 2 messages for durable sessions of a node that is gone wait for it, before they
    /// are given up; the same as `bridge.home_grace_secs` of the bridges.
    pub home_grace_secs: u64,
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

/// What the node says of itself under `$SYS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sys {
    /// Time between two looks at its values; 0 says nothing.
    pub sys_interval_secs: u64,
}

/// The page for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port of `/metrics`, `/healthz`, `/readyz`; port 0 takes a free one.
    pub address: SocketAddr,
}

impl Node {
    /// What others are told of an address that this node listens on: `host:port`.
    pub fn advertise(&self, bound: SocketAddr) -> String {
        address::advertise(&self.advertised_address, bound)
    }
}

impl Auth {
    /// The password file, if there is one.
    pub fn password_file(&self) -> Option<&Path> {
        Some(&*self.password_file).filter(|file| !file.as_os_str().is_empty())
    }

    /// The access file, if there is one.
    pub fn acl_file(&self) -> Option<&Path> {
        Some(&*self.acl_file).filter(|file| !file.as_os_str().is_empty())
    }
}

impl Link {
    /// The files of TLS; nothing if links do without.
    pub fn tls_files(&self) -> Option<ServerFiles> {
        let files = ServerFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authority: self.authority.clone(),
            clients: ClientCertificates::Required,
            revocation_lists: self.revocation_lists.clone(),
            version_min: TlsVersion::V1_3,
        };
        (!self.certificate.as_os_str().is_empty()).then_some(files)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listener: vec![Listener::default()],
            node: Node::default(),
            connections: Connections::default(),
            limits: Limits::default(),
            session: Session::default(),
            store: Store::default(),
            retained: Retained::default(),
            inbox: Inbox::default(),
            auth: Auth::default(),
            link: Link::default(),
            directory: Directory::default(),
            sys: Sys::default(),
            admin: Admin::default(),
            runtime: Runtime::default(),
            log: Log::default(),
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self { name: "node-1".to_owned(), advertised_address: String::new() }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            max_inflight: 20,
            queue_messages_max: 1000,
            queue_bytes_max: 8 * MIB,
            mailbox_bytes_max: 4 * MIB,
            packet_bytes_max: 2 * MIB,
            topic_levels_max: 200,
            filters_max: 10_000,
            owed_messages_max: 100,
            owed_bytes_max: 4 * MIB,
            expiry_secs: 0,
            keep_alive_secs_max: u16::MAX,
        }
    }
}

impl Default for Retained {
    fn default() -> Self {
        Self {
            messages_max: 1_000_000,
            bytes_max: 256 * MIB,
            tombstone_secs: 86_400,
            sync_interval_secs: 30,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { folder: PathBuf::new(), bytes_max: 0, segment_bytes: SEGMENT_BYTES }
    }
}

impl Default for Inbox {
    fn default() -> Self {
        let auto_subscribe = true;
        Self { auto_subscribe }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            address: local(2883),
            secret: DEVELOPMENT_SECRET.into(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            authority: PathBuf::new(),
            revocation_lists: Vec::new(),
            route_timeout_secs: 5,
            takeover_timeout_secs: 5,
            home_grace_secs: 60,
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

impl Default for Sys {
    fn default() -> Self {
        let sys_interval_secs = 10;
        Self { sys_interval_secs }
    }
}

impl Default for Admin {
    fn default() -> Self {
        let address = local(9883);
        Self { address }
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

const MIB: usize = 1024 * 1024;
