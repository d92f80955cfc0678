//! A simulated node: the real hub and the real sessions, and a shell that does what the tasks of
//! `broker/src/connection`, `broker/src/link` and `broker/src/membership.rs` do.

mod connection;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use causeway_broker::{
    hub::{Hub, HubLimits, LinkId, LinkViolation},
    metrics::Metrics,
    session::Limits,
};
use causeway_common::{
    directory::Member,
    id::{Incarnation, NodeId},
    link::{Envelope, Frame},
    mailbox::Mailbox,
};

use crate::{
    Fault,
    net::{End, Item},
    scene::{Event, LEASE, LEASE_US, Scene, WireId},
    words::{message_on, node_id},
};
use connection::Conn;

/// One process of a node.
pub(crate) struct Node {
    pub(crate) index: usize,
    /// Its number among all processes.
    pub(crate) life: u64,
    pub(crate) hub: Hub,
    /// Clients may connect.
    pub(crate) listens: bool,
    /// Since when it could be reached from all nodes it knows.
    pub(crate) joined_us: Option<u64>,
    /// It cannot reach the directory until then.
    pub(crate) blind_until_us: u64,
    member: Member,
    has_joined: bool,
    renewed_us: Option<u64>,
    gone_for_all: bool,
    peers: BTreeMap<NodeId, u64>,
    conns: BTreeMap<WireId, Conn>,
    links: BTreeMap<WireId, LinkEnd>,
    limits: Arc<Limits>,
    /// Forwards that came, for the fault that takes each of them as new.
    forwards: u64,
    /// The greatest sequence given to a link, for the fault that does not repeat.
    sent_up_to: u64,
}

struct LinkEnd {
    id: LinkId,
    /// The life of the bridge at the other end, if that last said that it is ready.
    ready: Option<Incarnation>,
    mailbox: Arc<Mailbox<Frame>>,
    is_waking: bool,
}

impl Node {
    pub(crate) fn start(
        s: &mut Scene,
        index: usize,
        life: u64,
        incarnation: u64,
        metrics: Arc<Metrics>,
    ) -> Self {
        let member = Member { node: node_id(index), incarnation: Incarnation(incarnation) };
        let limits = HubLimits {
            connections_max: 500,
            backlog_bytes_max: 64 << 20,
            // Never: what is answered for want of patience is no promise.
            route_timeout: Duration::from_hours(1),
            lost_bridge_grace: 2 * LEASE,
            probe_interval: Duration::from_secs(3),
        };
        s.after(1, Event::Keep(index, life));
        s.after(2, Event::Tick(index, life));
        s.note(None, || format!("node-{index} starts as {incarnation}"));
        Self {
            index,
            life,
            hub: Hub::new(s.now(), member.clone(), limits, metrics),
            listens: false,
            joined_us: None,
            blind_until_us: 0,
            member,
            has_joined: false,
            renewed_us: None,
            gone_for_all: false,
            peers: BTreeMap::new(),
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            limits: Arc::new(session_limits()),
            forwards: 0,
            sent_up_to: 0,
        }
    }

    /// kill -9.
    pub(crate) fn kill(self, s: &mut Scene) {
        for (wire, conn) in &self.conns {
            s.ledger.end(conn.life);
            s.leave_client(End::Node, *wire);
        }
        for wire in self.links.keys() {
            s.leave_link(End::Node, *wire);
        }
    }

    pub(crate) fn tick(&mut self, s: &mut Scene) {
        self.hub.tick(s.now());
        if self.joined_us.is_none() && self.hub.is_joined() {
            self.joined_us = Some(s.now_us);
        }
        let sick = self.links.iter().filter(|(_, end)| self.hub.link_is_sick(end.id));
        let sick: Vec<WireId> = sick.map(|(wire, _)| *wire).collect();
        for wire in sick {
            s.note(None, || format!("node-{} closes sick link {wire}", self.index));
            self.link_ends(s, wire);
        }
        s.after(500_000, Event::Tick(self.index, self.life));
    }

    // Membership: what `Membership::keep_once` does.

    pub(crate) fn keep(&mut self, s: &mut Scene) {
        let reaches = s.now_us >= self.blind_until_us;
        if !reaches {
            self.fence_in_time(s);
        } else if self.has_joined {
            self.renew(s);
            self.learn_peers(s);
        } else {
            self.join(s);
            self.learn_peers(s);
        }
        let delay = if reaches { LEASE_US / 4 } else { 250_000 };
        s.after(delay, Event::Keep(self.index, self.life));
    }

    fn join(&mut self, s: &mut Scene) {
        if !s.directory.join(s.now_us, &self.member) {
            return self.fence(s);
        }
        self.has_joined = true;
        self.renewed_us = Some(s.now_us);
        self.gone_for_all = false;
        if self.hub.is_fenced() {
            self.hub.rejoin(self.member.clone());
            s.note(None, || {
                format!("node-{} rejoins as {:?}", self.index, self.member.incarnation)
            });
        }
    }

    fn renew(&mut self, s: &mut Scene) {
        if s.directory.renew(s.now_us, &self.member) {
            self.renewed_us = Some(s.now_us);
            self.gone_for_all = false;
            return;
        }
        let runs = self.renewed_us.is_some_and(|at| s.now_us < at + LEASE_US);
        if self.hub.is_fenced() || !(runs || self.gone_for_all) {
            self.fence(s);
            self.member.incarnation.0 += 1;
        }
        self.join(s);
    }

