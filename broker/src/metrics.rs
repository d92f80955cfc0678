//! What a node counts. A field's doc comment is its help text.
//!
//! It leaves to others: when to count, and the page that shows it ([`causeway_common::admin`]).

use causeway_common::{
    id::NodeId,
    metrics::{PerQoS, labels, metrics},
    tls::{Reloads, TlsFailures},
};
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    process_collector::ProcessCollector,
};

use crate::store::disk::DiskMetrics;

metrics! {
    /// Everything a node counts.
    pub struct Metrics {
        /// Client connections that count against the limit.
        connections: IntGauge = "causeway_connections",
        /// Durable sessions whose client is not connected.
        sessions_parked: IntGauge = "causeway_sessions_parked",
        /// Durable sessions that waited for their client for too long.
        sessions_expired: IntCounter = "causeway_sessions_expired_total",
        /// Client connections the node takes at most.
        connections_max: IntGauge = "causeway_connections_max",
        /// CONNECTs answered with CONNACK 0.
        logins: IntCounter = "causeway_logins_total",
        /// CONNECTs answered with another CONNACK.
        connects_refused: ConnectsRefused = "causeway_connects_refused_total" by "reason",
        /// Passwords that were compared.
        password_checks: PasswordChecks = "causeway_password_checks_total" by "outcome",
        /// Messages not given to a client that holds a matching filter and may not read them.
        deliveries_denied: IntCounter = "causeway_deliveries_denied_total",
        /// Files that were read again and not taken: what they said before goes on.
        reload_failures: IntCounterVec = "causeway_reload_failures_total" by "file",
        /// When a file was last taken, in seconds since 1970.
        reload_success: IntGaugeVec = "causeway_reload_success_timestamp_seconds" by "file",
        /// Connections closed.
        connections_closed: ConnectionsClosed = "causeway_connections_closed_total" by "reason",
        /// TLS handshakes that a client and this node have carried through.
        tls_handshakes: IntCounter = "causeway_tls_handshakes_total",
        /// TLS handshakes that resumed an earlier session.
        tls_handshakes_resumed: IntCounter = "causeway_tls_handshakes_resumed_total",
        /// TLS handshakes of clients that failed, whoever gave them up.
        tls_handshakes_failed: TlsFailures = "causeway_tls_handshakes_failed_total" by "reason",
        /// Files of TLS, for clients or links, that were read anew.
        tls_reloads: Reloads = "causeway_tls_reloads_total" by "result",
        /// When the certificate in a file ends, in seconds since 1970.
        tls_certificate_expiry: IntGaugeVec = "causeway_tls_certificate_expiry_timestamp_seconds" by "file",
        /// Connections accepted from clients, whatever became of them.
        connections_accepted: IntCounter = "causeway_connections_accepted_total",
        /// Times a limit held somebody up, or kept somebody out.
        limited: Limited = "causeway_limited_total" by "limit",
        /// How short memory is: 1 from four fifths of `limits.memory_bytes_max` on, 2 at all of it.
        memory_strain: IntGauge = "causeway_memory_strain",
        /// MQTT packets from clients.
        packets_received: IntCounter = "causeway_packets_received_total",
        /// MQTT packets to clients.
        packets_sent: IntCounter = "causeway_packets_sent_total",
        /// Bytes from clients.
        bytes_received: IntCounter = "causeway_bytes_received_total",
        /// Bytes to clients.
        bytes_sent: IntCounter = "causeway_bytes_sent_total",
        /// Bytes of payload in messages published by clients.
        payload_bytes_received: IntCounter = "causeway_payload_bytes_received_total",
        /// Bytes of payload in messages sent to clients; resent ones not counted again.
        payload_bytes_sent: IntCounter = "causeway_payload_bytes_sent_total",
        /// Messages published by clients, by the QoS of the publisher.
        messages_received: PerQoS = "causeway_messages_received_total" by "qos",
        /// Messages sent to clients, by the QoS of the delivery; resent ones not counted again.
        messages_delivered: PerQoS = "causeway_messages_delivered_total" by "qos",
        /// Messages given up.
        messages_dropped: MessagesDropped = "causeway_messages_dropped_total" by "reason",
        /// Messages given to a bridge, by the QoS of the publisher; resent ones not counted again.
        messages_forwarded: PerQoS = "causeway_messages_forwarded_total" by "qos",
        /// Messages from bridges, by the QoS of the publisher; duplicates not counted.
        messages_from_links: PerQoS = "causeway_messages_from_links_total" by "qos",
        /// Messages from bridges that this node had had before.
        duplicates_dropped: IntCounter = "causeway_duplicates_dropped_total",
        /// Messages given to a bridge again because another did not acknowledge them.
        messages_resent: IntCounter = "causeway_messages_resent_total",
        /// Subscriptions of connected clients.
        subscriptions: IntGauge = "causeway_subscriptions",
        /// Different filters that connected clients are subscribed to.
        routes: IntGauge = "causeway_routes",
        /// Bridges linked to this node.
        links: IntGauge = "causeway_links",
        /// Bridges linked to this node that are ready for messages.
        links_ready: IntGauge = "causeway_links_ready",
        /// Messages that wait for a bridge or its acknowledgement.
        forwards_waiting: IntGauge = "causeway_forwards_waiting",
        /// Bytes of messages that wait for a bridge or its acknowledgement.
        forward_backlog_bytes: IntGauge = "causeway_forward_backlog_bytes",
        /// Topics with a retained message.
        retained_messages: IntGauge = "causeway_retained_messages",
        /// Topics whose retained message was deleted, which is remembered for a while.
        retained_tombstones: IntGauge = "causeway_retained_tombstones",
        /// Bytes of retained messages, with their bookkeeping.
        retained_bytes: IntGauge = "causeway_retained_bytes",
        /// Notes of other nodes on retained messages that could not be understood.
        retained_notes_refused: IntCounter = "causeway_retained_notes_refused_total",
        /// SUBACKs sent before their route was known to be effective on all nodes.
        route_timeouts: IntCounter = "causeway_route_timeouts_total",
        /// Clients that moved to a new connection, on this node or from another.
        takeovers: Takeovers = "causeway_takeovers_total" by "scope",
        /// Durable sessions that moved from another node to this one, or from this one.
        sessions_moved: SessionsMoved = "causeway_sessions_moved_total" by "direction",
        /// Wills published.
        wills_published: IntCounter = "causeway_wills_published_total",
        /// Connections closed for a newer one of their client id, the fourth in a row and later: two
        /// devices that contend for it.
        contests: IntCounter = "causeway_contests_total",
        /// CONNACKs sent before another node was known to have closed the old connection.
        takeover_timeouts: IntCounter = "causeway_takeover_timeouts_total",
        /// MQTT packets from bridges.
        link_packets_received: IntCounter = "causeway_link_packets_received_total",
        /// MQTT packets to bridges.
        link_packets_sent: IntCounter = "causeway_link_packets_sent_total",
        /// Bytes from bridges.
        link_bytes_received: IntCounter = "causeway_link_bytes_received_total",
        /// Bytes to bridges.
        link_bytes_sent: IntCounter = "causeway_link_bytes_sent_total",
        /// TLS handshakes of bridges that failed, whoever gave them up.
        link_tls_handshakes_failed: TlsFailures = "causeway_link_tls_handshakes_failed_total" by "reason",
        /// Connections to the link listener with wrong credentials.
        link_logins_refused: IntCounter = "causeway_link_logins_refused_total",
        /// Commands to the directory that failed.
        directory_errors: IntCounter = "causeway_directory_errors_total",
        /// 1 while the directory answers.
        directory_up: IntGauge = "causeway_directory_up",
        /// 1 while this node has no lease and therefore takes no client.
        fenced: IntGauge = "causeway_fenced",
        /// Times this node lost its lease.
        fences: IntCounter = "causeway_fences_total",
        /// Time of a probe to a node and back, through every bridge.
        probe_round_trip: HistogramVec = "causeway_probe_round_trip_seconds" by "peer",
        /// Probes to a node that did not come back.
        probes_lost: IntCounterVec = "causeway_probes_lost_total" by "peer",
        /// Probes to a node that came back in another order.
        probes_out_of_order: IntCounterVec = "causeway_probes_out_of_order_total" by "peer",
        /// Groups of writes that the store has written and synced.
        store_commits: IntCounter = "causeway_store_commits_total",
        /// Writes that have become durable.
        store_batches: IntCounter = "causeway_store_batches_total",
        /// Time to write and sync a group.
        store_commit_time: Histogram = "causeway_store_commit_seconds",
        /// Bytes the store has written, those it moved included.
        store_written_bytes: IntCounter = "causeway_store_written_bytes_total",
        /// Bytes of the store's files.
        store_bytes: IntGauge = "causeway_store_bytes",
        /// Bytes of the store's files that are still needed.
        store_live_bytes: IntGauge = "causeway_store_live_bytes",
        /// Files of the store.
        store_segments: IntGauge = "causeway_store_segments",
        /// 1 while the store can keep nothing: its disk is full or has failed.
        store_trouble: IntGauge = "causeway_store_trouble",
        /// Damages found in the store's files.
        store_damages: IntCounter = "causeway_store_damages_total",
        /// 1, labelled with the version of this program.
        build_info: IntGaugeVec = "causeway_build_info" by "version",
    }
}

