//! The hub: who gets a message on this node, and whether other nodes want it.
//!
//! ```text
//!   sessions ──publish──►  Hub ──► mailboxes of local subscribers
//!      ▲                    │
//!      └── Mail::Routed ◄───┤   outbound: numbered, given to one ready bridge, held until acked
//!                           ▼
//!   links ◄── frames ── mailboxes of links ── interest, routes, probes
//! ```
//!
//! It is pure but for the mailboxes it fills, which are memory: no clock, socket or task, and it
//! does the same for the same inputs. One lock around it (see `node.rs`) is all its locking.
//!
//! It leaves to others: what a client may do (`session`), bytes (`connection`, `link`), who owns a
//! client id in the cluster (`membership`).

mod frames;
mod links;
mod notes;
mod outbound;
mod probe;
mod registry;
mod seen;
mod shard;
mod waits;

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_common::{
    directory::Member,
    id::{NodeId, Ticket},
    link::Envelope,
    mailbox::Mailbox,
    message::Message,
    packet::Subscription,
    qos::QoS,
    topic::{self, Filter, Tree},
};

use crate::{
    metrics::Metrics,
    session::{Delivery, DropReason, Mail},
};

pub use frames::LinkViolation;
pub use links::LinkId;
pub use registry::{Attached, Detached, HubError, SessionId};

use links::Links;
use notes::Notes;
use outbound::Outbound;
use probe::Probes;
use registry::Registry;
use seen::{Seen, Verdict};
use waits::RouteWaits;

/// What bounds a hub.
#[derive(Clone, Debug)]
pub struct HubLimits {
    /// Connections at a time; links are not counted.
    pub connections_max: usize,
    /// Bytes of messages that wait for other nodes, before publishers are no longer read.
    pub backlog_bytes_max: usize,
    /// How long a SUBACK waits for its route.
    pub route_timeout: Duration,
    /// How long a bridge whose link broke still counts for SUBACKs.
    pub lost_bridge_grace: Duration,
    /// How often other nodes are probed.
    pub probe_interval: Duration,
}

/// What became of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// It is wherever it must be: the answer is due.
    Settled,
    /// Other nodes have yet to say so: [`Mail::Routed`] will come.
    Awaited,
}

/// The hub of one node.
#[derive(Debug)]
pub struct Hub {
    me: Member,
    limits: HubLimits,
    metrics: Arc<Metrics>,
    registry: Registry,
    /// Who on this node holds which filter.
    subscriptions: Tree<SessionId, QoS>,
    links: Links,
    outbound: Outbound,
    notes: Notes,
    waits: RouteWaits,
    seen: Seen,
    probes: Probes,
    /// The other nodes that live, as the directory last said.
    peers: Vec<NodeId>,
    /// Whether it has said so yet.
    peers_known: bool,
    fenced: bool,
}

