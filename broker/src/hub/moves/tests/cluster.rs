//! Hubs joined by a bridge that is a few queues, with stores that keep what was durable and clients that
//! acknowledge what they get.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use causeway_common::{
    directory::{Before, Claimed, Member, Owner, Previous},
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, PacketId, SessionId, Ticket, UserName},
    link::{Frame, Note, Status},
    mailbox::Mailbox,
    message::Message,
    packet::{Packet, Publish, Subscription},
    qos::QoS,
    topic::{Filter, Topic},
};
use parking_lot::Mutex;
use prometheus::Registry;

use crate::{
    hub::{
        Attach, Hub, HubLimits, Knock, LinkId, Routing, TakeOver, change_record,
        record::Name,
        retained::{ExchangeLimits, RetainedLimits},
    },
    metrics::Metrics,
    session::{Action, Input, Kept, Limits, Mail, Session},
    store::{Batch, Entry, Key, Position, Store},
};

/// Keeps what was written before the last [`Paper::sync`].
#[derive(Debug, Default)]
pub(super) struct Paper {
    inner: Mutex<Sheets>,
}

#[derive(Debug, Default)]
struct Sheets {
    kept: BTreeMap<Key, Bytes>,
    wet: Vec<Batch>,
    written: u64,
    durable: u64,
}

impl Paper {
    fn sync(&self) -> bool {
        let mut sheets = self.inner.lock();
        let news = !sheets.wet.is_empty();
        for batch in std::mem::take(&mut sheets.wet) {
            for key in batch.deletes {
                sheets.kept.remove(&key);
            }
            for Entry { keys, value } in batch.puts {
                for key in keys {
                    sheets.kept.insert(key, value.clone());
                }
            }
        }
        sheets.durable = sheets.written;
        news
    }

    /// What is left after a crash.
    fn crash(&self) -> Vec<Entry> {
        let mut sheets = self.inner.lock();
        sheets.wet.clear();
        sheets.written = sheets.durable;
        let entry = |(key, value): (&Key, &Bytes)| Entry {
            keys: smallvec::smallvec![key.clone()],
            value: value.clone(),
        };
        sheets.kept.iter().map(entry).collect()
    }

    /// How many records of sessions there are.
    pub(super) fn len(&self) -> usize {
        let sheets = self.inner.lock();
        let names = sheets.kept.keys().filter_map(|key| Name::parse(key).ok());
        names
            .filter(|name| !matches!(name, Name::Seen(..) | Name::Arrival(..) | Name::Life))
            .count()
    }
}

#[async_trait]
impl Store for Paper {
    fn write(&self, batch: Batch) -> Position {
        let mut sheets = self.inner.lock();
        if !batch.is_empty() {
            sheets.written += 1;
            sheets.wet.push(batch);
        }
        Position(sheets.written)
    }

    fn durable(&self) -> Position {
        Position(self.inner.lock().durable)
    }

    async fn wait(&self, _known: Position) -> Position {
        std::future::pending().await
    }

