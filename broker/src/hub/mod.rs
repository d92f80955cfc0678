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

mod access;
mod attach;
mod bridges;
mod commits;
mod deliver;
mod erasure;
mod forward;
mod frames;
mod home;
mod links;
mod moves;
mod notes;
mod outbound;
mod ownership;
mod probe;
pub(crate) mod record;
mod registry;
mod restore;
pub mod retained;
mod retaining;
mod seen;
mod shard;
mod shortage;
mod subscribe;
pub mod sys;
mod waits;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use causeway_common::{
    directory::Member,
    id::{Epoch, NodeId, PacketId, Ticket},
    link::Envelope,
    mailbox::Mailbox,
    message::Message,
    qos::QoS,
    topic::{self, Filter, Tree},
};

use crate::{
    limits::Strain,
    metrics::Metrics,
    session::{DropReason, Limits, Mail, Said},
    store::{Position, Store},
};

pub use attach::{Attach, Attached, Detached, HubError, Knock};
pub use causeway_common::id::SessionId;
pub use frames::LinkViolation;
pub use home::{HomeChange, sum_up};
pub use links::LinkId;
pub use moves::Cleared;
pub use notes::TakeOver;
pub(crate) use ownership::INBOX_TICKET;
pub use ownership::Owned;
pub use record::{RecordError, change_record};
pub use restore::Restored;

use bridges::Bridges;
use commits::Commits;
use forward::kept_name;
use home::Home;
use links::Links;
use moves::Moves;
use notes::Notes;
use outbound::{Answer, Outbound};
use probe::Probes;
use record::{MessageRow, Name, encode};
use registry::Registry;
use retained::{Exchange, ExchangeLimits, Retained, RetainedLimits};
use seen::{Seen, Verdict, seen_record};
use sys::SysTree;
use waits::RouteWaits;

/// What bounds a hub.
#[derive(Clone, Debug)]
pub struct HubLimits {
    /// Connections at a time; links are not counted.
    pub connections_max: usize,
    /// Connections of one user at a time; 0: any number.
    pub connections_per_user: usize,
    /// What one session may hold.
    pub session: Arc<Limits>,
    /// Bytes of deliveries that may wait for the task of a session that is not durable.
    pub mailbox_bytes_max: usize,
    /// How long a durable session waits for its client; none: for ever.
    pub session_expiry_secs: Option<u64>,
    /// Bytes of messages that wait for other nodes, before publishers are no longer read.
    pub backlog_bytes_max: usize,
    /// How long a SUBACK waits for its route.
    pub route_timeout: Duration,
    /// How long a bridge whose link broke still counts for SUBACKs.
    pub lost_bridge_grace: Duration,
    /// How often other nodes are probed.
    pub probe_interval: Duration,
    /// What bounds the retained messages.
    pub retained: RetainedLimits,
    /// How often other nodes are asked for those that were missed.
    pub exchange: ExchangeLimits,
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
    store: Arc<dyn Store>,
    /// The time of day, in seconds since 1970, as last told.
    wall_secs: u64,
    registry: Registry,
    /// Who on this node holds which filter.
    subscriptions: Tree<SessionId, QoS>,
    links: Links,
    bridges: Bridges,
    outbound: Outbound,
    notes: Notes,
    moves: Moves,
    waits: RouteWaits,
    commits: Commits,
    seen: Seen,
    /// When all that came by links until now is durable.
    last_accepted: Position,
    home: Home,
    /// Sessions that have expired, to be told to the directory.
    expired: Vec<(SessionId, Option<Epoch>)>,
    probes: Probes,
    /// What this node says of itself.
    sys: SysTree,
    retained: Retained,
    exchange: Exchange,
    /// The other nodes that live, as the directory last said.
    peers: Vec<NodeId>,
    /// Nodes that are gone, and whose durable sessions are waited for.
    away: Vec<NodeId>,
    /// Whether it has said so yet.
    peers_known: bool,
    /// How near the node is to the memory it may use.
    strain: Strain,
    fenced: bool,
    /// Fenced, with a new life, and not open yet.
    rejoined: bool,
}

impl Hub {
    /// The hub of a node that nobody is connected to.
    pub fn new(
        now: Instant,
        me: Member,
        limits: HubLimits,
        (metrics, store): (Arc<Metrics>, Arc<dyn Store>),
    ) -> Self {
        Self {
            registry: Registry::new(limits.connections_max),
            subscriptions: Tree::new(),
            links: Links::default(),
            bridges: Bridges::default(),
            outbound: Outbound::default(),
            notes: Notes::default(),
            moves: Moves::new(now),
            waits: RouteWaits::default(),
            commits: Commits::default(),
            seen: Seen::default(),
            last_accepted: Position::default(),
            home: Home::new(),
            expired: Vec::new(),
            probes: Probes::new(now, limits.probe_interval),
            sys: SysTree::new(now),
            retained: Retained::new(limits.retained.clone()),
            exchange: Exchange::new(limits.exchange.clone()),
            peers: Vec::new(),
            away: Vec::new(),
            peers_known: false,
            strain: Strain::None,
            fenced: false,
            rejoined: false,
            me,
            wall_secs: 0,
            limits,
            metrics,
            store,
        }
    }