labels! {
    /// CONNACK codes 1 to 5.
    pub struct ConnectsRefused {
        /// 1: neither MQTT 3.1 nor 3.1.1.
        unacceptable_protocol,
        /// 2: an empty client id without clean session, or one that is not allowed.
        identifier_rejected,
        /// 3: full, fenced, draining, or without its directory.
        server_unavailable,
        /// 4: wrong.
        bad_user_name_or_password,
        /// 5: not allowed to connect.
        not_authorized,
    }
}

labels! {
    /// What came of a password.
    pub struct PasswordChecks {
        /// Known from an earlier login: nothing was hashed.
        remembered,
        /// Hashed, and right.
        right,
        /// Hashed, and wrong; or nobody knows the user.
        wrong,
    }
}

labels! {
    /// Which limit held somebody up.
    pub struct Limited {
        /// New connections waited: too many a second.
        connections_per_second,
        /// Closed: too many connections of its address.
        connections_per_address,
        /// Closed: too many connections of its address a second.
        address_connections_per_second,
        /// Closed: it had said nothing, and others needed its place.
        places,
        /// CONNACK 3: too many connections of its user.
        connections_per_user,
        /// A client was not read for a while: too many messages.
        messages_per_second,
        /// A client was not read for a while: too many bytes.
        bytes_per_second,
        /// CONNACK 3: memory is short.
        memory_connections,
        /// A client was not read for a while: memory is short, and what it sends must be kept.
        memory_messages,
    }
}

