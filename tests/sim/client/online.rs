//! A simulated client's connection: what it says, and how it answers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use causeway_common::{
    id::PacketId,
    message::Message,
    packet::{Packet, Publish, Subscription},
    qos::QoS,
    topic::{Filter, Topic},
};

use super::any_filter;
use crate::{
    net::{End, Item},
    scene::{Scene, WireId},
    words::{number, qos},
};

/// What a client knows of its session.
pub(super) struct State {
    pub(super) life: usize,
    pub(super) is_clean: bool,
    /// Its client has been let in with it.
    pub(super) is_known: bool,
    /// Nodes that it has said CONNECT to.
    pub(super) nodes: BTreeSet<usize>,
    pub(super) filters: BTreeMap<Filter, Hold>,
    /// Its messages without answer, oldest first.
    pub(super) in_flight: Vec<Flight>,
    /// QoS 2 messages that it has, before their PUBREL.
    unreleased: BTreeSet<PacketId>,
}

pub(super) struct Flight {
    id: PacketId,
    message: usize,
    topic: String,
    qos: QoS,
    kind: Kind,
    /// PUBREL was sent.
    is_released: bool,
}

/// A client with a connection.
pub(crate) struct Online {
    pub(crate) wire: WireId,
    pub(super) began_us: u64,
    /// It has its CONNACK.
    pub(crate) is_in: bool,
    pub(super) asked: BTreeMap<PacketId, (Filter, QoS)>,
    pub(super) state: State,
    /// The will of this connection.
    pub(super) will: Option<usize>,
    /// What its CONNACK must say of its session, if that is known.
    pub(super) expected: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Asked,
    Held,
    Leaving,
}

/// What a message is to the nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// It is retained.
    Retained,
    /// It deletes what is retained: empty, so that nothing in it says which message it is.
    Deletion,
}

impl Kind {
    fn retains(self) -> bool {
        self != Self::Plain
    }
}

impl State {
    pub(super) fn new(life: usize, is_clean: bool) -> Self {
        Self {
            life,
            is_clean,
            is_known: false,
            nodes: BTreeSet::new(),
            filters: BTreeMap::new(),
            in_flight: Vec::new(),
            unreleased: BTreeSet::new(),
        }
    }
}

