//! Frames from bridges: what the hub does with each.
//!
//! It leaves to `links.rs` what is known of each link, to `outbound.rs` what is on its way.

use std::{sync::Arc, time::Instant};

use causeway_common::{
    directory::{Member, Owner},
    id::{Incarnation, NodeId, PacketId},
    link::{FILTERS_PER_FRAME_MAX, Frame, Hello, Note, PROTOCOL_VERSION, Part, Routes, Status},
    mailbox::Mailbox,
    topic::Filter,
};
use thiserror::Error;

use super::{Hub, LinkId, commits::Due, is_route, links::Sent, moves::Claim, waits::Until};

/// What a peer on a link did that nobody should: the link is closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkViolation {
    /// A frame only nodes send.
    #[error("a bridge does not send {0}")]
    Unexpected(&'static str),
    /// A note for another node.
    #[error("note for {0}, which is not this node")]
    Misdirected(NodeId),
    /// Anything by a link that a newer one of the same bridge has replaced.
    #[error("the link was given up")]
    GivenUp,
}

impl Hub {
    /// A peer has logged in on the link listener.
    pub fn link_up(&mut self, mailbox: &Arc<Mailbox<Frame>>) -> LinkId {
        self.links.add(mailbox)
    }

    /// A link is gone. What it had not acknowledged goes by another bridge, or waits for one.
    pub fn link_down(&mut self, now: Instant, link: LinkId) {
        self.take_link_away(link, Some(now + self.limits.lost_bridge_grace));
    }

    /// A bridge has said good-bye: it forwards nothing any more, and nobody waits for it.
    pub fn link_left(&mut self, link: LinkId) {
        self.take_link_away(link, None);
    }

    fn take_link_away(&mut self, link: LinkId, counts_until: Option<Instant>) {
        self.links.remove(link, counts_until);
        self.probes.forget(link);
        self.place_waiting();
        self.ask_again();
        self.release_waits();
        self.note_sizes();
    }

    /// Takes a frame from a link. An error closes the link.
    pub fn link_frame(
        &mut self,
        now: Instant,
        link: LinkId,
        frame: Frame,
    ) -> Result<(), LinkViolation> {
        if !self.links.is_linked(link) {
            return Err(LinkViolation::GivenUp);
        }
        self.links.show(&frame);
        match frame {
            Frame::Forward { id, envelope } if self.refuses(link, id, &envelope) => {}
            Frame::Forward { id, envelope } => {
                let position = self.accept(&envelope);
                if let Some(id) = id {
                    self.when_durable(position, Due::Link(link, id));
                }
            }
            Frame::Ack(id) => self.on_link_ack(link, id),
            Frame::Status(status) => self.on_status(now, link, status),
            Frame::Subscribe { id, filters } => {
                self.links.add_interest(link, &filters);
                self.links.post(link, Frame::SubAck { id, filter_count: filters.len() });
            }
            Frame::Unsubscribe { id, filters } => {
                self.links.remove_interest(link, &filters);
                self.links.post(link, Frame::UnsubAck(id));
            }
            Frame::Direct { id, to, from, note } => {
                if to != self.me.node {
                    return Err(LinkViolation::Misdirected(to));
                }
                self.on_note(now, link, id, from, note);
            }
            Frame::Ping => self.links.post(link, Frame::Pong),
            Frame::Hello(_) => return Err(LinkViolation::Unexpected("a hello")),
            Frame::Routes { .. } => return Err(LinkViolation::Unexpected("routes")),
            Frame::SubAck { .. } | Frame::UnsubAck(_) => {
                return Err(LinkViolation::Unexpected("a subscription's answer"));
            }
            Frame::Pong => return Err(LinkViolation::Unexpected("a pong")),
        }
        Ok(())
    }

    /// Whether a link must be closed: a newer one of the same bridge has come, or it is up and
    /// silent.
    pub fn link_is_sick(&self, link: LinkId) -> bool {
        self.links.is_sick(link)
    }

    /// Whether any linked bridge reaches the directory; nothing if no bridge is linked.
    pub fn directory_witness(&self) -> Option<bool> {
        self.links.directory_witness()
    }

    /// Tells every bridge what has changed about this node's routes.
    pub(super) fn send_changes(&mut self, change: &Routes) {
        if change.names_nothing() {
            return;
        }
        self.links.change_routes(change.add.len(), change.remove.len());
        let bridges = self.links.bridges();
        if bridges.is_empty() {
            return;
        }
        let parts = in_parts(change);
        for link in bridges {
            for part in &parts {
                self.links.announce(Part::Change, part.clone(), link);
            }
        }
    }

