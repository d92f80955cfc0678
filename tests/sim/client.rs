//! A simulated client: publishes numbered messages, subscribes and unsubscribes as it likes, and
//! answers what it gets. When its connection breaks it comes back: as somebody else, or with a
//! durable session, of which it knows what a client has to know.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use causeway_common::{
    id::PacketId,
    message::Message,
    packet::{Connect, Login, Packet, Publish, Subscription},
    qos::QoS,
    topic::{Filter, Topic},
};

use crate::{
    net::{End, Item},
    scene::{Event, Scene, WireId},
    words::{message_in, number, qos},
};

/// One client, over all its lives.
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
pub(crate) struct Client {
    pub(crate) index: usize,
    /// Holds its filters as long as it is connected.
    is_steady: bool,
    is_durable: bool,
    /// It comes back on any node.
    roams: bool,
    /// It wants its session to be forgotten, and a clean one, until it has got that.
    wants_clean: bool,
    /// The node where its session is.
    home: Option<usize>,
    /// What the next CONNACK must say of its session, if that is known.
    presence: Option<bool>,
    /// What it knows of its durable session while it has no connection.
    state: Option<State>,
    pub(crate) online: Option<Online>,
}

/// What a client knows of its session.
struct State {
    life: usize,
    is_clean: bool,
    filters: BTreeMap<Filter, Hold>,
    /// Its messages without answer, oldest first.
    in_flight: Vec<Flight>,
    /// QoS 2 messages that it has, before their PUBREL.
    unreleased: BTreeSet<PacketId>,
}

struct Flight {
    id: PacketId,
    message: usize,
    topic: String,
    qos: QoS,
    /// PUBREL was sent.
    is_released: bool,
}

/// A client with a connection.
pub(crate) struct Online {
    pub(crate) wire: WireId,
    /// It has its CONNACK.
    pub(crate) is_in: bool,
    asked: BTreeMap<PacketId, (Filter, QoS)>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Asked,
    Held,
    Leaving,
}

impl Client {
    pub(crate) fn new(index: usize, is_durable: bool, roams: bool) -> Self {
        Self {
            index,
            is_steady: index.is_multiple_of(2),
            is_durable,
            roams,
            wants_clean: false,
            home: None,
            presence: Some(false),
            state: None,
            online: None,
        }
    }

    /// Chooses among the nodes that can be had.
    pub(crate) fn choose(&mut self, s: &mut Scene, open: &[usize]) -> Option<usize> {
        if let Some(home) = self.home {
            return open.contains(&home).then_some(home);
        }
        let chosen = s.chance.pick(open).copied();
        self.home = chosen.filter(|_| self.is_durable && !self.roams);
        chosen
    }

    /// A connection is there: says CONNECT.
    pub(crate) fn connect(&mut self, s: &mut Scene, wire: WireId, node: usize) {
        let is_clean = self.wants_clean || !self.is_durable;
        if let Some(state) = self.state.take_if(|_| is_clean) {
            s.ledger.forget(state.life);
        }
        let index = self.index;
        let state = self.state.take().unwrap_or_else(|| {
            let life = s.ledger.begin(format!("client-{index} on node-{node}"), !is_clean);
            s.ledger.asks(life, &inbox(index));
            State::new(life, is_clean)
        });
        let life = state.life;
        s.note(None, || {
            format!("client-{index} connects to node-{node}: {wire}, life {life}, {is_clean}")
        });
        let name = if self.is_durable { String::new() } else { format!("-{life}") };
        let connect = Connect {
            level: 4,
            client_id: format!("client-{index}{name}"),
            clean_session: is_clean,
            keep_alive_secs: 0,
            will: None,
            login: Some(Login { user: user(index), password: None }),
        };
        if self.presence == Some(false) {
            self.presence = None; // this CONNECT may make one, heard or not
        }
        self.online = Some(Online { wire, is_in: false, asked: BTreeMap::new(), state });
        s.send_packet(End::Node, wire, Item::One(Packet::Connect(Box::new(connect))));
    }

