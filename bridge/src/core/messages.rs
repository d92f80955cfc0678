//! Messages and notes from node to node.
//!
//! * A message goes to the nodes that want it, and one that is retained to all: they travel with an
//!   identifier then, whatever their QoS, and are answered when all have them.
//! * A note to a node that is gone is answered, as there is nothing left to do; but not a piece of a
//!   session, whose answer means that it is stored. It is dropped without a trace here: its ticket
//!   is closed, so that what is owed stays bounded by what is under way. On the link its identifier
//!   stays in use until the link ends.
//!
//! It leaves to others: how a lane holds, sends and repeats ([`crate::relay`]).

use std::sync::Arc;

use causeway_common::{
    id::{NodeId, PacketId},
    link::{Envelope, Frame, Note},
};
use prometheus::IntCounter;

use super::{Core, LinkViolation};
use crate::{
    relay::{Direct, LinkKey, Load, Lost, Parcel, Sent, Ticket},
    routes::{Destinations, NodeIndex},
};

impl Core {
    pub(super) fn forward(
        &mut self,
        link: LinkKey,
        id: Option<PacketId>,
        envelope: &Arc<Envelope>,
    ) -> Result<(), LinkViolation> {
        self.speaks_for_itself(link, &envelope.origin.node)?;
        let open = self.nodes.get(&link.node).and_then(|node| node.link.as_ref());
        if !open.is_some_and(|open| open.was_ready) {
            return Err(LinkViolation::NotReady);
        }
        let destinations = match id {
            Some(_) => self.destinations(link.node, envelope),
            None => self.routes.destinations(envelope.topic(), link.node),
        };
        if destinations.is_empty() {
            self.metrics.messages_without_destination.inc();
        }
        let copies = u64::try_from(destinations.len()).unwrap_or_default();
        let forwarded = self.metrics.messages_forwarded.at(envelope.qos);
        forwarded.inc_by(copies);
        match id {
            None => {
                self.forward_unanswered(&destinations, envelope);
                Ok(())
            }
            Some(id) => {
                let ticket = Ticket { link, id };
                self.relay(ticket, &destinations, &Load::Forward(Arc::clone(envelope)))
            }
        }
    }

    pub(super) fn direct(
        &mut self,
        link: LinkKey,
        id: Option<PacketId>,
        direct: Direct,
    ) -> Result<(), LinkViolation> {
        self.speaks_for_itself(link, &direct.from)?;
        self.count_note(&direct.note);
        let destinations: Destinations = self.live(&direct.to).into_iter().collect();
        if destinations.is_empty() && needs_receiver(&direct.note) {
            // No ticket is opened, so nothing is kept of it here.
            self.metrics.notes_unanswered.inc();
            return Ok(());
        }
        // Who is away or unknown has no connection to close: the answer is due at once.
        let load = Load::Direct(Box::new(direct));
        if let Some(id) = id {
            return self.relay(Ticket { link, id }, &destinations, &load);
        }
        for node in destinations.iter().filter_map(|at| self.nodes.get(at)) {
            // A probe that is lost is missed by whoever sent it.
            let _ = node.lane.try_offer(load.clone().into_frame(None));
        }
        Ok(())
    }

    /// A node has answered a copy.
    pub(super) fn answered(&mut self, link: LinkKey, id: PacketId) -> Result<(), LinkViolation> {
        let node = self.nodes.get_mut(&link.node).ok_or(LinkViolation::GivenUp)?;
        let Some(Sent::Parcel(parcel)) = node.lane.sent(id) else {
            return Err(LinkViolation::Unasked(id));
        };
        let ticket = parcel.ticket;
        if !node.lane.has_room() {
            self.stale.insert(link.node);
        }
        node.lane.answered(id);
        let again = node.lane.pump();
        self.metrics.messages_resent.inc_by(again);
        self.settle(ticket);
        Ok(())
    }

