//! Which counter an outcome has: the enums of the pure parts and the fields of [`Metrics`].

use causeway_common::qos::QoS;

use crate::{
    metrics::Metrics,
    session::{CloseReason, DropReason, Refusal},
};

/// What one connection has passed on since it last added that to what all count: no shared memory a
/// message.
#[derive(Debug, Default)]
pub struct Tally {
    received: [u64; 3],
    received_bytes: u64,
    delivered: [u64; 3],
    delivered_bytes: u64,
}

impl Tally {
    /// A client has published a message with so many bytes of payload.
    pub fn count_received(&mut self, qos: QoS, payload_bytes: usize) {
        count(&mut self.received, qos);
        self.received_bytes += payload_bytes as u64;
    }

    /// Whether clients have published anything since it was flushed.
    pub fn has_received(&self) -> bool {
        self.received != [0; 3]
    }

    /// A client is sent a message with so many bytes of payload.
    pub fn count_delivered(&mut self, qos: QoS, payload_bytes: usize) {
        count(&mut self.delivered, qos);
        self.delivered_bytes += payload_bytes as u64;
    }

    /// Adds it to what all count.
    pub fn flush(&mut self, metrics: &Metrics) {
        let Self { received, received_bytes, delivered, delivered_bytes } = std::mem::take(self);
        for (qos, (received, delivered)) in
            QoS::ALL.into_iter().zip(received.into_iter().zip(delivered))
        {
            if received > 0 {
                metrics.messages_received.at(qos).inc_by(received);
            }
            if delivered > 0 {
                metrics.messages_delivered.at(qos).inc_by(delivered);
            }
        }
        if received_bytes > 0 {
            metrics.payload_bytes_received.inc_by(received_bytes);
        }
        if delivered_bytes > 0 {
            metrics.payload_bytes_sent.inc_by(delivered_bytes);
        }
    }
}

fn count(counts: &mut [u64; 3], qos: QoS) {
    if let Some(count) = counts.get_mut(usize::from(qos.bits())) {
        *count += 1;
    }
}

impl Metrics {
    /// A message was given up.
    pub fn count_drop(&self, reason: DropReason) {
        let dropped = &self.messages_dropped;
        match reason {
            DropReason::MailboxFull => &dropped.mailbox_full,
            DropReason::QueueFull => &dropped.queue_full,
            DropReason::NoBridge => &dropped.no_bridge,
            DropReason::LinkFull => &dropped.link_full,
            DropReason::ReservedTopic => &dropped.reserved_topic,
            DropReason::NotAuthorized => &dropped.not_authorized,
            DropReason::Offline => &dropped.offline,
            DropReason::Expired => &dropped.expired,
            DropReason::RetainedFull => &dropped.retained_full,
            DropReason::Memory => &dropped.memory,
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
            CloseReason::CredentialsChanged => &closed.credentials_changed,
            CloseReason::Fenced => &closed.fenced,
            CloseReason::IoError => &closed.io_error,
            CloseReason::Shutdown => &closed.shutdown,
            CloseReason::Memory => &closed.memory,
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