    /// The life that is connected.
    pub(crate) fn life(&self) -> usize {
        self.online.as_ref().map_or(usize::MAX, |online| online.state.life)
    }

    /// The node of its session is gone; other nodes know of these filters.
    pub(crate) fn doubts(&self, s: &mut Scene, node: usize, known: &[Filter]) {
        let online = self.online.as_ref().map(|online| &online.state);
        if let Some(state) = online.or(self.state.as_ref())
            && (self.roams || self.home == Some(node))
            && !state.is_clean
        {
            s.ledger.doubts(state.life, known);
        }
    }

    /// Does something, or nothing.
    pub(crate) fn act(&mut self, s: &mut Scene) {
        let is_steady = self.is_steady;
        let Some(online) = self.online.as_mut().filter(|online| online.is_in) else {
            return;
        };
        match s.chance.below(20) {
            0 if s.chance.one_in(10) => {
                s.ledger.end(online.state.life);
                s.send_packet(End::Node, online.wire, Item::One(Packet::Disconnect));
                self.wants_clean = self.is_durable && s.chance.one_in(6);
                self.leave(s);
            }
            0..=3 => online.subscribe(s),
            4..=5 if !is_steady => online.unsubscribe(s),
            _ => {
                let (topic, bits) = (any_topic(s), s.chance.below(3));
                if online.state.in_flight.len() < WINDOW {
                    online.publish(s, &topic, qos(bits));
                }
            }
        }
    }

    /// The connection breaks.
    pub(crate) fn cut(&self, s: &mut Scene) {
        if let Some(online) = &self.online {
            s.ledger.end(online.state.life);
            s.cut_client(online.wire);
        }
    }

    /// The client goes, and comes again.
    pub(crate) fn leave(&mut self, s: &mut Scene) {
        let Some(Online { wire, mut state, .. }) = self.online.take() else {
            return;
        };
        s.ledger.end(state.life);
        s.leave_client(End::Peer, wire);
        state.filters.retain(|_, hold| *hold == Hold::Held);
        self.state = Some(state).filter(|state| !state.is_clean);
        let longest = if self.is_durable { 4_000_000 } else { 500_000 };
        let delay = s.chance.between(1_000, longest);
        s.after(delay, Event::Knock(self.index));
    }

    /// Says one message of every QoS on every topic.
    pub(crate) fn say_all(&mut self, s: &mut Scene) {
        let Some(online) = self.online.as_mut().filter(|online| online.is_in) else {
            return;
        };
        for topic in TOPICS.iter().map(|topic| (*topic).to_owned()).chain((0..CLIENTS).map(to_user))
        {
            for bits in 0..3 {
                online.publish(s, &topic, qos(bits));
            }
        }
    }

    pub(crate) fn arrival(&mut self, s: &mut Scene, item: Item<Packet>) {
        let Item::One(packet) = item else {
            return self.leave(s);
        };
        let Some(online) = &mut self.online else {
            return;
        };
        s.note(message_in(&packet), || {
            format!("life {} < {} {packet:?}", online.state.life, online.wire)
        });
        match packet {
            Packet::ConnAck { session_present, .. } => self.let_in(s, session_present),
            packet => online.take(s, packet),
        }
    }

    /// CONNACK has come: what was not answered is sent again [MQTT-4.4.0-1].
    fn let_in(&mut self, s: &mut Scene, present: bool) {
        let Some(online) = &mut self.online else {
            return;
        };
        let is_clean = online.state.is_clean;
        let known = if is_clean { Some(false) } else { self.presence };
        // Where the node before does not hand it over in time, the client goes on without it.
        let known = if self.roams && !is_clean { None } else { known };
        if known.is_some_and(|known| known != present) {
            s.fail(None, format!("client-{}: session present is {present}", self.index));
        }
        self.presence = Some(!is_clean);
        self.wants_clean = false;
        online.is_in = true;
        let inbox = inbox(self.index);
        s.ledger.is_sure(online.state.life, s.step);
        s.ledger.holds(online.state.life, &inbox, QoS::AtLeastOnce, s.step);
        online.state.filters.insert(inbox, Hold::Held);
        online.repeat(s);
    }

