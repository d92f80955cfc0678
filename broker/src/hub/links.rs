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

mod refused;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use causeway_common::{
    delivery::Window,
    id::{BridgeId, PacketId},
    link::{Frame, PREFIX, Part, Routes, Status},
    mailbox::Mailbox,
    topic::{Filter, Tree},
};

use super::shard::rendezvous;

/// One link connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

/// All links of a node, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Links {
    all: BTreeMap<LinkId, Link>,
    last_id: u64,
    lost: Vec<LostBridge>,
    route_changes: u64,
    route_count: usize,
}

#[derive(Debug)]
struct Link {
    mailbox: Arc<Mailbox<Frame>>,
    peer: Peer,
    /// What the bridge wants of this node.
    interest: Tree<(), ()>,
    window: Window<Sent>,
    /// Route versions it has not acknowledged, each with the number of frames; what a frame brings
    /// of several versions stands under the first of them.
    unacknowledged: BTreeMap<u64, usize>,
    /// It must be closed: it is silent, or it cannot keep up.
    sick: bool,
    /// Something it brought was not taken, and shall come again.
    refused: bool,
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
    /// From 1 on: a bridge that has acknowledged 0 has acknowledged nothing.
    pub(super) fn route_version(&self) -> u64 {
        self.route_changes + 1
    }

    pub(super) fn route_count(&self) -> usize {
        self.route_count
    }

    pub(super) fn bridge_count(&self) -> usize {
        self.all.values().filter(|link| link.status().is_some()).count()
    }

    pub(super) fn ready_count(&self) -> usize {
        self.ready().count()
    }

    /// Whether a bridge is linked, or was not long ago.
    pub(super) fn knows_a_bridge(&self) -> bool {
        self.bridge_count() > 0 || !self.lost.is_empty()
    }

    /// The links that messages may be given to.
    pub(super) fn ready(&self) -> impl Iterator<Item = LinkId> {
        self.all.iter().filter(|(_, link)| link.is_ready()).map(|(id, _)| *id)
    }

    pub(super) fn is_ready(&self, link: LinkId) -> bool {
        self.all.get(&link).is_some_and(Link::is_ready)
    }

    /// The ready bridge that a shard of topics wants most.
    pub(super) fn pick(&self, shard: usize) -> Option<LinkId> {
        let weight = |id: &LinkId| {
            let status = self.all.get(id).and_then(Link::status);
            status.map(|status| rendezvous(&status.bridge, shard))
        };
        self.ready().max_by_key(weight)
    }

    /// Whether a bridge wants messages under a topic.
    pub(super) fn wants(&self, link: LinkId, topic: &str) -> bool {
        self.all.get(&link).is_some_and(|link| link.interest.any_match(topic))
    }

    /// Sends a frame that will be acknowledged; false if the window has no room for it.
    pub(super) fn send(
        &mut self,
        to: LinkId,
        sent: Sent,
        frame: impl FnOnce(PacketId) -> Frame,
    ) -> bool {
        let Some(link) = self.all.get_mut(&to) else {
            return false;
        };
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
        if let Some(link) = self.all.get(&to) {
            link.mailbox.push_control(frame);
        }
    }

    /// Puts a frame into a link's mailbox if that has room for it; false if not.
    pub(super) fn post_if_room(&self, to: LinkId, frame: Frame) -> bool {
        self.show(&frame);
        let cost = frame.cost();
        self.all.get(&to).is_some_and(|link| link.mailbox.push(frame, cost).is_ok())
    }

    /// Acknowledges what a bridge sent.
    pub(super) fn acknowledge(&self, link: LinkId, id: PacketId) {
        self.post(link, Frame::Ack(id));
    }

    /// Takes the acknowledgement of a packet.
    pub(super) fn on_ack(&mut self, link: LinkId, id: PacketId) -> Option<Sent> {
        let link = self.all.get_mut(&link)?;
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
        let len = self.all.get(&link).map(|link| link.window.len());
        len.is_some_and(|len| len < FORWARDS_IN_FLIGHT_MAX / 2)
    }

    /// The version of the routes that is effective in the whole cluster.
    pub(super) fn effective_version(&self) -> u64 {
        let bridges = self.all.values().filter(|link| link.status().is_some());
        let acknowledged = bridges.map(|link| link.acknowledged(self.route_version()));
        let lost = self.lost.iter().map(|lost| lost.acknowledged);
        acknowledged.chain(lost).min().unwrap_or(u64::MAX)
    }

    /// Lets bridges that have been gone for long no longer count.
    pub(super) fn forget_lost(&mut self, now: Instant) {
        self.lost.retain(|lost| lost.until > now);
    }

    /// Whether a bridge that was lost still counts.
    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Whether any bridge says that it reaches the directory; nothing if there is no bridge.
    pub(super) fn directory_witness(&self) -> Option<bool> {
        let statuses = self.all.values().filter_map(Link::status);
        statuses.map(|status| status.directory_reachable).reduce(|a, b| a || b)
    }

    /// The bridges that a link has been established with.
    pub(super) fn bridges(&self) -> Vec<LinkId> {
        let bridges = self.all.iter().filter(|(_, link)| link.status().is_some());
        bridges.map(|(id, _)| *id).collect()
    }

