//! Changes of routes, and the interest they cause at the other nodes.
//!
//! ```text
//!  node-1 ── Routes 7: +user/bob/# ─▶ Owed (node-1, 7) ⇐ 1 share each ─▶ SUBSCRIBE to node-2 ─┐
//!                                                                     ─▶ SUBSCRIBE to node-3 ─┤
//!  node-1 ◀─ PUBACK 7 ◀──────────────────────────────── the last SUBACK settles the last share┘
//! ```
//!
//! A node has a few SUBSCRIBEs to answer at a time. What changes meanwhile is gathered, may take
//! itself back, and goes out as one: so what waits for a slow node is never more than its interest.

use causeway_common::{
    id::PacketId,
    link::{FILTERS_PER_FRAME_MAX, Frame, Part, Routes},
    topic::Filter,
};

use super::{
    Core, LinkViolation,
    node::{Link, Node, Phase, Step},
};
use crate::{
    interest::Interest,
    relay::{LinkKey, Load, Sent, Ticket, Waiter},
    routes::{NodeIndex, Wanted},
};

impl Core {
    pub(super) fn routes_changed(
        &mut self,
        link: LinkKey,
        id: PacketId,
        mut routes: Routes,
    ) -> Result<(), LinkViolation> {
        let ticket = Ticket { link, id };
        let at = link.node;
        let open = self.nodes.get_mut(&at).and_then(Node::attached);
        let phase = &mut open.ok_or(LinkViolation::NoHello)?.phase;
        let whole = note_part(phase, &routes)?;
        // The first share keeps the answer back until all nodes have been looked at.
        if !self.owed.open(ticket, 1) {
            return Err(LinkViolation::IdInUse(id));
        }
        self.metrics.route_changes.inc();
        let ends_snapshot = whole.is_some();
        self.change_routes(at, &mut routes, whole);
        self.stale.extend(self.nodes.keys());
        if routes.add.is_empty() && routes.durable.is_empty() {
            self.settle(ticket); // nobody waits for less to come
        } else {
            self.changed.push(ticket);
        }
        if ends_snapshot {
            self.now_in_step(at);
        }
        Ok(())
    }

    fn change_routes(&mut self, at: NodeIndex, routes: &mut Routes, whole: Option<Wanted>) {
        self.add_routes(at, &routes.add);
        for filter in &routes.durable {
            self.routes.set_durable(at, filter, true);
        }
        for filter in &routes.fleeting {
            self.routes.set_durable(at, filter, false);
        }
        routes.remove.retain(|filter| self.routes.remove(at, filter));
        if let Some(whole) = whole {
            routes.remove.extend(self.routes.keep_only(at, whole));
        }
        for filter in &routes.remove {
            self.interest.remove(filter, at);
        }
    }

    pub(super) fn add_routes(&mut self, at: NodeIndex, filters: &[Filter]) {
        for filter in filters {
            if self.routes.add(at, filter) {
                self.interest.add(filter, at);
            }
        }
    }

    /// A node's routes are known as they are: what was held for it can be judged, and goes.
    fn now_in_step(&mut self, at: NodeIndex) {
        let Some(node) = self.nodes.get_mut(&at) else {
            return;
        };
        node.step = Step::In;
        let routes = &self.routes;
        let unwanted = node.lane.sort_out(|parcel| match &parcel.load {
            // What is retained is for every node.
            Load::Forward(envelope) => {
                envelope.retained.is_some() || routes.wants(at, envelope.topic())
            }
            Load::Direct(_) => true,
        });
        let again = node.lane.open();
        self.metrics.messages_resent.inc_by(again);
        for parcel in unwanted {
            self.settle(parcel.ticket);
        }
        self.review();
    }

    pub(super) fn subscribed(
        &mut self,
        link: LinkKey,
        id: PacketId,
        filter_count: usize,
    ) -> Result<(), LinkViolation> {
        let unasked = LinkViolation::Unasked(id);
        let node = self.nodes.get_mut(&link.node).ok_or(LinkViolation::GivenUp)?;
        let open = node.link.as_mut().ok_or(LinkViolation::GivenUp)?;
        let answered = node.lane.sent(id);
        let (Some(Sent::Subscribe { filter_count: asked, waiters }), Some(oldest)) =
            (answered, open.subscribes.front())
        else {
            return Err(unasked);
        };
        if *asked != filter_count || *oldest != id {
            return Err(unasked);
        }
        let waiters = std::mem::take(waiters);
        open.subscribes.pop_front();
        node.lane.answered(id);
        self.stale.insert(link.node);
        self.release(link.node, waiters);
        Ok(())
    }

