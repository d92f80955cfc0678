//! A message between nodes: the original topic behind a short prefix, the payload untouched.
//!
//! ```text
//!   $link/m/node-1/1732281234567/42/1r7/user/bob/alice
//!           origin incarnation   │  │  the topic as alice published it
//!                        sequence┘  └ original QoS; `r` and a version if retain was set
//! ```
//!
//! A bridge passes topic and payload on as they are: they are written once, by the origin.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::PREFIX;
use crate::{
    id::{Incarnation, NodeId},
    message::Message,
    qos::QoS,
    topic::{Topic, TopicError},
};

/// A message between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Where it comes from, and its number there.
    pub origin: Origin,
    /// The original QoS.
    pub qos: QoS,
    /// The version of what is retained under this topic, if the retain flag was set: with the
    /// origin's name as the tie-break, the greatest wins on every node.
    pub retained: Option<u64>,
    /// The topic on the link: prefix and original.
    wire_topic: Topic,
    /// Where the original topic begins in `wire_topic`.
    topic_at: usize,
    payload: Bytes,
}

/// Which message of which life of which node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The node it was published on.
    pub node: NodeId,
    /// That node's life.
    pub incarnation: Incarnation,
    /// Counts the QoS 1 and 2 messages of that life, and apart from them those of QoS 0; from 1 on.
    pub sequence: u64,
}

/// Why a topic on a link names no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// A level of the prefix is missing or malformed.
    #[error("malformed forwarded topic: {0}")]
    Malformed(&'static str),
    /// Prefix and topic together, or the topic alone, are no topic name.
    #[error("forwarded topic: {0}")]
    Topic(#[from] TopicError),
}

impl Envelope {
    /// Wraps a message at its origin. Fails only where prefix and topic are longer than a topic
    /// name may be; [`PREFIX_BYTES_MAX`] keeps clear of that.
    pub fn new(
        origin: Origin,
        message: &Message,
        retained: Option<u64>,
    ) -> Result<Self, EnvelopeError> {
        let mut wire = String::with_capacity(PREFIX_BYTES_MAX + message.topic.as_str().len());
        let Origin { node, incarnation, sequence } = &origin;
        let qos = message.qos;
        // Writing to a string cannot fail.
        let _ = write!(wire, "{PREFIX}{MARK}/{node}/{incarnation}/{sequence}/{qos}");
        let _ = match retained {
            Some(version) => write!(wire, "r{version}/"),
            None => write!(wire, "/"),
        };
        let topic_at = wire.len();
        wire.push_str(message.topic.as_str());
        Ok(Self {
            origin,
            qos,
            retained,
            wire_topic: Topic::new(wire)?,
            topic_at,
            payload: message.payload.clone(),
        })
    }

    /// Reads a topic that begins with `$link/m/`.
    pub fn parse(wire_topic: Topic, payload: Bytes) -> Result<Self, EnvelopeError> {
        let text = wire_topic.as_str();
        let mut levels = text.splitn(7, '/').skip(2);
        let mut level = || levels.next().ok_or(EnvelopeError::Malformed("too few levels"));
        let node = NodeId::from(level()?);
        let incarnation = Incarnation(number(level()?)?);
        let sequence = number(level()?)?;
        let (qos, retained) = flags(level()?)?;
        let topic = level()?;
        Topic::check(topic)?;
        let topic_at = text.len() - topic.len();
        let origin = Origin { node, incarnation, sequence };
        Ok(Self { origin, qos, retained, wire_topic, topic_at, payload })
    }

    /// The original topic.
    pub fn topic(&self) -> &str {
        self.wire_topic.as_str().get(self.topic_at..).unwrap_or_default()
    }

    /// The topic on the link.
    pub fn wire_topic(&self) -> &Topic {
        &self.wire_topic
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The message as its publisher sent it.
    pub fn to_message(&self) -> Result<Message, EnvelopeError> {
        Ok(Message {
            topic: Topic::new(self.topic())?,
            payload: self.payload.clone(),
            qos: self.qos,
            retain: self.retained.is_some(),
        })
    }

    /// Whether links carry it at QoS 1: what is retained must reach every node, whatever its QoS.
    pub fn is_answered(&self) -> bool {
        self.qos.is_answered() || self.retained.is_some()
    }

    /// What it counts for in a queue bounded in bytes.
    pub fn cost(&self) -> usize {
        self.payload.len() + self.wire_topic.as_str().len() + 160
    }
}

fn number(level: &str) -> Result<u64, EnvelopeError> {
    level.parse().map_err(|_| EnvelopeError::Malformed("not a number"))
}

fn flags(level: &str) -> Result<(QoS, Option<u64>), EnvelopeError> {
    let (digit, retained) = match level.split_once('r') {
        Some((digit, version)) => (digit, Some(number(version)?)),
        None => (level, None),
    };
    let bits = digit.parse().map_err(|_| EnvelopeError::Malformed("no QoS"))?;
    let qos = QoS::from_bits(bits).ok_or(EnvelopeError::Malformed("no QoS"))?;
    Ok((qos, retained))
}

/// The level after `$link` that marks a message.
pub(super) const MARK: &str = "m";

/// The longest prefix: a name of 64 bytes, three numbers of 20 digits.
pub const PREFIX_BYTES_MAX: usize = PREFIX.len() + 2 + 65 + 2 * 21 + 2 + 21;

#[cfg(test)]
mod tests {
    use super::{super::TOPIC_BYTES_MAX, *};

    fn message(topic: &str, retain: bool) -> Message {
        let topic = Topic::new(topic).unwrap();
        Message { topic, payload: Bytes::from_static(b"hi"), qos: QoS::AtLeastOnce, retain }
    }

    fn origin() -> Origin {
        let (node, incarnation) = (NodeId::from("node-1"), Incarnation(17));
        Origin { node, incarnation, sequence: 42 }
    }

    #[test]
    fn an_envelope_reads_as_it_was_written() {
        for retain in [false, true] {
            let message = message("user/bob//alice", retain);
            let envelope = Envelope::new(origin(), &message, retain.then_some(7)).unwrap();
            assert!(envelope.wire_topic().as_str().starts_with("$link/m/node-1/17/42/1"));
            let read = Envelope::parse(envelope.wire_topic().clone(), message.payload.clone());
            assert_eq!(read.as_ref(), Ok(&envelope));
            assert_eq!(envelope.to_message(), Ok(message));
        }
    }

    #[test]
    fn a_malformed_topic_is_refused() {
        for text in [
            "$link/m/n/1",
            "$link/m/n/x/2/1/a",
            "$link/m/n/1/2/3/a",
            "$link/m/n/1/2/q/a",
            "$link/m/n/1/2/1r/a",
            "$link/m/n/1/2/1rx/a",
            "$link/m/n/1/2/1/",
        ] {
            let topic = Topic::new(text).unwrap();
            assert!(Envelope::parse(topic, Bytes::new()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_prefix_is_what_it_says() {
        let node = NodeId::from("n".repeat(64));
        let incarnation = Incarnation(u64::MAX);
        let origin = Origin { node, incarnation, sequence: u64::MAX };
        let envelope = Envelope::new(origin, &message("t", true), Some(u64::MAX)).unwrap();
        assert_eq!(envelope.topic_at, PREFIX_BYTES_MAX);
        assert_eq!(TOPIC_BYTES_MAX, 65_397);
    }
}
