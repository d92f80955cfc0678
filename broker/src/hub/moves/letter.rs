//! What two nodes write to each other about a session that moves: the form of
//! [`Note::Session`](causeway_common::link::Note), which bridges do not read.
//!
//! A letter may be lost, and may come twice or late. Whoever gives a session writes one letter at a
//! time, until it is answered; the stamps of a node's letters grow, so that an old one is known.

use causeway_common::{
    id::{ClientId, Epoch, Incarnation, NodeId, PacketId, SessionId, UserName},
    link::Origin,
    packet::Subscription,
    qos::QoS,
    topic::Filter,
};
use serde::{Deserialize, Serialize};

use super::lineage::Lineage;
use crate::{
    hub::record::MessageRow,
    session::{Inheritance, Place},
};

/// One letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    /// The session, by its name on the node that gives it.
    pub(super) session: SessionId,
    /// Which letter of the giver it is; an answer has the stamp of what it answers.
    pub(super) stamp: Stamp,
    pub(super) body: Body,
}

/// Grows with each letter of a node, also over its lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::hub) struct Stamp {
    pub(in crate::hub) incarnation: Incarnation,
    pub(in crate::hub) number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Body {
    /// The session without its messages.
    Head(Box<Head>),
    /// Messages of its line, the next ones in order.
    Line(Vec<Piece>),
    /// There is nothing more of it.
    End,
    /// To the giver itself, through one bridge: what that bridge had for it has come before this.
    Flush,
    /// The taker's answer.
    Answer(Answer),
}

/// A session without its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) client_id: ClientId,
    pub(super) user: UserName,
    /// The claim by which the taker owns the client id.
    pub(super) epoch: Epoch,
    /// The last claim of the giver.
    pub(super) claimed: Option<Epoch>,
    pub(super) lineage: Lineage,
    /// What stands aside has come since this claim.
    pub(super) aside_since: Epoch,
    /// Messages that the client has had: copies of them may be on their way to the taker.
    pub(super) past: Vec<Origin>,
    filters: Vec<(Filter, u8)>,
    received: Vec<u16>,
    /// Places where only PUBCOMP is to come.
    pub(super) released: Vec<Place>,
    /// Messages in places before this one may have been sent.
    pub(super) doubtful: Place,
    /// Nothing new got a place before this one: other pieces of the session may have those.
    pub(super) next_place: Place,
}

/// A message of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    /// Where it stood.
    pub(super) place: Place,
    /// It has an origin, always.
    pub(super) message: MessageRow,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is durable; what is subscribed is effective in the whole cluster.
    Stored,
    /// Begin at the head: nothing is known of this session, or no longer.
    Unknown,
    /// Nobody wants the session: its client began a new one, or it is another user's.
    Unwanted,
    /// The client has gone on to another node.
    Elsewhere {
        node: NodeId,
        /// By this claim.
        epoch: Epoch,
    },
}

impl Head {
    pub(super) fn new(
        (client_id, user, epoch): (ClientId, UserName, Epoch),
        (claimed, lineage): (Option<Epoch>, Lineage),
        (past, aside_since): (Vec<Origin>, Epoch),
        (inheritance, next_place): (Inheritance, Place),
    ) -> Self {
        let Inheritance { subscriptions, received, released, doubtful } = inheritance;
        let filters = subscriptions.into_iter().map(|held| (held.filter, held.qos.bits()));
        let received = received.into_iter().map(PacketId::get);
        Self {
            client_id,
            user,
            epoch,
            claimed,
            lineage,
            aside_since,
            past,
            filters: filters.collect(),
            received: received.collect(),
            released,
            doubtful,
            next_place,
        }
    }

    /// Whether the client may know anything of it by an identifier.
    pub(super) fn has_identifiers(&self) -> bool {
        let has_sent = self.doubtful > Place::default();
        has_sent || !self.received.is_empty() || !self.released.is_empty()
    }

    /// What there is for the client's session.
    pub(super) fn inheritance(&self) -> Inheritance {
        let held = self.filters.iter().filter_map(|(filter, qos)| {
            Some(Subscription { filter: filter.clone(), qos: QoS::from_bits(*qos)? })
        });
        Inheritance {
            subscriptions: held.collect(),
            received: self.received.iter().copied().filter_map(PacketId::new).collect(),
            released: self.released.clone(),
            doubtful: self.doubtful,
        }
    }
}
