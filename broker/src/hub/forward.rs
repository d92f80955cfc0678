//! Messages for other nodes: whether one leaves this node, when it goes, when its answer is due.
//!
//! A QoS 2 message of a durable session leaves only when it is kept: if the node dies, it is sent
//! again under the same number, and whoever had it knows it by that. All others go at once.
//!
//! It leaves the bookkeeping to `outbound.rs`, what links can take to `links.rs`.

use std::sync::Arc;

use causeway_common::{
    link::{Envelope, Frame, Origin},
    message::Message,
};

use super::{
    Hub, LinkId, Routing,
    commits::Due,
    links::Sent,
    notes::Notes,
    outbound::{Answer, Pending, Way},
    record::Name,
    shard::shard_of,
};
use crate::{
    session::{DropReason, Said},
    store::{Batch, Key, Position},
};

/// What is to be done about other nodes for a message.
#[derive(Debug)]
pub(super) struct Plan {
    way: Way,
    shard: usize,
    /// What it will be called there; none if it does not leave this node.
    pub(super) origin: Option<Origin>,
}

impl Hub {
    /// Whether a message goes to other nodes, and as what.
    pub(super) fn plan(&mut self, message: &Message) -> Plan {
        let topic = message.topic.as_str();
        let shard = shard_of(topic);
        let answered = message.qos.is_answered() || message.retain;
        let way = if answered { self.way(shard) } else { self.unanswered_way(shard) };
        let leaves = match way {
            // What is retained goes to every node.
            Way::Via(link) => message.retain || self.links.wants(link, topic),
            Way::Hold => answered,
            Way::Nowhere => false,
        };
        if !leaves {
            if way == Way::Hold {
                self.metrics.count_drop(DropReason::NoBridge);
            }
            return Plan { way, shard, origin: None };
        }
        let sequence = if answered {
            self.outbound.next_sequence()
        } else {
            self.outbound.last_unanswered += 1;
            self.outbound.last_unanswered
        };
        let (node, incarnation) = (self.me.node.clone(), self.me.incarnation);
        Plan { way, shard, origin: Some(Origin { node, incarnation, sequence }) }
    }

    /// Sends a message to other nodes, as planned. `Routing::Settled` if nobody has to be waited for.
    pub(super) fn send_elsewhere(
        &mut self,
        plan: Plan,
        said: &Said,
        retained: Option<u64>,
        (answer, position, kept): (Option<Answer>, Position, Option<Key>),
    ) -> Routing {
        let Plan { way, shard, origin } = plan;
        // Topics too long for the prefix do not get past the session.
        let envelope = origin.and_then(|origin| Envelope::new(origin, said, retained).ok());
        let Some(envelope) = envelope.map(Arc::new) else {
            return self.settle_here(answer, position);
        };
        if !envelope.is_answered() {
            self.send_unanswered(way, envelope);
            return Routing::Settled;
        }
        let sequence = self.outbound.next_sequence();
        let pending =
            Pending { envelope, shard, via: None, was_sent: false, answer, position, kept };
        let may_go = pending.is_kept(self.store.durable());
        self.outbound.push(pending);
        match way {
            Way::Via(link) if may_go => self.transmit(sequence, link),
            Way::Via(_) | Way::Hold | Way::Nowhere => {
                self.outbound.uncommitted += usize::from(!may_go);
                self.outbound.place(sequence, None);
            }
        }
        Routing::Awaited
    }

    /// A message that stays on this node is safe when it is durable here.
    fn settle_here(&mut self, answer: Option<Answer>, position: Position) -> Routing {
        if self.is_durable(position) {
            return Routing::Settled;
        }
        if let Some(answer) = answer {
            self.when_durable(position, Due::Answer(answer));
        }
        Routing::Awaited
    }

    /// What the directory said of other nodes may be older than they are; a bridge that is there,
    /// or was until now, speaks for them too.
    fn way(&mut self, shard: usize) -> Way {
        let others = !self.peers.is_empty() || !self.away.is_empty();
        let has_peers = others || self.links.knows_a_bridge();
        self.outbound.way(shard, &self.links, has_peers)
    }

    /// QoS 0 waits for nothing: what is held of other QoS is not in its way.
    fn unanswered_way(&mut self, shard: usize) -> Way {
        let way = self.way(shard);
        let ready = self.outbound.shard(shard).via.filter(|link| self.links.is_ready(*link));
        match way {
            Way::Hold => ready.or_else(|| self.links.pick(shard)).map_or(Way::Hold, Way::Via),
            Way::Via(_) | Way::Nowhere => way,
        }
    }

