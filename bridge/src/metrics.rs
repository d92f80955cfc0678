//! What a bridge counts. A field's doc comment is its help text.
//!
//! It leaves to others: when to count, and the page that shows it ([`causeway_common::admin`]).

use causeway_common::{
    metrics::{PerQoS, labels, metrics},
    tls::Reloads,
    wire::Traffic,
};
use prometheus::{
    IntCounter, IntGauge, IntGaugeVec, Registry, process_collector::ProcessCollector,
};

metrics! {
    /// Everything a bridge counts.
    pub struct Metrics {
        /// Nodes linked to this bridge.
        links: IntGauge = "causeway_links",
        /// Nodes linked to this bridge that have been told to give it messages.
        links_ready: IntGauge = "causeway_links_ready",
        /// Nodes whose lease runs, by the directory.
        nodes_live: IntGauge = "causeway_nodes_live",
        /// Nodes whose lease has ended and whose durable sessions messages are held for.
        nodes_away: IntGauge = "causeway_nodes_away",
        /// 1 once the routes of every live node have been learnt.
        armed: IntGauge = "causeway_armed",
        /// Pairs of a filter and a node that wants it.
        routes: IntGauge = "causeway_routes",
        /// Filters subscribed to at a node.
        interest_filters: IntGaugeVec = "causeway_interest_filters" by "node",
        /// Wider filters that stand for several, over all nodes.
        interest_merged_groups: IntGauge = "causeway_interest_merged_groups",
        /// MQTT packets from nodes.
        packets_received: IntCounter = "causeway_link_packets_received_total",
        /// MQTT packets to nodes.
        packets_sent: IntCounter = "causeway_link_packets_sent_total",
        /// Bytes from nodes.
        bytes_received: IntCounter = "causeway_link_bytes_received_total",
        /// Bytes to nodes.
        bytes_sent: IntCounter = "causeway_link_bytes_sent_total",
        /// Messages given to nodes, by the QoS of the publisher and once for each destination.
        messages_forwarded: PerQoS = "causeway_messages_forwarded_total" by "qos",
        /// Messages from nodes that no other node wanted.
        messages_without_destination: IntCounter =
            "causeway_messages_without_destination_total",
        /// Messages given up, once for each destination.
        messages_dropped: MessagesDropped = "causeway_messages_dropped_total" by "reason",
        /// Messages that wait for the acknowledgement of a destination.
        transits: IntGauge = "causeway_transits",
        /// Messages held for nodes that are not linked, or away.
        held_messages: IntGauge = "causeway_held_messages",
        /// Bytes of messages held for nodes that are not linked, or away.
        held_bytes: IntGauge = "causeway_held_bytes",
        /// Messages given to a node again after its link broke.
        messages_resent: IntCounter = "causeway_messages_resent_total",
        /// Changes of routes that nodes told.
        route_changes: IntCounter = "causeway_route_changes_total",
        /// Notes from one node to another.
        notes: Notes = "causeway_notes_total" by "kind",
        /// Pieces of sessions for a node that is not there: not answered, so that the sender asks again.
        notes_unanswered: IntCounter = "causeway_notes_unanswered_total",
        /// Rows of clients deleted because their node's lease had ended.
        rows_swept: IntCounter = "causeway_rows_swept_total",
        /// Nodes whose rows were deleted because their lease had ended.
        nodes_swept: IntCounter = "causeway_nodes_swept_total",
        /// Links that could not be made, or broke.
        link_failures: LinkFailures = "causeway_link_failures_total" by "reason",
        /// When the certificate in a file ends, in seconds since 1970.
        tls_certificate_expiry: IntGaugeVec = "causeway_tls_certificate_expiry_timestamp_seconds" by "file",
        /// Files of TLS that were read anew.
        tls_reloads: Reloads = "causeway_tls_reloads_total" by "result",
        /// Commands to the directory that failed.
        directory_errors: IntCounter = "causeway_directory_errors_total",
        /// 1 while the directory answers.
        directory_up: IntGauge = "causeway_directory_up",
        /// 1, labelled with the version of this program.
        build_info: IntGaugeVec = "causeway_build_info" by "version",
    }
}

labels! {
    /// Why a message was given up.
    pub struct MessagesDropped {
        /// Its destination's lease ended.
        node_gone,
        /// It waited for a durable session of a node that is gone, and that did not come back in time.
        home_gone,
        /// QoS 0 for a node that is not linked.
        not_linked,
        /// QoS 0 for a node that does not read fast enough.
        link_full,
    }
}

labels! {
    /// What nodes say to one another.
    pub struct Notes {
        /// Close this client's old connection.
        take_over,
        /// Are you there?
        probe,
        /// I am.
        echo,
        /// A piece of a session that moves.
        session,
        /// Something about what is retained.
        retained,
    }
}

labels! {
    /// Why there is no link.
    pub struct LinkFailures {
        /// The node could not be reached.
        dial,
        /// One side did not accept the other's certificate, or it spoke no TLS.
        tls,
        /// It did not answer the CONNECT in time, or refused it.
        login,
        /// It was silent for 1.5 times the keep-alive.
        keep_alive,
        /// It closed the connection.
        closed,
        /// The network failed.
        io_error,
        /// It sent what the link protocol forbids.
        violation,
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

    /// What passes the sockets of links.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            packets_received: self.packets_received.clone(),
            packets_sent: self.packets_sent.clone(),
            bytes_received: self.bytes_received.clone(),
            bytes_sent: self.bytes_sent.clone(),
        }
    }
}
