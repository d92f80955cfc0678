//! What travels between a node and a bridge: ordinary MQTT under `$link/`.
//!
//! The bridge is an MQTT client of every node. A [`Frame`] is what one MQTT packet on a link means;
//! the pure parts of both sides speak frames, [`encode`] and [`from_packet`] are the only place
//! that knows how they look on the wire, so that `mosquitto_sub -t '$link/#' -v` can show them.
//!
//! | frame | MQTT packet | who sends it |
//! |---|---|---|
//! | [`Frame::Status`] | PUBLISH `$link/status`, QoS 0, JSON | bridge, first of all and on each change |
//! | [`Frame::Hello`] | PUBLISH `$link/hello`, QoS 0, JSON | node, in answer to the first status |
//! | [`Frame::Routes`] | PUBLISH `$link/routes`, QoS 1, JSON | node: snapshot, then changes |
//! | [`Frame::Subscribe`], [`Frame::SubAck`] | SUBSCRIBE, SUBACK | bridge wants; node has set it up |
//! | [`Frame::Unsubscribe`], [`Frame::UnsubAck`] | UNSUBSCRIBE, UNSUBACK | the same, undone |
//! | [`Frame::Forward`] | PUBLISH `$link/m/…`, QoS 0 or 1 | both: a message, payload untouched |
//! | [`Frame::Direct`] | PUBLISH `$link/to/<node>/<from>`, QoS 0 or 1, JSON | both: node to node |
//! | the same, for nodes only | `$link/session/<node>/<from>`, `$link/retained/…`, binary | both |
//! | [`Frame::Ack`] | PUBACK | both |
//! | [`Frame::Ping`], [`Frame::Pong`] | PINGREQ, PINGRESP | bridge; node |
//!
//! It leaves to others: sockets, what to do with a frame.

mod envelope;
mod wire;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub use envelope::{Envelope, EnvelopeError, Origin, PREFIX_BYTES_MAX};
pub use wire::{LinkError, encode, from_packet, to_packet};

use crate::{
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, PacketId},
    topic::Filter,
};

/// What one packet on a link means.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// How the bridge is.
    Status(Status),
    /// Who the node is.
    Hello(Hello),
    /// Filters that the node's clients hold, or no longer hold.
    Routes {
        /// Acknowledged once the change is effective on every node the bridge is linked to.
        id: PacketId,
        /// The change.
        routes: Routes,
    },
    /// The bridge wants what matches these filters (its *interest* in this node).
    Subscribe {
        /// Answered by [`Frame::SubAck`].
        id: PacketId,
        /// What it wants from now on.
        filters: Vec<Filter>,
    },
    /// The interest is in force.
    SubAck {
        /// The subscription it answers.
        id: PacketId,
        /// How many filters it had.
        filter_count: usize,
    },
    /// The bridge no longer wants what matches these filters.
    Unsubscribe {
        /// Answered by [`Frame::UnsubAck`].
        id: PacketId,
        /// What it no longer wants.
        filters: Vec<Filter>,
    },
    /// The interest is no longer in force.
    UnsubAck(PacketId),
    /// A message on its way to other nodes. Present identifier: QoS 1 on the link.
    Forward {
        /// Answered by [`Frame::Ack`] once it is safe wherever it must be.
        id: Option<PacketId>,
        /// The message.
        envelope: Arc<Envelope>,
    },
    /// A note from one node to one node. Present identifier: QoS 1 on the link.
    Direct {
        /// Answered by [`Frame::Ack`] once the receiver has done it.
        id: Option<PacketId>,
        /// Who shall have it.
        to: NodeId,
        /// Who says it.
        from: NodeId,
        /// What it says.
        note: Note,
    },
    /// PUBACK.
    Ack(PacketId),
    /// PINGREQ.
    Ping,
    /// PINGRESP.
    Pong,
}

/// How a bridge is; the first one on a link says that the peer is a bridge at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Its name.
    pub bridge: BridgeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Whether it has every live node's routes, and this node its whole interest: only then a
    /// node gives it messages.
    pub ready: bool,
    /// Whether it can reach the directory; a node that cannot asks this before it fences itself.
    pub directory_reachable: bool,
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Its name.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Version of this protocol: [`PROTOCOL_VERSION`].
    pub protocol: u32,
}

/// A change of a node's routes. A snapshot may come in several parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// Counts the changes of one incarnation.
    pub version: u64,
    /// Whether it belongs to the snapshot that follows a hello, and ends it.
    pub part: Part,
    /// Filters that now have a holder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Filter>,
    /// Filters that have none any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Filter>,
    /// Filters, among those with a holder, that a durable session holds from now on: while this node
    /// is gone, what matches them waits for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub durable: Vec<Filter>,
    /// Filters that no durable session holds any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fleeting: Vec<Filter>,
}