    /// Tells all whose routes are effective now.
    pub(super) fn release_waits(&mut self) {
        let reached = Until {
            routes: self.links.effective_version(),
            position: self.store.durable(),
            home: self.home.noted(),
            outbound: self.outbound.first(),
        };
        self.waits.release(reached);
        for (from, session, stamp) in self.waits.take_letters(reached) {
            self.letter_done(from, session, stamp);
        }
    }

    fn on_status(&mut self, now: Instant, link: LinkId, status: Status) {
        let bridge = status.bridge.clone();
        if self.links.set_status(link, status) {
            // A bridge has one link to a node: an older one is dead and does not know it. This may
            // be the older one, if its first word comes late.
            let outdated = self.links.outdated(&bridge);
            if !outdated.contains(&link) {
                // Before anything that follows from it can be said.
                self.greet(link);
                if !self.links.is_sick(link) {
                    self.bridges.meet(bridge.clone()); // else it may know an earlier life
                }
            }
            for outdated in outdated {
                self.link_down(now, outdated);
            }
            self.links.forget_lost_of(&bridge);
        }
        self.place_waiting();
        self.ask_again();
        self.release_waits();
        self.note_sizes();
    }

    /// Says who this node is, and what its clients hold.
    fn greet(&mut self, link: LinkId) {
        let hello = Hello {
            node: self.me.node.clone(),
            incarnation: self.me.incarnation,
            protocol: PROTOCOL_VERSION,
        };
        self.links.post(link, Frame::Hello(hello));
        let held = self.registry.held_filters().filter(|(filter, _)| is_route(filter));
        let mut add: Vec<Filter> = held.map(|(filter, _)| filter.clone()).collect();
        add.sort_unstable();
        add.dedup();
        let durable = self.durable_filters();
        let mut parts = in_parts(&Routes { add, durable, ..Routes::default() });
        if parts.is_empty() {
            parts.push(Routes::default());
        }
        let last = parts.len() - 1;
        for (index, routes) in parts.into_iter().enumerate() {
            let part = if index == last { Part::SnapshotEnd } else { Part::Snapshot };
            self.links.announce(part, routes, link);
        }
    }

    fn on_link_ack(&mut self, link: LinkId, id: PacketId) {
        match self.links.on_ack(link, id) {
            Some(Sent::Routes(_)) => self.release_waits(),
            Some(Sent::Forward(sequence)) => self.settle(sequence, link),
            Some(Sent::Note(key)) => self.note_done(key),
            None => {}
        }
    }

    fn on_note(
        &mut self,
        now: Instant,
        link: LinkId,
        id: Option<PacketId>,
        from: NodeId,
        note: Note,
    ) {
        match note {
            Note::TakeOver { client_id, epoch, clean } => {
                let member = Member { node: from, incarnation: Incarnation::default() };
                let claim = Claim { by: Owner { member, epoch }, clean };
                self.give_up(&client_id, claim, id.map(|id| (link, id)));
            }
            Note::Probe { number, sent_us } => {
                let (to, from) = (from, self.me.node.clone());
                let note = Note::Echo { number, sent_us };
                // One that finds no room is missed by whoever sent it.
                self.links.post_if_room(link, Frame::Direct { id: None, to, from, note });
            }
            Note::Session(body) => {
                // What the letter asks for is answered by a letter.
                if let Some(id) = id {
                    self.links.acknowledge(link, id);
                }
                self.on_letter(now, link, &from, &body);
            }
            Note::Retained(body) => self.on_retained_note(now, (link, id), &from, &body),
            Note::Echo { number, sent_us } => {
                self.probes.on_echo(now, link, &from, number, sent_us);
            }
        }
    }
}

/// A change in pieces that a packet takes. What is durable comes after what is there at all.
fn in_parts(change: &Routes) -> Vec<Routes> {
    let Routes { add, remove, durable, fleeting, .. } = change;
    let pieces = |filters: &[Filter]| -> Vec<Vec<Filter>> {
        filters.chunks(FILTERS_PER_FRAME_MAX).map(<[Filter]>::to_vec).collect()
    };
    let mut parts = Vec::new();
    let part = Routes::default;
    parts.extend(pieces(add).into_iter().map(|add| Routes { add, ..part() }));
    parts.extend(pieces(durable).into_iter().map(|durable| Routes { durable, ..part() }));
    parts.extend(pieces(fleeting).into_iter().map(|fleeting| Routes { fleeting, ..part() }));
    parts.extend(pieces(remove).into_iter().map(|remove| Routes { remove, ..part() }));
    parts
}
