//! The node's links: which bridges are there, what they want, and what they have acknowledged.
//!
//! The life of a link, as the node sees it:
//!
//! ```text
//!   CONNECT ok ──► unknown ──first Status──► bridge ──Status{ready}──► gets messages
//!                     │                        │ ◄─ Hello, snapshot of routes, changes
//!                     └──SUBSCRIBE $link/…──► tap: somebody looks on, and is told nothing else
//! ```
//!
//! Routes have a version; what every bridge has acknowledged is effective in the cluster. A bridge
//! whose link broke still counts for a grace time: it may be forwarding without knowing the newest
//! routes, until it says that it is not ready, which it does after one lease.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_common::{
    delivery::Window,
    id::{BridgeId, Incarnation, NodeId, PacketId},
    link::{
        FILTERS_PER_FRAME_MAX, Frame, Hello, Note, PREFIX, PROTOCOL_VERSION, Part, Routes, Status,
    },
    mailbox::Mailbox,
    topic::{Filter, Tree},
};
use thiserror::Error;

use super::{Hub, is_route};

/// One link connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

/// What a peer on a link did that nobody should: the link is closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkViolation {
    /// A frame only nodes send.
    #[error("a bridge does not send {0}")]
    Unexpected(&'static str),
    /// A note for another node.
    #[error("note for {0}, which is not this node")]
    Misdirected(NodeId),
}

/// All links of a node, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<LinkId, Link>,
    last_id: u64,
    lost: Vec<LostBridge>,
    route_version: u64,
    route_count: usize,
}

#[derive(Debug)]
struct Link {
    mailbox: Arc<Mailbox<Frame>>,
    peer: Peer,
    /// What the bridge wants of this node.
    interest: Tree<(), ()>,
    window: Window<Sent>,
    /// Route versions it has not acknowledged, each with the number of frames.
    unacknowledged: BTreeMap<u64, usize>,
    /// It must be closed: it is silent, or it cannot keep up.
    sick: bool,
}

#[derive(Debug)]
enum Peer {
    Unknown,
    Bridge(Status),
    Tap,
}

/// What the acknowledgement of a packet on a link means.
#[derive(Debug)]
pub(super) enum Sent {
    Routes(u64),
    Forward(u64),
    Note(u64),
}

#[derive(Debug)]
struct LostBridge {
    bridge: BridgeId,
    acknowledged: u64,
    until: Instant,
}

impl Links {
    pub(super) fn route_version(&self) -> u64 {
        self.route_version
    }

    pub(super) fn route_count(&self) -> usize {
        self.route_count
    }

    pub(super) fn bridge_count(&self) -> usize {
        self.links.values().filter(|link| link.status().is_some()).count()
    }

    pub(super) fn ready_count(&self) -> usize {
        self.ready().count()
    }

    /// The links that messages may be given to.
    pub(super) fn ready(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(|(_, link)| link.is_ready()).map(|(id, _)| *id)
    }

    pub(super) fn is_ready(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(Link::is_ready)
    }

    /// The ready bridge for a shard of topics, by rendezvous hash: when one goes, only its own
    /// shards move.
    pub(super) fn pick(&self, shard: usize) -> Option<LinkId> {
        let weight = |id: &LinkId| {
            let status = self.links.get(id).and_then(Link::status);
            status.map(|status| rendezvous(&status.bridge, shard))
        };
        self.ready().max_by_key(weight)
    }

    /// Whether a bridge wants messages under a topic.
    pub(super) fn wants(&self, link: LinkId, topic: &str) -> bool {
        self.links.get(&link).is_some_and(|link| link.interest.any_match(topic))
    }

    /// Sends a frame that will be acknowledged; false if the window has no room for it.
    pub(super) fn send(
        &mut self,
        to: LinkId,
        sent: Sent,
        frame: impl FnOnce(PacketId) -> Frame,
    ) -> bool {
        let Some(link) = self.links.get_mut(&to) else { return false };
        let limit = match sent {
            Sent::Forward(_) => FORWARDS_IN_FLIGHT_MAX,
            Sent::Routes(_) | Sent::Note(_) => usize::MAX,
        };
        if link.window.len() >= limit {
            return false;
        }
        let Ok(id) = link.window.push(sent) else {
            link.sick = true; // thousands of unanswered route changes: it is gone, or will be
            return false;
        };
        self.post(to, frame(id));
        true
    }

