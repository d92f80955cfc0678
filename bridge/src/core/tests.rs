//! Scripts: what happens to a bridge, and what it says to whom. Every frame it says must be
//! expected, in its order on that link.
//!
//! ```text
//!   seen node-1@7 node-2@3!     the directory shows these lives, `!` with an ended lease, `!20` since then
//!   home node-2 a b             and, once, these as its home if that is wanted with the next rows
//!   swept node-2@3              its rows have been swept
//!   lost                        the directory does not answer
//!   wait 2                      seconds pass
//!   up node-1 · down node-1     its link
//!   refused node-1              nobody listens where it was dialled
//!   node-1 < change 2 +a *a     routes: `+` more, `-` less, `*` durable, `~` durable no more
//!   node-1 < hello 7            a frame from the node; `<<` twice; `<!` one that closes the link
//!   node-1 > subscribe 1 a b    a frame to the node
//!   ? dials node-2@3            what a question yields
//! ```

mod arming;
mod away;
mod changes;
mod homes;
mod members;
mod messages;
mod notes;
mod retained;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use causeway_common::{
    directory::{Member, NodeRow, NodeStatus},
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, PacketId},
    link::{Envelope, Frame, Hello, Note, Origin, PROTOCOL_VERSION, Part, Routes, Status},
    mailbox::Mailbox,
    message::Message,
    qos::QoS,
    topic::{Filter, Topic},
};
use prometheus::Registry;

use super::{Core, Homes, Options};
use crate::{metrics::Metrics, relay::LinkKey};

struct Bench {
    core: Core,
    metrics: Arc<Metrics>,
    now: Instant,
    homes: Homes,
    links: BTreeMap<String, (LinkKey, Arc<Mailbox<Frame>>)>,
    line: String,
}

/// Plays scripts one after the other.
#[track_caller]
fn play(scripts: &[&str]) {
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    let options = Options {
        bridge: BridgeId::from("bridge-1"),
        incarnation: Incarnation(1),
        lease: Duration::from_secs(6),
        home_grace: Duration::from_mins(1),
        interest_filters_max: 8,
    };
    let mut bench = Bench {
        core: Core::new(options, Arc::clone(&metrics)),
        metrics,
        now: Instant::now(),
        homes: Homes::new(),
        links: BTreeMap::new(),
        line: String::new(),
    };
    for line in scripts.iter().flat_map(|script| script.lines()) {
        bench.line = line.trim().to_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        bench.play(&words);
    }
    bench.nothing_more();
}

impl Bench {
    #[track_caller]
    fn play(&mut self, words: &[&str]) {
        let expects = words.get(1) == Some(&">") || words.first() == Some(&"?");
        if !expects && !words.is_empty() {
            self.nothing_more();
        }
        match words {
            [] => {}
            ["seen", rows @ ..] => {
                let rows: Vec<NodeStatus> = rows.iter().map(|row| status(row)).collect();
                let wanted = self.core.homes_wanted(&rows);
                let homes = wanted.into_iter().filter_map(|node| self.homes.remove_entry(&node));
                let homes = homes.collect();
                self.core.nodes_seen(self.now, &rows, &homes);
            }
            ["home", node, filters @ ..] => {
                let filters = filters.iter().map(|text| Filter::new(*text).unwrap());
                self.homes.insert(NodeId::from(*node), filters.collect());
            }
            ["swept", life] => {
                let NodeRow { node, incarnation, .. } = status(life).row;
                self.core.swept(&Member { node, incarnation });
            }
            ["lost"] => self.core.directory_lost(self.now),
            ["refused", node] => self.core.refused(self.now, &NodeId::from(*node)),
            ["close"] => self.core.close(),
            ["wait", seconds] => {
                self.now += Duration::from_secs(seconds.parse().unwrap());
                self.core.tick(self.now);
            }
            ["up", node] => self.up(node),
            ["down", node] => {
                let (key, _) = self.links.remove(*node).unwrap();
                self.core.link_down(self.now, key);
            }
            ["?", question, expected @ ..] => self.ask(question, &expected.join(" ")),
            [node, ">", expected @ ..] => self.expect(node, &expected.join(" ")),
            [node, "<", frame @ ..] => {
                let taken = self.give(node, frame);
                assert!(taken.is_ok(), "{taken:?} at {}", self.line);
            }
            [node, "<<", frame @ ..] => {
                assert_eq!(self.give(node, frame).and(self.give(node, frame)), Ok(()));
            }
            [node, "<!", frame @ ..] => {
                let taken = self.give(node, frame);
                assert!(taken.is_err(), "taken: {}", self.line);
                let (key, _) = self.links.remove(*node).unwrap();
                self.core.link_down(self.now, key);
            }
            _ => panic!("cannot play {:?}", self.line),
        }
    }