    /// QoS 0: given to the bridge if that is possible now.
    fn send_unanswered(&mut self, way: Way, envelope: Arc<Envelope>) {
        let Way::Via(link) = way else {
            return self.metrics.count_drop(DropReason::NoBridge);
        };
        let qos = envelope.qos;
        let frame = Frame::Forward { id: None, envelope };
        if self.links.post_if_room(link, frame) {
            self.metrics.messages_forwarded.at(qos).inc();
        } else {
            self.metrics.count_drop(DropReason::LinkFull);
        }
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
        self.finish(pending);
        let goes_on = self.links.is_ready(by) && self.links.has_slack(by);
        if self.outbound.held > 0 && goes_on {
            self.place_waiting();
        }
    }

    /// A message is on its way no more: its publisher may know, once it is durable here.
    fn finish(&mut self, pending: Pending) {
        if self.waits.has_letters() {
            self.release_waits();
        }
        if let Some(kept) = pending.kept {
            let mut batch = Batch::default();
            batch.delete(kept);
            self.store.write(batch);
            self.step_all(); // a session may wait for it
        }
        if let Some(answer) = pending.answer {
            self.when_durable(pending.position, Due::Answer(answer));
        }
    }

    /// Gives everything that no ready bridge has to one that is ready, in order.
    pub(super) fn place_waiting(&mut self) {
        self.outbound.uncommitted = 0;
        for sequence in self.outbound.loosen(&self.links) {
            self.place_again(sequence);
        }
        self.place_notes();
    }

    /// The store has come further.
    pub(super) fn place_committed(&mut self) {
        if self.outbound.uncommitted > 0 {
            self.place_waiting();
        }
    }

    fn place_again(&mut self, sequence: u64) {
        let durable = self.store.durable();
        let Some(pending) = self.outbound.pending_mut(sequence) else {
            return;
        };
        let (shard, envelope) = (pending.shard, Arc::clone(&pending.envelope));
        let may_go = pending.is_kept(durable);
        // Kept from an earlier life: whoever it was for may not be there yet.
        let waits_for_bridge = pending.kept.is_some() && pending.answer.is_none();
        match self.way(shard) {
            Way::Via(link) if may_go && self.is_wanted(link, &envelope) => {
                self.transmit(sequence, link);
            }
            Way::Nowhere if waits_for_bridge => self.outbound.place(sequence, None),
            Way::Hold => self.outbound.place(sequence, None),
            Way::Via(_) if !may_go => {
                self.outbound.uncommitted += 1;
                self.outbound.place(sequence, None);
            }
            Way::Via(_) | Way::Nowhere => {
                if let Some(pending) = self.outbound.take(sequence) {
                    self.finish(pending);
                }
            }
        }
    }

    fn is_wanted(&self, link: LinkId, envelope: &Envelope) -> bool {
        envelope.retained.is_some() || self.links.wants(link, envelope.topic())
    }

    /// Puts what a store kept at the front of all that is to come.
    pub(super) fn restore_outbound(&mut self, kept: Key, envelope: Envelope) {
        let shard = shard_of(envelope.topic());
        let sequence = self.outbound.next_sequence();
        self.outbound.push(Pending {
            envelope: Arc::new(envelope),
            shard,
            via: None,
            was_sent: true,
            answer: None,
            position: Position::default(),
            kept: Some(kept),
        });
        self.outbound.place(sequence, None);
    }

    /// A new life begins: nobody waits any more for what is on its way, but what is kept goes on.
    pub(super) fn reset_outbound(&mut self) {
        let old = std::mem::take(&mut self.outbound);
        for pending in old.slots.into_iter().flatten() {
            if pending.kept.is_none() {
                // Its session may outlive this: what it was owed must not stand in the way of the
                // answers after it. Its connection is closed before it hears of this.
                pending.answer.into_iter().for_each(Answer::give);
                continue;
            }
            let sequence = self.outbound.next_sequence();
            self.outbound.push(Pending { via: None, ..pending });
            self.outbound.place(sequence, None);
        }
        self.number_unsettled();
        self.notes = Notes::default();
        self.waits.forget_letters();
    }
}

/// The name under which a message on its way is kept.
pub(super) fn kept_name(origin: &Origin) -> Key {
    Name::Outbound(origin.incarnation, origin.sequence).key()
}