    /// Puts a frame into a link's mailbox.
    pub(super) fn post(&self, to: LinkId, frame: Frame) {
        self.show(&frame);
        if let Some(link) = self.links.get(&to) {
            link.mailbox.push_control(frame);
        }
    }

    /// Puts a frame into a link's mailbox if that has room for it; false if not.
    pub(super) fn post_if_room(&self, to: LinkId, frame: Frame) -> bool {
        self.show(&frame);
        let cost = frame.cost();
        self.links.get(&to).is_some_and(|link| link.mailbox.push(frame, cost).is_ok())
    }

    /// Acknowledges what a bridge sent.
    pub(super) fn acknowledge(&self, link: LinkId, id: PacketId) {
        self.post(link, Frame::Ack(id));
    }

    /// Takes the acknowledgement of a packet.
    pub(super) fn on_ack(&mut self, link: LinkId, id: PacketId) -> Option<Sent> {
        let link = self.links.get_mut(&link)?;
        let sent = link.window.take(id)?;
        if let Sent::Routes(version) = sent
            && let Some(count) = link.unacknowledged.get_mut(&version)
        {
            *count -= 1;
            if *count == 0 {
                link.unacknowledged.remove(&version);
            }
        }
        Some(sent)
    }

    /// Whether a link's window has room enough to go on with what was held.
    pub(super) fn has_slack(&self, link: LinkId) -> bool {
        let len = self.links.get(&link).map(|link| link.window.len());
        len.is_some_and(|len| len < FORWARDS_IN_FLIGHT_MAX / 2)
    }

    /// The version of the routes that is effective in the whole cluster.
    pub(super) fn effective_version(&self) -> u64 {
        let bridges = self.links.values().filter(|link| link.status().is_some());
        let acknowledged = bridges.map(|link| link.acknowledged(self.route_version));
        let lost = self.lost.iter().map(|lost| lost.acknowledged);
        acknowledged.chain(lost).min().unwrap_or(u64::MAX)
    }

    /// Lets bridges that have been gone for long no longer count.
    pub(super) fn forget_lost(&mut self, now: Instant) {
        self.lost.retain(|lost| lost.until > now);
    }

    /// Whether any bridge says that it reaches the directory; nothing if there is no bridge.
    pub(super) fn directory_witness(&self) -> Option<bool> {
        let statuses = self.links.values().filter_map(Link::status);
        statuses.map(|status| status.directory_reachable).reduce(|a, b| a || b)
    }

    pub(super) fn sicken(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.sick = true;
        }
    }

    /// Every link must be closed, so that bridges come again and learn who this node is now.
    pub(super) fn sicken_all(&mut self) {
        for link in self.links.values_mut() {
            link.sick = true;
        }
    }

    fn announce(&mut self, part: Part, add: &[Filter], remove: &[Filter], to: LinkId) {
        let version = self.route_version;
        let routes = Routes { version, part, add: add.to_vec(), remove: remove.to_vec() };
        if self.send(to, Sent::Routes(version), |id| Frame::Routes { id, routes })
            && let Some(link) = self.links.get_mut(&to)
        {
            *link.unacknowledged.entry(version).or_default() += 1;
        }
    }

    /// Shows a frame to those who look on.
    fn show(&self, frame: &Frame) {
        for tap in self.links.values().filter(|link| matches!(link.peer, Peer::Tap)) {
            // Who looks on and does not keep up misses something; nobody else does.
            let _ = tap.mailbox.push(frame.clone(), frame.cost());
        }
    }
}

impl Link {
    fn status(&self) -> Option<&Status> {
        match &self.peer {
            Peer::Bridge(status) => Some(status),
            Peer::Unknown | Peer::Tap => None,
        }
    }