    fn up(&mut self, node: &str) {
        let dial = self.core.dial(&NodeId::from(node)).unwrap();
        let mailbox = Arc::new(Mailbox::new(1));
        let key = self.core.link_up(self.now, &dial.member, Arc::clone(&mailbox)).unwrap();
        self.links.insert(node.to_owned(), (key, mailbox));
    }

    fn give(&mut self, node: &str, words: &[&str]) -> Result<(), super::LinkViolation> {
        let key = self.links[node].0;
        self.core.frame(self.now, key, frame(node, words))
    }

    #[track_caller]
    fn expect(&mut self, node: &str, expected: &str) {
        let mut said = VecDeque::new();
        let mailbox = &self.links[node].1;
        mailbox.take_all(&mut said);
        let first = said.pop_front();
        for frame in said {
            mailbox.push_control(frame);
        }
        let first = first.map(|frame| show(&frame));
        assert_eq!(first.as_deref(), Some(expected), "at {:?}", self.line);
    }

    #[track_caller]
    fn nothing_more(&self) {
        for (node, (_, mailbox)) in &self.links {
            let mut said = VecDeque::new();
            mailbox.take_all(&mut said);
            let said: Vec<String> = said.iter().map(show).collect();
            assert!(said.is_empty(), "{node} > {said:?}, unexpected before {:?}", self.line);
        }
    }

    #[track_caller]
    fn ask(&mut self, question: &str, expected: &str) {
        let members = |members: Vec<Member>| {
            let show = |member: &Member| format!("{}@{}", member.node, member.incarnation);
            members.iter().map(show).collect::<Vec<_>>().join(" ")
        };
        let dropped = &self.metrics.messages_dropped;
        let found = match question {
            "dials" => members(self.core.dials().into_iter().map(|dial| dial.member).collect()),
            "sweeps" => members(self.core.sweeps()),
            "hang-ups" => self.core.take_hang_ups().len().to_string(),
            "reasons" => self.core.reasons().join("; "),
            "node_gone" => dropped.node_gone.get().to_string(),
            "not_linked" => dropped.not_linked.get().to_string(),
            "link_full" => dropped.link_full.get().to_string(),
            "home_gone" => dropped.home_gone.get().to_string(),
            "live" => self.metrics.nodes_live.get().to_string(),
            "away" => self.metrics.nodes_away.get().to_string(),
            "unanswered" => self.metrics.notes_unanswered.get().to_string(),
            "resent" => self.metrics.messages_resent.get().to_string(),
            "held" => self.metrics.held_messages.get().to_string(),
            "owed" => self.core.owed().to_string(),
            "routes" => self.metrics.routes.get().to_string(),
            _ => panic!("cannot ask {question:?}"),
        };
        assert_eq!(found, expected, "at {:?}", self.line);
    }
}

/// `node-1@7`, or `node-1@7!` where the lease has ended, `node-1@7!20` for 20 seconds.
fn status(text: &str) -> NodeStatus {
    let (life, ended) =
        text.split_once('!').map_or((text, None), |(life, ended)| (life, Some(ended)));
    let (node, incarnation) = life.split_once('@').unwrap();
    let ended_secs =
        ended.filter(|ended| !ended.is_empty()).map_or(0, |secs| secs.parse().unwrap());
    NodeStatus {
        former: Vec::new(),
        row: NodeRow {
            node: NodeId::from(node),
            incarnation: Incarnation(incarnation.parse().unwrap()),
            link_address: "127.0.0.1:1".to_owned(),
            client_address: "127.0.0.1:2".to_owned(),
        },
        live: ended.is_none(),
        connections: 0,
        ended_for: Duration::from_secs(ended_secs),
    }
}

fn id(text: &str) -> PacketId {
    PacketId::new(text.parse().unwrap()).unwrap()
}

fn frame(node: &str, words: &[&str]) -> Frame {
    let from = NodeId::from(node);
    match words {
        ["hello", incarnation] => hello(node, incarnation),
        ["hello", name, incarnation] => hello(name, incarnation),
        ["snapshot", number, filters @ ..] => routes(number, Part::Snapshot, filters),
        ["end", number, filters @ ..] => routes(number, Part::SnapshotEnd, filters),
        ["change", number, filters @ ..] => routes(number, Part::Change, filters),
        ["suback", number, count] => {
            Frame::SubAck { id: id(number), filter_count: count.parse().unwrap() }
        }
        ["unsuback", number] => Frame::UnsubAck(id(number)),
        ["forward", "-", topic] => Frame::Forward { id: None, envelope: envelope(from, topic) },
        ["forward", number, topic] => {
            Frame::Forward { id: Some(id(number)), envelope: envelope(from, topic) }
        }
        ["forge", number, origin] => {
            Frame::Forward { id: Some(id(number)), envelope: envelope(NodeId::from(*origin), "a") }
        }
        ["retain", number, qos, topic] => {
            let id = (*number != "-").then(|| id(number));
            Frame::Forward { id, envelope: retained(from, qos, topic) }
        }
        ["session", number, to] => Frame::Direct {
            id: Some(id(number)),
            to: NodeId::from(*to),
            from,
            note: Note::Session(Bytes::from_static(b"piece")),
        },
        ["take-over", number, to] => Frame::Direct {
            id: Some(id(number)),
            to: NodeId::from(*to),
            from,
            note: Note::TakeOver {
                client_id: ClientId::from("alice"),
                epoch: Epoch(1),
                clean: true,
            },
        },
        ["probe", to] => Frame::Direct {
            id: None,
            to: NodeId::from(*to),
            from,
            note: Note::Probe { number: 1, sent_us: 2 },
        },
        ["ack", number] => Frame::Ack(id(number)),
        ["pong"] => Frame::Pong,
        ["ping"] => Frame::Ping,
        _ => panic!("no frame: {words:?}"),
    }
}