    /// Where a message with an identifier goes: to the nodes that want it, and what is retained to
    /// all that live. One that is away gets from the others what is retained, when it is back; what
    /// its durable sessions wait for is held for it.
    fn destinations(&self, origin: NodeIndex, envelope: &Envelope) -> Destinations {
        let mut destinations = self.routes.destinations(envelope.topic(), origin);
        if !envelope.qos.is_answered() {
            let wanting = destinations.len();
            destinations.retain(|at| self.nodes.get(at).is_some_and(|node| !node.is_away()));
            let lost = u64::try_from(wanting - destinations.len()).unwrap_or_default();
            self.metrics.messages_dropped.not_linked.inc_by(lost);
        }
        if envelope.retained.is_some() {
            let others = self.live_nodes().filter(|(at, _)| **at != origin);
            destinations.extend(others.map(|(at, _)| *at));
            destinations.sort_unstable();
            destinations.dedup();
        }
        destinations
    }

    /// A node is gone before it had a copy: what follows for whoever waits for its answer. `counted`
    /// is the reason for a message to be dropped.
    pub(super) fn undelivered(&mut self, parcel: &Parcel, counted: &IntCounter) {
        match &parcel.load {
            Load::Forward(_) => counted.inc(),
            Load::Direct(direct) if needs_receiver(&direct.note) => {
                self.metrics.notes_unanswered.inc();
                return self.owed.withhold(parcel.ticket);
            }
            // There is no connection left to take over.
            Load::Direct(_) => {}
        }
        self.settle(parcel.ticket);
    }

    /// Opens a share for each destination, and gives each its copy; without destination the
    /// answer is due at once.
    fn relay(
        &mut self,
        ticket: Ticket,
        destinations: &Destinations,
        load: &Load,
    ) -> Result<(), LinkViolation> {
        if !self.owed.open(ticket, destinations.len().max(1)) {
            return Err(LinkViolation::IdInUse(ticket.id));
        }
        for at in destinations {
            if let Some(node) = self.nodes.get_mut(at) {
                let load = load.clone();
                node.lane.offer(Parcel { ticket, load });
            }
        }
        if destinations.is_empty() {
            self.settle(ticket);
        }
        Ok(())
    }

    fn forward_unanswered(&self, destinations: &Destinations, envelope: &Arc<Envelope>) {
        let dropped = &self.metrics.messages_dropped;
        for node in destinations.iter().filter_map(|at| self.nodes.get(at)) {
            let envelope = Arc::clone(envelope);
            match node.lane.try_offer(Frame::Forward { id: None, envelope }) {
                Ok(()) => {}
                Err(Lost::NotLinked) => dropped.not_linked.inc(),
                Err(Lost::Full) => dropped.link_full.inc(),
            }
        }
    }

    fn count_note(&self, note: &Note) {
        let counted = &self.metrics.notes;
        match note {
            Note::TakeOver { .. } => counted.take_over.inc(),
            Note::Probe { .. } => counted.probe.inc(),
            Note::Echo { .. } => counted.echo.inc(),
            Note::Session(_) => counted.session.inc(),
            Note::Retained(_) => counted.retained.inc(),
        }
    }

    fn speaks_for_itself(&self, link: LinkKey, from: &NodeId) -> Result<(), LinkViolation> {
        let node = self.nodes.get(&link.node);
        let itself = node.is_some_and(|node| node.member.node == *from);
        itself.then_some(()).ok_or_else(|| LinkViolation::Forged(from.clone()))
    }
}

/// Whether the answer to a note says that somebody has it. Where there is nobody such a note is
/// dropped without any answer, and whoever sent it asks again: for the rest, there is nothing to be
/// done where nobody is, which is as good as done.
fn needs_receiver(note: &Note) -> bool {
    match note {
        Note::Session(_) => true,
        Note::TakeOver { .. } | Note::Retained(_) | Note::Probe { .. } | Note::Echo { .. } => false,
    }
}
