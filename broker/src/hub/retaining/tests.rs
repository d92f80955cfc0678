//! Retained messages as clients, other nodes and the store see them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use causeway_common::{
    directory::Member,
    id::{BridgeId, ClientId, Incarnation, NodeId, PacketId, Ticket, UserName},
    link::{Envelope, Frame, Note, Origin, Status},
    mailbox::Mailbox,
    message::Message,
    packet::Subscription,
    qos::QoS,
    topic::{Filter, Topic},
};
use parking_lot::Mutex;
use prometheus::Registry;
use smallvec::smallvec;

use super::super::{
    Attach, Hub, HubLimits, Knock, LinkId, Routing, SessionId,
    retained::{ExchangeLimits, RetainedLimits},
};
use crate::{
    metrics::Metrics,
    session::{Limits, Mail},
    store::{Batch, Entry, Key, Position, Store},
};

/// A store whose content can be looked at.
#[derive(Debug, Default)]
struct Shelf {
    kept: Mutex<BTreeMap<Key, Bytes>>,
}

#[async_trait]
impl Store for Shelf {
    fn write(&self, batch: Batch) -> Position {
        let mut kept = self.kept.lock();
        for key in batch.deletes {
            kept.remove(&key);
        }
        for Entry { keys, value } in batch.puts {
            kept.extend(keys.into_iter().map(|key| (key, value.clone())));
        }
        Position(1)
    }