    fn is_ready(&self) -> bool {
        !self.sick && self.status().is_some_and(|status| status.ready)
    }

    /// The greatest version of which, and of all before it, everything is acknowledged.
    fn acknowledged(&self, current: u64) -> u64 {
        self.unacknowledged.keys().next().map_or(current, |first| first - 1)
    }
}

impl Hub {
    /// A peer has logged in on the link listener.
    pub fn link_up(&mut self, mailbox: &Arc<Mailbox<Frame>>) -> LinkId {
        self.links.last_id += 1;
        let id = LinkId(self.links.last_id);
        self.links.links.insert(id, Link {
            mailbox: Arc::clone(mailbox),
            peer: Peer::Unknown,
            interest: Tree::new(),
            window: Window::new(),
            unacknowledged: BTreeMap::new(),
            sick: false,
        });
        id
    }

    /// A link is gone. What it had not acknowledged goes by another bridge, or waits for one.
    pub fn link_down(&mut self, now: Instant, link: LinkId) {
        let Some(gone) = self.links.links.remove(&link) else { return };
        if let Peer::Bridge(status) = &gone.peer {
            self.links.lost.push(LostBridge {
                bridge: status.bridge.clone(),
                acknowledged: gone.acknowledged(self.links.route_version),
                until: now + self.limits.lost_bridge_grace,
            });
        }
        self.probes.forget(link);
        self.place_waiting();
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
        self.links.show(&frame);
        match frame {
            Frame::Forward { id, envelope } => {
                self.accept(&envelope);
                if let Some(id) = id {
                    self.links.acknowledge(link, id);
                }
            }
            Frame::Ack(id) => self.on_link_ack(link, id),
            Frame::Status(status) => self.on_status(now, link, status),
            Frame::Subscribe { id, filters } => self.on_interest(link, id, &filters),
            Frame::Unsubscribe { id, filters } => {
                if let Some(link) = self.links.links.get_mut(&link) {
                    for filter in &filters {
                        link.interest.remove(filter, &());
                    }
                }
                self.links.post(link, Frame::UnsubAck(id));
            }
            Frame::Direct { id, to, from, note } => return self.on_note(now, link, id, to, &from, note),
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
        self.links.links.get(&link).is_none_or(|link| link.sick)
    }

    /// Whether any linked bridge reaches the directory; nothing if no bridge is linked.
    pub fn directory_witness(&self) -> Option<bool> {
        self.links.directory_witness()
    }

    /// Tells every bridge that filters got their first holder or lost their last.
    pub(super) fn announce(&mut self, add: Vec<Filter>, remove: Vec<Filter>) {
        if add.is_empty() && remove.is_empty() {
            return;
        }
        self.links.route_version += 1;
        self.links.route_count += add.len();
        self.links.route_count -= remove.len();
        let bridges: Vec<LinkId> = self.bridges();
        for link in bridges {
            for (add, remove) in in_parts(&add, &remove) {
                self.links.announce(Part::Change, add, remove, link);
            }
        }
    }

    /// Tells all whose routes are effective now.
    pub(super) fn release_waits(&mut self) {
        let effective = self.links.effective_version();
        self.waits.release(effective);
    }

    fn bridges(&self) -> Vec<LinkId> {
        let bridges = self.links.links.iter().filter(|(_, link)| link.status().is_some());
        bridges.map(|(id, _)| *id).collect()
    }

    fn on_status(&mut self, now: Instant, link: LinkId, status: Status) {
        self.links.lost.retain(|lost| lost.bridge != status.bridge);
        let Some(found) = self.links.links.get_mut(&link) else { return };
        let is_first = !matches!(found.peer, Peer::Bridge(_));
        let (bridge, incarnation) = (status.bridge.clone(), status.incarnation);
        found.peer = Peer::Bridge(status);
        if is_first {
            self.retire_older(now, link, &bridge, incarnation);
            self.greet(link);
        }
        self.place_waiting();
        self.release_waits();
        self.note_sizes();
    }

    /// A bridge has one link to a node: an older one is dead and does not know it.
    fn retire_older(&mut self, now: Instant, link: LinkId, bridge: &BridgeId, life: Incarnation) {
        let others = self.links.links.iter().filter(|(id, other)| {
            let status = other.status();
            **id != link
                && status.is_some_and(|s| s.bridge == *bridge && s.incarnation <= life)
        });
        let older: Vec<LinkId> = others.map(|(id, _)| *id).collect();
        for old in older {
            self.link_down(now, old);
        }
        self.links.lost.retain(|lost| lost.bridge != *bridge);
    }

    fn greet(&mut self, link: LinkId) {
        let hello = Hello {
            node: self.me.node.clone(),
            incarnation: self.me.incarnation,
            protocol: PROTOCOL_VERSION,
        };
        self.links.post(link, Frame::Hello(hello));
        let mut routes: Vec<Filter> =
            self.registry.held_filters().filter(|filter| is_route(filter)).cloned().collect();
        routes.sort_unstable();
        routes.dedup();
        let mut parts = in_parts(&routes, &[]).peekable();
        if parts.peek().is_none() {
            self.links.announce(Part::SnapshotEnd, &[], &[], link);
        }
        while let Some((add, _)) = parts.next() {
            let part = if parts.peek().is_some() { Part::Snapshot } else { Part::SnapshotEnd };
            self.links.announce(part, add, &[], link);
        }
    }

    fn on_interest(&mut self, link: LinkId, id: PacketId, filters: &[Filter]) {
        let filter_count = filters.len();
        if let Some(found) = self.links.links.get_mut(&link) {
            let looks_on = filters.iter().any(|filter| filter.as_str().starts_with(PREFIX));
            if looks_on && matches!(found.peer, Peer::Unknown) {
                found.peer = Peer::Tap;
            }
            for filter in filters {
                found.interest.insert(filter, (), ());
            }
        }
        self.links.post(link, Frame::SubAck { id, filter_count });
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
        to: NodeId,
        from: &NodeId,
        note: Note,
    ) -> Result<(), LinkViolation> {
        if to != self.me.node {
            return Err(LinkViolation::Misdirected(to));
        }
        match note {
            Note::TakeOver { client_id, epoch } => {
                self.give_up(&client_id, epoch, id.map(|id| (link, id)));
            }
            Note::Probe { number, sent_us } => {
                let (to, from) = (from.clone(), to);
                let note = Note::Echo { number, sent_us };
                self.links.post(link, Frame::Direct { id: None, to, from, note });
            }
            Note::Echo { number, sent_us } => {
                self.probes.on_echo(now, link, from, number, sent_us, &self.metrics);
            }
        }
        Ok(())
    }
}

/// A change in pieces that a packet takes.
fn in_parts<'a>(
    add: &'a [Filter],
    remove: &'a [Filter],
) -> impl Iterator<Item = (&'a [Filter], &'a [Filter])> {
    let adds = add.chunks(FILTERS_PER_FRAME_MAX).map(|part| (part, &[][..]));
    let removes = remove.chunks(FILTERS_PER_FRAME_MAX).map(|part| (&[][..], part));
    adds.chain(removes)
}

/// How much a bridge wants a shard: the same on every node and in every run (FNV-1a).
fn rendezvous(bridge: &BridgeId, shard: usize) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seed = step(0xcbf2_9ce4_8422_2325, u8::try_from(shard).unwrap_or(u8::MAX));
    bridge.as_str().bytes().fold(seed, step)
}

/// Messages in flight on one link: below the 65,535 packet identifiers, so that route changes and
/// notes always find one.
const FORWARDS_IN_FLIGHT_MAX: usize = 60_000;

/// How long a bridge whose link broke counts, in leases: it says that it is not ready after one.
pub const LOST_BRIDGE_GRACE_LEASES: u32 = 2;

/// The grace for a lease.
pub fn lost_bridge_grace(lease: Duration) -> Duration {
    lease * LOST_BRIDGE_GRACE_LEASES
}
