//! A simulated client: publishes numbered messages, subscribes and unsubscribes as it likes, and
//! answers what it gets. When its connection breaks it comes back: as somebody else, or with a
//! durable session, of which it knows what a client has to know.

mod online;

use std::collections::BTreeMap;

use bytes::Bytes;
use causeway_common::{
    packet::{Connect, Login, Packet, Will},
    qos::QoS,
    topic::{Filter, Topic},
};

use crate::{
    net::{End, Item},
    scene::{Event, Scene, WireId},
    words::{message_in, qos},
};
use online::{Hold, Online, State};

/// One client, over all its lives.
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
pub(crate) struct Client {
    pub(crate) index: usize,
    /// It says nothing, never leaves, and asks for every will.
    watches: bool,
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

impl Client {
    /// The one that hears the wills of all others as soon as they are on its node.
    pub(crate) fn listener() -> Self {
        Self { watches: true, ..Self::new(CLIENTS + 1, false, false) }
    }

    /// The one that hears the wills of all others, wherever it was.
    pub(crate) fn watcher(roams: bool) -> Self {
        Self { watches: true, ..Self::new(CLIENTS, true, roams) }
    }

    pub(crate) fn new(index: usize, is_durable: bool, roams: bool) -> Self {
        Self {
            index,
            watches: false,
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

    /// Whether its session moves.
    pub(crate) fn roams(&self) -> bool {
        self.roams
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
        let mut state = self.state.take().unwrap_or_else(|| {
            let life = s.ledger.begin(format!("client-{index} on node-{node}"), !is_clean);
            s.ledger.asks(life, &inbox(index));
            State::new(life, is_clean)
        });
        let (life, _) = (state.life, state.nodes.insert(node));
        s.note(None, || {
            format!("client-{index} connects to node-{node}: {wire}, life {life}, {is_clean}")
        });
        let will = (!self.watches && s.chance.one_in(2)).then(|| {
            // One that is not durable comes back under another client id.
            draw_will(s, life, self.is_durable.then_some(index))
        });
        let name = if self.is_durable { String::new() } else { format!("-{life}") };
        let connect = Connect {
            level: 4,
            client_id: format!("client-{index}{name}"),
            clean_session: is_clean,
            keep_alive_secs: 0,
            will: will.clone().map(|(_, will)| will),
            login: Some(Login { user: user(index), password: None }),
        };
        let expected = self.presence;
        if self.presence == Some(false) {
            self.presence = None; // this CONNECT may make one, heard or not
        }
        let will = will.map(|(number, _)| number);
        let asked = BTreeMap::new();
        let began_us = s.now_us;
        self.online = Some(Online { wire, began_us, is_in: false, asked, state, will, expected });
        s.send_packet(End::Node, wire, Item::One(Packet::Connect(Box::new(connect))));
    }

    /// The life that is connected.
    pub(crate) fn life(&self) -> usize {
        self.online.as_ref().map_or(usize::MAX, |online| online.state.life)
    }

    /// The will of its connection.
    pub(crate) fn will(&self) -> Option<usize> {
        self.online.as_ref().and_then(|online| online.will)
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
        if self.watches {
            let filter = Filter::new(WILLS).unwrap();
            return online.subscribe_to(s, filter, QoS::ExactlyOnce);
        }
        match s.chance.below(20) {
            0 if s.chance.one_in(if self.roams { 3 } else { 10 }) => {
                s.ledger.end(online.state.life);
                s.ledger.wills.farewell(online.will);
                s.send_packet(End::Node, online.wire, Item::One(Packet::Disconnect));
                self.wants_clean = self.is_durable && s.chance.one_in(6);
                self.leave(s);
            }
            0..=3 => online.subscribe(s),
            4..=5 if !is_steady => online.unsubscribe(s),
            6 if online.state.in_flight.len() < WINDOW => {
                let topic = any_retained_topic(s, online.state.life);
                let bits = s.chance.below(3);
                online.retain(s, &topic, qos(bits));
            }
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
            s.ledger.wills.ends(online.will, s.step);
            s.cut_client(online.wire);
        }
    }

    /// The client goes, and comes again.
    pub(crate) fn leave(&mut self, s: &mut Scene) {
        let Some(Online { wire, mut state, will, .. }) = self.online.take() else {
            return;
        };
        s.ledger.end(state.life);
        s.ledger.wills.ends(will, s.step);
        s.ledger.looks_no_more(state.life);
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
        if self.watches {
            return;
        }
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
        let known = if is_clean { Some(false) } else { online.expected };
        // Where the node before does not hand it over in time, the client goes on without it.
        let known = if self.roams && !is_clean { None } else { known };
        if known.is_some_and(|known| known != present) {
            s.fail(None, format!("client-{}: session present is {present}", self.index));
        }
        self.presence = Some(!is_clean);
        self.wants_clean = false;
        online.is_in = true;
        s.ledger.wills.is_in(online.will);
        if self.is_durable {
            s.let_in.push((self.index, online.began_us));
        }
        let (inbox, life) = (inbox(self.index), online.state.life);
        s.ledger.holds(life, &inbox, QoS::AtLeastOnce, s.step);
        let knew_one = std::mem::replace(&mut online.state.is_known, true);
        if knew_one && !present {
            online.begin_anew(s, &inbox);
        } else {
            // A CONNECT elsewhere may have begun a session, and its CONNACK was lost.
            if !present && online.state.nodes.len() > 1 {
                s.ledger.finds_session_late(life);
            }
            s.ledger.is_sure(life, s.step);
            online.repeat(s);
        }
        online.state.filters.insert(inbox, Hold::Held);
    }

    /// Whether every subscription is answered.
    pub(crate) fn is_settled(&self) -> bool {
        let online = self.online.as_ref();
        online.is_some_and(|online| {
            online.is_in && online.asked.is_empty() && online.state.in_flight.is_empty()
        })
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

/// A will that is unlike all others, and its number.
fn draw_will(s: &mut Scene, life: usize, client: Option<usize>) -> (usize, Will) {
    let qos = qos(s.chance.below(3));
    let (message, topic) = s.ledger.will(life, client, qos);
    let retain = s.chance.one_in(4);
    if retain {
        s.ledger.retains(message, false, s.step);
    }
    let payload = Bytes::from(message.to_string());
    (message, Will { topic: Topic::new(topic).unwrap(), payload, qos, retain })
}

/// Its own, where nobody else says anything, perhaps in somebody's inbox; or one that it shares with others.
fn any_retained_topic(s: &mut Scene, life: usize) -> String {
    match s.chance.below(6) {
        0 | 1 => "r/all".to_owned(),
        2 => format!("{}/{life}", to_user(any_client(s))),
        _ => format!("r/{life}"),
    }
}

fn any_client(s: &mut Scene) -> usize {
    usize::try_from(s.chance.below(CLIENTS as u64)).unwrap_or_default()
}

fn any_topic(s: &mut Scene) -> String {
    if s.chance.one_in(3) { to_user(any_client(s)) } else { s.chance.one_of(TOPICS).to_owned() }
}

fn any_filter(s: &mut Scene) -> String {
    if s.chance.one_in(6) { to_user(any_client(s)) } else { s.chance.one_of(FILTERS).to_owned() }
}

pub(crate) const CLIENTS: usize = 6;

/// Messages of one client without answer.
const WINDOW: usize = 8;

const TOPICS: [&str; 5] = ["a/1", "a/2", "b/1", "b", "c/1/x"];

const FILTERS: [&str; 15] = [
    "a/1", "a/2", "b/1", "b", "c/1/x", "a/+", "+/1", "b/#", "c/#", "c/+/x", "user/+/x", "#", "r/#",
    "r/all", WILLS,
];

/// What wills are said under.
const WILLS: &str = "w/#";
