//! What a node writes down, and under which names: sessions, their messages, messages on their way to
//! other nodes, and how far each origin was heard.
//!
//! The store keeps bytes under bytes ([`crate::store`]); here is what they mean. Everything is
//! `postcard`: a kind, then the fields. A change of this form needs a new version of the store.

use bytes::Bytes;
use causeway_common::{
    id::{ClientId, Epoch, Incarnation, NodeId, PacketId, SessionId, UserName},
    link::Origin,
    message::Message,
    qos::QoS,
    topic::{Filter, Topic},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smallvec::SmallVec;
use thiserror::Error;

use super::moves::Lineage;
use crate::{
    session::{Change, Delivery, Place, Said},
    store::{Batch, Key},
};

/// The name of something kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Name {
    /// A durable session: [`SessionRow`].
    Session(SessionId),
    /// A filter it holds: the QoS, as a byte.
    Filter(SessionId, Filter),
    /// A message in its line: [`MessageRow`].
    Queued(SessionId, Place),
    /// A QoS 2 message whose PUBCOMP is to come: nothing.
    Released(SessionId, Place),
    /// The identifier of a QoS 2 message that the client has not released: nothing.
    Received(SessionId, u16),
    /// A QoS 2 message of a durable session on its way to other nodes: [`MessageRow`].
    Outbound(Incarnation, u64),
    /// The last sequence had from an origin in a shard: incarnation and sequence.
    Seen(NodeId, u16),
    /// What is retained under a topic.
    Retained(String),
    /// The last incarnation of this node.
    Life,
    /// A session on its way here: its node, and its name there. `ArrivalRow`.
    Arrival(NodeId, SessionId),
    /// What the client of a session that moved lately has had with QoS 2, by number: `Origin`.
    Had(SessionId, u64),
}

/// A durable session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRow {
    pub(crate) client_id: ClientId,
    pub(crate) user: UserName,
    /// Its ownership in the directory, if it has one.
    pub(crate) epoch: Option<Epoch>,
    /// Since when it has no client, in seconds since 1970; none while it has one.
    pub(crate) parked_secs: Option<u64>,
    /// While it has none: messages in places before this one may have been sent.
    pub(crate) doubtful: Option<Place>,
    /// Nothing new gets a place before this one.
    pub(crate) next_place: Place,
    pub(super) lineage: Lineage,
}

/// A message, for one or several sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageRow {
    /// Of the delivery.
    qos: u8,
    /// Of the delivery.
    retain: bool,
    /// Of the publisher.
    said_qos: u8,
    /// The version of what is retained under its topic, if its publisher asked for that.
    pub(crate) retained: Option<u64>,
    topic: String,
    payload: Bytes,
    pub(crate) origin: Option<Origin>,
}

/// Why something that was kept cannot be understood.
#[derive(Debug, Error)]
pub enum RecordError {
    /// It has not the form it should have.
    #[error("a record cannot be read: {0}")]
    Form(#[from] postcard::Error),
    /// A value out of its range.
    #[error("a record holds {0}")]
    Value(&'static str),
}

impl Name {
    pub(crate) fn key(&self) -> Key {
        let mut bytes = SmallVec::new();
        // Nothing in a name can fail to be written.
        if let Ok(text) = postcard::to_stdvec(self) {
            bytes.extend_from_slice(&text);
        }
        Key(bytes)
    }

    pub(crate) fn parse(key: &Key) -> Result<Self, RecordError> {
        Ok(postcard::from_bytes(&key.0)?)
    }
}

impl MessageRow {
    /// How a message is kept for sessions that get it with this QoS.
    pub(crate) fn new(said: &Said, qos: QoS, retain: bool) -> Self {
        let Said { message, origin } = said;
        Self {
            qos: qos.bits(),
            retain,
            said_qos: message.qos.bits(),
            retained: None,
            topic: message.topic.as_str().to_owned(),
            payload: message.payload.clone(),
            origin: origin.clone(),
        }
    }

    /// The same, on its way to other nodes, if its publisher asked for it to be retained.
    pub(crate) fn retained_as(self, retained: Option<u64>) -> Self {
        Self { retained, ..self }
    }

    /// The QoS and the retain flag of the delivery.
    pub(crate) fn delivery(&self) -> Result<(QoS, bool), RecordError> {
        let qos = QoS::from_bits(self.qos).ok_or(RecordError::Value("a QoS over 2"))?;
        Ok((qos, self.retain))
    }

    /// What was said.
    pub(crate) fn said(self) -> Result<Said, RecordError> {
        let qos = QoS::from_bits(self.said_qos).ok_or(RecordError::Value("a QoS over 2"))?;
        let topic = Topic::new(self.topic).map_err(|_| RecordError::Value("no topic"))?;
        let retain = self.retained.is_some();
        let message = Message { topic, payload: self.payload, qos, retain };
        Ok(Said { message, origin: self.origin })
    }

    /// How a delivery is kept, or moves.
    pub(crate) fn of(delivery: &Delivery) -> Self {
        Self::new(&delivery.message, delivery.qos, delivery.retain)
    }
}

/// How a change of a durable session is written down.
pub fn change_record(session: SessionId, change: &Change) -> Batch {
    let mut batch = Batch::default();
    match *change {
        Change::Taken { place, .. } => batch.delete(Name::Queued(session, place).key()),
        Change::Released { place, .. } => {
            batch.delete(Name::Queued(session, place).key());
            batch.put(Name::Released(session, place).key(), Bytes::new());
        }
        Change::Completed { place } => batch.delete(Name::Released(session, place).key()),
        Change::Forgotten { id } => batch.delete(Name::Received(session, id.get()).key()),
    }
    batch
}

pub(crate) fn encode(value: &impl Serialize) -> Bytes {
    // Nothing we keep can fail to be written.
    postcard::to_stdvec(value).map(Bytes::from).unwrap_or_default()
}

pub(crate) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, RecordError> {
    Ok(postcard::from_bytes(value)?)
}

pub(crate) fn packet_id(id: u16) -> Result<PacketId, RecordError> {
    PacketId::new(id).ok_or(RecordError::Value("packet identifier 0"))
}
