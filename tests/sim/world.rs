//! The simulated cluster: three nodes, two bridges, six clients, and what breaks them.

mod chaos;
mod judge;

use std::{collections::BTreeSet, rc::Rc, sync::Arc};

use causeway_common::{directory::Directory, id::Incarnation};

use chaos::{BREAKS, Break};

use crate::{
    Fault, Running,
    bridge::{Bridge, NODES},
    client::{CLIENTS, Client},
    clock::{Clock, ready},
    disk::Kept,
    ledger::Violation,
    net::End,
    node::Node,
    scene::{Event, Line, SECOND_US, Scene, WireId},
    words::node_id,
};

type NodeMetrics = causeway_broker::metrics::Metrics;
type BridgeMetrics = causeway_bridge::metrics::Metrics;

pub(crate) struct World {
    s: Scene,
    nodes: Vec<Slot<Node, NodeMetrics>>,
    /// What is on the disk of a node that is down.
    disks: Vec<Kept>,
    bridges: Vec<Slot<Bridge, BridgeMetrics>>,
    clients: Vec<Client>,
    /// Processes started so far.
    lives: u64,
    /// What may break in this run.
    breaks: Vec<Break>,
    chaos_interval_us: u64,
    act_interval_us: u64,
    /// Clients act, and things break.
    is_busy: bool,
    /// The directory is gone for everybody until then.
    outage_until_us: u64,
}

/// The place of a process.
struct Slot<P, M> {
    process: Option<P>,
    metrics: Arc<M>,
}

/// How a run ended.
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: Vec<Line>,
    pub(crate) messages: usize,
    pub(crate) steps: u64,
}

/// Runs the cluster from one seed.
pub(crate) fn run(seed: u64, fault: Option<Fault>, traced: bool) -> Outcome {
    let _running = Running(seed);
    let clock = Rc::new(Clock::new());
    let _entered = clock.enter();
    let mut world = World::new(Scene::new(Rc::clone(&clock), seed, fault, traced));
    world.play();
    Outcome {
        violation: world.s.violation,
        trace: world.s.trace.unwrap_or_default(),
        messages: world.s.ledger.messages.len(),
        steps: world.s.step,
    }
}

impl World {
    fn new(mut s: Scene) -> Self {
        let registry = prometheus::Registry::new;
        let nodes = (0..NODES).map(|_| Slot {
            process: None,
            metrics: Arc::new(NodeMetrics::new(&registry()).unwrap()),
        });
        let bridges = (0..BRIDGES).map(|_| Slot {
            process: None,
            metrics: Arc::new(BridgeMetrics::new(&registry()).unwrap()),
        });
        let (nodes, bridges) = (nodes.collect(), bridges.collect());
        let clients = draw_clients(&mut s);
        let roams = clients.iter().any(Client::roams);
        let mut breaks: Vec<Break> = BREAKS.into_iter().filter(|_| s.chance.one_in(2)).collect();
        if s.fault.is_some_and(|fault| fault.is_of_store() || fault.is_of_moves()) {
            breaks = vec![Break::Node, Break::Client]; // what shows it
        }
        if roams || s.forgets() {
            // Without the directory a login does not wait for the session, and a lease ends at any time.
            breaks.retain(|what| *what != Break::Outage);
        }
        let mut chaos_interval_us = s.chance.one_of([200_000, 600_000, 1_500_000]);
        if s.fault.is_some_and(Fault::needs_deaths) {
            chaos_interval_us = 200_000;
        }
        let act_interval_us = s.chance.one_of([50_000, 200_000]);
        for index in 0..NODES {
            let delay = s.chance.below(1_000_000);
            s.after(delay, Event::StartNode(index));
        }
        for index in 0..BRIDGES {
            let delay = s.chance.below(1_000_000);
            s.after(delay, Event::StartBridge(index));
        }
        for index in 0..clients.len() {
            s.after(1, Event::Knock(index));
            s.after(1, Event::Act(index));
        }
        s.after(SECOND_US, Event::Chaos);
        Self {
            s,
            nodes,
            disks: vec![Kept::new(); NODES],
            bridges,
            clients,
            lives: 0,
            breaks,
            chaos_interval_us,
            act_interval_us,
            is_busy: true,
            outage_until_us: 0,
        }
    }

