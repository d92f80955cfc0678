//! What can happen to a session, and what it can ask for: two closed lists.

use std::{ops::Deref, sync::Arc};

use causeway_common::{
    id::{PacketId, Ticket},
    link::Origin,
    message::Message,
    packet::{Packet, Subscription},
    qos::QoS,
    topic::{Filter, Topic},
};
use serde::{Deserialize, Serialize};

use super::CloseReason;
use crate::store::Position;

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
    /// The session of an earlier connection has been parked: the next may have it.
    Vacant,
    /// A session has come from another node: it held these filters, and had received QoS 2 messages
    /// under these identifiers. Its messages come as deliveries.
    Inherit(Box<Inheritance>),
    /// End the connection.
    Close(CloseReason),
}

/// What comes with a session from another node, besides its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inheritance {
    /// What it was subscribed to.
    pub subscriptions: Vec<Subscription>,
    /// Identifiers of QoS 2 messages that its client had sent and not yet released.
    pub received: Vec<PacketId>,
    /// Places where only PUBCOMP is to come.
    pub released: Vec<Place>,
    /// Messages in places before this one may have been sent.
    pub doubtful: Place,
}

/// What somebody said, and as which message of which node it went to other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The message.
    pub message: Message,
    /// A name in the cluster also if it did not leave its node; none for QoS 0 that did not.
    pub origin: Option<Origin>,
}

impl Deref for Said {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// The place of a message in a session's line. It gives the packet identifier.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Place(pub u64);

impl Place {
    /// After so many places identifiers come again.
    pub const IDS: u64 = u16::MAX as u64;

    /// The packet identifier of a message in this place.
    pub fn id(self) -> PacketId {
        let position = u16::try_from(self.0 % Self::IDS).unwrap_or(0);
        PacketId::new(position + 1).unwrap_or(PacketId::FIRST)
    }
}

/// Where a message is written down for a durable session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the session's line.
    pub place: Place,
    /// When that is durable.
    pub position: Position,
}

/// A message on its way to one client, with its granted QoS.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What was said; shared with all other deliveries of it.
    pub message: Arc<Said>,
    /// The smaller of the message's and the subscription's QoS [MQTT-3.8.4-6].
    pub qos: QoS,
    /// Whether it comes from the retained messages [MQTT-3.3.1-8] [MQTT-3.3.1-9].
    pub retain: bool,
    /// Present exactly if the session is durable and the QoS is 1 or 2.
    pub stored: Option<Stored>,
}

impl Delivery {
    /// What it counts for in a queue bounded in bytes. What comes from the retained messages is
    /// shared with them.
    pub fn cost(&self) -> usize {
        if self.retain { SHARED_COST } else { self.message.cost() }
    }
}

/// Bytes that a delivery takes whose message is kept elsewhere anyway.
const SHARED_COST: usize = 64;

/// What must outlive the process, for a durable session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The client has a QoS 1 message: it can be forgotten, whenever.
    Taken {
        /// Where it stood.
        place: Place,
        /// What it counted for.
        cost: usize,
    },
    /// The client has a QoS 2 message, and is about to hear so: it must not be sent again.
    Released {
        /// Where it stood.
        place: Place,
        /// What it counted for.
        cost: usize,
    },
    /// A QoS 2 exchange is over: it can be forgotten, whenever.
    Completed {
        /// Where it stood.
        place: Place,
    },
    /// The client's QoS 2 identifier may name a new message from now on.
    Forgotten {
        /// The identifier.
        id: PacketId,
    },
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
        /// Present if it is a QoS 2 message of a durable session: the identifier must be remembered
        /// with it.
        received: Option<PacketId>,
    },
    /// Write this down, before anything that comes after it is sent.
    Persist(Change),
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
    /// The client may not publish to this topic: its message is given up.
    Denied {
        /// Where it was published.
        topic: Topic,
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
    /// The access file does not allow it.
    NotAuthorized,
    /// QoS 0, for a durable session whose client is not there.
    Offline,
    /// The session waited for its client for too long.
    Expired,
    /// No more topics can be retained.
    RetainedFull,
    /// All the memory that may be is used, and the message is of QoS 0, or its client does not keep up.
    Memory,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::MailboxFull,
        Self::QueueFull,
        Self::NoBridge,
        Self::LinkFull,
        Self::ReservedTopic,
        Self::NotAuthorized,
        Self::Offline,
        Self::Expired,
        Self::RetainedFull,
        Self::Memory,
    ];

    /// A short word of a bounded set: the metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::MailboxFull => "mailbox_full",
            Self::QueueFull => "queue_full",
            Self::NoBridge => "no_bridge",
            Self::LinkFull => "link_full",
            Self::ReservedTopic => "reserved_topic",
            Self::NotAuthorized => "not_authorized",
            Self::Offline => "offline",
            Self::Expired => "expired",
            Self::RetainedFull => "retained_full",
            Self::Memory => "memory",
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

/// What a session may take more of, as far as the node's memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Filters that it does not hold.
    pub filters: bool,
    /// Messages that wait for the window, and are not written down.
    pub queue: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self { filters: true, queue: true }
    }
}