    /// This node, and its life.
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// Gives a message of a local client to everybody who wants it. `received` is present for a QoS 2
    /// message of a durable session: its identifier is remembered in one step with the message.
    pub fn publish(
        &mut self,
        from: &Arc<Mailbox<Mail>>,
        ticket: Option<Ticket>,
        mut message: Message,
        received: Option<(SessionId, PacketId)>,
    ) -> Routing {
        let (retained, mut batch) = self.retain(&mut message);
        let plan = self.plan(&message);
        let origin = plan.origin.clone().or_else(|| self.name_unsent(&message));
        let said = Arc::new(Said { message, origin });
        let mut kept = None;
        if let Some((session, id)) = received {
            batch.put(Name::Received(session, id.get()).key(), Bytes::new());
            kept = plan.origin.as_ref().map(kept_name);
        }
        if let Some(kept) = &kept {
            let row = MessageRow::new(&said, said.qos, false).retained_as(retained);
            batch.put(kept.clone(), encode(&row));
        }
        let must_be_kept = !batch.is_empty();
        let position = self.deliver(&said, batch, must_be_kept);
        let answer = ticket.map(|ticket| Answer { to: Arc::clone(from), ticket });
        self.send_elsewhere(plan, &said, retained, (answer, position, kept))
    }

    /// Publishes a client's will, for nobody who waits for an answer [MQTT-3.1.2-8].
    pub fn publish_will(&mut self, will: Message) {
        self.say_will(&Arc::new(Mailbox::new(0)), None, will);
    }

    /// Publishes a client's will, as any PUBLISH of somebody who waits for its answer: before that the
    /// client is not to be let in again.
    pub fn publish_will_for(
        &mut self,
        waiting: &Arc<Mailbox<Mail>>,
        ticket: Ticket,
        will: Message,
    ) -> Routing {
        self.say_will(waiting, Some(ticket), will)
    }

    fn say_will(
        &mut self,
        to: &Arc<Mailbox<Mail>>,
        ticket: Option<Ticket>,
        will: Message,
    ) -> Routing {
        if topic::is_reserved(will.topic.as_str()) {
            self.metrics.count_drop(DropReason::ReservedTopic);
            return Routing::Settled;
        }
        self.metrics.wills_published.inc();
        self.publish(to, ticket, will, None)
    }

    /// Takes a message that another node sent: for local subscribers only, it never leaves by a
    /// link again. Returns when it is safe.
    fn accept(&mut self, envelope: &Envelope) -> Position {
        if envelope.origin.node == self.me.node {
            return Position::default();
        }
        // Whatever came before it: what is retained has an order of its own.
        let mut batch = self.retain_from(envelope);
        let is_retained = !batch.is_empty();
        match self.seen.judge(envelope) {
            Verdict::New => {}
            Verdict::Duplicate => {
                self.metrics.duplicates_dropped.inc();
                if is_retained {
                    self.last_accepted = self.last_accepted.max(self.store.write(batch));
                }
                // The first one may not be durable yet.
                return self.last_accepted;
            }
        }
        let Ok(message) = envelope.to_message() else {
            return Position::default();
        };
        self.metrics.messages_from_links.at(message.qos).inc();
        let said = Arc::new(Said { message, origin: Some(envelope.origin.clone()) });
        batch.puts.extend(seen_record(envelope).puts);
        let position = self.deliver(&said, batch, is_retained);
        self.last_accepted = self.last_accepted.max(position);
        position
    }

    /// Whether so much waits for other nodes that publishers should not be read on.
    pub fn is_congested(&self) -> bool {
        self.outbound.bytes() + self.store.backlog_bytes() > self.limits.backlog_bytes_max
    }

    /// Tells the hub which other nodes live, and which are gone and are waited for. Without any, and
    /// without a bridge, nothing needs to leave this node.
    pub fn set_peers(&mut self, peers: Vec<NodeId>, away: Vec<NodeId>) {
        let lives = |node: &NodeId| peers.contains(node) || *node == self.me.node;
        self.probes.retain(&self.metrics, lives);
        self.exchange.set_peers(&peers);
        self.peers = peers;
        self.away = away;
        self.peers_known = true;
        self.place_waiting();
        self.release_waits();
    }

    /// Does what time asks for: waits that have run out, sessions that have expired, probes.
    /// `wall_secs` is the time of day, in seconds since 1970.
    pub fn tick(&mut self, now: Instant, wall_secs: u64) {
        self.wall_secs = wall_secs;
        self.expire_sessions();
        self.links.forget_lost(now);
        self.expire_notes(now);
        self.tick_moves(now);
        let overdue = self.waits.expire(now, self.store.durable());
        self.metrics.route_timeouts.inc_by(overdue);
        self.release_waits();
        self.send_probes(now);
        self.tick_retained(now);
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
        if !self.exchange.is_synced() {
            reasons.push("retained messages of other nodes are missing".to_owned());
        }
        reasons
    }

    /// Whether any other node lives, as far as is known.
    pub fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Whether a new client could be reached from all other nodes, and finds here what is retained
    /// there.
    pub fn is_joined(&self) -> bool {
        let is_linked = self.peers.is_empty() || self.links.ready_count() > 0;
        self.peers_known && is_linked && self.exchange.is_synced()
    }

    fn note_sizes(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        metrics.sessions_parked.set(gauge(self.registry.parked));
        metrics.connections.set(gauge(self.registry.connection_count()));
        metrics.subscriptions.set(gauge(self.subscriptions.len()));
        metrics.routes.set(gauge(self.links.route_count()));
        metrics.links.set(gauge(self.links.bridge_count()));
        metrics.links_ready.set(gauge(self.links.ready_count()));
        metrics.forwards_waiting.set(gauge(self.outbound.len()));
        metrics.forward_backlog_bytes.set(gauge(self.outbound.bytes()));
        metrics.retained_messages.set(gauge(self.retained.message_count()));
        metrics.retained_tombstones.set(gauge(self.retained.tombstone_count()));
        metrics.retained_bytes.set(gauge(self.retained.bytes()));
    }
}

/// Whether other nodes need to know that a filter is held: nobody publishes under `$`.
fn is_route(filter: &Filter) -> bool {
    !topic::is_reserved(filter.as_str())
}