fn hello(node: &str, incarnation: &str) -> Frame {
    Frame::Hello(Hello {
        node: NodeId::from(node),
        incarnation: Incarnation(incarnation.parse().unwrap()),
        protocol: PROTOCOL_VERSION,
    })
}

fn routes(number: &str, part: Part, filters: &[&str]) -> Frame {
    let filters_of = |sign| {
        let texts = filters.iter().filter_map(move |text| text.strip_prefix(sign));
        texts.map(|text: &str| Filter::new(text).unwrap()).collect()
    };
    let (add, remove) = (filters_of('+'), filters_of('-'));
    let (durable, fleeting) = (filters_of('*'), filters_of('~'));
    let routes = Routes { version: 1, part, add, remove, durable, fleeting };
    Frame::Routes { id: id(number), routes }
}

fn envelope(node: NodeId, topic: &str) -> Arc<Envelope> {
    wrapped(node, QoS::AtLeastOnce, topic, None)
}

fn retained(node: NodeId, qos: &str, topic: &str) -> Arc<Envelope> {
    let qos = QoS::from_bits(qos.parse().unwrap()).unwrap();
    wrapped(node, qos, topic, Some(1))
}

fn wrapped(node: NodeId, qos: QoS, topic: &str, version: Option<u64>) -> Arc<Envelope> {
    let origin = Origin { node, incarnation: Incarnation(1), sequence: 1 };
    let (topic, payload) = (Topic::new(topic).unwrap(), Bytes::new());
    let message = Message { topic, payload, qos, retain: version.is_some() };
    Arc::new(Envelope::new(origin, &message, version).unwrap())
}

fn show(frame: &Frame) -> String {
    let list = |filters: &[Filter]| {
        let texts: Vec<&str> = filters.iter().map(Filter::as_str).collect();
        texts.join(" ")
    };
    let number = |id: &Option<PacketId>| id.map_or("-".to_owned(), |id| id.get().to_string());
    match frame {
        Frame::Status(Status { ready, directory_reachable, .. }) => {
            let ready = if *ready { "ready" } else { "unready" };
            let blind = if *directory_reachable { "" } else { " blind" };
            format!("{ready}{blind}")
        }
        Frame::Subscribe { id, filters } => format!("subscribe {} {}", id.get(), list(filters)),
        Frame::Unsubscribe { id, filters } => format!("unsubscribe {} {}", id.get(), list(filters)),
        Frame::Forward { id, envelope } => format!("forward {} {}", number(id), envelope.topic()),
        Frame::Direct { id, to, from, .. } => format!("direct {} {to} {from}", number(id)),
        Frame::Ack(id) => format!("ack {}", id.get()),
        Frame::Hello(_)
        | Frame::Routes { .. }
        | Frame::SubAck { .. }
        | Frame::UnsubAck(_)
        | Frame::Ping
        | Frame::Pong => panic!("no frame of a bridge: {frame:?}"),
    }
}

/// Three nodes in step and told ready; node-1 wants `a`, node-2 `b`, node-3 `b` and `c`.
const THREE_READY: &str = "
    seen node-1@1 node-2@1 node-3@1
    up node-1
    node-1 > unready
    node-1 < hello 1
    node-1 < end 1 +a
    up node-2
    node-2 > unready
    node-2 < hello 1
    node-2 > subscribe 1 a
    node-2 < suback 1 1
    node-2 < end 1 +b
    node-1 > subscribe 1 b
    node-1 < suback 1 1
    up node-3
    node-3 > unready
    node-3 < hello 1
    node-3 > subscribe 1 a b
    node-3 < suback 1 2
    node-1 > ack 1
    node-2 > ack 1
    node-3 < end 1 +b +c
    node-1 > subscribe 2 c
    node-2 > subscribe 2 b c
    node-3 > ready
    node-1 < suback 2 1
    node-1 > ready
    node-2 < suback 2 2
    node-2 > ready
    node-3 > ack 1
";
