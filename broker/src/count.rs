//! Which counter an outcome has: the enums of the pure parts and the fields of [`Metrics`].

use causeway_common::qos::QoS;

use crate::{
    metrics::Metrics,
    session::{CloseReason, DropReason, Refusal},
};

impl Metrics {
    /// A client has published a message with so many bytes of payload.
    pub fn count_received(&self, qos: QoS, payload_bytes: usize) {
        self.messages_received.at(qos).inc();
        self.payload_bytes_received.inc_by(payload_bytes as u64);
    }

    /// A client is sent a message with so many bytes of payload.
    pub fn count_delivered(&self, qos: QoS, payload_bytes: usize) {
        self.messages_delivered.at(qos).inc();
        self.payload_bytes_sent.inc_by(payload_bytes as u64);
    }

    /// A message was given up.
    pub fn count_drop(&self, reason: DropReason) {
        let dropped = &self.messages_dropped;
        match reason {
            DropReason::MailboxFull => &dropped.mailbox_full,
            DropReason::QueueFull => &dropped.queue_full,
            DropReason::NoBridge => &dropped.no_bridge,
            DropReason::LinkFull => &dropped.link_full,
            DropReason::ReservedTopic => &dropped.reserved_topic,
            DropReason::Offline => &dropped.offline,
            DropReason::Expired => &dropped.expired,
            DropReason::RetainedFull => &dropped.retained_full,
        }
        .inc();
    }

    /// A connection was closed.
    pub fn count_close(&self, reason: CloseReason) {
        let closed = &self.connections_closed;
        match reason {
            CloseReason::ClientDisconnect => &closed.client_disconnect,
            CloseReason::ClientClosed => &closed.client_closed,
            CloseReason::KeepAlive => &closed.keep_alive,
            CloseReason::ProtocolViolation => &closed.protocol_violation,
            CloseReason::ConnectTimeout => &closed.connect_timeout,
            CloseReason::Refused => &closed.refused,
            CloseReason::TakenOver => &closed.taken_over,
            CloseReason::Fenced => &closed.fenced,
            CloseReason::IoError => &closed.io_error,
            CloseReason::Shutdown => &closed.shutdown,
        }
        .inc();
    }

    /// A CONNECT was refused.
    pub fn count_refusal(&self, refusal: Refusal) {
        let refused = &self.connects_refused;
        match refusal {
            Refusal::UnacceptableProtocol => &refused.unacceptable_protocol,
            Refusal::IdentifierRejected => &refused.identifier_rejected,
            Refusal::ServerUnavailable => &refused.server_unavailable,
            Refusal::BadUserNameOrPassword => &refused.bad_user_name_or_password,
            Refusal::NotAuthorized => &refused.not_authorized,
        }
        .inc();
    }
}