    fn play(&mut self) {
        // Two nodes must be given up, one after the other, for a stale session to be taken.
        let needs_deaths = self.s.fault.is_some_and(Fault::needs_deaths);
        let busy = self.s.chance.between(4, 12) * if needs_deaths { 5 } else { 1 } * SECOND_US;
        if !self.pass(busy) {
            return;
        }
        self.heal();
        if !self.pass(20 * SECOND_US) {
            return;
        }
        let healed_from = self.s.ledger.messages.len();
        for client in &mut self.clients {
            client.say_all(&mut self.s);
        }
        // As long as it takes: late pieces and small windows add up.
        for _ in 0..PATIENCE {
            if !self.pass(5 * SECOND_US) {
                return;
            }
            self.open_nodes();
            if self.judge(healed_from).is_ok() && self.judge_retained().is_ok() {
                return;
            }
        }
        let judged = self.judge(healed_from).and_then(|()| self.judge_retained());
        if let Err((message, text)) = judged {
            self.s.fail(message, text);
        }
    }

    /// Lets time pass; false once something is violated.
    fn pass(&mut self, for_us: u64) -> bool {
        let until = self.s.now_us + for_us;
        while let Some(event) = self.s.next(until) {
            self.s.run_tasks();
            self.look_after_nodes();
            self.happen(event);
            self.check_answers();
            if self.s.violation.is_some() {
                return false;
            }
        }
        true
    }

    fn look_after_nodes(&mut self) {
        for index in 0..NODES {
            let node = self.nodes[index].process.as_mut();
            if node.is_some_and(|node| node.look_after(&mut self.s)) {
                self.doubt(index);
            }
        }
    }

    /// A node is gone, or nobody counts on it any more.
    fn doubt(&mut self, index: usize) {
        let known = ready(self.s.directory.home(&node_id(index))).unwrap();
        for client in &self.clients {
            client.doubts(&mut self.s, index, &known);
        }
    }