    fn durable(&self) -> Position {
        Position(u64::MAX)
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

struct Setting {
    hub: Hub,
    now: Instant,
    metrics: Arc<Metrics>,
    shelf: Arc<Shelf>,
    bridge: Arc<Mailbox<Frame>>,
    link: LinkId,
}

struct Client {
    id: SessionId,
    mailbox: Arc<Mailbox<Mail>>,
}

fn limits(retained: RetainedLimits) -> HubLimits {
    let session = Limits {
        max_inflight: 20,
        queue_messages_max: 20_000,
        queue_bytes_max: 1 << 20,
        topic_levels_max: 10,
        filters_max: 10,
        owed_messages_max: 10,
        owed_bytes_max: 10_000,
    };
    HubLimits {
        connections_max: 10,
        connections_per_user: 0,
        session: Arc::new(session),
        mailbox_bytes_max: 1 << 20,
        session_expiry_secs: None,
        backlog_bytes_max: 1 << 20,
        route_timeout: Duration::from_secs(5),
        lost_bridge_grace: Duration::from_secs(12),
        probe_interval: Duration::from_hours(1),
        retained,
        exchange: ExchangeLimits::default(),
    }
}

fn node(number: usize) -> NodeId {
    NodeId::from(format!("node-{number}"))
}

fn message(topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Message {
    let topic = Topic::new(topic).unwrap();
    Message { topic, payload: payload.into(), qos, retain: true }
}

impl Setting {
    /// Node `number` of two, with a bridge that is ready.
    fn new(number: usize, retained: RetainedLimits) -> Self {
        let now = Instant::now();
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let shelf = Arc::new(Shelf::default());
        let me = Member { node: node(number), incarnation: Incarnation(7) };
        let store = Arc::clone(&shelf) as Arc<dyn Store>;
        let mut hub = Hub::new(now, me, limits(retained), (Arc::clone(&metrics), store));
        hub.home_noted(u64::MAX); // there is no directory to be told
        hub.set_peers(vec![node(3 - number)], vec![]);
        let bridge = Arc::new(Mailbox::new(1 << 30));
        let link = hub.link_up(&bridge);
        let mut set = Self { hub, now, metrics, shelf, bridge, link };
        set.be_ready(true);
        set.frames();
        set
    }

    fn alone() -> Self {
        let mut set = Self::new(1, RetainedLimits::default());
        set.hub.link_left(set.link);
        set.hub.set_peers(vec![], vec![]);
        set
    }

    fn be_ready(&mut self, ready: bool) {
        let status = Status {
            bridge: BridgeId::from("b"),
            incarnation: Incarnation(1),
            ready,
            directory_reachable: true,
        };
        self.hub.link_frame(self.now, self.link, Frame::Status(status)).unwrap();
    }

    fn client(&mut self, name: &str, clean: bool) -> Client {
        let knock = Knock { client_id: ClientId::from(name), user: UserName::from(name), clean };
        let Attach::In(attached) = self.hub.attach(&knock, &Arc::new(Mailbox::new(0))).unwrap()
        else {
            panic!("{name} has to wait");
        };
        self.hub.let_in(attached.session, &[]);
        Client { id: attached.session, mailbox: attached.mailbox }
    }

    fn subscribe(&mut self, client: &Client, filter: &str, qos: QoS) {
        let wanted = [Subscription { filter: Filter::new(filter).unwrap(), qos }];
        self.hub.subscribe(self.now, client.id, Ticket(1), &wanted);
    }

    fn publish(&mut self, message: Message) -> Routing {
        let ticket = message.qos.is_answered().then_some(Ticket(1));
        self.hub.publish(&Arc::new(Mailbox::new(0)), ticket, message, None)
    }

    fn say(&mut self, topic: &str, payload: &'static str) {
        self.publish(message(topic, payload, QoS::AtLeastOnce));
    }

    fn frames(&self) -> Vec<Frame> {
        let mut taken = VecDeque::new();
        self.bridge.take_all(&mut taken);
        taken.into()
    }

    /// The messages given to the bridge: whether with an identifier, and with which counter.
    fn forwarded(&self) -> Vec<(bool, Option<u64>)> {
        let forward = |frame: &Frame| match frame {
            Frame::Forward { id, envelope } => Some((id.is_some(), envelope.retained)),
            _ => None,
        };
        self.frames().iter().filter_map(forward).collect()
    }

    /// Another node's message with RETAIN comes by the link.
    fn hear(&mut self, sequence: u64, counter: u64, payload: &'static str) {
        let origin = Origin { node: node(2), incarnation: Incarnation(3), sequence };
        let message = message("a", payload, QoS::AtMostOnce);
        let envelope = Arc::new(Envelope::new(origin, &message, Some(counter)).unwrap());
        let frame = Frame::Forward { id: PacketId::new(9), envelope };
        self.hub.link_frame(self.now, self.link, frame).unwrap();
    }

    /// What a new client finds: topics, payloads, QoS, and whether RETAIN is set.
    fn found(&mut self) -> Vec<String> {
        let client = self.client("finder", true);
        self.subscribe(&client, "#", QoS::ExactlyOnce);
        client.mail()
    }

    fn dropped_as_full(&self) -> u64 {
        self.metrics.messages_dropped.retained_full.get()
    }
}

impl Client {
    fn mail(&self) -> Vec<String> {
        let mut taken = VecDeque::new();
        self.mailbox.take_all(&mut taken);
        let word = |mail| match mail {
            Mail::Deliver(delivery) => {
                let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
                let flag = if delivery.retain { " retained" } else { "" };
                Some(format!("{} {payload} {}{flag}", delivery.message.topic, delivery.qos))
            }
            _ => None,
        };
        taken.into_iter().filter_map(word).collect()
    }
}

#[test]
fn a_new_subscription_finds_what_is_retained_and_a_live_one_gets_it_as_any_other() {
    let mut set = Setting::alone();
    let early = set.client("early", true);
    set.subscribe(&early, "a/+", QoS::AtMostOnce);
    set.say("a/b", "1");
    set.say("a/b", "2");
    assert_eq!(early.mail(), ["a/b 1 0", "a/b 2 0"], "[MQTT-3.3.1-9]");
    let late = set.client("late", true);
    set.subscribe(&late, "a/+", QoS::ExactlyOnce);
    set.say("a/b", "3");
    assert_eq!(late.mail(), ["a/b 2 1 retained", "a/b 3 1"]);
    set.subscribe(&late, "a/+", QoS::AtMostOnce);
    assert_eq!(late.mail(), ["a/b 3 0 retained"], "[MQTT-3.8.4-3]");
    set.say("a/b", "");
    set.subscribe(&late, "a/+", QoS::AtMostOnce);
    assert_eq!(late.mail(), ["a/b  0"], "[MQTT-3.3.1-10]: the empty message itself is delivered");
}

#[test]
fn what_is_retained_outlives_the_process() {
    let mut set = Setting::alone();
    set.say("a", "1");
    set.say("a", "2");
    set.say("b", "3");
    set.say("b", "");
    let kept = set.shelf.kept.lock().clone();
    assert_eq!(kept.len(), 2, "a message and a tombstone");
    let entry = |(key, value)| Entry { keys: smallvec![key], value };
    let mut next = Setting::alone();
    let restored = next.hub.restore(next.now, kept.into_iter().map(entry).collect());
    assert_eq!((restored.retained, restored.unreadable), (1, 0));
    assert_eq!(next.found(), ["a 2 1 retained"]);
    let damaged = Entry {
        keys: smallvec![super::Name::Retained("a".to_owned()).key()],
        value: Bytes::from_static(b"\xff"),
    };
    assert_eq!(Setting::alone().hub.restore(next.now, vec![damaged]).unreadable, 1);
}

#[test]
fn what_is_retained_goes_to_every_node_and_is_answered_there_whatever_its_qos() {
    let mut set = Setting::new(1, RetainedLimits::default());
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        set.publish(message("a", "x", qos));
    }
    assert_eq!(
        set.forwarded(),
        [(true, Some(1)), (true, Some(2))],
        "nobody there has asked for it"
    );
    set.be_ready(false);
    assert_eq!(set.publish(message("a", "y", QoS::AtLeastOnce)), Routing::Awaited);
    set.publish(message("a", "z", QoS::AtMostOnce));
    assert_eq!(set.forwarded(), []);
    set.be_ready(true);
    assert_eq!(set.forwarded().last(), Some(&(true, Some(4))), "it was held, not dropped");
}

#[test]
fn of_other_nodes_the_last_word_counts_in_whatever_order_they_come() {
    let mut set = Setting::new(1, RetainedLimits::default());
    let live = set.client("live", true);
    set.subscribe(&live, "a", QoS::AtMostOnce);
    set.hear(1, 7, "seven");
    set.hear(2, 5, "five");
    assert_eq!(live.mail(), ["a seven 0", "a five 0"]);
    assert_eq!(set.found(), ["a seven 0 retained"]);
    set.say("a", "mine");
    assert_eq!(set.found(), ["a mine 1 retained"], "it comes after all that was heard");
    // A message that is dropped as one had before may still be the last word.
    set.hear(1, 20, "twenty");
    assert_eq!(set.found(), ["a twenty 0 retained"]);
    assert_eq!(set.shelf.kept.lock().len(), 2, "the last word, and how far node-2 was heard");
}

#[test]
fn without_room_a_message_is_delivered_and_not_retained() {
    let limits = RetainedLimits { messages_max: 1, ..RetainedLimits::default() };
    let mut set = Setting::new(1, limits);
    let live = set.client("live", true);
    set.subscribe(&live, "#", QoS::AtMostOnce);
    set.say("a", "1");
    set.frames();
    set.say("b", "2");
    assert_eq!(live.mail(), ["a 1 0", "b 2 0"]);
    assert_eq!(set.dropped_as_full(), 1);
    assert_eq!(set.forwarded(), [], "nobody elsewhere wants it, and it is not retained there");
    assert_eq!(set.found(), ["a 1 1 retained"]);
}

#[test]
fn ten_thousand_are_found_at_once_and_none_is_dropped() {
    let mut set = Setting::alone();
    for number in 0..10_000 {
        let topic = format!("room/{number:04}");
        set.publish(message(&topic, vec![b'x'; 1024], QoS::AtLeastOnce));
    }
    for (name, clean, qos) in [
        ("clean", true, QoS::AtLeastOnce),
        ("durable", false, QoS::AtLeastOnce),
        ("zero", false, QoS::AtMostOnce),
    ] {
        let client = set.client(name, clean);
        set.subscribe(&client, "room/#", qos);
        assert!(client.mailbox.bytes() <= 1 << 20);
        assert_eq!(client.mail().len(), 10_000, "{name}");
    }
    let dropped = &set.metrics.messages_dropped;
    assert_eq!(dropped.queue_full.get() + dropped.mailbox_full.get(), 0);
    let kept = set.shelf.kept.lock().len();
    assert_eq!(kept, 10_000 + 10_000 + 2 + 2, "for the durable session too, and its sessions");
}

#[test]
fn beyond_the_bounds_of_a_client_the_rest_is_dropped_and_counted() {
    let mut set = Setting::alone();
    for number in 0..20_010 {
        set.publish(message(&format!("{number}"), "x", QoS::AtMostOnce));
    }
    let client = set.client("durable", false);
    set.subscribe(&client, "#", QoS::AtLeastOnce);
    let taken = client.mail().len() as u64;
    assert_eq!(taken + set.metrics.messages_dropped.mailbox_full.get(), 20_010);
    assert!(client.mailbox.is_empty());
}

/// Two nodes, and a bridge between them that carries everything to the other one.
fn carry(nodes: &mut [Setting; 2]) {
    loop {
        let mut any = false;
        for at in 0..2 {
            for frame in nodes[at].frames() {
                any = true;
                let other = &mut nodes[1 - at];
                let (link, now) = (other.link, other.now);
                match frame {
                    Frame::Direct { .. } => other.hub.link_frame(now, link, frame).unwrap(),
                    Frame::Forward { id, envelope } => {
                        let there = Frame::Forward { id: PacketId::new(5), envelope };
                        other.hub.link_frame(now, link, there).unwrap();
                        let link = nodes[at].link;
                        let id = id.unwrap();
                        nodes[at].hub.link_frame(now, link, Frame::Ack(id)).unwrap();
                    }
                    _ => {}
                }
            }
        }
        if !any {
            return;
        }
    }
}

#[test]
fn a_node_has_joined_when_it_has_what_the_other_retains() {
    let mut nodes = [1, 2].map(|number| Setting::new(number, RetainedLimits::default()));
    nodes[0].say("a", "before");
    nodes[0].frames();
    assert!(nodes.iter().all(|node| !node.hub.is_joined()));
    let missing =
        |set: &Setting| set.hub.unready_reasons().iter().any(|it| it.contains("retained"));
    assert!(missing(&nodes[1]));
    for set in &mut nodes {
        set.hub.tick(set.now, 1000);
    }
    carry(&mut nodes);
    assert!(nodes.iter().all(|node| node.hub.is_joined() && !missing(node)));
    assert_eq!(nodes[1].found(), ["a before 1 retained"]);
    assert_eq!(nodes[1].shelf.kept.lock().len(), 1, "it is written down there too");
    nodes[1].say("a", "after");
    carry(&mut nodes);
    assert_eq!(nodes[0].found(), ["a after 1 retained"]);
    let me = Member { node: node(2), incarnation: Incarnation(8) };
    nodes[1].hub.rejoin(me);
    nodes[1].hub.set_peers(vec![node(1)], vec![]);
    assert!(!nodes[1].hub.is_joined(), "a new life asks again");
}

#[test]
fn a_note_that_is_none_is_counted_and_the_link_stays() {
    let mut set = Setting::new(1, RetainedLimits::default());
    let note = Note::Retained(Bytes::from_static(b"\xff\xff"));
    let (to, from) = (node(1), node(2));
    let frame = Frame::Direct { id: PacketId::new(4), to, from, note };
    set.hub.link_frame(set.now, set.link, frame).unwrap();
    assert_eq!(set.metrics.retained_notes_refused.get(), 1);
    assert_eq!(set.frames(), [Frame::Ack(PacketId::new(4).unwrap())]);
}
