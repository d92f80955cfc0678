//! A simulated client: publishes numbered messages, subscribes and unsubscribes as it likes, and
//! answers what it gets. When its connection breaks it comes back as somebody else.

use std::collections::BTreeMap;

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
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) index: usize,
    /// Holds its filters as long as it is connected.
    pub(crate) is_steady: bool,
    pub(crate) online: Option<Online>,
}

/// A client with a connection.
pub(crate) struct Online {
    pub(crate) wire: WireId,
    pub(crate) life: usize,
    /// It has its CONNACK.
    pub(crate) is_in: bool,
    filters: BTreeMap<Filter, Hold>,
    asked: BTreeMap<PacketId, Filter>,
    in_flight: BTreeMap<PacketId, usize>,
    last_id: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Asked,
    Held,
    Leaving,
}

impl Client {
    /// A connection is there: says CONNECT.
    pub(crate) fn connect(&mut self, s: &mut Scene, wire: WireId, life: usize) {
        let connect = Connect {
            level: 4,
            client_id: format!("client-{}-{life}", self.index),
            clean_session: true,
            keep_alive_secs: 0,
            will: None,
            login: Some(Login { user: user(self.index), password: None }),
        };
        self.online = Some(Online {
            wire,
            life,
            is_in: false,
            filters: BTreeMap::new(),
            asked: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            last_id: 0,
        });
        s.ledger.asks(life, &inbox(self.index));
        s.send_packet(End::Node, wire, Item::One(Packet::Connect(Box::new(connect))));
    }

    /// Does something, or nothing.
    pub(crate) fn act(&mut self, s: &mut Scene) {
        let is_steady = self.is_steady;
        let Some(online) = self.online.as_mut().filter(|online| online.is_in) else {
            return;
        };
        match s.chance.below(20) {
            0 if s.chance.one_in(10) => {
                s.ledger.end(online.life);
                s.send_packet(End::Node, online.wire, Item::One(Packet::Disconnect));
                self.leave(s);
            }
            0..=3 => online.subscribe(s),
            4..=5 if !is_steady => online.unsubscribe(s),
            _ => {
                let (topic, bits) = (any_topic(s), s.chance.below(3));
                if online.in_flight.len() < WINDOW {
                    online.publish(s, &topic, qos(bits));
                }
            }
        }
    }

    /// The client goes, and comes again.
    pub(crate) fn leave(&mut self, s: &mut Scene) {
        if let Some(online) = self.online.take() {
            s.ledger.end(online.life);
            s.leave_client(End::Peer, online.wire);
            let delay = s.chance.between(1_000, 500_000);
            s.after(delay, Event::Knock(self.index));
        }
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
        let inbox = inbox(self.index);
        let Some(online) = &mut self.online else {
            return;
        };
        let Item::One(packet) = item else {
            return self.leave(s);
        };
        s.note(message_in(&packet), || {
            format!("life {} < {} {packet:?}", online.life, online.wire)
        });
        match packet {
            Packet::ConnAck { .. } => {
                online.is_in = true;
                online.filters.insert(inbox.clone(), Hold::Held);
                s.ledger.holds(online.life, &inbox, s.step);
            }
            Packet::Publish(publish) => online.receive(s, &publish),
            Packet::PubAck(id) | Packet::PubComp(id) => {
                online.in_flight.remove(&id);
            }
            Packet::PubRec(id) => online.send(s, Packet::PubRel(id)),
            Packet::PubRel(id) => online.send(s, Packet::PubComp(id)),
            Packet::SubAck { id, .. } => {
                if let Some(filter) = online.asked.remove(&id) {
                    s.ledger.holds(online.life, &filter, s.step);
                    online.filters.insert(filter, Hold::Held);
                }
            }
            Packet::UnsubAck(id) => {
                if let Some(filter) = online.asked.remove(&id) {
                    online.filters.remove(&filter);
                }
            }
            other => s.fail(None, format!("a client got {other:?}")),
        }
    }

    /// Whether every subscription is answered.
    pub(crate) fn is_settled(&self) -> bool {
        let online = self.online.as_ref();
        online.is_some_and(|online| {
            online.is_in && online.asked.is_empty() && online.in_flight.is_empty()
        })
    }
}

impl Online {
    fn send(&self, s: &mut Scene, packet: Packet) {
        s.send_packet(End::Node, self.wire, Item::One(packet));
    }

    fn next_id(&mut self) -> Option<PacketId> {
        loop {
            self.last_id = self.last_id.wrapping_add(1).max(1);
            let id = PacketId::new(self.last_id)?;
            if !self.in_flight.contains_key(&id) && !self.asked.contains_key(&id) {
                return Some(id);
            }
        }
    }

    fn publish(&mut self, s: &mut Scene, topic: &str, qos: QoS) {
        let message = s.ledger.says(self.life, topic, qos, s.step);
        let id = if qos.is_answered() { self.next_id() } else { None };
        if let Some(id) = id {
            self.in_flight.insert(id, message);
        }
        s.note(Some(message), || format!("life {} says #{message} on {topic}, {qos}", self.life));
        let message = Message {
            topic: Topic::new(topic).unwrap(),
            payload: Bytes::from(message.to_string()),
            qos,
            retain: false,
        };
        let dup = false;
        self.send(s, Packet::Publish(Publish { message, id, dup }));
    }

    fn receive(&mut self, s: &mut Scene, publish: &Publish) {
        let message = number(&publish.message.payload);
        let qos = publish.message.qos;
        if let Err(text) = s.ledger.receives(self.life, message, qos) {
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
        if self.filters.contains_key(&filter) {
            return;
        }
        let Some(id) = self.next_id() else { return };
        s.note(None, || format!("life {} subscribes to {filter}", self.life));
        s.ledger.asks(self.life, &filter);
        self.filters.insert(filter.clone(), Hold::Asked);
        self.asked.insert(id, filter.clone());
        let qos = qos(s.chance.below(3));
        let subscriptions = vec![Subscription { filter, qos }];
        self.send(s, Packet::Subscribe { id, subscriptions });
    }

    fn unsubscribe(&mut self, s: &mut Scene) {
        let held = self.filters.iter().filter(|(_, hold)| **hold == Hold::Held);
        let held: Vec<Filter> = held.map(|(filter, _)| filter.clone()).collect();
        let (Some(filter), Some(id)) = (s.chance.pick(&held).cloned(), self.next_id()) else {
            return;
        };
        s.note(None, || format!("life {} unsubscribes from {filter}", self.life));
        s.ledger.lets_go(self.life, &filter);
        self.filters.insert(filter.clone(), Hold::Leaving);
        self.asked.insert(id, filter.clone());
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
