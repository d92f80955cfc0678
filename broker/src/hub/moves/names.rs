//! What a message is called wherever it goes, so that it is known when it comes a second time, by whatever way;
//! and which of two messages of a node was said first.
//!
//! A message that left its node has the name that links know it by. Those that did not are numbered apart, from the
//! one that left before them on.

use causeway_common::{
    directory::Member,
    id::{Incarnation, NodeId, SessionId},
    link::Origin,
    message::Message,
};

use crate::{
    hub::Hub,
    session::{Delivery, Place},
};

/// Messages that did not leave this node.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// The last that left before them.
    after: u64,
    count: u64,
}

/// When a message was said, among those of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    incarnation: u64,
    /// The last one that had left by then, perhaps this one.
    after: u64,
    unsent: u64,
}

impl Hub {
    /// What a message is called that does not leave this node, unless in a session that moves.
    pub(in crate::hub) fn name_unsent(&mut self, message: &Message) -> Option<Origin> {
        if !message.qos.is_answered() {
            return None;
        }
        let after = self.outbound.next_sequence() - 1;
        let unsent = &mut self.moves.unsent;
        let goes_on = unsent.after == after && unsent.count < UNSENT_MASK; // else in another life
        let count = if goes_on { unsent.count + 1 } else { 1 };
        *unsent = Unsent { after, count };
        if count == UNSENT_MASK {
            self.outbound.skip(); // the next ones are counted from there
        }
        let Member { node, incarnation } = self.me.clone();
        let incarnation = Incarnation(UNSENT | incarnation.0);
        Some(Origin { node, incarnation, sequence: after << UNSENT_BITS | count })
    }
}

/// What comes from the retained messages has no name until it moves: it is named by the place it first stood in.
pub(super) fn name_of(
    delivery: &Delivery,
    node: &NodeId,
    session: SessionId,
    place: Place,
) -> Origin {
    delivery.message.origin.clone().unwrap_or_else(|| Origin {
        node: node.clone(),
        incarnation: Incarnation(RETAINED | session.0),
        sequence: place.0,
    })
}

/// When a message was said; none if it comes from the retained ones.
pub(super) fn age_of(name: &Origin) -> Option<Age> {
    let Origin { incarnation: Incarnation(incarnation), sequence, .. } = *name;
    match incarnation & RETAINED {
        RETAINED => None,
        UNSENT => Some(Age {
            incarnation: incarnation & !UNSENT,
            after: sequence >> UNSENT_BITS,
            unsent: sequence & UNSENT_MASK,
        }),
        _ => Some(Age { incarnation, after: sequence, unsent: 0 }),
    }
}

/// No life of a node begins so late: messages that never left a node are named by it, apart from those
/// that did.
const UNSENT: u64 = 1 << 63;

/// Nor does any so much later, nor has a session such a number.
const RETAINED: u64 = 3 << 62;

/// A node may give out 2^44 sequences in one life.
const UNSENT_BITS: u32 = 20;

const UNSENT_MASK: u64 = (1 << UNSENT_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_name_is_when_it_was_said() {
        let name = |incarnation, sequence| Origin {
            node: NodeId::from("n"),
            incarnation: Incarnation(incarnation),
            sequence,
        };
        let unsent = |incarnation: u64, after: u64, count: u64| {
            name(UNSENT | incarnation, after << UNSENT_BITS | count)
        };
        let said = [
            unsent(1, 0, 1),
            name(1, 1),
            unsent(1, 1, 1),
            unsent(1, 1, 2),
            name(1, 2),
            unsent(1, 2, UNSENT_MASK),
            unsent(1, 3, 1),
            unsent(2, 0, 1),
            name(2, 1),
        ];
        let ages: Vec<Option<Age>> = said.iter().map(age_of).collect();
        assert!(ages.iter().all(Option::is_some) && ages.is_sorted_by(|a, b| a < b), "{ages:?}");
        assert_eq!(age_of(&name(RETAINED | 1, 1)), None);
    }
}
