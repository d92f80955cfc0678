//! A simulated bridge: the real core, and a shell that dials, reads, writes and asks the directory.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use causeway_bridge::{
    core::{Core, Homes, LinkViolation, Options},
    metrics::Metrics,
    relay::LinkKey,
};
use causeway_common::{
    directory::Directory,
    id::{BridgeId, Incarnation, NodeId, PacketId},
    link::{Envelope, Frame},
    mailbox::Mailbox,
};

use crate::{
    Fault,
    clock::ready,
    net::{End, Item},
    scene::{Event, LEASE, Scene, WireId},
    words::{message_on, node_id},
};

/// One process of a bridge.
pub(crate) struct Bridge {
    pub(crate) index: usize,
    pub(crate) life: u64,
    pub(crate) core: Core,
    /// It cannot reach the directory until then.
    pub(crate) blind_until_us: u64,
    links: BTreeMap<WireId, LinkEnd>,
    dialling: BTreeSet<NodeId>,
}

struct LinkEnd {
    node: usize,
    /// Present once the node has accepted.
    key: Option<LinkKey>,
    mailbox: Arc<Mailbox<Frame>>,
    is_waking: bool,
    /// What a faulty shell has answered itself.
    answered: BTreeSet<PacketId>,
}

impl Bridge {
    pub(crate) fn start(s: &mut Scene, index: usize, life: u64, metrics: Arc<Metrics>) -> Self {
        let options = Options {
            bridge: bridge_id(index),
            incarnation: Incarnation(life),
            lease: LEASE,
            home_grace: s.weather.home_grace,
            interest_filters_max: s.chance.one_of([4, 8, 4096]),
        };
        s.note(None, || format!("bridge-{index} starts as {life}"));
        s.after(1, Event::Poll(index, life));
        Self {
            index,
            life,
            core: Core::new(options, metrics),
            blind_until_us: 0,
            links: BTreeMap::new(),
            dialling: BTreeSet::new(),
        }
    }

    /// kill -9.
    pub(crate) fn kill(self, s: &mut Scene) {
        for wire in self.links.keys() {
            s.leave_link(End::Peer, *wire);
        }
    }

    pub(crate) fn poll(&mut self, s: &mut Scene) {
        if s.now_us >= self.blind_until_us {
            let (name, life) = (bridge_id(self.index), Incarnation(self.life));
            ready(s.directory.note_bridge(&name, life, LEASE)).unwrap();
            let rows = ready(s.directory.nodes()).unwrap();
            let homes = self.core.homes_wanted(&rows).into_iter();
            let homes: Homes =
                homes.map(|node| (node.clone(), ready(s.directory.home(&node)).unwrap())).collect();
            self.core.nodes_seen(s.now(), &rows, &homes);
            for member in self.core.sweeps() {
                ready(s.directory.sweep(&member, s.weather.home_grace)).unwrap();
                self.core.swept(&member);
            }
        } else {
            self.core.directory_lost(s.now());
        }
        let delay = s.chance.between(400_000, 600_000);
        s.after(delay, Event::Poll(self.index, self.life));
        self.follow(s);
    }

    /// Closes what the core has given up, dials what it wants.
    fn follow(&mut self, s: &mut Scene) {
        for key in self.core.take_hang_ups() {
            let wire = self.links.iter().find(|(_, end)| end.key == Some(key));
            if let Some(wire) = wire.map(|(wire, _)| *wire) {
                s.note(None, || format!("bridge-{} gives up link {wire}", self.index));
                self.links.remove(&wire);
                s.leave_link(End::Peer, wire);
            }
        }
        for dial in self.core.dials() {
            let node = (0..NODES).find(|index| node_id(*index) == dial.member.node);
            if let Some(node) = node
                && self.dialling.insert(dial.member.node)
            {
                let delay = s.chance.between(500, 50_000);
                s.after(delay, Event::Dial(self.index, self.life, node));
            }
        }
    }

    /// A node has, or has not, been reached.
    pub(crate) fn dialled(&mut self, s: &mut Scene, node: usize, wire: Option<WireId>) {
        let Some(wire) = wire else {
            self.dialling.remove(&node_id(node));
            return self.core.refused(s.now(), &node_id(node));
        };
        self.links.insert(
            wire,
            LinkEnd {
                node,
                key: None,
                mailbox: Arc::new(Mailbox::new(16 << 20)),
                is_waking: false,
                answered: BTreeSet::new(),
            },
        );
    }

