//! Messages on their way to other nodes: numbered, given to one ready bridge, kept until that
//! says that every destination has them.
//!
//! ```text
//!   sequence   41    42    43    44    45
//!   slots     │ – │ via A │ – │ via B │ held
//!                                        └ no bridge is ready: its publisher waits
//! ```
//!
//! Topics fall into shards; a shard uses one bridge at a time and changes it only when nothing of
//! it is in flight, or when the bridge is gone: so the order of a topic holds. What was in flight
//! through a bridge that is gone is sent again through another, in order; whoever has had it drops
//! it (`seen.rs`).

use std::{collections::VecDeque, sync::Arc};

use causeway_common::{
    id::Ticket,
    link::{Envelope, Frame, Origin},
    mailbox::Mailbox,
    message::Message,
};

use super::{
    Hub, LinkId, Routing,
    links::{Links, Sent},
    notes::Notes,
    shard::{SHARDS, shard_of},
};
use crate::session::{DropReason, Mail};

/// Who waits for a message to be safe.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) to: Arc<Mailbox<Mail>>,
    pub(super) ticket: Ticket,
}

impl Answer {
    pub(super) fn give(self) {
        self.to.push_control(Mail::Routed(self.ticket));
    }
}

/// What is on its way.
#[derive(Debug)]
pub(super) struct Outbound {
    /// Sequence of the first slot; from 1 on.
    first: u64,
    slots: VecDeque<Option<Pending>>,
    /// The last sequence of QoS 0, which has no slots and a count of its own.
    last_unanswered: u64,
    len: usize,
    bytes: usize,
    shards: [Shard; SHARDS],
    held: usize,
}

#[derive(Debug)]
struct Pending {
    envelope: Arc<Envelope>,
    shard: usize,
    /// None while it is held.
    via: Option<LinkId>,
    /// Whether any bridge has been given it.
    was_sent: bool,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shard {
    via: Option<LinkId>,
    in_flight: usize,
    held: usize,
}

/// Where the next message of a shard goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Via(LinkId),
    /// Nobody takes it now, and somebody may want it.
    Hold,
    /// There is nobody else.
    Nowhere,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            first: 1,
            slots: VecDeque::new(),
            last_unanswered: 0,
            len: 0,
            bytes: 0,
            shards: [Shard::default(); SHARDS],
            held: 0,
        }
    }
}

impl Outbound {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn shard(&self, shard: usize) -> Shard {
        self.shards.get(shard).copied().unwrap_or_default()
    }

    fn shard_mut(&mut self, shard: usize) -> Option<&mut Shard> {
        self.shards.get_mut(shard)
    }

    fn next_sequence(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn pending_mut(&mut self, sequence: u64) -> Option<&mut Pending> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)?.as_mut()
    }

    fn push(&mut self, pending: Pending) {
        self.bytes += pending.envelope.cost();
        self.len += 1;
        self.slots.push_back(Some(pending));
    }

    /// Counts a message as in flight on a link, or as held.
    fn place(&mut self, sequence: u64, via: Option<LinkId>) {
        let Some(pending) = self.pending_mut(sequence) else {
            return;
        };
        pending.via = via;
        let shard = pending.shard;
        self.held += usize::from(via.is_none());
        let Some(shard) = self.shard_mut(shard) else {
            return;
        };
        match via {
            Some(_) => shard.in_flight += 1,
            None => shard.held += 1,
        }
    }

    /// Undoes [`Outbound::place`].
    fn unplace(&mut self, shard: usize, via: Option<LinkId>) {
        self.held -= usize::from(via.is_none());
        let Some(shard) = self.shard_mut(shard) else {
            return;
        };
        match via {
            Some(_) => shard.in_flight -= 1,
            None => shard.held -= 1,
        }
    }

    /// Takes a message out, wherever it stands.
    fn take(&mut self, sequence: u64) -> Option<Pending> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let pending = self.slots.get_mut(index)?.take()?;
        self.len -= 1;
        self.bytes -= pending.envelope.cost();
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        Some(pending)
    }

    /// Takes everything off links that are not ready, and everything held, so that it can be
    /// placed again; returns its sequences in order.
    fn loosen(&mut self, links: &Links) -> Vec<u64> {
        let first = self.first;
        let loose: Vec<(u64, usize, Option<LinkId>)> = (first..)
            .zip(&self.slots)
            .filter_map(|(sequence, slot)| Some((sequence, slot.as_ref()?)))
            .filter(|(_, pending)| !pending.via.is_some_and(|link| links.is_ready(link)))
            .map(|(sequence, pending)| (sequence, pending.shard, pending.via))
            .collect();
        for (_, shard, via) in &loose {
            self.unplace(*shard, *via);
        }
        loose.into_iter().map(|(sequence, ..)| sequence).collect()
    }

    /// Where the next message of a shard goes; binds an idle shard to a ready bridge.
    fn way(&mut self, shard: usize, links: &Links, has_peers: bool) -> Way {
        let Shard { via, in_flight, held } = self.shard(shard);
        if held > 0 {
            return Way::Hold; // nothing overtakes what is held
        }
        if in_flight > 0 {
            // Nor what is in flight on a link that is about to be closed.
            let link = via.filter(|link| links.is_ready(*link));
            return link.map_or(Way::Hold, Way::Via);
        }
        let picked = links.pick(shard);
        if let Some(shard) = self.shard_mut(shard) {
            shard.via = picked;
        }
        match picked {
            Some(link) => Way::Via(link),
            None if has_peers => Way::Hold,
            None => Way::Nowhere,
        }
    }
}

