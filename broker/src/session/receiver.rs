//! The receiving half (MQTT 4.3): messages the client sends, and the answers owed to it.
//!
//! An answer is *owed* when its message is routed and *due* when that is safe wherever it must be.
//! Answers leave in the order of the PUBLISH packets, however they become due.

use std::collections::VecDeque;

use ahash::AHashSet;
use causeway_common::{
    id::{PacketId, Ticket},
    packet::Packet,
};

use super::Action;

/// Packet identifiers here are the client's; those of [`super::sender::Sender`] are ours, and the
/// two never meet.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// Answers in the order of the questions.
    owed: VecDeque<Owed>,
    /// The ticket of the first one.
    first: u64,
    owed_bytes: usize,
    /// QoS 2 messages had, until their PUBREL: a repetition is not routed again.
    received: AHashSet<PacketId>,
}

#[derive(Debug)]
struct Owed {
    answer: Answer,
    bytes: usize,
    due: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    PubAck(PacketId),
    PubRec(PacketId),
}

impl Receiver {
    /// A QoS 1 message of so many bytes came.
    pub(super) fn owe_puback(&mut self, id: PacketId, bytes: usize) -> Ticket {
        self.owe(Answer::PubAck(id), bytes)
    }

    /// A QoS 2 message came; no ticket if it is a repetition, which is answered when the first one
    /// is, or at once if that has been.
    pub(super) fn owe_pubrec(
        &mut self,
        id: PacketId,
        bytes: usize,
        actions: &mut Vec<Action>,
    ) -> Option<Ticket> {
        if self.received.insert(id) {
            return Some(self.owe(Answer::PubRec(id), bytes));
        }
        if !self.owed.iter().any(|owed| owed.answer == Answer::PubRec(id)) {
            actions.push(Action::Send(Packet::PubRec(id)));
        }
        None
    }

    /// The message of this ticket is safe. Unknown tickets are none of ours.
    pub(super) fn on_routed(&mut self, ticket: Ticket, actions: &mut Vec<Action>) {
        let index = ticket.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(owed) = index.and_then(|index| self.owed.get_mut(index)) {
            owed.due = true;
        }
        // In the order of the questions [MQTT-4.6.0-2] [MQTT-4.6.0-3].
        while let Some(owed) = self.owed.pop_front_if(|owed| owed.due) {
            self.first += 1;
            self.owed_bytes -= owed.bytes;
            actions.push(Action::Send(match owed.answer {
                Answer::PubAck(id) => Packet::PubAck(id),
                Answer::PubRec(id) => Packet::PubRec(id),
            }));
        }
    }

    /// The client has our PUBREC: its identifier may name a new message from now on.
    pub(super) fn on_pubrel(&mut self, id: PacketId, actions: &mut Vec<Action>) {
        self.received.remove(&id);
        // Also for an identifier we do not know: the answer may have been lost [MQTT-4.3.3-2].
        actions.push(Action::Send(Packet::PubComp(id)));
    }

    pub(super) fn owes_at_most(&self, messages_max: usize, bytes_max: usize) -> bool {
        self.owed.len() < messages_max && self.owed_bytes < bytes_max
    }

    pub(super) fn owed_count(&self) -> usize {
        self.owed.len()
    }

    fn owe(&mut self, answer: Answer, bytes: usize) -> Ticket {
        let ticket = Ticket(self.first + self.owed.len() as u64);
        self.owed_bytes += bytes;
        self.owed.push_back(Owed { answer, bytes, due: false });
        ticket
    }
}