    fn backlog_bytes(&self) -> usize {
        0
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

pub(super) struct Node {
    pub(super) hub: Hub,
    pub(super) store: Arc<Paper>,
    pub(super) metrics: Arc<Metrics>,
    link: LinkId,
    mailbox: Arc<Mailbox<Frame>>,
    routes: BTreeSet<Filter>,
    lane: VecDeque<Parcel>,
    /// What was delivered and not answered, by identifier.
    open: BTreeMap<PacketId, Parcel>,
    last_id: u16,
    lives: u64,
    said: Arc<Mailbox<Mail>>,
}

/// What is on its way to a node; whose answer waits for it.
#[derive(Clone)]
struct Parcel {
    frame: Frame,
    ticket: Option<(usize, PacketId)>,
}

/// A connection of the client.
pub(super) struct Device {
    /// The client has another connection since, or had.
    is_left: bool,
    pub(super) node: usize,
    pub(super) session: SessionId,
    mailbox: Arc<Mailbox<Mail>>,
    state: Option<Box<Session>>,
    early: VecDeque<Mail>,
    pub(super) is_in: bool,
    pub(super) present: bool,
    ticket: Ticket,
    /// Answers that its login waits for.
    awaited: usize,
    /// What its claim found, until all are asked.
    claimed: Option<(Claimed, TakeOver)>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    pub(super) now: Instant,
    wall_secs: u64,
    /// Answers that the bridge owes: to which node, and how many shares are open.
    owed: BTreeMap<(usize, PacketId), usize>,
    /// Connections of the client; the last one is its own, of the others it knows nothing any more.
    pub(super) devices: Vec<Device>,
    /// The directory's word on the one client: who owns it, and since when.
    pub(super) owner: Option<usize>,
    /// Other nodes that parts of the session may be left on.
    left_on: BTreeSet<usize>,
    /// The last claim, also if its row is gone.
    last: Option<Before>,
    /// The last one of another node before that.
    before: Option<Before>,
    /// The bridges that the directory shows; none if it has not been read.
    listed: Option<Vec<BridgeId>>,
    pub(super) epoch: u64,
    /// The claim of the last clean login that the directory remembers.
    pub(super) erased: Option<Epoch>,
    said: u64,
    said_on: BTreeMap<u64, usize>,
    pub(super) acknowledged: BTreeSet<u64>,
    awaited: BTreeSet<u64>,
    /// What the client got, in order.
    pub(super) got: Vec<u64>,
    /// Letters that the bridge is to lose.
    pub(super) lose: usize,
    /// Connections that are told to close have not heard it yet.
    pub(super) lag: bool,
    /// A node from which nothing comes to the bridge.
    pub(super) silent: Option<usize>,
    /// Messages come to the bridge later than all else.
    slow: bool,
    said_late: Vec<(usize, Frame)>,
    /// What is on its way to a node and late.
    held: Vec<(usize, Parcel)>,
    /// A client was let in before all of its session was there, or began anew.
    pub(super) early: bool,
    crashed: bool,
    /// The client has had a session.
    has_begun: bool,
    /// The client gets messages and does not answer.
    pub(super) mute: bool,
    /// Messages of the client's own that it has PUBREC for.
    pub(super) answered: BTreeSet<PacketId>,
    /// QoS 2 identifiers that the client has seen and not released.
    pub(super) ids: BTreeSet<PacketId>,
}

pub(super) const CLIENT: &str = "bob";

fn limits() -> Arc<Limits> {
    Arc::new(Limits {
        max_inflight: 20,
        queue_messages_max: 10_000,
        queue_bytes_max: 10_000_000,
        topic_levels_max: 10,
        filters_max: 10,
        owed_messages_max: 10,
        owed_bytes_max: 10_000,
    })
}

fn name_of(node: usize) -> NodeId {
    NodeId::from(format!("node-{}", node + 1))
}

impl Cluster {
    pub(super) fn new(size: usize) -> Self {
        let now = Instant::now();
        let mut cluster = Self {
            nodes: Vec::new(),
            now,
            wall_secs: 1_000_000,
            owed: BTreeMap::new(),
            devices: Vec::new(),
            owner: None,
            left_on: BTreeSet::new(),
            last: None,
            before: None,
            listed: Some(vec![BridgeId::from("bridge")]),
            epoch: 0,
            erased: None,
            said: 0,
            said_on: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            awaited: BTreeSet::new(),
            got: Vec::new(),
            lose: 0,
            lag: false,
            silent: None,
            slow: false,
            said_late: Vec::new(),
            held: Vec::new(),
            early: false,
            crashed: false,
            has_begun: false,
            mute: false,
            answered: BTreeSet::new(),
            ids: BTreeSet::new(),
        };
        for at in 0..size {
            let node = cluster.build(at, size, Arc::new(Paper::default()), Vec::new(), 1);
            cluster.nodes.push(node);
        }
        for at in 0..size {
            cluster.link(at);
        }
        cluster.settle();
        cluster
    }

    fn build(
        &self,
        at: usize,
        size: usize,
        store: Arc<Paper>,
        kept: Vec<Entry>,
        lives: u64,
    ) -> Node {
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let me = Member { node: name_of(at), incarnation: Incarnation(lives) };
        let hub_limits = HubLimits {
            connections_max: 10,
            connections_per_user: 0,
            session: limits(),
            mailbox_bytes_max: 1_000_000,
            session_expiry_secs: None,
            backlog_bytes_max: 1_000_000,
            route_timeout: Duration::from_secs(5),
            lost_bridge_grace: Duration::from_secs(1),
            probe_interval: Duration::from_secs(1_000_000),
            retained: RetainedLimits::default(),
            exchange: ExchangeLimits::default(),
        };
        let dynamic: Arc<dyn Store> = Arc::clone(&store) as _;
        let mut hub = Hub::new(self.now, me, hub_limits, (Arc::clone(&metrics), dynamic));
        hub.home_noted(u64::MAX); // there is no directory to be told
        hub.tick(self.now, self.wall_secs);
        let restored = hub.restore(self.now, kept);
        assert_eq!(restored.unreadable, 0);
        hub.begin_life(restored.life);
        hub.set_peers((0..size).filter(|peer| *peer != at).map(name_of).collect(), vec![]);
        if let Some(listed) = &self.listed {
            hub.set_bridges(listed.clone());
        }
        let mailbox = Arc::new(Mailbox::new(10_000_000));
        let link = hub.link_up(&mailbox);
        Node {
            hub,
            store,
            metrics,
            link,
            mailbox,
            routes: BTreeSet::new(),
            lane: VecDeque::new(),
            open: BTreeMap::new(),
            last_id: 0,
            lives,
            said: Arc::new(Mailbox::new(0)),
        }
    }

    /// The bridge links to a node: says how it is, and what the others want.
    fn link(&mut self, at: usize) {
        let status = Status {
            bridge: BridgeId::from("bridge"),
            incarnation: Incarnation(1),
            ready: true,
            directory_reachable: true,
        };
        let (now, interest) = (self.now, self.interest(at));
        let node = &mut self.nodes[at];
        let id = PacketId::new(1).unwrap();
        let wanted = Frame::Subscribe { id, filters: interest };
        node.hub.link_frame(now, node.link, wanted).unwrap();
        node.hub.link_frame(now, node.link, Frame::Status(status)).unwrap();
    }

    fn interest(&self, at: usize) -> Vec<Filter> {
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != at);
        let wanted: BTreeSet<Filter> =
            others.flat_map(|(_, node)| node.routes.iter().cloned()).collect();
        wanted.into_iter().collect()
    }

    /// The link to a node breaks and comes up again; what was on its way to it is held.
    pub(super) fn relink(&mut self, at: usize) {
        let (now, wall_secs) = (self.now, self.wall_secs);
        let node = &mut self.nodes[at];
        node.hub.link_down(now, node.link);
        node.mailbox = Arc::new(Mailbox::new(10_000_000));
        node.link = node.hub.link_up(&node.mailbox);
        node.hub.tick(now, wall_secs);
        self.after_cut(at);
        self.link(at);
    }

    /// A node has lost its lease, and has another.
    pub(super) fn rejoin(&mut self, at: usize) {
        let size = self.nodes.len();
        let node = &mut self.nodes[at];
        node.lives += 1;
        node.hub.rejoin(Member { node: name_of(at), incarnation: Incarnation(node.lives) });
        node.hub.set_peers((0..size).filter(|peer| *peer != at).map(name_of).collect(), vec![]);
        if let Some(listed) = &self.listed {
            node.hub.set_bridges(listed.clone());
        }
        self.relink(at);
    }

    fn after_cut(&mut self, at: usize) {
        // What the node said by the old link, and was not answered, it says again.
        let gone: Vec<(usize, PacketId)> =
            self.owed.keys().copied().filter(|(node, _)| *node == at).collect();
        for ticket in &gone {
            self.owed.remove(ticket);
        }
        let is_owed = |parcel: &Parcel| parcel.ticket.is_some_and(|ticket| ticket.0 != at);
        let node = &mut self.nodes[at];
        let mut again: VecDeque<Parcel> =
            std::mem::take(&mut node.open).into_values().filter(is_owed).collect();
        again.append(&mut node.lane);
        node.lane = again.into_iter().filter(|parcel| parcel.ticket.is_some()).collect();
    }

    /// The node is killed, and starts again with what was durable.
    pub(super) fn crash(&mut self, at: usize) {
        self.crashed = true;
        let size = self.nodes.len();
        let store = Arc::clone(&self.nodes[at].store);
        let kept = store.crash();
        let lives = self.nodes[at].lives + 1;
        let mut node = self.build(at, size, store, kept, lives);
        std::mem::swap(&mut node.lane, &mut self.nodes[at].lane);
        std::mem::swap(&mut node.open, &mut self.nodes[at].open);
        std::mem::swap(&mut node.routes, &mut self.nodes[at].routes);
        self.nodes[at] = node;
        self.devices.retain(|device| device.node != at);
        self.after_cut(at);
        self.link(at);
    }

    /// One piece of work, if there is any: `choice` says which.
    pub(super) fn work(&mut self, choice: usize) -> bool {
        let size = self.nodes.len();
        for turn in 0..size * 3 {
            let (at, what) = ((choice + turn) % size, (choice / size + turn / size) % 3);
            let done = match what {
                0 => self.carry(at),
                1 => self.deliver(at),
                _ => self.commit(at),
            };
            if done {
                self.look();
                return true;
            }
        }
        false
    }

    pub(super) fn settle(&mut self) {
        self.look();
        for round in 0.. {
            if !self.work(round) {
                break;
            }
            assert!(round < 100_000, "it never ends");
        }
    }

    pub(super) fn after(&mut self, secs: u64) {
        for _ in 0..secs {
            self.now += Duration::from_secs(1);
            self.wall_secs += 1;
            for node in &mut self.nodes {
                node.hub.tick(self.now, self.wall_secs);
            }
            self.settle();
        }
    }

    fn commit(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        let news = node.store.sync();
        if news {
            node.hub.committed();
        }
        news
    }

    /// Takes what a node said to the bridge.
    fn carry(&mut self, at: usize) -> bool {
        if self.silent == Some(at) {
            return false;
        }
        let mut frames = VecDeque::new();
        self.nodes[at].mailbox.take_all(&mut frames);
        let any = !frames.is_empty();
        for frame in frames {
            self.take_frame(at, frame);
        }
        any
    }

    fn take_frame(&mut self, at: usize, frame: Frame) {
        let now = self.now;
        match frame {
            Frame::Routes { id, routes } => {
                self.nodes[at].routes.extend(routes.add.iter().cloned());
                for filter in &routes.remove {
                    self.nodes[at].routes.remove(filter);
                }
                for other in (0..self.nodes.len()).filter(|other| *other != at) {
                    let interest = self.interest(other);
                    let node = &mut self.nodes[other];
                    let (id, filters) = (PacketId::FIRST, routes.remove.clone());
                    let less = Frame::Unsubscribe { id, filters };
                    node.hub.link_frame(now, node.link, less).unwrap();
                    let more = Frame::Subscribe { id, filters: interest };
                    node.hub.link_frame(now, node.link, more).unwrap();
                }
                self.acknowledge(at, id);
            }
            Frame::Forward { .. } if self.slow => self.said_late.push((at, frame)),
            Frame::Forward { id, envelope } => {
                let wants = |node: &Node| {
                    let mut routes = node.routes.iter();
                    envelope.retained.is_some()
                        || routes.any(|filter| filter.matches(envelope.topic()))
                };
                let others = (0..self.nodes.len()).filter(|other| *other != at);
                let to: Vec<usize> = others.filter(|other| wants(&self.nodes[*other])).collect();
                self.relay(at, id, &to, &Frame::Forward { id: None, envelope });
            }
            Frame::Direct { id, to, from, note } => {
                if matches!(note, Note::Session(_)) && id.is_none() && self.lose > 0 {
                    self.lose -= 1;
                    return;
                }
                let to_node: Vec<usize> =
                    (0..self.nodes.len()).filter(|node| name_of(*node) == to).collect();
                self.relay(at, id, &to_node, &Frame::Direct { id: None, to, from, note });
            }
            Frame::Ack(id) => {
                if let Some(Parcel { ticket: Some(ticket), .. }) = self.nodes[at].open.remove(&id) {
                    self.share_done(ticket);
                }
            }
            _ => {}
        }
    }

    fn relay(&mut self, at: usize, id: Option<PacketId>, to: &[usize], frame: &Frame) {
        let ticket = id.map(|id| (at, id));
        if let Some(ticket) = ticket {
            if to.is_empty() {
                return self.acknowledge(ticket.0, ticket.1);
            }
            self.owed.insert(ticket, to.len());
        }
        for other in to {
            self.nodes[*other].lane.push_back(Parcel { frame: frame.clone(), ticket });
        }
    }

    fn share_done(&mut self, ticket: (usize, PacketId)) {
        let Some(shares) = self.owed.get_mut(&ticket) else {
            return;
        };
        *shares -= 1;
        if *shares == 0 {
            self.owed.remove(&ticket);
            self.acknowledge(ticket.0, ticket.1);
        }
    }

    fn acknowledge(&mut self, at: usize, id: PacketId) {
        let node = &mut self.nodes[at];
        node.hub.link_frame(self.now, node.link, Frame::Ack(id)).unwrap();
    }

    /// Gives a node the next frame of its lane.
    fn deliver(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        let Some(parcel) = node.lane.pop_front() else {
            return false;
        };
        let mut frame = parcel.frame.clone();
        if parcel.ticket.is_some() {
            node.last_id = node.last_id % 60_000 + 1;
            let given = PacketId::new(node.last_id).unwrap();
            match &mut frame {
                Frame::Forward { id, .. } | Frame::Direct { id, .. } => *id = Some(given),
                _ => {}
            }
            node.open.insert(given, parcel);
        }
        node.hub.link_frame(self.now, node.link, frame).unwrap();
        true
    }

    /// From now on messages wait on their way to the bridge, or do so no longer.
    pub(super) fn slow(&mut self, slow: bool) {
        self.slow = slow;
        for (at, frame) in std::mem::take(&mut self.said_late) {
            self.take_frame(at, frame);
        }
    }

    /// Messages on their way to a node stay there for a while, as on a link that is slow.
    pub(super) fn hold_messages(&mut self, at: usize) {
        let lane = std::mem::take(&mut self.nodes[at].lane);
        let is_letter = |parcel: &Parcel| matches!(parcel.frame, Frame::Direct { .. });
        let (letters, messages): (Vec<_>, Vec<_>) = lane.into_iter().partition(is_letter);
        self.nodes[at].lane = letters.into();
        self.held.extend(messages.into_iter().map(|parcel| (at, parcel)));
    }

    /// What was held goes on.
    pub(super) fn pass_messages(&mut self) {
        for (at, parcel) in std::mem::take(&mut self.held) {
            self.nodes[at].lane.push_back(parcel);
        }
    }

    /// Letters on their way to a node pass the messages there, as by another bridge.
    pub(super) fn overtake(&mut self, at: usize) {
        let lane = std::mem::take(&mut self.nodes[at].lane);
        let is_letter = |parcel: &Parcel| matches!(parcel.frame, Frame::Direct { .. });
        let (letters, messages): (Vec<_>, Vec<_>) = lane.into_iter().partition(is_letter);
        self.nodes[at].lane = letters.into_iter().chain(messages).collect();
    }

    /// Whoever published looks for answers; connections are told to go, or find that they may come in.
    fn look(&mut self) {
        for node in &mut self.nodes {
            let mut mail = VecDeque::new();
            node.said.take_all(&mut mail);
            for mail in mail {
                if let Mail::Routed(ticket) = mail {
                    self.awaited.remove(&ticket.0);
                    self.acknowledged.insert(ticket.0);
                }
            }
        }
        self.look_for_cleared();
        if self.lag {
            return;
        }
        for at in (0..self.devices.len()).rev() {
            let device = &mut self.devices[at];
            device.mailbox.take_counted(&mut device.early);
            let mine = device.ticket;
            let before = device.early.len();
            device.early.retain(|mail| !matches!(mail, Mail::Routed(ticket) if *ticket == mine));
            device.awaited -= before - device.early.len();
            if device.early.iter().any(|mail| matches!(mail, Mail::Close(_))) {
                self.end(at);
            } else if !device.is_in && device.awaited == 0 && !self.asks_others(at) {
                self.let_in(at);
            }
        }
    }

    /// The last owner has answered: asks those that may keep a part, if there are any.
    fn asks_others(&mut self, at: usize) -> bool {
        let device = &mut self.devices[at];
        let Some((claimed, claim)) = device.claimed.take() else {
            return false;
        };
        let hub = &mut self.nodes[device.node].hub;
        let (answer, deadline) =
            ((&device.mailbox, device.ticket), self.now + Duration::from_mins(10));
        let asked = hub.then_to_ask(&claimed);
        device.awaited = hub.ask_takeovers(asked, &claim, answer, deadline);
        device.awaited > 0
    }

    /// Nodes tell the directory that nothing is left with them.
    fn look_for_cleared(&mut self) {
        for (at, node) in self.nodes.iter().enumerate() {
            let mut cleared = VecDeque::new();
            node.hub.cleared().take_all(&mut cleared);
            if cleared.iter().any(|cleared| cleared.epoch == Epoch(self.epoch)) {
                self.left_on.remove(&at);
            }
        }
    }

    fn end(&mut self, at: usize) {
        let mut device = self.devices.remove(at);
        let state = device.state.take().unwrap();
        self.nodes[device.node].hub.leave(device.session, state, device.early);
    }

    /// The client goes.
    pub(super) fn go(&mut self) {
        if !self.devices.is_empty() {
            self.end(self.devices.len() - 1);
        }
    }

    /// The client connects to a node, whatever connections of it there are.
    pub(super) fn come(&mut self, at: usize, clean: bool) {
        let client_id = ClientId::from(CLIENT);
        let knock = Knock { client_id: client_id.clone(), user: UserName::from(CLIENT), clean };
        let waiting = Arc::new(Mailbox::new(0));
        let mut attach = self.nodes[at].hub.attach(&knock, &waiting).unwrap();
        if let Attach::Wait = attach {
            let lag = std::mem::take(&mut self.lag);
            self.look();
            self.lag = lag;
            attach = self.nodes[at].hub.attach(&knock, &waiting).unwrap();
        }
        let Attach::In(attached) = attach else {
            panic!("nobody is there to wait for");
        };
        self.epoch += 1;
        let fresh = |durable| {
            if durable {
                Session::durable(self.now, limits(), Kept::default())
            } else {
                Session::new(self.now, None, limits())
            }
        };
        let state = attached.resumed.unwrap_or_else(|| Box::new(fresh(!clean)));
        for older in &mut self.devices {
            older.is_left = true;
        }
        self.devices.push(Device {
            is_left: false,
            node: at,
            session: attached.session,
            mailbox: Arc::clone(&attached.mailbox),
            state: Some(state),
            early: VecDeque::new(),
            is_in: false,
            present: false,
            ticket: Ticket(u64::MAX - self.epoch),
            awaited: 0,
            claimed: None,
        });
        let claimed = self.row(at);
        let epoch = claimed.epoch;
        self.claim(at, attached.session, &claimed);
        let mailbox = Arc::clone(&self.device().mailbox);
        let previous = self.owner.replace(at).filter(|previous| *previous != at);
        let claim = TakeOver { client_id, epoch, clean };
        let answer = (&mailbox, Ticket(u64::MAX - self.epoch));
        let deadline = self.now + Duration::from_mins(10);
        let hub = &mut self.nodes[at].hub;
        let asked = hub.ask_takeovers(hub.first_to_ask(&claimed), &claim, answer, deadline);
        let device = self.devices.last_mut().unwrap();
        (device.awaited, device.claimed) = (asked, Some((claimed, claim)));
        if asked > 0 {
            return;
        }
        assert_eq!(previous, None, "the last owner is asked");
        let last = self.devices.len() - 1;
        if !self.asks_others(last) {
            self.early |= self.held_by() != [at];
            self.let_in(last);
        }
    }

    /// A claim of this node, which does not live to hear of it.
    pub(super) fn claim_unheard(&mut self, at: usize) {
        self.epoch += 1;
        self.row(at);
        self.owner = Some(at);
    }

    /// What the directory answers to a claim by this node.
    fn row(&mut self, at: usize) -> Claimed {
        let epoch = Epoch(self.epoch);
        let before = self.owner.map(|previous| {
            let member = Member { node: name_of(previous), incarnation: Incarnation::default() };
            let owner = Owner { member, epoch: Epoch(self.epoch - 1) };
            let (address, connected, durable) = (String::new(), true, true);
            Previous { owner, address, connected, durable }
        });
        self.left_on.extend(self.owner);
        self.left_on.remove(&at);
        let this = Before { node: name_of(at), epoch };
        if let Some(last) = self.last.replace(this).filter(|last| last.node != name_of(at)) {
            self.before = Some(last);
        }
        Claimed {
            epoch,
            before: self.before.clone(),
            previous: before,
            wills: Vec::new(),
            erased: self.erased,
            left_on: self.left_on.iter().copied().map(name_of).collect(),
            contests: 0,
        }
    }

    /// The directory has answered the claim of the client that came last.
    fn claim(&mut self, at: usize, session: SessionId, claimed: &Claimed) {
        let hub = &mut self.nodes[at].hub;
        if let Some(by) = claimed.erased {
            hub.note_erasure(session, by);
        }
        assert!(hub.set_epoch(session, claimed));
        let device = self.devices.last_mut().unwrap();
        if hub.is_erased(session) {
            let found = (&mut device.state, &mut device.early);
            let attached = hub.start_anew(session, found, claimed).unwrap();
            (device.session, device.mailbox) = (attached.session, attached.mailbox);
            device.state = Some(Box::new(Session::durable(self.now, limits(), Kept::default())));
        }
    }

    /// The client logs in with clean session 1 somewhere else, and goes; nobody hears of it but the
    /// directory.
    pub(super) fn erase_elsewhere(&mut self) {
        self.epoch += 1;
        self.left_on.extend(self.owner);
        (self.erased, self.owner) = (Some(Epoch(self.epoch)), None);
        self.last = Some(Before { node: NodeId::from("elsewhere"), epoch: Epoch(self.epoch) });
    }

    /// A node writes the row of its session again, and is told what the directory knows.
    pub(super) fn restore(&mut self, at: usize) {
        let hub = &mut self.nodes[at].hub;
        let session = hub.owned().first().map(|owned| owned.session);
        if let (Some(session), Some(by)) = (session, self.erased) {
            hub.note_erasure(session, by);
        }
    }

    /// The directory shows these bridges.
    pub(super) fn list(&mut self, bridges: &[&str]) {
        let listed: Vec<BridgeId> = bridges.iter().map(|name| BridgeId::from(*name)).collect();
        for node in &mut self.nodes {
            node.hub.set_bridges(listed.clone());
        }
        self.listed = Some(listed);
    }

    /// Nodes that start from now on cannot read which bridges there are.
    pub(super) fn list_nothing(&mut self) {
        self.listed = None;
    }

    /// The client that came last.
    pub(super) fn device(&self) -> &Device {
        self.devices.last().unwrap()
    }

    /// The node has waited long enough.
    pub(super) fn deadline(&mut self) {
        if let Some(last) = self.devices.len().checked_sub(1)
            && !self.devices[last].is_in
        {
            self.early = true;
            self.let_in(last);
        }
    }

    fn let_in(&mut self, at: usize) {
        // A node that died may have been about to fetch what another one has.
        self.early |= self.crashed && self.held_by() != [self.devices[at].node];
        let now = self.now;
        let device = &mut self.devices[at];
        let mut early = std::mem::take(&mut device.early);
        device.mailbox.take_counted(&mut early);
        let state = device.state.as_mut().unwrap();
        for mail in early {
            match mail {
                Mail::Inherit(inheritance) => state.inherit(*inheritance),
                Mail::Deliver(delivery) if delivery.stored.is_some() => state.keep(delivery),
                other => device.early.push_back(other),
            }
        }
        let hub = &mut self.nodes[device.node].hub;
        (device.is_in, device.present) = (true, hub.is_present(device.session));
        let forgotten = if device.present { Vec::new() } else { state.start_over() };
        hub.let_in(device.session, &forgotten);
        if !device.present && !device.is_left {
            self.ids.clear(); // it begins anew
            self.early |= std::mem::replace(&mut self.has_begun, true);
        }
        let mut actions = Vec::new();
        state.resume(now, None, &mut actions);
        self.carry_out(at, actions);
    }

    /// The client takes what there is for it.
    pub(super) fn read(&mut self) {
        let (now, last) = (self.now, self.devices.len().wrapping_sub(1));
        let Some(device) = self.devices.last_mut().filter(|device| device.is_in && !device.is_left)
        else {
            return;
        };
        let mut mail = std::mem::take(&mut device.early);
        device.mailbox.take_counted(&mut mail);
        let mut actions = Vec::new();
        for mail in mail {
            if let Mail::Close(_) = mail {
                device.early.push_back(mail);
                continue;
            }
            let state = device.state.as_mut().unwrap();
            state.handle(now, Input::Mail(mail), &mut actions).unwrap();
        }
        self.carry_out(last, actions);
    }

    fn carry_out(&mut self, at: usize, actions: Vec<Action>) {
        let now = self.now;
        let mut todo: VecDeque<Action> = actions.into();
        let (node_at, session) = (self.devices[at].node, self.devices[at].session);
        while let Some(action) = todo.pop_front() {
            let device = &mut self.devices[at];
            let node = &mut self.nodes[node_at];
            let answer = match action {
                Action::Deliver { .. } | Action::Send(_) if device.is_left => continue,
                Action::Deliver { delivery, id: Some(id), .. } => {
                    let text = std::str::from_utf8(&delivery.message.payload).unwrap();
                    if delivery.qos != QoS::ExactlyOnce || self.ids.insert(id) {
                        self.got.push(text.parse().unwrap());
                    }
                    if self.mute {
                        continue; // it got it, and says nothing yet
                    }
                    self.ids.remove(&id);
                    match delivery.qos {
                        QoS::ExactlyOnce => Packet::PubRec(id),
                        _ => Packet::PubAck(id),
                    }
                }
                Action::Send(Packet::PubRel(id)) if !self.mute => Packet::PubComp(id),
                Action::Send(Packet::PubRec(id)) => {
                    self.answered.insert(id);
                    continue;
                }
                Action::Route { ticket, message, received } => {
                    let received = received.map(|id| (session, id));
                    let routing = node.hub.publish(&device.mailbox, ticket, message, received);
                    let settled = ticket.filter(|_| routing == Routing::Settled);
                    device.early.extend(settled.map(Mail::Routed));
                    continue;
                }
                Action::Persist(change) => {
                    use crate::session::Change::{Released, Taken};
                    node.store.write(change_record(session, &change));
                    if let Taken { cost, .. } | Released { cost, .. } = change {
                        device.mailbox.release(1, cost);
                    }
                    continue;
                }
                Action::Subscribe { ticket, subscriptions } => {
                    node.hub.subscribe(now, session, ticket, &subscriptions);
                    continue;
                }
                _ => continue,
            };
            let mut more = Vec::new();
            if !device.present {
                node.hub.know(session);
            }
            let state = device.state.as_mut().unwrap();
            state.handle(now, Input::Packet(answer), &mut more).unwrap();
            todo.extend(more);
        }
        self.nodes[node_at].store.sync();
        self.nodes[node_at].hub.committed();
    }

    pub(super) fn subscribe(&mut self, filter: &str, qos: u8) {
        let id = PacketId::new(9).unwrap();
        let qos = QoS::from_bits(qos).unwrap();
        let subscriptions = vec![Subscription { filter: Filter::new(filter).unwrap(), qos }];
        let mut actions = Vec::new();
        let device = self.devices.last_mut().unwrap();
        self.nodes[device.node].hub.know(device.session);
        let state = device.state.as_mut().unwrap();
        let packet = Packet::Subscribe { id, subscriptions };
        state.handle(self.now, Input::Packet(packet), &mut actions).unwrap();
        self.carry_out(self.devices.len() - 1, actions);
    }

    /// The client says something that goes to every node, or repeats it.
    pub(super) fn publish(&mut self, id: PacketId, dup: bool) {
        let message = Message {
            topic: Topic::new("own").unwrap(),
            payload: Bytes::from_static(b"own"),
            qos: QoS::ExactlyOnce,
            retain: true,
        };
        let mut actions = Vec::new();
        let device = self.devices.last_mut().unwrap();
        let state = device.state.as_mut().unwrap();
        let packet = Packet::Publish(Publish { message, id: Some(id), dup });
        state.handle(self.now, Input::Packet(packet), &mut actions).unwrap();
        self.carry_out(self.devices.len() - 1, actions);
    }

    /// Whether the session of the client that came last knows a message of its own by this identifier.
    pub(super) fn has_received(&self, id: PacketId) -> bool {
        let state = self.device().state.as_ref();
        state.is_some_and(|state| state.received().any(|known| known == id))
    }

    /// How many messages of the session of the client that came last may have been sent.
    pub(super) fn doubtful(&self) -> u64 {
        self.device().state.as_ref().map_or(0, |state| state.doubtful().0)
    }

    /// Does all there is to do while no message comes to a node.
    pub(super) fn settle_without(&mut self, at: usize) {
        self.hold_messages(at);
        while self.work(0) {
            self.hold_messages(at);
        }
    }

    /// Somebody on a node says the next number.
    pub(super) fn say(&mut self, at: usize) -> u64 {
        self.say_as(at, false)
    }

    /// The same, to be retained: it goes to every node.
    pub(super) fn say_retained(&mut self, at: usize) -> u64 {
        self.say_as(at, true)
    }

    fn say_as(&mut self, at: usize, retain: bool) -> u64 {
        self.said += 1;
        let number = self.said;
        self.said_on.insert(number, at);
        let message = Message {
            topic: Topic::new(format!("t/{at}")).unwrap(),
            payload: Bytes::from(number.to_string()),
            qos: QoS::ExactlyOnce,
            retain,
        };
        let node = &mut self.nodes[at];
        match node.hub.publish(&node.said, Some(Ticket(number)), message, None) {
            Routing::Settled => _ = self.acknowledged.insert(number),
            Routing::Awaited => _ = self.awaited.insert(number),
        }
        number
    }

    /// The directory tells every node that holds something of the client who owns it.
    pub(super) fn audit(&mut self) {
        let Some(owner) = self.owner else { return };
        let member = Member { node: name_of(owner), incarnation: Incarnation::default() };
        let owner_is = Owner { member, epoch: Epoch(self.epoch) };
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if at != owner {
                node.hub.hand_over(&ClientId::from(CLIENT), &owner_is);
            }
        }
    }

    /// Everything acknowledged and not got; everything got more than once.
    pub(super) fn judge(&self) -> (Vec<u64>, Vec<u64>) {
        let got: BTreeSet<u64> = self.got.iter().copied().collect();
        let missing = self.acknowledged.difference(&got).copied().collect();
        let mut seen = BTreeSet::new();
        let twice = self.got.iter().copied().filter(|number| !seen.insert(*number)).collect();
        (missing, twice)
    }

    /// Whether what was said on one node came in its order.
    pub(super) fn in_order(&self) -> bool {
        let mut last = BTreeMap::new();
        self.got.iter().all(|number| {
            let earlier = last.insert(self.said_on.get(number), *number);
            earlier.is_none_or(|earlier| earlier < *number)
        })
    }

    /// Sessions of the client, by node.
    pub(super) fn held_by(&self) -> Vec<usize> {
        let holds = |node: &Node| !node.hub.owned().is_empty();
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| holds(node)).map(|(at, _)| at).collect()
    }
}