    pub(super) fn unsubscribed(
        &mut self,
        link: LinkKey,
        id: PacketId,
    ) -> Result<(), LinkViolation> {
        let node = self.nodes.get_mut(&link.node).ok_or(LinkViolation::GivenUp)?;
        let open = node.link.as_mut().ok_or(LinkViolation::GivenUp)?;
        let Some(Sent::Unsubscribe) = node.lane.sent(id) else {
            return Err(LinkViolation::Unasked(id));
        };
        open.unsubscribes -= 1;
        node.lane.answered(id);
        self.stale.insert(link.node);
        Ok(())
    }

    /// Tells the nodes what has changed, and lets the changes wait for their answers.
    pub(super) fn say_changes(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        self.wait_for_all(&changed);
        while let Some(at) = self.stale.pop_first() {
            if let Some(node) = self.nodes.get_mut(&at) {
                let released = node.say_interest(at, &mut self.interest);
                self.release(at, released);
            }
        }
        for ticket in changed {
            self.settle(ticket);
        }
    }

    fn wait_for_all(&mut self, changed: &[Ticket]) {
        let counts = |node: &Node| !node.is_absent && !node.is_away();
        let present = self.nodes.iter_mut().filter(|(_, node)| counts(node));
        for (at, node) in present {
            for ticket in changed.iter().filter(|ticket| ticket.link.node != *at) {
                self.owed.share(*ticket);
                node.waiters.push(Waiter::Routes(*ticket));
            }
        }
    }

    pub(super) fn release(&mut self, at: NodeIndex, waiters: Vec<Waiter>) {
        for waiter in waiters {
            match waiter {
                Waiter::Routes(ticket) => self.settle(ticket),
                Waiter::Ready => self.interest_in_force(at),
            }
        }
    }
}

impl Node {
    /// Says as much of the interest as may be unanswered at a time. Returns what has waited for
    /// interest if all of it is in force.
    fn say_interest(&mut self, at: NodeIndex, interest: &mut Interest) -> Vec<Waiter> {
        let Some(link) = self.link.as_mut().filter(|link| link.is_attached()) else {
            return Vec::new();
        };
        while link.unanswered() < UNANSWERED_MAX && self.lane.has_room() {
            let filters = interest.take_add(at, FILTERS_PER_FRAME_MAX);
            if filters.is_empty() {
                break;
            }
            let sent = Sent::Subscribe { filter_count: filters.len(), waiters: Vec::new() };
            let frame = |id| Frame::Subscribe { id, filters };
            link.subscribes.extend(self.lane.request(sent, frame));
        }
        // What replaces a filter is said before that filter is taken back.
        while !interest.has_add(at) && link.unanswered() < UNANSWERED_MAX && self.lane.has_room() {
            let filters = interest.take_remove(at, FILTERS_PER_FRAME_MAX);
            if filters.is_empty() {
                break;
            }
            let frame = |id| Frame::Unsubscribe { id, filters };
            link.unsubscribes += usize::from(self.lane.request(Sent::Unsubscribe, frame).is_some());
        }
        if interest.has_add(at) {
            return Vec::new();
        }
        let last = link.subscribes.back().and_then(|last| self.lane.sent(*last));
        match last {
            Some(Sent::Subscribe { waiters, .. }) => {
                waiters.append(&mut self.waiters);
                Vec::new()
            }
            Some(Sent::Parcel(_) | Sent::Unsubscribe) | None => std::mem::take(&mut self.waiters),
        }
    }
}

impl Link {
    fn unanswered(&self) -> usize {
        self.subscribes.len() + self.unsubscribes
    }
}

/// Notes a part of a snapshot; returns the whole with its last part.
fn note_part(phase: &mut Phase, routes: &Routes) -> Result<Option<Wanted>, LinkViolation> {
    if let (Phase::Snapshot(seen), Part::Snapshot | Part::SnapshotEnd) = (&mut *phase, routes.part)
    {
        seen.filters.extend(routes.add.iter().cloned());
        seen.durable.extend(routes.durable.iter().cloned());
    }
    match (phase, routes.part) {
        (Phase::InStep, Part::Change) | (Phase::Snapshot(_), Part::Snapshot) => Ok(None),
        (phase @ Phase::Snapshot(_), Part::SnapshotEnd) => {
            match std::mem::replace(phase, Phase::InStep) {
                Phase::Snapshot(whole) => Ok(Some(whole)),
                Phase::Greeting | Phase::InStep => Ok(None),
            }
        }
        (
            Phase::Greeting | Phase::InStep | Phase::Snapshot(_),
            part @ (Part::Snapshot | Part::SnapshotEnd | Part::Change),
        ) => Err(LinkViolation::Part(part)),
    }
}

/// SUBSCRIBEs and UNSUBSCRIBEs that a node has to answer at a time: the next goes out before the
/// answer to the one before is back, and a burst of changes still shares a few.
const UNANSWERED_MAX: usize = 4;