impl Routes {
    /// Whether nothing changes by it.
    pub fn names_nothing(&self) -> bool {
        let Self { version: _, part: _, add, remove, durable, fleeting } = self;
        [add, remove, durable, fleeting].into_iter().all(Vec::is_empty)
    }
}

/// Where a [`Routes`] belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A snapshot of which more is to come.
    Snapshot,
    /// The last part of a snapshot.
    SnapshotEnd,
    /// A change after the snapshot.
    #[default]
    Change,
}

/// What one node says to one other node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Note {
    /// This client id is owned elsewhere since this epoch: close an older connection of it, and
    /// hand over its session. The acknowledgement says that both is done.
    TakeOver {
        /// The client id.
        client_id: ClientId,
        /// The new owner's epoch.
        epoch: Epoch,
        /// The new connection wants no earlier state: it is to be forgotten, not handed over.
        clean: bool,
    },
    /// A piece of a session that moves to the node it is sent to. Bridges do not read it; only nodes
    /// know its form (`broker/src/hub/moves`). The acknowledgement says that it is stored.
    #[serde(skip)]
    Session(Bytes),
    /// Something about what is retained (`broker/src/hub/retained`). Bridges do not read it.
    #[serde(skip)]
    Retained(Bytes),
    /// Are you there, on the path that messages go? To be sent back as [`Note::Echo`].
    Probe {
        /// Counts the probes to that node.
        number: u64,
        /// The sender's clock, microseconds.
        sent_us: u64,
    },
    /// A probe sent back.
    Echo {
        /// The probe's number.
        number: u64,
        /// The probe's time.
        sent_us: u64,
    },
}

impl Note {
    /// What bridges carry without reading it.
    pub fn body(&self) -> Option<&Bytes> {
        match self {
            Self::Session(body) | Self::Retained(body) => Some(body),
            Self::TakeOver { .. } | Self::Probe { .. } | Self::Echo { .. } => None,
        }
    }
}

impl Frame {
    /// What it counts for in a queue bounded in bytes.
    pub fn cost(&self) -> usize {
        match self {
            Self::Forward { envelope, .. } => envelope.cost(),
            Self::Routes { routes, .. } => {
                let filters = routes.add.iter().chain(&routes.remove);
                64 + filters.map(|filter| filter.as_str().len() + 8).sum::<usize>()
            }
            Self::Subscribe { filters, .. } | Self::Unsubscribe { filters, .. } => {
                64 + filters.iter().map(|filter| filter.as_str().len() + 8).sum::<usize>()
            }
            Self::Status(_) | Self::Hello(_) | Self::SubAck { .. } | Self::UnsubAck(_) => 64,
            Self::Direct { note, .. } => 256 + note.body().map_or(0, Bytes::len),
            Self::Ack(_) | Self::Ping | Self::Pong => 16,
        }
    }

    /// Whether nobody waits for an answer to it, and it is none itself: such a frame may be dropped
    /// where there is no room for it.
    pub fn may_be_lost(&self) -> bool {
        matches!(self, Self::Forward { id: None, .. } | Self::Direct { id: None, .. })
    }

    /// Whether a PUBLISH carries it, under a topic that says what it is.
    pub fn is_publish(&self) -> bool {
        match self {
            Self::Status(_)
            | Self::Hello(_)
            | Self::Routes { .. }
            | Self::Forward { .. }
            | Self::Direct { .. } => true,
            Self::Subscribe { .. }
            | Self::SubAck { .. }
            | Self::Unsubscribe { .. }
            | Self::UnsubAck(_)
            | Self::Ack(_)
            | Self::Ping
            | Self::Pong => false,
        }
    }
}

/// The version of this protocol; a peer with another one is refused.
pub const PROTOCOL_VERSION: u32 = 2;

/// The first levels of everything said on links; closed to clients.
pub const PREFIX: &str = "$link/";

/// The largest packet on a link: the largest MQTT has, with its header.
pub const LINK_PACKET_BYTES_MAX: usize = 268_435_455 + 5;

/// The largest packet that a node may take from a client: 1 KiB is left for what stands around its
/// message on a link, so that what one node takes, every link carries.
pub const CLIENT_PACKET_BYTES_MAX: usize = LINK_PACKET_BYTES_MAX - 1024;

/// The longest topic, and the longest filter, that a node may take from a client: a topic of a link
/// is still a topic name behind the prefix.
pub const TOPIC_BYTES_MAX: usize = u16::MAX as usize - PREFIX_BYTES_MAX;

/// The user name a bridge logs in with on a node's link listener.
pub const LINK_USER: &str = "link";

/// How many filters one packet on a link carries at most.
pub const FILTERS_PER_FRAME_MAX: usize = 500;