impl Hub {
    /// The hub of a node that nobody is connected to.
    pub fn new(now: Instant, me: Member, limits: HubLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            registry: Registry::new(limits.connections_max),
            subscriptions: Tree::new(),
            links: Links::default(),
            outbound: Outbound::default(),
            notes: Notes::default(),
            waits: RouteWaits::default(),
            seen: Seen::default(),
            probes: Probes::new(now, limits.probe_interval),
            peers: Vec::new(),
            peers_known: false,
            fenced: false,
            me,
            limits,
            metrics,
        }
    }

    /// This node, and its life.
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// Gives a message of a local client to everybody who wants it.
    pub fn publish(
        &mut self,
        from: &Arc<Mailbox<Mail>>,
        ticket: Option<Ticket>,
        message: Message,
    ) -> Routing {
        let message = Arc::new(message);
        self.deliver(&message);
        let answer = ticket.map(|ticket| outbound::Answer { to: Arc::clone(from), ticket });
        self.send_elsewhere(&message, answer)
    }

    /// Takes a message that another node sent: for local subscribers only, it never leaves by a
    /// link again.
    fn accept(&mut self, envelope: &Envelope) {
        if envelope.origin.node == self.me.node {
            return;
        }
        match self.seen.judge(envelope) {
            Verdict::New => {}
            Verdict::Duplicate => return self.metrics.duplicates_dropped.inc(),
        }
        if let Ok(message) = envelope.to_message() {
            self.metrics.messages_from_links.at(message.qos).inc();
            self.deliver(&Arc::new(message));
        }
    }

    /// Puts a message into the mailbox of each local subscriber; once, with the greatest QoS of
    /// its matching subscriptions [MQTT-3.3.5-1].
    fn deliver(&mut self, message: &Arc<Message>) {
        let Self { subscriptions, registry, metrics, .. } = self;
        registry.begin_match();
        subscriptions.for_each_match(message.topic.as_str(), |session, qos| {
            registry.note_match(*session, *qos);
        });
        for (mailbox, granted) in registry.matched() {
            let qos = message.qos.min(granted); // [MQTT-3.8.4-6]
            let delivery = Delivery { message: Arc::clone(message), qos, retain: false };
            if mailbox.push(Mail::Deliver(delivery), message.cost()).is_err() {
                metrics.count_drop(DropReason::MailboxFull);
            }
        }
    }

    /// Lets a session hold filters; [`Mail::Subscribed`] comes when they are effective.
    pub fn subscribe(
        &mut self,
        now: Instant,
        session: SessionId,
        ticket: Ticket,
        subscriptions: &[Subscription],
    ) {
        let mut first_held = Vec::new();
        for Subscription { filter, qos } in subscriptions {
            if !self.registry.hold(session, filter) {
                continue;
            }
            let is_first = self.subscriptions.holders(filter).next().is_none();
            self.subscriptions.insert(filter, session, *qos);
            if is_first && is_route(filter) {
                first_held.push(filter.clone());
            }
        }
        self.announce(&first_held, &[]);
        self.note_sizes();
        if let Some(mailbox) = self.registry.mailbox(session) {
            let version = self.links.route_version();
            let deadline = now + self.limits.route_timeout;
            self.waits.add(version, deadline, mailbox, ticket);
            self.release_waits();
        }
    }

    /// Takes filters from a session.
    pub fn unsubscribe(&mut self, session: SessionId, filters: &[Filter]) {
        let mut last_held = Vec::new();
        for filter in filters {
            if !self.registry.let_go(session, filter) {
                continue;
            }
            self.subscriptions.remove(filter, &session);
            if self.subscriptions.holders(filter).next().is_none() && is_route(filter) {
                last_held.push(filter.clone());
            }
        }
        self.announce(&[], &last_held);
        self.note_sizes();
    }

    /// Whether so much waits for other nodes that publishers should not be read on.
    pub fn is_congested(&self) -> bool {
        self.outbound.bytes() > self.limits.backlog_bytes_max
    }

    /// Tells the hub which other nodes live. Without any, and without a bridge, nothing needs to
    /// leave this node.
    pub fn set_peers(&mut self, peers: Vec<NodeId>) {
        let lives = |node: &NodeId| peers.contains(node) || *node == self.me.node;
        self.probes.retain(&self.metrics, lives);
        self.peers = peers;
        self.peers_known = true;
        self.place_waiting();
        self.release_waits();
    }

    /// Does what time asks for: waits that have run out, probes.
    pub fn tick(&mut self, now: Instant) {
        self.links.forget_lost(now);
        self.expire_notes(now);
        let overdue = self.waits.expire(now);
        self.metrics.route_timeouts.inc_by(overdue);
        self.release_waits();
        self.send_probes(now);
        self.note_sizes();
    }

    /// Why this node should get no new clients; empty if it should.
    pub fn unready_reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.fenced {
            reasons.push("fenced".to_owned());
        }
        if self.registry.is_full() {
            reasons.push("full".to_owned());
        }
        if !self.peers.is_empty() && self.links.ready_count() == 0 {
            reasons.push("no bridge is ready".to_owned());
        }
        reasons
    }

    /// Whether any other node lives, as far as is known.
    pub fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Whether a new client could be reached from all other nodes.
    pub fn is_joined(&self) -> bool {
        self.peers_known && (self.peers.is_empty() || self.links.ready_count() > 0)
    }

    fn note_sizes(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        metrics.connections.set(gauge(self.registry.connection_count()));
        metrics.subscriptions.set(gauge(self.subscriptions.len()));
        metrics.routes.set(gauge(self.links.route_count()));
        metrics.links.set(gauge(self.links.bridge_count()));
        metrics.links_ready.set(gauge(self.links.ready_count()));
        metrics.forwards_waiting.set(gauge(self.outbound.len()));
        metrics.forward_backlog_bytes.set(gauge(self.outbound.bytes()));
    }
}

/// Whether other nodes need to know that a filter is held: nobody publishes under `$`.
fn is_route(filter: &Filter) -> bool {
    !topic::is_reserved(filter.as_str())
}
