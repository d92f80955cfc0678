//! What is retained under one topic, with its version; and how that is written for the store.
//!
//! It leaves to `note.rs` how nodes tell each other of it.

use std::sync::Arc;

use bytes::Bytes;
use causeway_common::{
    id::NodeId,
    message::Message,
    qos::QoS,
    topic::{Topic, TopicError},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::session::Said;

/// Which of two writers of a topic came last: the greater counter, then the greater name. All
/// nodes judge alike, so they end with the same value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Greater than every counter its writer had seen; from 1 on.
    pub counter: u64,
    /// Its writer.
    pub node: NodeId,
}

/// The last word on one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose word it is.
    pub version: Version,
    /// The word.
    pub what: What,
}

/// What a topic has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A message for everybody who subscribes.
    Message(Arc<Said>),
    /// Nothing: it was deleted. Kept for a while, so that no node brings the message back that has
    /// not heard of it.
    Tombstone {
        /// When this node heard of it: seconds since 1970.
        deleted_at_secs: u64,
    },
}

/// Why a kept value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes are none that this program writes.
    #[error("malformed retained value: {0}")]
    Malformed(#[from] postcard::Error),
    /// Something stands behind the end.
    #[error("retained value with {0} bytes too many")]
    TooLong(usize),
    /// It belongs to something that is no topic name.
    #[error("retained value: {0}")]
    Topic(#[from] TopicError),
}

/// An entry without its topic, as it is kept.
#[derive(Serialize, Deserialize)]
struct Value {
    version: Version,
    content: Content,
}

/// What a topic has, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Content {
    Message { qos: QoS, payload: Bytes },
    Tombstone { secs: u64 },
}

impl Content {
    /// The seconds of a tombstone are made by `secs` of when it was deleted.
    pub(super) fn of(what: &What, secs: impl FnOnce(u64) -> u64) -> Self {
        match what {
            What::Message(message) => {
                Self::Message { qos: message.qos, payload: message.payload.clone() }
            }
            What::Tombstone { deleted_at_secs } => Self::Tombstone { secs: secs(*deleted_at_secs) },
        }
    }

    /// Undoes [`Content::of`]. An empty message cannot be retained [MQTT-3.3.1-11]: it is read as a
    /// tombstone of now.
    pub(super) fn read(
        self,
        topic: &str,
        now_secs: u64,
        deleted_at_secs: impl FnOnce(u64) -> u64,
    ) -> Result<What, TopicError> {
        let topic = Topic::new(topic)?;
        Ok(match self {
            Self::Message { payload, .. } if payload.is_empty() => {
                What::Tombstone { deleted_at_secs: now_secs }
            }
            Self::Message { qos, payload } => {
                let message = Message { topic, payload, qos, retain: true };
                What::Message(Arc::new(Said { message, origin: None }))
            }
            Self::Tombstone { secs } => {
                What::Tombstone { deleted_at_secs: deleted_at_secs(secs).min(now_secs) }
            }
        })
    }
}

/// What the store keeps of an entry; its topic is the name it is kept under.
pub fn encode_value(entry: &Entry) -> Bytes {
    let content = Content::of(&entry.what, |secs| secs);
    to_bytes(&Value { version: entry.version.clone(), content })
}

/// Reads what [`encode_value`] wrote. A clock that was set back does not make a tombstone younger
/// than now.
pub fn decode_value(topic: &str, value: &[u8], now_secs: u64) -> Result<Entry, RecordError> {
    let (Value { version, content }, rest) = postcard::take_from_bytes(value)?;
    if !rest.is_empty() {
        return Err(RecordError::TooLong(rest.len()));
    }
    let what = content.read(topic, now_secs, |secs| secs)?;
    Ok(Entry { version, what })
}

/// Nothing here has a length that is unknown beforehand: the one thing `postcard` refuses.
pub(super) fn to_bytes(value: &impl Serialize) -> Bytes {
    postcard::to_stdvec(value).map(Bytes::from).unwrap_or_default()
}