impl Online {
    pub(super) fn take(&mut self, s: &mut Scene, packet: Packet) {
        match packet {
            Packet::Publish(publish) => self.receive(s, &publish),
            Packet::PubAck(id) | Packet::PubComp(id) => {
                let state = &mut self.state;
                for flight in state.in_flight.extract_if(.., |flight| flight.id == id) {
                    s.ledger.retaining.is_done(flight.message, s.step);
                }
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
                    let life = self.state.life;
                    s.ledger.holds(life, &filter, qos, s.step);
                    if let Err(text) = s.ledger.has_looked(life, &filter) {
                        s.fail(None, text);
                    }
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
    pub(super) fn repeat(&self, s: &mut Scene) {
        for flight in &self.state.in_flight {
            if flight.is_released {
                self.send(s, Packet::PubRel(flight.id));
                continue;
            }
            let Flight { id, message, topic, qos, kind, .. } = flight;
            s.ledger.repeats(*message);
            s.note(Some(*message), || format!("life {} repeats #{message}", self.state.life));
            self.send_message(s, (topic, *qos, *message), *kind, Some(*id), true);
        }
    }

    /// It has no session: forgets what belongs to that [MQTT-3.1.2-6], subscribes again, and says what was
    /// not answered as something new.
    pub(super) fn begin_anew(&mut self, s: &mut Scene, inbox: &Filter) {
        let life = self.state.life;
        s.note(None, || format!("life {life} begins anew"));
        s.ledger.loses_session(life);
        self.state.unreleased.clear();
        for (filter, _) in std::mem::take(&mut self.state.filters) {
            if filter != *inbox
                && let Some(qos) = s.ledger.granted(life, &filter)
            {
                self.subscribe_to(s, filter, qos);
            }
        }
        for Flight { message, topic, qos, kind, is_released, .. } in
            std::mem::take(&mut self.state.in_flight)
        {
            s.ledger.gives_up(message);
            if !is_released {
                self.publish_as(s, &topic, qos, kind);
            }
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

    pub(super) fn publish(&mut self, s: &mut Scene, topic: &str, qos: QoS) {
        self.publish_as(s, topic, qos, Kind::Plain);
    }

    /// Says something to be retained, one after the other on each topic.
    pub(super) fn retain(&mut self, s: &mut Scene, topic: &str, qos: QoS) {
        if self.state.in_flight.iter().any(|flight| flight.topic == topic) {
            return;
        }
        let kind = if s.chance.one_in(5) { Kind::Deletion } else { Kind::Retained };
        self.publish_as(s, topic, qos, kind);
    }

    fn publish_as(&mut self, s: &mut Scene, topic: &str, qos: QoS, kind: Kind) {
        let life = self.state.life;
        let message = s.ledger.says(life, topic, qos, s.step);
        if kind.retains() {
            let is_deletion = kind == Kind::Deletion;
            s.ledger.retains(message, is_deletion, s.step);
        }
        let id = if qos.is_answered() { self.next_id() } else { None };
        if let Some(id) = id {
            let (topic, is_released) = (topic.to_owned(), false);
            self.state.in_flight.push(Flight { id, message, topic, qos, kind, is_released });
        }
        s.note(Some(message), || format!("life {life} says #{message} on {topic}, {qos}"));
        self.send_message(s, (topic, qos, message), kind, id, false);
    }

    fn send_message(
        &self,
        s: &mut Scene,
        (topic, qos, message): (&str, QoS, usize),
        kind: Kind,
        id: Option<PacketId>,
        dup: bool,
    ) {
        let payload = match kind {
            Kind::Plain | Kind::Retained => Bytes::from(message.to_string()),
            Kind::Deletion => Bytes::new(),
        };
        if let Some(id) = id.filter(|_| kind == Kind::Deletion) {
            s.nameless.insert((self.wire, id), message);
        }
        let (topic, retain) = (Topic::new(topic).unwrap(), kind.retains());
        let message = Message { topic, payload, qos, retain };
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
        // What answers a subscription has been judged at its node, and nothing tells deletions apart.
        let is_live = !publish.message.retain && !publish.message.payload.is_empty();
        if is_new
            && is_live
            && let Err(text) = s.ledger.receives(self.state.life, message, qos)
        {
            s.fail(Some(message), text);
        }
        match (qos, publish.id) {
            (QoS::AtLeastOnce, Some(id)) => self.send(s, Packet::PubAck(id)),
            (QoS::ExactlyOnce, Some(id)) => self.send(s, Packet::PubRec(id)),
            (QoS::AtMostOnce, _) | (_, None) => {}
        }
    }

    pub(super) fn subscribe(&mut self, s: &mut Scene) {
        let filter = Filter::new(any_filter(s)).unwrap();
        let qos = qos(s.chance.below(3));
        self.subscribe_to(s, filter, qos);
    }

    pub(super) fn subscribe_to(&mut self, s: &mut Scene, filter: Filter, qos: QoS) {
        if self.state.filters.contains_key(&filter) {
            return;
        }
        let Some(id) = self.next_id() else { return };
        let life = self.state.life;
        s.note(None, || format!("life {life} subscribes to {filter}, {qos}"));
        s.ledger.asks(life, &filter);
        s.ledger.looks(life, &filter, s.step);
        self.state.filters.insert(filter.clone(), Hold::Asked);
        self.asked.insert(id, (filter.clone(), qos));
        let subscriptions = vec![Subscription { filter, qos }];
        self.send(s, Packet::Subscribe { id, subscriptions });
    }

    pub(super) fn unsubscribe(&mut self, s: &mut Scene) {
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
