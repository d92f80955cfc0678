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
    qos::QoS,
};

use super::shard::{SHARDS, shard_of};

/// Sequences had, by origin.
#[derive(Debug, Default)]
pub(super) struct Seen {
    origins: AHashMap<NodeId, Life>,
}

/// What came from one life of a node.
#[derive(Debug)]
struct Life {
    incarnation: Incarnation,
    /// The last sequence of each shard; 0 before the first.
    last: Sequences,
    /// The same for QoS 0.
    last_unanswered: Sequences,
}

type Sequences = [u64; SHARDS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    Duplicate,
}

impl Seen {
    /// Judges and remembers. What an earlier life of the origin sent is a duplicate too: nobody
    /// waits for its answer any more, and whoever published it has published it again.
    pub(super) fn judge(&mut self, envelope: &Envelope) -> Verdict {
        let origin = &envelope.origin;
        let incarnation = origin.incarnation;
        let new = || Life { incarnation, last: [0; SHARDS], last_unanswered: [0; SHARDS] };
        let life = self.origins.entry(origin.node.clone()).or_insert_with(new);
        if incarnation > life.incarnation {
            *life = new();
        }
        let last = match envelope.qos {
            QoS::AtMostOnce => &mut life.last_unanswered,
            QoS::AtLeastOnce | QoS::ExactlyOnce => &mut life.last,
        };
        match last.get_mut(shard_of(envelope.topic())) {
            Some(last) if incarnation == life.incarnation && *last < origin.sequence => {
                *last = origin.sequence;
                Verdict::New
            }
            Some(_) | None => Verdict::Duplicate,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use causeway_common::{link::Origin, message::Message, topic::Topic};

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
        Envelope::new(origin, &message).unwrap()
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
            (1, 9, 1, "a", Duplicate),
            (2, 1, 1, "a", Duplicate),
            (2, 1, 0, "a", New),
        ] {
            let verdict = seen.judge(&envelope(incarnation, sequence, qos, topic));
            assert_eq!(verdict, expected, "{incarnation}/{sequence} {qos} {topic}");
        }
    }
}
