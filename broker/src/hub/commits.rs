//! Answers that wait until what they promise is durable.

use std::collections::BTreeMap;

use causeway_common::id::{NodeId, PacketId, SessionId};

use super::{Hub, LinkId, moves::Stamp, outbound::Answer};
use crate::store::Position;

/// What is due when a position is durable.
#[derive(Debug)]
pub(super) enum Due {
    /// A publisher's answer.
    Answer(Answer),
    /// The acknowledgement of a packet on a link.
    Link(LinkId, PacketId),
    /// The answer to a letter about a session on its way here.
    Letter(NodeId, SessionId, Stamp),
}

/// In the order of positions.
#[derive(Debug, Default)]
pub(super) struct Commits {
    waiting: BTreeMap<Position, Vec<Due>>,
}

impl Hub {
    /// Gives an answer when a position is durable; at once if it is.
    pub(super) fn when_durable(&mut self, position: Position, due: Due) {
        if self.is_durable(position) {
            self.give(due);
        } else {
            self.commits.waiting.entry(position).or_default().push(due);
        }
    }

    pub(super) fn is_durable(&self, position: Position) -> bool {
        position == Position::default() || position <= self.store.durable()
    }

    /// The store has come further: everything that waited for it is answered.
    pub fn committed(&mut self) {
        let durable = self.store.durable();
        while let Some(first) = self.commits.waiting.first_entry() {
            if *first.key() > durable {
                break;
            }
            for due in first.remove() {
                self.give(due);
            }
        }
        self.release_waits();
        self.place_committed();
        self.step_all();
    }

    pub(super) fn give(&mut self, due: Due) {
        match due {
            Due::Answer(answer) => answer.give(),
            Due::Link(link, id) => self.links.acknowledge(link, id),
            Due::Letter(from, session, stamp) => self.letter_done(from, session, stamp),
        }
    }
}