    pub(crate) fn arrivals(&mut self, s: &mut Scene, wire: WireId, items: Vec<Item<Frame>>) {
        let mut frames = VecDeque::new();
        for item in items {
            match item {
                Item::Open => self.link_opens(s, wire),
                Item::One(frame) => {
                    s.note(message_on(&frame), || {
                        format!("bridge-{} < {wire} {frame:?}", self.index)
                    });
                    frames.extend(self.perturb(s, wire, frame));
                }
                Item::End => {
                    self.take(s, wire, &mut frames);
                    self.link_ends(s, wire);
                }
            }
        }
        self.take(s, wire, &mut frames);
        self.follow(s);
    }

    fn link_opens(&mut self, s: &mut Scene, wire: WireId) {
        let now = s.now();
        let Some(end) = self.links.get_mut(&wire) else {
            return;
        };
        let name = node_id(end.node);
        self.dialling.remove(&name);
        let dial = self.core.dial(&name);
        end.key =
            dial.and_then(|dial| self.core.link_up(now, &dial.member, Arc::clone(&end.mailbox)));
        if end.key.is_none() {
            self.links.remove(&wire);
            s.leave_link(End::Peer, wire);
        }
    }

    fn link_ends(&mut self, s: &mut Scene, wire: WireId) {
        let Some(end) = self.links.remove(&wire) else {
            return;
        };
        s.note(None, || format!("bridge-{} has lost link {wire}", self.index));
        s.leave_link(End::Peer, wire);
        match end.key {
            Some(key) => self.core.link_down(s.now(), key),
            None => {
                self.dialling.remove(&node_id(end.node));
            }
        }
    }

    fn take(&mut self, s: &mut Scene, wire: WireId, frames: &mut VecDeque<Frame>) {
        let Some(key) = self.links.get(&wire).and_then(|end| end.key) else {
            return frames.clear();
        };
        match self.core.frames(s.now(), key, frames) {
            Ok(()) => {}
            Err(LinkViolation::GivenUp | LinkViolation::OlderIncarnation { .. }) => {
                self.link_ends(s, wire);
            }
            Err(violation) => {
                s.fail(None, format!("bridge-{} judges its node: {violation}", self.index));
            }
        }
    }

    /// The faults of a shell that does not leave the core alone.
    fn perturb(&mut self, s: &mut Scene, wire: WireId, frame: Frame) -> Option<Frame> {
        let (Frame::Forward { id, envelope }, Some(end)) = (&frame, self.links.get_mut(&wire))
        else {
            return Some(frame);
        };
        let ack = id.map(|id| Item::One(Frame::Ack(id)));
        match (s.fault, ack) {
            (Some(Fault::AckEarly), Some(ack)) => {
                end.answered.extend(id);
                s.send_frame(End::Node, wire, ack);
            }
            (Some(Fault::ReadyEarly), ack) if !self.core.is_ready_for(&node_id(end.node)) => {
                s.send_frame(End::Node, wire, ack?);
                return None;
            }
            (Some(Fault::Echo), _) => {
                let back = from_elsewhere(envelope);
                let back = Frame::Forward { id: None, envelope: back };
                s.send_frame(End::Node, wire, Item::One(back));
            }
            _ => {}
        }
        Some(frame)
    }

    pub(crate) fn wake_link(&mut self, s: &mut Scene, wire: WireId) {
        let Some(end) = self.links.get_mut(&wire) else {
            return;
        };
        end.is_waking = false;
        let mut frames = VecDeque::new();
        end.mailbox.take_all(&mut frames);
        for mut frame in frames {
            match &mut frame {
                Frame::Ack(id) if end.answered.remove(id) => continue,
                Frame::Status(status) => status.ready |= s.fault == Some(Fault::ReadyEarly),
                _ => {}
            }
            s.note(message_on(&frame), || format!("bridge-{} > {wire} {frame:?}", self.index));
            s.send_frame(End::Node, wire, Item::One(frame));
        }
    }

    /// Lets every link whose mailbox has something look into it soon.
    pub(crate) fn wake_all(&mut self, s: &mut Scene) {
        for (wire, end) in &mut self.links {
            if !end.mailbox.is_empty() && !std::mem::replace(&mut end.is_waking, true) {
                let delay = s.wake_delay_us();
                s.after(delay, Event::WakeLink(End::Peer, *wire));
            }
        }
    }
}

fn bridge_id(index: usize) -> BridgeId {
    BridgeId::from(format!("bridge-{index}"))
}

/// The same message, as if a node nobody knows had sent it.
fn from_elsewhere(envelope: &Envelope) -> Arc<Envelope> {
    let mut origin = envelope.origin.clone();
    origin.node = NodeId::from("echo");
    let message = envelope.to_message();
    let anew =
        message.ok().and_then(|message| Envelope::new(origin, &message, envelope.retained).ok());
    Arc::new(anew.unwrap_or_else(|| envelope.clone()))
}

pub(crate) const NODES: usize = 3;
