//! What breaks the simulated cluster, and what heals it.

use super::{BRIDGES, World};
use crate::{
    Fault,
    bridge::NODES,
    client::CLIENTS,
    scene::{Event, LEASE_LEFT_US, LEASE_US, SECOND_US, Scene, WireId},
    words::node_id,
};

/// Something that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    Client,
    Link,
    Stall,
    Node,
    Bridge,
    BridgeBlind,
    Outage,
}

pub(super) const BREAKS: [Break; 7] = [
    Break::Client,
    Break::Link,
    Break::Stall,
    Break::Node,
    Break::Bridge,
    Break::BridgeBlind,
    Break::Outage,
];

impl World {
    /// Breaks one thing, and lets the next break after a while.
    pub(super) fn chaos(&mut self) {
        if !self.is_busy {
            return;
        }
        let delay = self.s.chance.below(2 * self.chaos_interval_us);
        self.s.after(delay, Event::Chaos);
        let Some(what) = self.s.chance.pick(&self.breaks).copied() else {
            return;
        };
        let at = usize::try_from(self.s.chance.next() >> 8).unwrap_or_default();
        self.s.note(None, || format!("breaks: {what:?}"));
        match what {
            Break::Client => self.cut_client(at % CLIENTS),
            Break::Link => self.with_link(at, Scene::cut_link),
            Break::Stall => {
                let for_us = self.s.chance.between(100_000, 4 * SECOND_US);
                self.with_link(at, |s, wire| s.stall_link(wire, for_us));
            }
            Break::Node => self.kill_node(at % NODES),
            Break::Bridge => self.kill_bridge(at % BRIDGES),
            Break::BridgeBlind => {
                let until = self.s.now_us + self.s.chance.between(1, 10) * SECOND_US;
                if let Some(bridge) = &mut self.bridges[at % BRIDGES].process {
                    bridge.blind_until_us = until;
                }
            }
            Break::Outage => {
                let for_us = self.s.chance.between(1, 10) * SECOND_US;
                self.outage(self.s.now_us + for_us);
            }
        }
    }

    fn cut_client(&mut self, index: usize) {
        self.clients[index].cut(&mut self.s);
    }

    fn with_link(&mut self, at: usize, act: impl FnOnce(&mut Scene, WireId)) {
        let open = self.s.links.iter().filter(|(_, wire)| wire.is_open());
        let open: Vec<WireId> = open.map(|(id, _)| *id).collect();
        if !open.is_empty() {
            let wire = open[at % open.len()];
            self.s.note(None, || format!("it is link {wire}"));
            act(&mut self.s, wire);
        }
    }

    fn kill_node(&mut self, index: usize) {
        let up = self.nodes.iter().filter(|slot| slot.process.is_some()).count();
        if up < NODES {
            return; // one at a time
        }
        if let Some(node) = self.nodes[index].process.take() {
            self.s.note(None, || format!("{} is killed", node_id(index)));
            self.disks[index] = node.kill(&mut self.s);
            self.doubt(index);
            let only_crashes = self.s.fault.is_some_and(Fault::is_of_store);
            let down_secs_max = if self.s.forgets() { 15 } else { 9 };
            let longest = if only_crashes { 1 } else { down_secs_max };
            let needs_death = self.s.fault.is_some_and(Fault::needs_deaths);
            let shortest = if needs_death { LEASE_US } else { 10_000 };
            let delay = self.s.chance.between(shortest, longest * SECOND_US);
            self.s.after(delay, Event::StartNode(index));
            let grace_us = self.s.weather.home_grace_us();
            self.s.after(LEASE_LEFT_US + grace_us, Event::Forgotten(index));
        }
    }

    fn kill_bridge(&mut self, index: usize) {
        if let Some(bridge) = self.bridges[index].process.take() {
            self.s.note(None, || format!("bridge-{index} is killed"));
            bridge.kill(&mut self.s);
            let delay = self.s.chance.between(10_000, 5 * SECOND_US);
            self.s.after(delay, Event::StartBridge(index));
        }
    }

    fn outage(&mut self, until_us: u64) {
        self.outage_until_us = until_us;
        for node in self.nodes.iter().filter_map(|slot| slot.process.as_ref()) {
            node.blind_for(until_us.saturating_sub(self.s.now_us));
        }
        for bridge in self.bridges.iter_mut().filter_map(|slot| slot.process.as_mut()) {
            bridge.blind_until_us = bridge.blind_until_us.max(until_us);
        }
    }

    /// Nothing breaks any more, the directory is back, and what is down comes up.
    pub(super) fn heal(&mut self) {
        self.is_busy = false;
        self.outage(self.s.now_us);
        for bridge in self.bridges.iter_mut().filter_map(|slot| slot.process.as_mut()) {
            bridge.blind_until_us = self.s.now_us;
        }
        (0..NODES).for_each(|index| self.start_node(index));
        (0..BRIDGES).for_each(|index| self.start_bridge(index));
        self.s.note(None, || "all is healed".to_owned());
    }
}
