//! A simulated node: the real hub and the real sessions, and a shell that does what the tasks of
//! `broker/src/connection`, `broker/src/link` and `broker/src/membership.rs` do.

mod connection;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use causeway_broker::{
    auth::Auth,
    config::WhenLost,
    connection::Parts,
    hub::{
        Attach, Attached, Hub, HubLimits, Knock, LinkId, LinkViolation,
        retained::{ExchangeLimits, RetainedLimits},
    },
    limits::{Budget, PaceRates},
    membership::{Membership, Terms},
    metrics::Metrics,
    session::{Delivery, Limits, Mail, Session},
    store::Store,
};
use causeway_common::{
    directory::{Member, NodeRow},
    id::{ClientId, Incarnation, Ticket, UserName},
    link::{Envelope, Frame, Note},
    mailbox::Mailbox,
    packet::Subscription,
    qos::QoS,
    stint::Turns,
    topic::Filter,
    wire::Traffic,
};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::{
    Fault,
    directory::Reach,
    disk::{Disk, Kept, numbered_anew},
    net::{Chance, End, Item},
    scene::{Event, LEASE, SECOND_US, Scene, WireId},
    words::{message_on, node_id, number},
};
use connection::Conn;

/// One process of a node.
#[expect(clippy::struct_excessive_bools, reason = "each is a state of another part of it")]
pub(crate) struct Node {
    pub(crate) index: usize,
    /// Its number among all processes.
    pub(crate) life: u64,
    pub(crate) hub: Arc<Mutex<Hub>>,
    /// Clients may connect.
    pub(crate) listens: bool,
    /// Since when it could be reached from all nodes it knows.
    pub(crate) joined_us: Option<u64>,
    /// Since all bridges have found it, it has asked once more for what is retained.
    has_asked_again: bool,
    parts: Arc<Parts>,
    disk: Arc<Disk>,
    is_syncing: bool,
    reach: Arc<Reach>,
    /// Its membership.
    tasks: [AbortHandle; 3],
    was_fenced: bool,
    conns: BTreeMap<WireId, Conn>,
    links: BTreeMap<WireId, LinkEnd>,
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
        metrics: Arc<Metrics>,
        kept: Kept,
    ) -> Self {
        let kept = if s.fault == Some(Fault::PlacesAnew) { numbered_anew(kept) } else { kept };
        let disk = Arc::new(Disk::open(kept, s.fault == Some(Fault::DurableEarly)));
        let chance = Chance::new(s.chance.next());
        let reach = Reach::new((&s.directory, &s.diary), (life, s.fault), chance);
        let hub = begin(s, index, life, (Arc::clone(&metrics), Arc::clone(&disk)));
        let row = row(hub.me());
        s.note(None, || format!("node-{index} starts as {}", row.incarnation));
        let hub = Arc::new(Mutex::new(hub));
        let terms = Terms {
            lease: LEASE,
            when_lost: WhenLost::Serve,
            // Who is let in for want of patience is promised less.
            takeover_timeout: Duration::from_mins(1),
            home_grace: s.weather.home_grace,
        };
        let (metrics_of_it, directory) = (Arc::clone(&metrics), Arc::clone(&reach));
        let membership = Membership::new(directory, Arc::clone(&hub), metrics_of_it, terms);
        let membership = Arc::new(membership);
        let (keeper, home) = (Arc::clone(&membership), Arc::clone(&membership));
        let wills = Arc::clone(&membership);
        let tasks = [
            tokio::spawn(async move { keeper.keep(row).await }).abort_handle(),
            tokio::spawn(async move { home.keep_home().await }).abort_handle(),
            tokio::spawn(async move { wills.keep_wills().await }).abort_handle(),
        ];
        s.after(2, Event::Tick(index, life));
        Self {
            index,
            life,
            parts: Arc::new(parts(&hub, &disk, membership, metrics)),
            hub,
            listens: false,
            joined_us: None,
            has_asked_again: false,
            disk,
            is_syncing: false,
            reach,
            tasks,
            was_fenced: false,
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            forwards: 0,
            sent_up_to: 0,
        }
    }

    /// kill -9. Returns what its disk has.
    pub(crate) fn kill(self, s: &mut Scene) -> Kept {
        let luck = s.chance.below(self.disk.pending() + 1);
        s.note(None, || format!("of {} batches {luck} are kept", self.disk.pending()));
        self.disk.sync(luck);
        let kept = self.disk.crash();
        self.reach.die();
        self.loses_wills(s);
        self.tasks.iter().for_each(AbortHandle::abort);
        for (wire, conn) in &self.conns {
            conn.abort();
            s.ledger.end(conn.life);
            s.leave_client(End::Node, *wire);
        }
        for wire in self.links.keys() {
            s.leave_link(End::Node, *wire);
        }
        kept
    }

    /// What it has on its way will not arrive, or need not.
    fn loses_wills(&self, s: &mut Scene) {
        let metrics = &self.parts.metrics;
        let is_idle = metrics.forwards_waiting.get() == 0 && self.joined_us.is_some();
        let is_idle = is_idle && self.disk.pending() == 0;
        let since_us = if is_idle { s.now_us.saturating_sub(LATELY_US) } else { 0 };
        s.ledger.wills.loses_taker(self.life, since_us);
        for conn in self.conns.values() {
            s.ledger.wills.loses_node(conn.will, s.step);
        }
    }

    pub(crate) fn blind_for(&self, time_us: u64) {
        self.reach.blind_for(Duration::from_micros(time_us));
    }

    pub(crate) fn tick(&mut self, s: &mut Scene) {
        let mut hub = self.hub.lock();
        hub.tick(s.now(), s.wall_secs());
        let may_open = !hub.is_fenced() || hub.is_opening();
        let is_linked = self.links.values().any(|end| end.ready.is_some());
        let hurries = s.fault == Some(Fault::JoinUnsynced) && is_linked;
        if self.joined_us.is_none() && may_open && (hurries || hub.is_joined()) {
            self.joined_us = Some(s.now_us);
        }
        let sick = self.links.iter().filter(|(_, end)| hub.link_is_sick(end.id));
        let sick: Vec<WireId> = sick.map(|(wire, _)| *wire).collect();
        drop(hub);
        for wire in sick {
            s.note(None, || format!("node-{} closes sick link {wire}", self.index));
            self.link_ends(s, wire);
        }
        s.after(500_000, Event::Tick(self.index, self.life));
    }

    /// Lets clients in, for the first time or after a fence, once it has heard again what is retained.
    pub(crate) fn open(&mut self, hurries: bool) {
        let mut hub = self.hub.lock();
        if !self.listens && !std::mem::replace(&mut self.has_asked_again, true) {
            hub.ask_again_for_retained();
        }
        if !hub.is_joined() && !hurries {
            return;
        }
        self.listens = true;
        if hub.is_opening() {
            hub.open();
        }
    }

    /// What its own tasks have done since the last look. True if it has fenced itself.
    pub(crate) fn look_after(&mut self, s: &mut Scene) -> bool {
        let is_fenced = self.hub.lock().is_fenced();
        let fences = is_fenced && !self.was_fenced;
        if fences {
            s.note(None, || format!("node-{} fences itself", self.index));
            // It opens again like a new one.
            (self.listens, self.joined_us, self.has_asked_again) = (false, None, false);
            for conn in self.conns.values() {
                s.ledger.end(conn.life);
            }
            self.loses_wills(s);
        }
        self.was_fenced = is_fenced;
        let admitted = self.conns.iter().filter(|(_, conn)| conn.is_admitted());
        let admitted: Vec<WireId> = admitted.map(|(wire, _)| *wire).collect();
        for wire in admitted {
            self.turn(s, wire);
        }
        self.wake_all(s);
        fences
    }

    /// What was written when this sync began is durable.
    pub(crate) fn synced(&mut self, s: &mut Scene, batches: u64) {
        self.is_syncing = false;
        self.disk.sync(batches);
        self.hub.lock().committed();
        let held = self.conns.iter().filter(|(_, conn)| conn.is_held());
        let held: Vec<WireId> = held.map(|(wire, _)| *wire).collect();
        for wire in held {
            self.turn(s, wire);
        }
    }

    /// What a stranger who subscribes to everything finds, by topic.
    pub(crate) fn find_retained(&self, s: &Scene) -> BTreeMap<String, usize> {
        let knock = Knock {
            client_id: ClientId::from("stranger"),
            user: UserName::from("stranger"),
            clean: true,
        };
        let mut hub = self.hub.lock();
        let attached = hub.attach(&knock, &Arc::new(Mailbox::new(0)));
        let Ok(Attach::In(Attached { session, mailbox, .. })) = attached else {
            return BTreeMap::new();
        };
        let all = Subscription { filter: Filter::new("#").unwrap(), qos: QoS::AtMostOnce };
        hub.subscribe(s.now(), session, Ticket::default(), &[all]);
        let mut mail = VecDeque::new();
        mailbox.take_counted(&mut mail);
        let limits = Arc::new(session_limits());
        let state = Box::new(Session::new(s.now(), None, limits));
        hub.leave(session, state, VecDeque::new());
        let found = mail.iter().filter_map(|mail| match mail {
            Mail::Deliver(Delivery { message, retain: true, .. }) => {
                Some((message.topic.as_str().to_owned(), number(&message.payload)))
            }
            _ => None,
        });
        found.collect()
    }

    // Links: what `link/serve.rs` does.

    /// The lives of bridges that this node gives messages to.
    pub(crate) fn trusts(&self) -> BTreeSet<Incarnation> {
        self.links.values().filter_map(|end| end.ready).collect()
    }

    pub(crate) fn link_up(&mut self, s: &mut Scene, wire: WireId) {
        let mailbox = Arc::new(Mailbox::new(16 << 20));
        let id = self.hub.lock().link_up(&mailbox);
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
        if let (Some(Fault::JoinUnsynced), Frame::Direct { note: Note::Retained(_), .. }) =
            (s.fault, &frame)
        {
            return;
        }
        let frame = match (s.fault, frame) {
            (Some(Fault::NoDedup), Frame::Forward { id, envelope }) => {
                self.forwards += 1;
                let envelope = renumbered(&envelope, self.forwards);
                Frame::Forward { id, envelope }
            }
            (_, frame) => frame,
        };
        let is_letter = matches!(&frame, Frame::Direct { note: Note::Session(_), .. });
        let hurries = s.fault == Some(Fault::LetterEarly) && is_letter;
        if hurries {
            self.disk.set_lies(true);
        }
        let taken = self.hub.lock().link_frame(s.now(), id, frame);
        if hurries {
            self.disk.set_lies(false);
        }
        match taken {
            Ok(()) => {}
            Err(LinkViolation::GivenUp) => self.link_ends(s, wire),
            Err(violation) => {
                s.fail(None, format!("node-{} judges its bridge: {violation}", self.index));
            }
        }
    }

    fn link_ends(&mut self, s: &mut Scene, wire: WireId) {
        if let Some(end) = self.links.remove(&wire) {
            self.hub.lock().link_down(s.now(), end.id);
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
    let anew =
        message.ok().and_then(|message| Envelope::new(origin, &message, envelope.retained).ok());
    Arc::new(anew.unwrap_or_else(|| envelope.clone()))
}

/// What `node.rs` does: a hub with what the disk holds, in a new life.
fn begin(
    s: &mut Scene,
    index: usize,
    life: u64,
    (metrics, disk): (Arc<Metrics>, Arc<Disk>),
) -> Hub {
    let limits = HubLimits {
        connections_max: 500,
        connections_per_user: 0,
        session: Arc::new(session_limits()),
        mailbox_bytes_max: 4 << 20,
        session_expiry_secs: None,
        backlog_bytes_max: 64 << 20,
        // Never: what is answered for want of patience is no promise.
        route_timeout: Duration::from_hours(1),
        lost_bridge_grace: 2 * LEASE,
        probe_interval: Duration::from_secs(3),
        retained: RetainedLimits::default(),
        exchange: ExchangeLimits::default(),
    };
    // Far apart, as a fenced node counts its own lives up; and later than today, so that none of
    // them is made of the time of day.
    let incarnation = Incarnation(FIRST_LIFE + life * 1000);
    let me = Member { node: node_id(index), incarnation };
    let entries = disk.entries();
    let store: Arc<dyn Store> = disk;
    let mut hub = Hub::new(s.now(), me, limits, (metrics, store));
    hub.tick(s.now(), s.wall_secs());
    let restored = hub.restore(s.now(), entries);
    s.note(None, || format!("node-{index} restores {restored:?}"));
    if restored.unreadable > 0 {
        s.fail(None, format!("node-{index} cannot read its disk: {restored:?}"));
    }
    hub.begin_life(restored.life);
    hub
}

fn row(me: &Member) -> NodeRow {
    NodeRow {
        node: me.node.clone(),
        incarnation: me.incarnation,
        link_address: format!("{}:2883", me.node),
        client_address: format!("{}:1883", me.node),
    }
}

fn parts(
    hub: &Arc<Mutex<Hub>>,
    disk: &Arc<Disk>,
    membership: Arc<Membership>,
    metrics: Arc<Metrics>,
) -> Parts {
    let store: Arc<dyn Store> = Arc::<Disk>::clone(disk);
    Parts {
        hub: Arc::clone(hub),
        store,
        membership,
        auth: Arc::new(Auth::open()),
        traffic: Traffic {
            packets_received: metrics.packets_received.clone(),
            packets_sent: metrics.packets_sent.clone(),
            bytes_received: metrics.bytes_received.clone(),
            bytes_sent: metrics.bytes_sent.clone(),
        },
        metrics,
        limits: Arc::new(session_limits()),
        budget: Arc::new(Budget::new(0)),
        pace: PaceRates::default(),
        turns: Turns::new(1),
        packet_bytes_max: 1 << 20,
        keep_alive_secs_max: 0,
        connect_timeout: Duration::from_secs(10),
        inbox: true,
        assigned_ids: AtomicU64::new(1),
    }
}

/// Within so long a will that was taken out of the directory is on its way.
const LATELY_US: u64 = 2 * SECOND_US;

/// Beyond every time of day.
const FIRST_LIFE: u64 = 4_000_000_000_000;

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