    /// Whether every subscription is answered.
    pub(crate) fn is_settled(&self) -> bool {
        let online = self.online.as_ref();
        online.is_some_and(|online| {
            online.is_in && online.asked.is_empty() && online.state.in_flight.is_empty()
        })
    }
}

impl State {
    fn new(life: usize, is_clean: bool) -> Self {
        Self {
            life,
            is_clean,
            filters: BTreeMap::new(),
            in_flight: Vec::new(),
            unreleased: BTreeSet::new(),
        }
    }
}

impl Online {
    fn take(&mut self, s: &mut Scene, packet: Packet) {
        match packet {
            Packet::Publish(publish) => self.receive(s, &publish),
            Packet::PubAck(id) | Packet::PubComp(id) => {
                self.state.in_flight.retain(|flight| flight.id != id);
            }
            Packet::PubRec(id) => {
                let mut known = self.state.in_flight.iter_mut().filter(|flight| flight.id == id);
                known.by_ref().for_each(|flight| flight.is_released = true);
                self.send(s, Packet::PubRel(id));
            }
            Packet::PubRel(id) => {
                self.state.unreleased.remove(&id);
                self.send(s, Packet::PubComp(id));
            }
            Packet::SubAck { id, .. } => {
                if let Some((filter, qos)) = self.asked.remove(&id) {
                    s.ledger.holds(self.state.life, &filter, qos, s.step);
                    self.state.filters.insert(filter, Hold::Held);
                }
            }
            Packet::UnsubAck(id) => {
                if let Some((filter, _)) = self.asked.remove(&id) {
                    self.state.filters.remove(&filter);
                }
            }
            other => s.fail(None, format!("a client got {other:?}")),
        }
    }

    /// Sends what was not answered again, in its order.
    fn repeat(&self, s: &mut Scene) {
        for flight in &self.state.in_flight {
            if flight.is_released {
                self.send(s, Packet::PubRel(flight.id));
                continue;
            }
            let Flight { id, message, topic, qos, .. } = flight;
            s.ledger.repeats(*message);
            s.note(Some(*message), || format!("life {} repeats #{message}", self.state.life));
            self.send_message(s, (topic, *qos, *message), Some(*id), true);
        }
    }

    fn send(&self, s: &mut Scene, packet: Packet) {
        s.send_packet(End::Node, self.wire, Item::One(packet));
    }

    /// The smallest free one, so that identifiers come again soon.
    fn next_id(&self) -> Option<PacketId> {
        let is_free = |id: &PacketId| {
            let mut in_flight = self.state.in_flight.iter();
            !in_flight.any(|flight| flight.id == *id) && !self.asked.contains_key(id)
        };
        (1..=u16::MAX).filter_map(PacketId::new).find(is_free)
    }

    fn publish(&mut self, s: &mut Scene, topic: &str, qos: QoS) {
        let life = self.state.life;
        let message = s.ledger.says(life, topic, qos, s.step);
        let id = if qos.is_answered() { self.next_id() } else { None };
        if let Some(id) = id {
            let (topic, is_released) = (topic.to_owned(), false);
            self.state.in_flight.push(Flight { id, message, topic, qos, is_released });
        }
        s.note(Some(message), || format!("life {life} says #{message} on {topic}, {qos}"));
        self.send_message(s, (topic, qos, message), id, false);
    }

