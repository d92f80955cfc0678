//! The keys of a bridge's configuration, with their defaults and ranges. `deploy/bridge.toml` shows
//! every one of them; a test holds the two together.
//!
//! It leaves to others: reading ([`causeway_common::config`]), and what the keys do.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use causeway_common::{
    config::{
        self, Backend, DEVELOPMENT_SECRET, DURATION_MAX, Invalid, Log, Runtime, Secret, ensure,
        ensure_directory, ensure_durations, ensure_link_files, ensure_shared,
    },
    id::{MEMBER_NAME, valid_member_name},
    tls::{ClientFiles, TlsClient},
};
use serde::{Deserialize, Serialize};

/// Everything a bridge can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[bridge]`
    pub bridge: Bridge,
    /// `[link]`
    pub link: Link,
    /// `[directory]`
    pub directory: Directory,
    /// `[admin]`
    pub admin: Admin,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[log]`
    pub log: Log,
}

/// Who this bridge is, and what it may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bridge {
    /// Its name, one of its own in the cluster: 1 to 64 of `a-z A-Z 0-9 . _ -`.
    pub name: String,
    /// Filters subscribed to at one node, at least 1; beyond it they are merged into wider ones.
    pub interest_filters_max: usize,
    /// Bytes of QoS 0 messages that wait for one link; beyond it they are dropped.
    pub mailbox_bytes_max: usize,
    /// Keep-alive of the links, 1 to 65,535. Whoever is silent for 1.5 times this is given up, which
    /// must be before a node gives up waiting for a bridge (`link.route_timeout_secs` there).
    pub keep_alive_secs: u16,
    /// How long after a node's lease has ended messages for its durable sessions wait for it, at
    /// most 1,000,000; 0 lets them wait not at all.
    pub home_grace_secs: u64,
}

/// The links to the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// The password the nodes ask for, the same for all nodes and bridges of a cluster.
    pub secret: Secret,
    /// PEM file with the bridge's certificate. With it links speak TLS, and a node needs a certificate
    /// that names its address; without it, an empty text, they do not.
    pub certificate: PathBuf,
    /// PEM file with the private key of the certificate.
    pub key: PathBuf,
    /// PEM file with the authority that has signed the nodes' certificates for links.
    pub authority: PathBuf,
    /// PEM files with what this authority has revoked.
    pub revocation_lists: Vec<PathBuf>,
}

/// Which nodes live.
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
    /// The lease of the nodes, as in their configuration, at least 1: a bridge cut off from a live
    /// node for longer steps back.
    pub lease_secs: u64,
    /// Time for one command, at least 1.
    pub command_timeout_ms: u64,
    /// Time between two looks at which nodes live, at least 1.
    pub poll_interval_ms: u64,
}

/// The page for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port of `/metrics`, `/healthz`, `/readyz`; port 0 takes a free one.
    pub address: SocketAddr,
}

impl config::Config for Config {
    fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    fn validate(&self) -> Result<(), Invalid> {
        let Self { bridge, link, directory, .. } = self;
        ensure(valid_member_name(&bridge.name), "bridge.name", MEMBER_NAME)?;
        for (key, at_least_one) in [
            ("bridge.interest_filters_max", bridge.interest_filters_max > 0),
            ("bridge.keep_alive_secs", bridge.keep_alive_secs > 0),
        ] {
            ensure(at_least_one, key, "at least 1")?;
        }
        ensure_durations([
            ("directory.lease_secs", directory.lease_secs),
            ("directory.command_timeout_ms", directory.command_timeout_ms),
            ("directory.poll_interval_ms", directory.poll_interval_ms),
        ])?;
        let grace = bridge.home_grace_secs <= DURATION_MAX;
        ensure(grace, "bridge.home_grace_secs", "0 to 1,000,000")?;
        ensure_directory(
            directory.backend,
            &directory.url,
            directory.lease_secs,
            directory.command_timeout_ms,
        )?;
        ensure_link_files((&link.certificate, &link.key, &link.authority), &link.revocation_lists)?;
        if let Some(files) = link.tls_files() {
            TlsClient::load(files).map_err(|bad| bad.in_config("link", "authority"))?;
        }
        ensure_shared(&link.secret, &directory.prefix, &self.runtime, &self.log)
    }
}

impl Link {
    /// The files of TLS; nothing if links do without.
    pub fn tls_files(&self) -> Option<ClientFiles> {
        let files = ClientFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authority: self.authority.clone(),
            revocation_lists: self.revocation_lists.clone(),
        };
        (!self.certificate.as_os_str().is_empty()).then_some(files)
    }
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            name: "bridge-1".to_owned(),
            interest_filters_max: 4096,
            mailbox_bytes_max: 16 * 1024 * 1024,
            keep_alive_secs: 2,
            home_grace_secs: 60,
        }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            secret: DEVELOPMENT_SECRET.into(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            authority: PathBuf::new(),
            revocation_lists: Vec::new(),
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
            poll_interval_ms: 500,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        let address = (Ipv4Addr::LOCALHOST, 9893).into();
        Self { address }
    }
}
