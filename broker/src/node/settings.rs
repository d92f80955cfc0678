//! What each part of a node is told of its configuration. It leaves to `node.rs` to build them.

use std::{sync::Arc, time::Duration};

use causeway_common::{telemetry::Seldom, tls::TlsServer};

use super::NodeError;
use crate::{
    config::{self, Config},
    connection::Parts,
    hub::{
        HubLimits,
        retained::{ExchangeLimits, RetainedLimits},
    },
    limits::Addresses,
    link::LinkParts,
    listener::Gate,
    membership::Terms,
    metrics::Metrics,
    session::Limits,
    store::{
        Entry, Store,
        disk::{DiskOptions, DiskStore},
        memory::MemoryStore,
    },
};

/// What outlives the process, and what it kept.
pub(super) fn open_store(
    config: &Config,
    metrics: &Metrics,
) -> Result<(Arc<dyn Store>, Vec<Entry>), NodeError> {
    let config::Store { folder, bytes_max, segment_bytes } = &config.store;
    if folder.as_os_str().is_empty() {
        return Ok((Arc::new(MemoryStore::default()), Vec::new()));
    }
    let opened = DiskStore::open(DiskOptions {
        folder: folder.clone(),
        segment_bytes: *segment_bytes,
        bytes_max: Some(*bytes_max).filter(|bytes| *bytes > 0),
        metrics: metrics.store(),
    })?;
    Ok((Arc::new(opened.store), opened.entries))
}

pub(super) fn hub_limits(config: &Config) -> HubLimits {
    HubLimits {
        connections_max: config.connections.max_connections,
        connections_per_user: config.limits.connections_per_user,
        session: Arc::new(session_limits(config)),
        mailbox_bytes_max: config.session.mailbox_bytes_max,
        session_expiry_secs: Some(config.session.expiry_secs).filter(|secs| *secs > 0),
        backlog_bytes_max: config.link.backlog_bytes_max,
        route_timeout: Duration::from_secs(config.link.route_timeout_secs),
        // A bridge that lost a node says that it is not ready after one lease.
        lost_bridge_grace: Duration::from_secs(2 * config.directory.lease_secs),
        probe_interval: Duration::from_secs(config.link.probe_interval_secs),
        retained: RetainedLimits {
            messages_max: config.retained.messages_max,
            bytes_max: config.retained.bytes_max,
            tombstone_secs: config.retained.tombstone_secs,
        },
        exchange: ExchangeLimits {
            interval: Duration::from_secs(config.retained.sync_interval_secs),
            ..ExchangeLimits::default()
        },
    }
}

pub(super) fn gate(config: &Config) -> Gate {
    let Config { connections, limits, .. } = config;
    let rate = limits.rate(limits.address_connections_per_second);
    Gate::new(
        connections.max_connections + connections.refusals_max,
        limits.rate(limits.connections_per_second),
        Addresses::new(limits.connections_per_address, rate),
    )
}

pub(super) fn terms(config: &Config) -> Terms {
    Terms {
        lease: Duration::from_secs(config.directory.lease_secs),
        when_lost: config.directory.when_lost,
        takeover_timeout: Duration::from_secs(config.link.takeover_timeout_secs),
        home_grace: Duration::from_secs(config.link.home_grace_secs),
    }
}

pub(super) fn session_limits(config: &Config) -> Limits {
    let session = &config.session;
    Limits {
        max_inflight: usize::from(session.max_inflight),
        queue_messages_max: session.queue_messages_max,
        queue_bytes_max: session.queue_bytes_max,
        topic_levels_max: session.topic_levels_max,
        filters_max: session.filters_max,
        owed_messages_max: session.owed_messages_max,
        owed_bytes_max: session.owed_bytes_max,
    }
}

pub(super) fn link_parts(config: &Config, parts: &Parts, tls: Option<Arc<TlsServer>>) -> LinkParts {
    LinkParts {
        hub: Arc::clone(&parts.hub),
        metrics: Arc::clone(&parts.metrics),
        budget: Arc::clone(&parts.budget),
        secret: config.link.secret.clone(),
        tls,
        mailbox_bytes_max: config.link.mailbox_bytes_max,
        connect_timeout: Duration::from_secs(config.connections.connect_timeout_secs),
        refusals: Seldom::default(),
    }
}
