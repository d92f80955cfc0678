//! What this node has had from each other node, so that a message sent again is dropped, and none
//! comes out of order.
//!
//! Along every way here the messages of a shard of topics keep their order (`outbound.rs`), so the
//! last sequence of each shard says it all. What comes after a later one of its shard was had
//! before, or is not for this node: when it first passed, nobody here wanted it. Whoever has wanted
//! it since would get it out of order [MQTT-4.6.0-6]. Messages of QoS 0 are counted apart: they
//! pass by those that a bridge holds, and are overtaken themselves when a topic changes its bridge.

use ahash::AHashMap;
use causeway_common::{
    id::{Incarnation, NodeId},
    link::Envelope,
};

use super::{
    record::{Name, encode},
    shard::{SHARDS, shard_of},
};
use crate::store::Batch;

/// Sequences had, by origin.
#[derive(Debug, Default)]
pub(super) struct Seen {
    origins: AHashMap<NodeId, Lasts>,
}

/// The last sequence of each shard with the life it belongs to; (0, 0) before the first.
#[derive(Debug)]
struct Lasts {
    answered: [Last; SHARDS],
    /// The same for what links carry at QoS 0.
    unanswered: [Last; SHARDS],
}

/// Lives come one after the other: what an earlier one sent is older, whatever its sequence. It may
/// still come first: a node that starts sends what its store kept under the old number.
type Last = (Incarnation, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    Duplicate,
}

impl Seen {
    /// Judges and remembers.
    pub(super) fn judge(&mut self, envelope: &Envelope) -> Verdict {
        let origin = &envelope.origin;
        let this = (origin.incarnation, origin.sequence);
        let lasts = self.lasts(&origin.node);
        let lasts =
            if envelope.is_answered() { &mut lasts.answered } else { &mut lasts.unanswered };
        match lasts.get_mut(shard_of(envelope.topic())) {
            Some(last) if *last < this => {
                *last = this;
                Verdict::New
            }
            Some(_) | None => Verdict::Duplicate,
        }
    }

    /// What a store kept: had until this one in a shard.
    pub(super) fn remember(&mut self, node: &NodeId, shard: usize, last: Last) {
        if let Some(known) = self.lasts(node).answered.get_mut(shard) {
            *known = last.max(*known);
        }
    }

    fn lasts(&mut self, node: &NodeId) -> &mut Lasts {
        self.origins.entry(node.clone()).or_insert_with(|| {
            let unheard = [Last::default(); SHARDS];
            Lasts { answered: unheard, unanswered: unheard }
        })
    }
}

/// What to write down with a message from a link, so that it is known after a crash too.
pub(super) fn seen_record(envelope: &Envelope) -> Batch {
    let mut batch = Batch::default();
    let origin = &envelope.origin;
    let shard = u16::try_from(shard_of(envelope.topic())).unwrap_or_default();
    let name = Name::Seen(origin.node.clone(), shard);
    batch.put(name.key(), encode(&(origin.incarnation, origin.sequence)));
    batch
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use causeway_common::{link::Origin, message::Message, qos::QoS, topic::Topic};

    use super::*;

    fn envelope(incarnation: u64, sequence: u64, qos: u8, topic: &str) -> Envelope {
        let origin =
            Origin { node: NodeId::from("n"), incarnation: Incarnation(incarnation), sequence };
        let message = Message {
            topic: Topic::new(topic).unwrap(),
            payload: Bytes::new(),
            qos: QoS::from_bits(qos).unwrap(),
            retain: false,
        };
        Envelope::new(origin, &message, None).unwrap()
    }

    #[test]
    fn a_sequence_is_new_once_in_each_life_and_never_after_a_later_one_of_its_topic() {
        use Verdict::{Duplicate, New};
        let mut seen = Seen::default();
        for (incarnation, sequence, qos, topic, expected) in [
            (1, 1, 1, "a", New),
            (1, 3, 2, "a", New),
            (1, 1, 1, "a", Duplicate),
            (1, 2, 1, "a", Duplicate),
            (1, 2, 1, "b/c", New),
            (1, 4, 1, "a", New),
            (1, 4, 1, "a", Duplicate),
            (1, 1, 0, "a", New),
            (1, 1, 0, "a", Duplicate),
            (1, 9, 0, "a", New),
            (1, 8, 0, "a", Duplicate),
            (1, 5, 1, "a", New),
            (2, 1, 1, "a", New),
            (1, 6, 1, "b/c", New),
            (1, 9, 1, "a", Duplicate),
            (2, 1, 1, "a", Duplicate),
            (2, 1, 0, "a", New),
        ] {
            let verdict = seen.judge(&envelope(incarnation, sequence, qos, topic));
            assert_eq!(verdict, expected, "{incarnation}/{sequence} {qos} {topic}");
        }
    }
}