    fn fence_in_time(&mut self, s: &mut Scene) {
        let Some(renewed) = self.renewed_us else {
            return;
        };
        if s.now_us < renewed + LEASE_US * 2 / 3 {
            return;
        }
        self.gone_for_all = self.hub.directory_witness() == Some(false);
        if !self.gone_for_all {
            self.fence(s);
            self.member.incarnation.0 += 1;
            self.has_joined = false;
            self.renewed_us = None;
        }
    }

    fn fence(&mut self, s: &mut Scene) {
        s.note(None, || format!("node-{} fences itself", self.index));
        if !self.hub.is_fenced() {
            self.hub.fence();
        }
        // It opens again like a new one. A real one stays open, and its first clients may be passed
        // by where there was no bridge all the time: each of two nodes may take itself to be alone.
        (self.listens, self.joined_us) = (false, None);
        for conn in self.conns.values() {
            s.ledger.end(conn.life);
        }
    }

    fn learn_peers(&mut self, s: &mut Scene) {
        for status in s.directory.nodes(s.now_us) {
            if status.row.node == self.member.node {
                continue;
            }
            if status.live {
                self.peers.insert(status.row.node, s.now_us);
            } else {
                self.peers.remove(&status.row.node);
            }
        }
        self.peers.retain(|_, seen| s.now_us < *seen + LEASE_US);
        self.hub.set_peers(self.peers.keys().cloned().collect());
    }

    // Links: what `link/serve.rs` does.

    /// The lives of bridges that this node gives messages to.
    pub(crate) fn trusts(&self) -> BTreeSet<Incarnation> {
        self.links.values().filter_map(|end| end.ready).collect()
    }

    pub(crate) fn link_up(&mut self, s: &mut Scene, wire: WireId) {
        let mailbox = Arc::new(Mailbox::new(16 << 20));
        let id = self.hub.link_up(&mailbox);
        let end = LinkEnd { id, ready: None, mailbox, is_waking: false };
        self.links.insert(wire, end);
        s.send_frame(End::Peer, wire, Item::Open);
    }

    pub(crate) fn link_arrival(&mut self, s: &mut Scene, wire: WireId, item: Item<Frame>) {
        let Some(end) = self.links.get_mut(&wire) else {
            return;
        };
        let id = end.id;
        if let Item::One(Frame::Status(status)) = &item {
            end.ready = status.ready.then_some(status.incarnation);
        }
        let Item::One(frame) = item else {
            s.note(None, || format!("node-{} has lost link {wire}", self.index));
            return self.link_ends(s, wire);
        };
        s.note(message_on(&frame), || format!("node-{} < {wire} {frame:?}", self.index));
        let frame = match (s.fault, frame) {
            (Some(Fault::NoDedup), Frame::Forward { id, envelope }) => {
                self.forwards += 1;
                let envelope = renumbered(&envelope, self.forwards);
                Frame::Forward { id, envelope }
            }
            (_, frame) => frame,
        };
        match self.hub.link_frame(s.now(), id, frame) {
            Ok(()) => {}
            Err(LinkViolation::GivenUp) => self.link_ends(s, wire),
            Err(violation) => {
                s.fail(None, format!("node-{} judges its bridge: {violation}", self.index));
            }
        }
    }

    fn link_ends(&mut self, s: &mut Scene, wire: WireId) {
        if let Some(end) = self.links.remove(&wire) {
            self.hub.link_down(s.now(), end.id);
            s.leave_link(End::Node, wire);
        }
    }

    pub(crate) fn wake_link(&mut self, s: &mut Scene, wire: WireId) {
        let Some(end) = self.links.get_mut(&wire) else {
            return;
        };
        end.is_waking = false;
        let mut frames = VecDeque::new();
        end.mailbox.take_all(&mut frames);
        for frame in frames {
            s.note(message_on(&frame), || format!("node-{} > {wire} {frame:?}", self.index));
            if let Frame::Forward { envelope, .. } = &frame {
                let sequence = envelope.origin.sequence;
                let again = envelope.qos.is_answered() && sequence <= self.sent_up_to;
                if envelope.qos.is_answered() {
                    self.sent_up_to = self.sent_up_to.max(sequence);
                }
                if again && s.fault == Some(Fault::NoResend) {
                    continue;
                }
            }
            s.send_frame(End::Peer, wire, Item::One(frame));
        }
    }
}

/// The same envelope under another sequence.
fn renumbered(envelope: &Envelope, sequence: u64) -> Arc<Envelope> {
    let mut origin = envelope.origin.clone();
    origin.sequence = sequence;
    let message = envelope.to_message();
    let anew = message.ok().and_then(|message| Envelope::new(origin, &message).ok());
    Arc::new(anew.unwrap_or_else(|| envelope.clone()))
}

fn session_limits() -> Limits {
    Limits {
        max_inflight: 3,
        queue_messages_max: 100_000,
        queue_bytes_max: 8 << 20,
        topic_levels_max: 200,
        filters_max: 10_000,
        owed_messages_max: 5,
        owed_bytes_max: 4 << 20,
    }
}