    /// A node that is not back by now may have been given up: what is said to its durable sessions is
    /// dropped, until they are connected again.
    fn forgotten(&mut self, index: usize) {
        let process = self.nodes[index].process.as_ref();
        if process.is_none_or(|node| node.joined_us.is_none()) {
            self.s.note(None, || format!("node-{index} may be forgotten"));
            for client in &self.clients {
                client.doubts(&mut self.s, index, &[]);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let s = &mut self.s;
        match event {
            Event::Client(end, wire) => self.client_wire(end, wire),
            Event::Link(end, wire) => self.link(end, wire),
            Event::WakeClient(wire) => {
                let index = s.clients[&wire].node;
                self.at_node(index, None, |node, s| node.wake_client(s, wire));
            }
            Event::WakeLink(End::Node, wire) => {
                let index = s.links[&wire].node;
                self.at_node(index, None, |node, s| node.wake_link(s, wire));
            }
            Event::WakeLink(End::Peer, wire) => {
                let index = s.links[&wire].peer;
                self.at_bridge(index, None, |bridge, s| bridge.wake_link(s, wire));
            }
            Event::Synced(index, life, batches) => {
                self.at_node(index, Some(life), |node, s| node.synced(s, batches));
            }
            Event::Tick(index, life) => self.at_node(index, Some(life), Node::tick),
            Event::Poll(index, life) => self.at_bridge(index, Some(life), Bridge::poll),
            Event::Dial(index, life, node) => self.dial(index, life, node),
            Event::StartNode(index) => self.start_node(index),
            Event::Forgotten(index) => self.forgotten(index),
            Event::StartBridge(index) => self.start_bridge(index),
            Event::Knock(index) => self.knock(index),
            Event::Act(index) => self.act(index),
            Event::Chaos => self.chaos(),
        }
    }

    /// Does something at a node, if it is up and this is the life that was meant.
    fn at_node(
        &mut self,
        index: usize,
        life: Option<u64>,
        act: impl FnOnce(&mut Node, &mut Scene),
    ) {
        let node = self.nodes[index].process.as_mut();
        if let Some(node) = node.filter(|node| life.is_none_or(|life| life == node.life)) {
            act(node, &mut self.s);
            node.wake_all(&mut self.s);
        }
    }

    fn at_bridge(
        &mut self,
        index: usize,
        life: Option<u64>,
        act: impl FnOnce(&mut Bridge, &mut Scene),
    ) {
        let bridge = self.bridges[index].process.as_mut();
        if let Some(bridge) = bridge.filter(|bridge| life.is_none_or(|life| life == bridge.life)) {
            act(bridge, &mut self.s);
            bridge.wake_all(&mut self.s);
        }
    }

    /// Something arrives at an end of a client's connection.
    fn client_wire(&mut self, end: End, wire: WireId) {
        let Some(wired) = self.s.clients.get_mut(&wire) else {
            return;
        };
        let items = wired.to(end).take_due(self.s.now_us);
        let (node, client) = (wired.node, &mut self.clients[wired.peer]);
        if end == End::Node {
            return self.at_node(node, None, |node, s| {
                for item in items {
                    node.client_arrival(s, wire, item);
                }
            });
        }
        for item in items {
            let online = client.online.as_ref();
            if online.is_some_and(|online| online.wire == wire) {
                client.arrival(&mut self.s, item);
            }
        }
    }

    /// Something arrives at an end of a link.
    fn link(&mut self, end: End, wire: WireId) {
        let Some(wired) = self.s.links.get_mut(&wire) else {
            return;
        };
        let items = wired.to(end).take_due(self.s.now_us);
        let (node, bridge) = (wired.node, wired.peer);
        match end {
            End::Node => self.at_node(node, None, |node, s| {
                for item in items {
                    node.link_arrival(s, wire, item);
                }
            }),
            End::Peer => self.at_bridge(bridge, None, |bridge, s| bridge.arrivals(s, wire, items)),
        }
    }

    fn start_node(&mut self, index: usize) {
        let slot = &mut self.nodes[index];
        if slot.process.is_none() {
            self.lives += 1;
            let kept = std::mem::take(&mut self.disks[index]);
            let node = Node::start(&mut self.s, index, self.lives, Arc::clone(&slot.metrics), kept);
            node.blind_for(self.outage_until_us.saturating_sub(self.s.now_us));
            slot.process = Some(node);
            // It ends the lease of its life before, and may be killed before it has one of its own.
            let grace_us = self.s.weather.home_grace_us();
            self.s.after(grace_us, Event::Forgotten(index));
        }
    }

    fn start_bridge(&mut self, index: usize) {
        let slot = &mut self.bridges[index];
        if slot.process.is_none() {
            self.lives += 1;
            let mut bridge =
                Bridge::start(&mut self.s, index, self.lives, Arc::clone(&slot.metrics));
            bridge.blind_until_us = self.outage_until_us;
            slot.process = Some(bridge);
        }
    }

    fn dial(&mut self, index: usize, life: u64, node: usize) {
        let wire = self.nodes[node].process.is_some().then(|| self.s.dial_link(node, index));
        self.at_bridge(index, Some(life), |bridge, s| bridge.dialled(s, node, wire));
        if let Some(wire) = wire {
            self.s.note(None, || format!("bridge-{index} dials node-{node}: link {wire}"));
            self.at_node(node, None, |node, s| node.link_up(s, wire));
        }
    }

    /// Opens a node for clients as `node.rs` does: some time after it has joined, so that every
    /// bridge finds it in the directory. One that cannot, being blind, forwards past it, and the
    /// node does not know of that bridge; such nodes stay closed here.
    fn open_nodes(&mut self) {
        let now_us = self.s.now_us;
        let nodes = || self.nodes.iter().filter_map(|slot| slot.process.as_ref());
        let bridges = self.bridges.iter().filter_map(|slot| slot.process.as_ref());
        let armed = bridges.filter(|bridge| bridge.core.is_armed());
        let mut trusted: BTreeSet<Incarnation> = nodes().flat_map(Node::trusts).collect();
        trusted.extend(armed.map(|bridge| Incarnation(bridge.life)));
        for node in self.nodes.iter_mut().filter_map(|slot| slot.process.as_mut()) {
            let settled = node.joined_us.is_some_and(|at| now_us >= at + SECOND_US);
            if settled && node.trusts() == trusted {
                node.open(self.s.fault == Some(Fault::JoinUnsynced));
            }
        }
    }

    /// A client without connection tries a node.
    fn knock(&mut self, index: usize) {
        self.open_nodes();
        let listens = |slot: &&Slot<Node, NodeMetrics>| {
            slot.process.as_ref().is_some_and(|node| node.listens)
        };
        let open: Vec<usize> =
            (0..NODES).filter(|at| self.nodes.get(*at).iter().any(listens)).collect();
        let client = &mut self.clients[index];
        let Some(node) = client.choose(&mut self.s, &open) else {
            return self.s.after(200_000, Event::Knock(index));
        };
        let wire = self.s.dial_client(node, index);
        client.connect(&mut self.s, wire, node);
        let (life, will) = (client.life(), client.will());
        self.at_node(node, None, |node, _| node.accept(wire, life, will));
    }

    fn act(&mut self, index: usize) {
        if self.is_busy {
            self.clients[index].act(&mut self.s);
            let delay = self.s.chance.below(2 * self.act_interval_us);
            self.s.after(delay, Event::Act(index));
        }
    }

    /// Judges the answers that were given in this step, CONNACKs too.
    fn check_answers(&mut self) {
        if self.s.answered.is_empty() && self.s.let_in.is_empty() {
            return;
        }
        for slot in &mut self.nodes {
            if let Some(node) = &mut slot.process {
                node.fetch_all(&mut self.s);
                node.wake_all(&mut self.s);
            }
        }
        let open = self.nodes.iter().filter_map(|slot| slot.process.as_ref());
        let is_alone = open.filter(|node| node.listens).count() < 2;
        for message in std::mem::take(&mut self.s.answered) {
            self.s.note(Some(message), || format!("#{message} is answered"));
            if let Err(text) = self.s.ledger.answered(message, self.s.step, is_alone) {
                self.s.fail(Some(message), text);
            }
        }
        for (client, began_us) in std::mem::take(&mut self.s.let_in) {
            if let Err((will, text)) = self.s.ledger.let_in(client, (began_us, self.s.now_us)) {
                self.s.fail(will, text);
            }
        }
    }
}

/// In half of all runs some clients with a durable session come back on any node.
fn draw_clients(s: &mut Scene) -> Vec<Client> {
    let all_roam = s.fault.is_some_and(Fault::is_of_moves);
    let some_roam = s.chance.one_in(2);
    let roams = |s: &mut Scene| all_roam || (some_roam && !s.chance.one_in(3));
    let mut clients = Vec::with_capacity(CLIENTS + 2);
    for index in 0..CLIENTS {
        let is_durable = s.chance.one_in(2);
        clients.push(Client::new(index, is_durable, is_durable && roams(s)));
    }
    clients.push(Client::watcher(roams(s)));
    clients.push(Client::listener());
    clients
}

/// How many times five seconds everything may take to settle.
const PATIENCE: usize = 24;

const BRIDGES: usize = 2;
