//! What this node has had from each other node, so that a message sent again is dropped.
//!
//! Every envelope carries the origin's *floor*: below it nothing will ever be repeated. So what
//! must be remembered is bounded by what the origin has in flight.

use std::collections::BTreeSet;

use ahash::AHashMap;
use causeway_common::{
    id::{Incarnation, NodeId},
    link::Origin,
};

/// Sequences had, by origin.
#[derive(Debug, Default)]
pub(super) struct Seen {
    origins: AHashMap<NodeId, Life>,
}

/// What came from one life of a node.
#[derive(Debug, Default)]
struct Life {
    incarnation: Incarnation,
    floor: u64,
    had: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    Duplicate,
}

impl Seen {
    /// Judges and remembers. What an earlier life of the origin sent is a duplicate too: nobody
    /// waits for its answer any more, and whoever published it has published it again.
    pub(super) fn judge(&mut self, origin: &Origin) -> Verdict {
        if origin.sequence == 0 {
            return Verdict::New; // QoS 0 is never repeated
        }
        let life = self.origins.entry(origin.node.clone()).or_default();
        if origin.incarnation < life.incarnation {
            return Verdict::Duplicate;
        }
        if origin.incarnation > life.incarnation {
            *life = Life {
                incarnation: origin.incarnation,
                ..Life::default()
            };
        }
        life.raise_floor(origin.floor);
        if origin.sequence < life.floor || !life.had.insert(origin.sequence) {
            return Verdict::Duplicate;
        }
        Verdict::New
    }
}

impl Life {
    fn raise_floor(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        while self.had.first().is_some_and(|sequence| *sequence < floor) {
            self.had.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(seen: &mut Seen, incarnation: u64, sequence: u64, floor: u64) -> Verdict {
        let incarnation = Incarnation(incarnation);
        seen.judge(&Origin {
            node: NodeId::from("n"),
            incarnation,
            sequence,
            floor,
        })
    }

    #[test]
    fn a_sequence_is_new_once_in_each_life() {
        use Verdict::{Duplicate, New};
        let mut seen = Seen::default();
        for (incarnation, sequence, floor, expected) in [
            (1, 1, 1, New),
            (1, 3, 1, New),
            (1, 1, 1, Duplicate),
            (1, 2, 1, New),
            (1, 5, 4, New),
            (1, 3, 1, Duplicate),
            (1, 4, 1, New),
            (1, 0, 0, New),
            (1, 0, 0, New),
            (2, 1, 1, New),
            (1, 9, 9, Duplicate),
            (2, 1, 1, Duplicate),
        ] {
            let verdict = judge(&mut seen, incarnation, sequence, floor);
            assert_eq!(verdict, expected, "{incarnation}/{sequence}/{floor}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_by_the_floor() {
        let mut seen = Seen::default();
        for sequence in 1..1000 {
            judge(&mut seen, 1, sequence, sequence.saturating_sub(10));
        }
        assert!(seen.origins[&NodeId::from("n")].had.len() <= 11);
    }
}
