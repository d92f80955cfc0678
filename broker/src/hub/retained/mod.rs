//! What is retained on this node: for each topic the last word, with its version.
//!
//! Every node has all of it. A message with RETAIN goes to all nodes with its version; the greatest
//! version wins everywhere, in whatever order they come. An empty payload deletes
//! [MQTT-3.3.1-10]; the tombstone keeps its version for a while. What went missing between two
//! nodes is found and healed by the exchange.
//!
//! ```text
//!   clients ──write──►┌─────────────┐──matching──► who subscribes
//!   links ────merge──►│ topic: word │──changes───► store ──load──► the next life
//!   exchange ─merge──►└─────────────┘──page──────► exchange
//! ```
//!
//! It is told the time. It leaves to others: to send, to store, to count, and to whom live
//! messages go.

mod digest;
mod exchange;
mod note;
mod record;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use causeway_common::{
    id::{Incarnation, NodeId},
    message::Message,
    topic::{self, Filter},
};

pub use digest::DigestError;
pub use exchange::{Exchange, ExchangeLimits, Notes, Now};
pub use note::NoteError;
pub use record::{Entry, RecordError, Version, What, decode_value, encode_value};

use digest::{Digest, Span, topic_hash};
use note::{Place, Record};

use crate::session::Said;

/// What bounds a node's retained messages. The same on every node, or they will not all have the
/// same.
#[derive(Clone, Debug)]
pub struct RetainedLimits {
    /// Topics with a message or a tombstone.
    pub messages_max: usize,
    /// Bytes of their names and payloads, with the bookkeeping around them.
    pub bytes_max: usize,
    /// How long a tombstone is kept.
    pub tombstone_secs: u64,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self { messages_max: 1_000_000, bytes_max: 256 << 20, tombstone_secs: 86_400 }
    }
}

/// What became of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the last word.
    Newer,
    /// The same or a later one is known; or it comes too late to matter.
    Older,
    /// It would be, but there is no room.
    Full,
}

/// A topic whose last word has changed: what the store must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name to keep it under.
    pub topic: Arc<str>,
    /// The value to keep; nothing if the topic is forgotten.
    pub value: Option<Bytes>,
}

/// The retained messages of one node.
#[derive(Debug)]
pub struct Retained {
    limits: RetainedLimits,
    entries: BTreeMap<Arc<str>, Entry>,
    /// The order in which nodes go through them together.
    by_hash: BTreeSet<(u64, Arc<str>)>,
    digest: Digest,
    /// By the time they were deleted.
    tombstones: BTreeSet<(u64, Arc<str>)>,
    tombstone_bytes: usize,
    bytes: usize,
    /// The greatest counter seen.
    counter: u64,
    changed: Vec<Arc<str>>,
    refused_count: u64,
}