    fn send_message(
        &self,
        s: &mut Scene,
        (topic, qos, message): (&str, QoS, usize),
        id: Option<PacketId>,
        dup: bool,
    ) {
        let message = Message {
            topic: Topic::new(topic).unwrap(),
            payload: Bytes::from(message.to_string()),
            qos,
            retain: false,
        };
        self.send(s, Packet::Publish(Publish { message, id, dup }));
    }

    fn receive(&mut self, s: &mut Scene, publish: &Publish) {
        let message = number(&publish.message.payload);
        let qos = publish.message.qos;
        let is_new = match publish.id {
            // The same identifier before its PUBREL is the same message (MQTT 4.3.3).
            Some(id) if qos == QoS::ExactlyOnce => self.state.unreleased.insert(id),
            Some(_) | None => true,
        };
        if is_new && let Err(text) = s.ledger.receives(self.state.life, message, qos) {
            s.fail(Some(message), text);
        }
        match (qos, publish.id) {
            (QoS::AtLeastOnce, Some(id)) => self.send(s, Packet::PubAck(id)),
            (QoS::ExactlyOnce, Some(id)) => self.send(s, Packet::PubRec(id)),
            (QoS::AtMostOnce, _) | (_, None) => {}
        }
    }

    fn subscribe(&mut self, s: &mut Scene) {
        let filter = Filter::new(any_filter(s)).unwrap();
        if self.state.filters.contains_key(&filter) {
            return;
        }
        let Some(id) = self.next_id() else { return };
        let qos = qos(s.chance.below(3));
        let life = self.state.life;
        s.note(None, || format!("life {life} subscribes to {filter}, {qos}"));
        s.ledger.asks(life, &filter);
        self.state.filters.insert(filter.clone(), Hold::Asked);
        self.asked.insert(id, (filter.clone(), qos));
        let subscriptions = vec![Subscription { filter, qos }];
        self.send(s, Packet::Subscribe { id, subscriptions });
    }

    fn unsubscribe(&mut self, s: &mut Scene) {
        let held = self.state.filters.iter().filter(|(_, hold)| **hold == Hold::Held);
        let held: Vec<Filter> = held.map(|(filter, _)| filter.clone()).collect();
        let (Some(filter), Some(id)) = (s.chance.pick(&held).cloned(), self.next_id()) else {
            return;
        };
        let life = self.state.life;
        s.note(None, || format!("life {life} unsubscribes from {filter}"));
        s.ledger.lets_go(life, &filter);
        self.state.filters.insert(filter.clone(), Hold::Leaving);
        self.asked.insert(id, (filter.clone(), QoS::AtMostOnce));
        let filters = vec![filter];
        self.send(s, Packet::Unsubscribe { id, filters });
    }
}

fn user(index: usize) -> String {
    format!("u{index}")
}

fn inbox(index: usize) -> Filter {
    Filter::new(format!("user/{}/#", user(index))).unwrap()
}

fn to_user(index: usize) -> String {
    format!("user/{}/x", user(index))
}

fn any_topic(s: &mut Scene) -> String {
    if s.chance.one_in(3) {
        to_user(usize::try_from(s.chance.below(CLIENTS as u64)).unwrap_or_default())
    } else {
        s.chance.one_of(TOPICS).to_owned()
    }
}

fn any_filter(s: &mut Scene) -> String {
    if s.chance.one_in(6) {
        to_user(usize::try_from(s.chance.below(CLIENTS as u64)).unwrap_or_default())
    } else {
        s.chance.one_of(FILTERS).to_owned()
    }
}

pub(crate) const CLIENTS: usize = 6;

/// Messages of one client without answer.
const WINDOW: usize = 8;

const TOPICS: [&str; 5] = ["a/1", "a/2", "b/1", "b", "c/1/x"];

const FILTERS: [&str; 12] =
    ["a/1", "a/2", "b/1", "b", "c/1/x", "a/+", "+/1", "b/#", "c/#", "c/+/x", "user/+/x", "#"];