labels! {
    /// Why a connection was closed.
    pub struct ConnectionsClosed {
        /// The client sent DISCONNECT.
        client_disconnect,
        /// The client closed it without DISCONNECT.
        client_closed,
        /// Nothing came for 1.5 times the keep-alive.
        keep_alive,
        /// The client sent what MQTT forbids.
        protocol_violation,
        /// The proxy in front did not say, as it must, who is behind it.
        proxy_header,
        /// No CONNECT in time.
        connect_timeout,
        /// CONNECT was answered with a refusal.
        refused,
        /// The client logged in elsewhere.
        taken_over,
        /// The password of its user was changed or taken away.
        credentials_changed,
        /// The node lost its lease.
        fenced,
        /// The network failed.
        io_error,
        /// The node ends.
        shutdown,
        /// The client sent what must be kept, and there is no memory for it.
        memory,
    }
}

labels! {
    /// Why a message was given up.
    pub struct MessagesDropped {
        /// QoS 0 for a client that does not read fast enough.
        mailbox_full,
        /// QoS 1 or 2 for a client whose queue is full.
        queue_full,
        /// QoS 0 for another node while no bridge is ready.
        no_bridge,
        /// QoS 0 for a bridge that does not read fast enough.
        link_full,
        /// Published by a client under `$`.
        reserved_topic,
        /// Published, or waiting, where the access file does not allow it.
        not_authorized,
        /// QoS 0, for a durable session whose client was not connected.
        offline,
        /// The durable session it waited in expired.
        expired,
        /// No more topics can be retained.
        retained_full,
        /// QoS 0, while all the memory that may be is used.
        memory,
        /// Not yet acknowledged when the connection of a clean session ended.
        connection_lost,
    }
}

labels! {
    /// Where the old connection of a client was.
    pub struct Takeovers {
        /// On this node.
        local,
        /// On another node.
        remote,
    }
}

labels! {
    /// Where a session moved.
    pub struct SessionsMoved {
        /// To this node.
        r#in,
        /// To another node.
        out,
    }
}

impl Metrics {
    /// Registers everything; fails only if the registry holds one of the names already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self::register(registry)?;
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// What a store on a disk counts.
    pub fn store(&self) -> DiskMetrics {
        DiskMetrics {
            commits: self.store_commits.clone(),
            batches: self.store_batches.clone(),
            commit_time: self.store_commit_time.clone(),
            written_bytes: self.store_written_bytes.clone(),
            bytes: self.store_bytes.clone(),
            live_bytes: self.store_live_bytes.clone(),
            segments: self.store_segments.clone(),
            trouble: self.store_trouble.clone(),
            damages: self.store_damages.clone(),
        }
    }

    /// What is counted about the way to one node; to be asked once and kept.
    pub fn peer(&self, peer: &NodeId) -> PeerMetrics {
        let label = &[peer.as_str()];
        PeerMetrics {
            round_trip: self.probe_round_trip.with_label_values(label),
            lost: self.probes_lost.with_label_values(label),
            out_of_order: self.probes_out_of_order.with_label_values(label),
        }
    }

    /// Stops showing what was counted about a node that is gone.
    pub fn forget_peer(&self, peer: &NodeId) {
        let label = &[peer.as_str()];
        // An error says that the node was never probed.
        let _ = self.probe_round_trip.remove_label_values(label);
        let _ = self.probes_lost.remove_label_values(label);
        let _ = self.probes_out_of_order.remove_label_values(label);
    }
}

/// The way from this node to one node and back.
#[derive(Clone, Debug)]
pub struct PeerMetrics {
    /// In seconds.
    pub round_trip: Histogram,
    /// Probes that did not come back.
    pub lost: IntCounter,
    /// Probes that came back in another order.
    pub out_of_order: IntCounter,
}