impl Hub {
    /// Sends a message to other nodes, if any of them wants it.
    pub(super) fn send_elsewhere(
        &mut self,
        message: &Arc<Message>,
        answer: Option<Answer>,
    ) -> Routing {
        let topic = message.topic.as_str();
        let shard = shard_of(topic);
        let way = self.way(shard);
        let unwanted = match way {
            Way::Via(link) => !self.links.wants(link, topic),
            Way::Hold => false,
            Way::Nowhere => true,
        };
        if unwanted {
            return Routing::Settled;
        }
        let Some(answer) = answer else {
            self.send_unanswered(way, message);
            return Routing::Settled;
        };
        let sequence = self.outbound.next_sequence();
        let Some(envelope) = self.envelope(sequence, message) else {
            return Routing::Settled;
        };
        self.outbound.push(Pending { envelope, shard, via: None, was_sent: false, answer });
        match way {
            Way::Via(link) => self.transmit(sequence, link),
            Way::Hold | Way::Nowhere => self.outbound.place(sequence, None),
        }
        Routing::Awaited
    }

    /// What the directory said of other nodes may be older than they are; a bridge that is there,
    /// or was until now, speaks for them too.
    fn way(&mut self, shard: usize) -> Way {
        let has_peers = !self.peers.is_empty() || self.links.knows_a_bridge();
        self.outbound.way(shard, &self.links, has_peers)
    }

    /// QoS 0: given to the bridge if that is possible now.
    fn send_unanswered(&mut self, way: Way, message: &Arc<Message>) {
        let Way::Via(link) = way else {
            return self.metrics.count_drop(DropReason::NoBridge);
        };
        self.outbound.last_unanswered += 1;
        let Some(envelope) = self.envelope(self.outbound.last_unanswered, message) else {
            return;
        };
        let frame = Frame::Forward { id: None, envelope };
        if self.links.post_if_room(link, frame) {
            self.metrics.messages_forwarded.at(message.qos).inc();
        } else {
            self.metrics.count_drop(DropReason::LinkFull);
        }
    }

    fn envelope(&self, sequence: u64, message: &Message) -> Option<Arc<Envelope>> {
        let origin =
            Origin { node: self.me.node.clone(), incarnation: self.me.incarnation, sequence };
        // Topics too long for the prefix do not get past the session.
        Envelope::new(origin, message).ok().map(Arc::new)
    }

    /// Gives a pending message to a link; holds it if the link's window is full.
    fn transmit(&mut self, sequence: u64, link: LinkId) {
        let Some(pending) = self.outbound.pending_mut(sequence) else {
            return;
        };
        let envelope = Arc::clone(&pending.envelope);
        let frame = |id| Frame::Forward { id: Some(id), envelope };
        let sent = self.links.send(link, Sent::Forward(sequence), frame);
        if sent {
            if std::mem::replace(&mut pending.was_sent, true) {
                self.metrics.messages_resent.inc();
            } else {
                self.metrics.messages_forwarded.at(pending.envelope.qos).inc();
            }
        }
        self.outbound.place(sequence, sent.then_some(link));
    }

    /// Every destination has the message: its publisher may know.
    pub(super) fn settle(&mut self, sequence: u64, by: LinkId) {
        let Some(pending) = self.outbound.take(sequence) else {
            return;
        };
        self.outbound.unplace(pending.shard, pending.via);
        pending.answer.give();
        let goes_on = self.links.is_ready(by) && self.links.has_slack(by);
        if self.outbound.held > 0 && goes_on {
            self.place_waiting();
        }
    }

    /// Gives everything that no ready bridge has to one that is ready, in order.
    pub(super) fn place_waiting(&mut self) {
        for sequence in self.outbound.loosen(&self.links) {
            self.place_again(sequence);
        }
        self.place_notes();
    }

    fn place_again(&mut self, sequence: u64) {
        let Some(pending) = self.outbound.pending_mut(sequence) else {
            return;
        };
        let (shard, envelope) = (pending.shard, Arc::clone(&pending.envelope));
        match self.way(shard) {
            Way::Hold => self.outbound.place(sequence, None),
            Way::Via(link) if self.links.wants(link, envelope.topic()) => {
                self.transmit(sequence, link);
            }
            Way::Via(_) | Way::Nowhere => {
                if let Some(pending) = self.outbound.take(sequence) {
                    pending.answer.give();
                }
            }
        }
    }

    /// Forgets all that is on its way: nobody waits for it any more.
    pub(super) fn reset_outbound(&mut self) {
        self.outbound = Outbound::default();
        self.notes = Notes::default();
    }
}
