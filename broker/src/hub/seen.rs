//! What this node has had from each other node, so that a message sent again is dropped.
//!
//! Along every way here the messages of a shard of topics keep their order (`outbound.rs`), so the
//! last sequence of each shard says it all. What comes after a later one of its shard was had
//! before, or is not for this node: when it first passed, nobody here wanted it. Whoever has wanted
//! it since would get it out of order [MQTT-4.6.0-6].

use ahash::AHashMap;
use causeway_common::{
    id::{Incarnation, NodeId},
    link::Origin,
};

use super::shard::SHARDS;

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
    last: [u64; SHARDS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    Duplicate,
}

impl Seen {
    /// Judges and remembers. What an earlier life of the origin sent is a duplicate too: nobody
    /// waits for its answer any more, and whoever published it has published it again.
    pub(super) fn judge(&mut self, origin: &Origin, shard: usize) -> Verdict {
        if origin.sequence == 0 {
            return Verdict::New; // QoS 0 is never repeated
        }
        let incarnation = origin.incarnation;
        let new = || Life {
            incarnation,
            last: [0; SHARDS],
        };
        let life = self.origins.entry(origin.node.clone()).or_insert_with(new);
        if incarnation > life.incarnation {
            *life = new();
        }
        match life.last.get_mut(shard) {
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
    use super::*;

    #[test]
    fn a_sequence_is_new_once_in_each_life_and_never_after_a_later_one_of_its_shard() {
        use Verdict::{Duplicate, New};
        let mut seen = Seen::default();
        for (incarnation, sequence, shard, expected) in [
            (1, 1, 0, New),
            (1, 3, 0, New),
            (1, 1, 0, Duplicate),
            (1, 2, 0, Duplicate),
            (1, 2, 1, New),
            (1, 5, 63, New),
            (1, 4, 0, New),
            (1, 4, 0, Duplicate),
            (1, 0, 0, New),
            (1, 0, 0, New),
            (2, 1, 0, New),
            (1, 9, 0, Duplicate),
            (2, 1, 0, Duplicate),
            (2, 1, 1, New),
        ] {
            let node = NodeId::from("n");
            let incarnation = Incarnation(incarnation);
            let origin = Origin {
                node,
                incarnation,
                sequence,
                floor: 1,
            };
            let verdict = seen.judge(&origin, shard);
            assert_eq!(verdict, expected, "{incarnation}/{sequence} of {shard}");
        }
    }
}
