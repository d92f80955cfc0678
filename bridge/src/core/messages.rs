//! Messages and notes from node to node.
//!
//! It leaves to others: how a lane holds, sends and repeats ([`crate::relay`]).

use std::sync::Arc;

use causeway_common::{
    id::{NodeId, PacketId},
    link::{Envelope, Frame, Note},
};

use super::{Core, LinkViolation};
use crate::{
    relay::{Direct, LinkKey, Load, Lost, Parcel, Sent, Ticket},
    routes::Destinations,
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
        let destinations = self.routes.destinations(envelope.topic(), link.node);
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
        // A node nobody knows has no connection to close: the answer is due at once.
        let destinations: Destinations = self.names.get(&direct.to).copied().into_iter().collect();
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
        }
    }

    fn speaks_for_itself(&self, link: LinkKey, from: &NodeId) -> Result<(), LinkViolation> {
        let node = self.nodes.get(&link.node);
        let itself = node.is_some_and(|node| node.member.node == *from);
        itself.then_some(()).ok_or_else(|| LinkViolation::Forged(from.clone()))
    }
}