    /// Whether a bridge has a link that is to stay.
    pub(super) fn has(&self, bridge: &BridgeId) -> bool {
        self.statuses().any(|status| status.bridge == *bridge)
    }

    /// What bridges said of themselves by links that are to stay.
    pub(super) fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.all.values().filter(|link| !link.sick).filter_map(Link::status)
    }

    /// A new version of the routes: so many filters more, so many fewer.
    pub(super) fn change_routes(&mut self, added: usize, removed: usize) {
        self.route_changes += 1;
        self.route_count += added;
        self.route_count -= removed;
    }

    pub(super) fn add(&mut self, mailbox: &Arc<Mailbox<Frame>>) -> LinkId {
        self.last_id += 1;
        let id = LinkId(self.last_id);
        self.all.insert(
            id,
            Link {
                mailbox: Arc::clone(mailbox),
                peer: Peer::Unknown,
                interest: Tree::new(),
                window: Window::new(),
                unacknowledged: BTreeMap::new(),
                sick: false,
                refused: false,
            },
        );
        id
    }

    /// Takes a link away. Its bridge counts for the routes until then, or until it is back.
    pub(super) fn remove(&mut self, link: LinkId, counts_until: Option<Instant>) {
        let Some(gone) = self.all.remove(&link) else { return };
        if let (Some(status), Some(until)) = (gone.status(), counts_until) {
            self.lost.push(LostBridge {
                bridge: status.bridge.clone(),
                acknowledged: gone.acknowledged(self.route_version()),
                until,
            });
        }
    }

    /// Notes how a bridge is; true if it is the first thing it says on this link.
    pub(super) fn set_status(&mut self, link: LinkId, status: Status) -> bool {
        let Some(link) = self.all.get_mut(&link) else {
            return false;
        };
        let is_first = !matches!(link.peer, Peer::Bridge(_));
        link.peer = Peer::Bridge(status);
        is_first
    }

    /// All links of a bridge but the newest of its youngest life.
    pub(super) fn outdated(&self, bridge: &BridgeId) -> Vec<LinkId> {
        let age = |(id, link): (&LinkId, &Link)| {
            let status = link.status().filter(|status| status.bridge == *bridge)?;
            Some((status.incarnation, *id))
        };
        let mut links: Vec<_> = self.all.iter().filter_map(age).collect();
        links.sort_unstable();
        links.pop();
        links.into_iter().map(|(_, id)| id).collect()
    }

    /// A bridge is known by its newest link: the loss of an older one means nothing.
    pub(super) fn forget_lost_of(&mut self, bridge: &BridgeId) {
        self.lost.retain(|lost| lost.bridge != *bridge);
    }

    pub(super) fn is_linked(&self, link: LinkId) -> bool {
        self.all.contains_key(&link)
    }

    pub(super) fn add_interest(&mut self, link: LinkId, filters: &[Filter]) {
        let Some(link) = self.all.get_mut(&link) else {
            return;
        };
        let looks_on = filters.iter().any(|filter| filter.as_str().starts_with(PREFIX));
        if looks_on && matches!(link.peer, Peer::Unknown) {
            link.peer = Peer::Tap;
        }
        for filter in filters {
            link.interest.insert(filter, (), ());
        }
    }

    pub(super) fn remove_interest(&mut self, link: LinkId, filters: &[Filter]) {
        let Some(link) = self.all.get_mut(&link) else {
            return;
        };
        for filter in filters {
            link.interest.remove(filter, &());
        }
    }

    pub(super) fn is_sick(&self, link: LinkId) -> bool {
        self.all.get(&link).is_none_or(|link| link.sick)
    }

    pub(super) fn sicken(&mut self, link: LinkId) {
        if let Some(link) = self.all.get_mut(&link) {
            link.sick = true;
        }
    }

    /// Every link must be closed, so that bridges come again and learn who this node is now.
    pub(super) fn sicken_all(&mut self) {
        for link in self.all.values_mut() {
            link.sick = true;
        }
    }

    /// Sends a piece of the routes, as they are now, to one bridge.
    pub(super) fn announce(&mut self, part: Part, routes: Routes, to: LinkId) {
        let version = self.route_version();
        let routes = Routes { version, part, ..routes };
        let first_version = match part {
            // It brings every change until now: none is acknowledged before it is.
            Part::Snapshot | Part::SnapshotEnd => 1,
            Part::Change => version,
        };
        let sent = Sent::Routes(first_version);
        if self.send(to, sent, |id| Frame::Routes { id, routes })
            && let Some(link) = self.all.get_mut(&to)
        {
            *link.unacknowledged.entry(first_version).or_default() += 1;
        }
    }

    /// Shows a frame to those who look on, if it is one that `mosquitto_sub` could show.
    pub(super) fn show(&self, frame: &Frame) {
        if !frame.is_publish() {
            return;
        }
        for tap in self.all.values().filter(|link| matches!(link.peer, Peer::Tap)) {
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

/// Messages in flight on one link: below the 65,535 packet identifiers, so that route changes and
/// notes always find one.
const FORWARDS_IN_FLIGHT_MAX: usize = 60_000;
