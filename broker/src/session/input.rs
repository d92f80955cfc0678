//! What can happen to a session, and what it can ask for: two closed lists.

use std::sync::Arc;

use causeway_common::{
    id::{PacketId, Ticket},
    message::Message,
    packet::{Packet, Subscription},
    qos::QoS,
    topic::Filter,
};

use super::CloseReason;

/// Everything that can happen to a session.
#[derive(Debug)]
pub enum Input {
    /// The client sent this.
    Packet(Packet),
    /// The hub put this into the session's mailbox.
    Mail(Mail),
    /// The session's deadline has come.
    Tick,
}

/// What the rest of the node tells a session.
#[derive(Debug)]
pub enum Mail {
    /// A message for the client.
    Deliver(Delivery),
    /// The message of this ticket is safe wherever it must be: its answer is due.
    Routed(Ticket),
    /// The subscription of this ticket is effective in the whole cluster.
    Subscribed(Ticket),
    /// End the connection.
    Close(CloseReason),
}

/// A message on its way to one client, with its granted QoS.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What was said; shared with all other deliveries of it.
    pub message: Arc<Message>,
    /// The smaller of the message's and the subscription's QoS [MQTT-3.8.4-6].
    pub qos: QoS,
    /// Whether it comes from the retained messages [MQTT-3.3.1-8] [MQTT-3.3.1-9].
    pub retain: bool,
}

/// Everything a session can ask for. The order of the actions is the contract.
#[derive(Debug)]
pub enum Action {
    /// Send this packet to the client.
    Send(Packet),
    /// Send this message to the client.
    Deliver {
        /// The message, its QoS and retain flag.
        delivery: Delivery,
        /// Present exactly if the QoS is 1 or 2.
        id: Option<PacketId>,
        /// Whether it may have been sent before.
        dup: bool,
    },
    /// Give this message to everybody who wants it; say [`Mail::Routed`] when it is safe, if
    /// there is a ticket.
    Route {
        /// Names the message until it is safe; none for QoS 0.
        ticket: Option<Ticket>,
        /// What the client said.
        message: Message,
    },
    /// Let the session's subscriptions be known; say [`Mail::Subscribed`] when they are effective.
    Subscribe {
        /// Names the subscription until it is effective.
        ticket: Ticket,
        /// What was granted; may be empty, if all was refused.
        subscriptions: Vec<Subscription>,
    },
    /// Forget these subscriptions.
    Unsubscribe {
        /// What the client no longer wants.
        filters: Vec<Filter>,
    },
    /// A message was given up: count it.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Of which QoS.
        qos: QoS,
    },
    /// End the connection; nothing after this action counts.
    Close(CloseReason),
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The mailbox of a subscriber that reads too slowly is full.
    MailboxFull,
    /// The queue of a subscriber that acknowledges too slowly is full.
    QueueFull,
    /// QoS 0, other nodes live, and no bridge is ready.
    NoBridge,
    /// QoS 0, and the link to the bridge is congested.
    LinkFull,
    /// A client published under `$`.
    ReservedTopic,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::MailboxFull, Self::QueueFull, Self::NoBridge, Self::LinkFull, Self::ReservedTopic];

    /// A short word of a bounded set: the metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::MailboxFull => "mailbox_full",
            Self::QueueFull => "queue_full",
            Self::NoBridge => "no_bridge",
            Self::LinkFull => "link_full",
            Self::ReservedTopic => "reserved_topic",
        }
    }
}

/// What one session may hold. Every queue is bounded in bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages in flight towards the client, 1 to 65,535.
    pub max_inflight: usize,
    /// Messages that wait for the window.
    pub queue_messages_max: usize,
    /// Bytes that wait for the window.
    pub queue_bytes_max: usize,
    /// Levels of a topic or filter.
    pub topic_levels_max: usize,
    /// Filters the client may hold.
    pub filters_max: usize,
    /// Messages from the client that may wait for their answer before it is no longer read.
    pub owed_messages_max: usize,
    /// Bytes of such messages.
    pub owed_bytes_max: usize,
}
