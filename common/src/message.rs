//! An application message (MQTT 1.2), independent of the packet that carries it.

use bytes::Bytes;

use crate::{qos::QoS, topic::Topic};

/// What a publisher said, to be shared by all its deliveries (`Arc<Message>`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: Topic,
    /// Its content, never looked at.
    pub payload: Bytes,
    /// The quality of service the publisher asked for.
    pub qos: QoS,
    /// Whether the publisher asked for it to be retained.
    pub retain: bool,
}

impl Message {
    /// What it counts for in every queue bounded in bytes: content, name and a flat sum for the
    /// bookkeeping around it.
    pub fn cost(&self) -> usize {
        self.payload.len() + self.topic.as_str().len() + OVERHEAD
    }
}

/// Bytes of bookkeeping per queued message: the message itself, its reference count, a queue slot.
const OVERHEAD: usize = 96;
