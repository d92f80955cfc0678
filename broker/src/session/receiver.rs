//! The receiving half (MQTT 4.3): messages the client sends, and the answers owed to it.
//!
//! An answer is *owed* when its message is routed and *due* when that is safe wherever it must be.
//! Answers leave in the order of the PUBLISH packets, however they become due.

use std::collections::VecDeque;

use causeway_common::{
    id::{PacketId, Ticket},
    keyed::KeyedSet,
    packet::Packet,
};

use super::{Action, Change};

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
    received: KeyedSet<PacketId>,
}

#[derive(Debug)]
struct Owed {
    answer: Answer,
    bytes: usize,
    due: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The connection that asked is gone; the client asks again.
    Nobody,
    PubAck(PacketId),
    PubRec(PacketId),
}

impl Receiver {
    /// A QoS 1 message of so many bytes came.
    pub(super) fn owe_puback(&mut self, id: PacketId, bytes: usize) -> Ticket {
        self.owe(Answer::PubAck(id), bytes)
    }

    /// A QoS 2 message came; no ticket if it is a repetition, which is answered when the first one
    /// is, or in its own turn if that has been or its connection is gone.
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
            // Due, as the first one is ahead of it or gone; not at once, as others may be ahead too.
            self.owed.push_back(Owed { answer: Answer::PubRec(id), bytes: 0, due: true });
            self.release(actions);
        }
        None
    }

    /// The message of this ticket is safe. Unknown tickets are none of ours.
    pub(super) fn on_routed(&mut self, ticket: Ticket, actions: &mut Vec<Action>) {
        let index = ticket.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(owed) = index.and_then(|index| self.owed.get_mut(index)) {
            owed.due = true;
        }
        self.release(actions);
    }

    fn release(&mut self, actions: &mut Vec<Action>) {
        // In the order of the questions [MQTT-4.6.0-2] [MQTT-4.6.0-3].
        while let Some(owed) = self.owed.pop_front_if(|owed| owed.due) {
            self.first += 1;
            self.owed_bytes -= owed.bytes;
            match owed.answer {
                Answer::Nobody => {}
                Answer::PubAck(id) => actions.push(Action::Send(Packet::PubAck(id))),
                Answer::PubRec(id) => actions.push(Action::Send(Packet::PubRec(id))),
            }
        }
    }

    /// The client has our PUBREC: its identifier may name a new message from now on. If that is
    /// written down at all, then before the client may use it [MQTT-4.3.3-2].
    pub(super) fn on_pubrel(&mut self, id: PacketId, durable: bool, actions: &mut Vec<Action>) {
        if self.received.remove(&id) && durable {
            actions.push(Action::Persist(Change::Forgotten { id }));
        }
        // Also for an identifier we do not know: the answer may have been lost [MQTT-4.3.3-2].
        actions.push(Action::Send(Packet::PubComp(id)));
    }

    /// The connection is gone: messages without an answer come again [MQTT-4.4.0-1]. Those of QoS 1 are
    /// routed again, those of QoS 2 are known. Neither is answered before it is asked for again: by
    /// then the client may take the answer for one to another message.
    pub(super) fn park(&mut self) {
        for owed in &mut self.owed {
            owed.answer = Answer::Nobody;
        }
    }

    /// Identifiers of QoS 2 messages had, without their PUBREL.
    pub(super) fn received(&self) -> impl Iterator<Item = PacketId> {
        self.received.iter().copied()
    }

    /// What a store kept, or another node.
    pub(super) fn remember(&mut self, received: impl IntoIterator<Item = PacketId>) {
        self.received.extend(received);
    }

    /// The client has begun anew, with other messages under these identifiers.
    pub(super) fn start_over(&mut self) -> impl Iterator<Item = PacketId> + use<> {
        std::mem::take(&mut self.received).into_iter()
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