impl Retained {
    /// Nothing yet.
    pub fn new(limits: RetainedLimits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            by_hash: BTreeSet::new(),
            digest: Digest::default(),
            tombstones: BTreeSet::new(),
            tombstone_bytes: 0,
            bytes: 0,
            counter: 0,
            changed: Vec::new(),
            refused_count: 0,
        }
    }

    /// Takes back what an earlier life kept, whatever the limits are now.
    pub fn load(&mut self, now_secs: u64, topic: &str, value: &[u8]) -> Result<(), RecordError> {
        let entry = decode_value(topic, value, now_secs)?;
        self.counter = self.counter.max(entry.version.counter.min(COUNTER_MAX));
        self.put(topic, &entry);
        Ok(())
    }

    /// A new life begins, once everything is loaded. What the last one wrote just before its end may
    /// be known to others and not to the store: no counter of it must be used again.
    pub fn begin(&mut self, life: Incarnation) {
        let beyond = self.counter.saturating_add(UNSTORED_MAX);
        self.counter = beyond.max(life.0).min(COUNTER_MAX);
    }

    /// A client of this node has published a message with RETAIN. The version that goes to the
    /// other nodes with it; none if the message finds no room: then the topic keeps what it had,
    /// here and everywhere.
    pub fn write(&mut self, me: &NodeId, now_secs: u64, message: &Message) -> Option<Version> {
        let version = Version { counter: self.counter + 1, node: me.clone() };
        let what = what_of(message, now_secs);
        let topic = message.topic.as_str();
        let has_room = self.make_room(topic, &what, 0);
        if !has_room && !message.payload.is_empty() {
            self.refused_count += 1;
            return None;
        }
        self.counter = version.counter.min(COUNTER_MAX);
        if has_room {
            // A deletion without room for its tombstone deletes nothing here.
            self.change(topic, &Entry { version: version.clone(), what });
        }
        Some(version)
    }

    /// Another node's client has published a message with RETAIN.
    pub fn accept(&mut self, now_secs: u64, version: Version, message: &Message) -> Outcome {
        let entry = Entry { version, what: what_of(message, now_secs) };
        self.merge(now_secs, message.topic.as_str(), &entry)
    }

    /// Another node's word on a topic. Such words may go an eighth over the limits: what one node
    /// took in before it heard that all are full, the others take too.
    pub fn merge(&mut self, now_secs: u64, topic: &str, entry: &Entry) -> Outcome {
        if entry.version.counter > COUNTER_MAX {
            return Outcome::Older; // nobody counts that far
        }
        self.counter = self.counter.max(entry.version.counter);
        match self.entries.get(topic) {
            Some(known) if known.version >= entry.version => return Outcome::Older,
            // The other node is about to forget it, and this one has already.
            None if self.has_run_out(&entry.what, now_secs) => return Outcome::Older,
            Some(_) | None => {}
        }
        if !self.make_room(topic, &entry.what, OTHERS_SHARE) {
            self.refused_count += 1;
            return Outcome::Full;
        }
        self.change(topic, entry);
        Outcome::Newer
    }

    /// Forgets tombstones that are old enough; some of them, if there are very many.
    pub fn expire(&mut self, now_secs: u64) {
        for _ in 0..EXPIRED_AT_ONCE_MAX {
            match self.tombstones.first() {
                Some((deleted_at_secs, _)) if self.is_past(*deleted_at_secs, now_secs) => {}
                Some(_) | None => return,
            }
            self.forget_oldest_tombstone();
        }
    }

    /// Every message whose topic a filter matches, in the order of the topics. RETAIN is set on
    /// them, and on their deliveries to a new subscription [MQTT-3.3.1-8].
    pub fn matching(&self, filter: &Filter) -> impl Iterator<Item = &Arc<Said>> {
        topic::matching(&self.entries, filter).filter_map(|(_, entry)| match &entry.what {
            What::Message(message) => Some(message),
            What::Tombstone { .. } => None,
        })
    }

    /// The last word on a topic.
    pub fn entry(&self, topic: &str) -> Option<&Entry> {
        self.entries.get(topic)
    }

    /// How many topics have a message.
    pub fn message_count(&self) -> usize {
        self.entries.len() - self.tombstones.len()
    }

    /// How many topics have a tombstone.
    pub fn tombstone_count(&self) -> usize {
        self.tombstones.len()
    }

    /// Bytes of names, payloads and bookkeeping.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What has changed since this was last asked, to be written in one batch.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        let value = |topic: &Arc<str>| self.entries.get(topic).map(encode_value);
        changed.into_iter().map(|topic| Change { value: value(&topic), topic }).collect()
    }

    /// How many messages have found no room since this was last asked.
    pub fn take_refused_count(&mut self) -> u64 {
        std::mem::take(&mut self.refused_count)
    }

    /// Sums to be compared with another node's.
    fn summary(&self) -> Vec<u64> {
        self.digest.summary(self.entries.len())
    }

    /// Where another node's sums differ from this one's.
    fn differing(&self, summary: &[u64]) -> Result<Vec<Span>, DigestError> {
        self.digest.differing(summary)
    }

    /// Entries in some spans, as many as fit into one note; and the last place, if there are more
    /// behind it.
    fn page(
        &self,
        now_secs: u64,
        spans: &[Span],
        after: Option<&Place>,
    ) -> (Vec<Record>, Option<Place>) {
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        for (hash, topic) in spans.iter().flat_map(|span| self.places(*span, after)) {
            let Some(entry) = self.entries.get(topic) else { continue };
            let record = Record::of(topic, entry, now_secs);
            bytes += record.cost();
            if bytes > note::PAGE_BYTES_MAX && !records.is_empty() {
                return (records, last);
            }
            records.push(record);
            last = Some(Place { hash: *hash, topic: Arc::clone(topic) });
        }
        (records, None)
    }

    fn places(&self, span: Span, after: Option<&Place>) -> impl Iterator<Item = &(u64, Arc<str>)> {
        let first = (span.first, Arc::from(""));
        let after = after.map(|place| (place.hash, Arc::clone(&place.topic)));
        let from = match after {
            Some(after) if after >= first => Bound::Excluded(after),
            Some(_) | None => Bound::Included(first),
        };
        let rest = self.by_hash.range((from, Bound::Unbounded));
        rest.take_while(move |(hash, _)| *hash <= span.last)
    }

    fn is_past(&self, deleted_at_secs: u64, now_secs: u64) -> bool {
        deleted_at_secs.saturating_add(self.limits.tombstone_secs) <= now_secs
    }

    fn has_run_out(&self, what: &What, now_secs: u64) -> bool {
        match what {
            What::Message(_) => false,
            What::Tombstone { deleted_at_secs } => self.is_past(*deleted_at_secs, now_secs),
        }
    }

    /// Whether a word on a topic finds room. The oldest tombstones of others make room for it, if
    /// that is enough. The limits are raised by one part in `share`; not at all if that is 0.
    fn make_room(&mut self, topic: &str, what: &What, share: usize) -> bool {
        let cost = cost(topic, what);
        let known = self.entries.get(topic).map(|entry| self::cost(topic, &entry.what));
        if known.is_some_and(|known| cost <= known) {
            return true;
        }
        let raised = |max: usize| max.saturating_add(max.checked_div(share).unwrap_or_default());
        let entries_max = raised(self.limits.messages_max);
        let bytes_max = raised(self.limits.bytes_max);
        let fits = |entries: usize, bytes: usize| {
            entries + usize::from(known.is_none()) <= entries_max
                && (bytes + cost).saturating_sub(known.unwrap_or_default()) <= bytes_max
        };
        if !fits(self.message_count(), self.bytes - self.tombstone_bytes) {
            return false;
        }
        while !fits(self.entries.len(), self.bytes) {
            let oldest = self.tombstones.first();
            if oldest.is_none_or(|(_, oldest)| **oldest == *topic) {
                return false;
            }
            self.forget_oldest_tombstone();
        }
        true
    }

    fn change(&mut self, topic: &str, entry: &Entry) {
        let topic = self.put(topic, entry);
        self.changed.push(topic);
    }

    /// Puts an entry in the place of the one before it.
    fn put(&mut self, topic: &str, entry: &Entry) -> Arc<str> {
        let hash = topic_hash(topic);
        let known = self.entries.get_key_value(topic).map(|(topic, _)| Arc::clone(topic));
        let topic = known.unwrap_or_else(|| {
            let topic = Arc::from(topic);
            self.by_hash.insert((hash, Arc::clone(&topic)));
            topic
        });
        if let Some(before) = self.entries.insert(Arc::clone(&topic), entry.clone()) {
            self.count_out(hash, &topic, &before);
        }
        self.count_in(hash, &topic, entry);
        topic
    }

    fn forget_oldest_tombstone(&mut self) {
        let Some((_, topic)) = self.tombstones.first().cloned() else {
            return;
        };
        let hash = topic_hash(&topic);
        if let Some(entry) = self.entries.remove(&topic) {
            self.count_out(hash, &topic, &entry);
        }
        self.by_hash.remove(&(hash, Arc::clone(&topic)));
        self.changed.push(topic);
    }

    fn count_in(&mut self, hash: u64, topic: &Arc<str>, entry: &Entry) {
        let cost = cost(topic, &entry.what);
        self.bytes += cost;
        self.digest.toggle(hash, &entry.version);
        if let What::Tombstone { deleted_at_secs } = entry.what {
            self.tombstones.insert((deleted_at_secs, Arc::clone(topic)));
            self.tombstone_bytes += cost;
        }
    }

    fn count_out(&mut self, hash: u64, topic: &Arc<str>, entry: &Entry) {
        let cost = cost(topic, &entry.what);
        self.bytes -= cost;
        self.digest.toggle(hash, &entry.version);
        if let What::Tombstone { deleted_at_secs } = entry.what {
            self.tombstones.remove(&(deleted_at_secs, Arc::clone(topic)));
            self.tombstone_bytes -= cost;
        }
    }
}

/// A message with an empty payload is none, and deletes what there is [MQTT-3.3.1-10]
/// [MQTT-3.3.1-11].
fn what_of(message: &Message, now_secs: u64) -> What {
    let Message { topic, payload, qos, .. } = message;
    if payload.is_empty() {
        return What::Tombstone { deleted_at_secs: now_secs };
    }
    // A small payload is a piece of a large buffer, which it must not keep for as long as it stays.
    let is_small = payload.len() <= COPIED_BYTES_MAX;
    let payload = if is_small { Bytes::copy_from_slice(payload) } else { payload.clone() };
    let message = Message { topic: topic.clone(), payload, qos: *qos, retain: true };
    // Whoever subscribes gets it as something of its own: it repeats no message that came before.
    What::Message(Arc::new(Said { message, origin: None }))
}

/// What an entry counts for in the limit in bytes.
fn cost(topic: &str, what: &What) -> usize {
    match what {
        What::Message(message) => message.payload.len() + 2 * topic.len() + MESSAGE_OVERHEAD,
        What::Tombstone { .. } => topic.len() + TOMBSTONE_OVERHEAD,
    }
}

/// Bytes of bookkeeping around a message: its entry, its name twice, its places in the indexes.
const MESSAGE_OVERHEAD: usize = 320;

/// The same for a tombstone; less, so that a deletion always finds room.
const TOMBSTONE_OVERHEAD: usize = 200;

/// The divisor for the room that what other nodes took in may use beyond the limits.
const OTHERS_SHARE: usize = 8;

/// A larger payload is shared with the buffer it came in.
const COPIED_BYTES_MAX: usize = 64 * 1024;

/// How many tombstones go at a time: nobody shall wait for long.
const EXPIRED_AT_ONCE_MAX: usize = 10_000;

/// No counter is greater: leaves room to count on from anything another node says.
const COUNTER_MAX: u64 = u64::MAX / 2;

/// More than a node writes between two moments at which the store is safe.
const UNSTORED_MAX: u64 = 1 << 20;
