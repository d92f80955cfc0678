//! Scripts: what happens to a bridge, and what it says to whom. Every frame it says must be
//! expected, in its order on that link.
//!
//! ```text
//!   seen node-1@7 node-2@3!     the directory shows these lives, `!` with an ended lease
//!   lost                        the directory does not answer
//!   wait 2                      seconds pass
//!   up node-1 · down node-1     its link
//!   refused node-1              nobody listens where it was dialled
//!   node-1 < hello 7            a frame from the node; `<<` twice; `<!` one that closes the link
//!   node-1 > subscribe 1 a b    a frame to the node
//!   ? dials node-2@3            what a question yields
//! ```

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

use super::{Core, Options};
use crate::{metrics::Metrics, relay::LinkKey};

struct Bench {
    core: Core,
    metrics: Arc<Metrics>,
    now: Instant,
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
        interest_filters_max: 8,
    };
    let mut bench = Bench {
        core: Core::new(options, Arc::clone(&metrics)),
        metrics,
        now: Instant::now(),
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
        if !expects {
            self.nothing_more();
        }
        match words {
            [] => {}
            ["seen", rows @ ..] => {
                let rows: Vec<NodeStatus> = rows.iter().map(|row| status(row)).collect();
                self.core.nodes_seen(self.now, &rows);
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
            "resent" => self.metrics.messages_resent.get().to_string(),
            "held" => self.metrics.held_messages.get().to_string(),
            "owed" => self.core.owed().to_string(),
            "routes" => self.metrics.routes.get().to_string(),
            _ => panic!("cannot ask {question:?}"),
        };
        assert_eq!(found, expected, "at {:?}", self.line);
    }
}

/// `node-1@7`, or `node-1@7!` where the lease has ended.
fn status(text: &str) -> NodeStatus {
    let live = !text.ends_with('!');
    let (node, incarnation) = text.trim_end_matches('!').split_once('@').unwrap();
    NodeStatus {
        row: NodeRow {
            node: NodeId::from(node),
            incarnation: Incarnation(incarnation.parse().unwrap()),
            link_address: "127.0.0.1:1".to_owned(),
            client_address: "127.0.0.1:2".to_owned(),
        },
        live,
        connections: 0,
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
        ["take-over", number, to] => Frame::Direct {
            id: Some(id(number)),
            to: NodeId::from(*to),
            from,
            note: Note::TakeOver { client_id: ClientId::from("alice"), epoch: Epoch(1) },
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
    let routes = Routes { version: 1, part, add: filters_of('+'), remove: filters_of('-') };
    Frame::Routes { id: id(number), routes }
}

fn envelope(node: NodeId, topic: &str) -> Arc<Envelope> {
    let origin = Origin { node, incarnation: Incarnation(1), sequence: 1 };
    let message = Message {
        topic: Topic::new(topic).unwrap(),
        payload: Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: false,
    };
    Arc::new(Envelope::new(origin, &message).unwrap())
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

#[test]
fn a_bridge_is_armed_by_the_last_snapshot_and_ready_where_its_interest_is_in_force() {
    play(&[THREE_READY, "? reasons", "? owed 0", "? routes 4"]);
}

#[test]
fn a_bridge_says_whom_it_waits_for_and_answers_no_change_before() {
    play(&["
        ? reasons directory is gone; not armed: no node is known
        seen
        ? reasons not armed: no node is known
        seen node-1@1 node-2@1
        ? dials node-1@1 node-2@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < snapshot 1 +a
        node-1 < end 2 +b
        ? reasons not armed: waiting for node-2
        ? dials node-2@1
        up node-2
        node-2 > unready
        node-2 < hello 1
        node-2 > subscribe 1 a b
        node-2 < suback 1 2
        node-1 > ack 1
        node-1 > ack 2
        node-1 <! forward 1 b
    "]);
}

#[test]
fn a_bridge_is_not_armed_by_what_it_knew_before_the_directory_was_lost() {
    play(&["
        seen node-1@1 node-2@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1
        node-1 > ack 1
        lost
        node-1 > unready blind
        up node-2
        node-2 > unready blind
        node-2 < hello 1
        node-2 < end 1
        node-2 > ack 1
        seen node-1@1 node-2@1 node-3@1
        node-1 > unready
        node-2 > unready
        seen node-1@1 node-2@1 node-3@1!
        ? reasons not armed: waiting for node-3
        wait 6
        node-1 < pong
        node-2 < pong
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ready
        node-2 > ready
    "]);
}

#[test]
fn a_node_whose_lease_ends_is_waited_for_no_longer() {
    play(&["
        seen node-1@1 node-2@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1
        node-1 > ack 1
        seen node-1@1 node-2@1!
        node-1 > ready
        ? sweeps node-2@1
        ? dials
    "]);
}

#[test]
fn a_message_is_answered_after_all_its_destinations_and_goes_to_no_one_else() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 9 b
        node-2 > forward 3 b
        node-3 > forward 2 b
        node-3 < ack 2
        node-2 < ack 3
        node-1 > ack 9
        node-2 < forward 9 b
        node-3 > forward 3 b
        node-3 < ack 3
        node-2 > ack 9
        node-2 < forward 10 a
        node-1 > forward 3 a
        node-1 < ack 3
        node-2 > ack 10
    ",
    ]);
}

#[test]
fn a_message_that_nobody_else_wants_is_answered_at_once() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 9 a
        node-1 > ack 9
        node-1 < forward 9 nothing
        node-1 > ack 9
        node-1 < forward - nothing
        ? owed 0
    ",
    ]);
}

#[test]
fn a_message_without_identifier_goes_where_it_can_and_is_counted_where_not() {
    play(&[
        THREE_READY,
        "
        node-1 < forward - b
        node-2 > forward - b
        node-3 > forward - b
        down node-3
        node-1 < forward - b
        node-2 > forward - b
        ? not_linked 1
        ? link_full 0
    ",
    ]);
}

#[test]
fn a_full_mailbox_drops_what_has_no_identifier_and_nothing_else() {
    play(&[
        THREE_READY,
        "
        node-1 << forward - c
        node-3 > forward - c
        ? link_full 1
        node-1 < forward 8 c
        node-3 > forward 2 c
        ? not_linked 0
    ",
    ]);
}

#[test]
fn copies_for_a_node_that_is_not_linked_are_held_and_sent_in_order() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 8 c
        node-3 > forward 2 c
        node-1 < forward 9 c
        node-3 > forward 3 c
        down node-3
        node-1 < forward 10 c
        node-1 < forward 11 b
        node-2 > forward 3 b
        node-2 < ack 3
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b
        node-1 < forward 12 c
        node-3 < suback 1 2
        node-3 > ready
        node-3 < end 1 +b +c
        node-3 > forward 2 c
        node-3 > forward 3 c
        node-3 > forward 4 c
        node-3 > forward 5 b
        node-3 > forward 6 c
        node-3 > ack 1
        ? resent 2
        node-3 < ack 6
        node-1 > ack 12
        node-3 < ack 2
        node-1 > ack 8
        ? owed 3
    ",
    ]);
}

#[test]
fn what_came_by_a_link_that_is_gone_is_forgotten() {
    play(&[
        THREE_READY,
        "
        down node-3
        node-1 < forward 8 c
        node-1 < forward 9 b
        node-2 > forward 3 b
        down node-1
        node-2 < ack 3
        ? owed 0
        ? held 0
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b
        node-3 < end 1 +b +c
    ",
    ]);
}

#[test]
fn an_ended_lease_settles_what_the_node_still_owed() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 8 b
        node-2 > forward 3 b
        node-3 > forward 2 b
        down node-3
        node-1 < forward 9 c
        node-2 < ack 3
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ack 8
        node-1 > ack 9
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 b c
        ? node_gone 2
        ? sweeps node-3@1
        ? routes 2
    ",
    ]);
}

#[test]
fn the_link_of_a_node_whose_lease_has_ended_is_given_up() {
    play(&[
        THREE_READY,
        "
        seen node-1@1 node-2@1 node-3@1!
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        ? hang-ups 1
        node-3 <! pong
    ",
    ]);
}

#[test]
fn a_new_life_gets_what_was_held_if_it_wants_it_still() {
    play(&[
        THREE_READY,
        "
        down node-3
        node-1 < forward 8 c
        node-1 < forward 9 b
        node-2 > forward 3 b
        node-2 < ack 3
        seen node-1@1 node-2@1 node-3@2
        ? sweeps node-3@1
        ? dials node-3@2
        up node-3
        node-3 > unready
        node-3 < hello 2
        node-3 > subscribe 1 a b
        node-3 < end 1 +b
        node-3 > forward 2 b
        node-1 > ack 8
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 c
        node-3 > ack 1
        node-3 < ack 2
        node-1 > ack 9
    ",
    ]);
}

#[test]
fn a_younger_row_replaces_the_link_to_the_older_life() {
    play(&[
        THREE_READY,
        "
        seen node-1@1 node-2@1 node-3@2
        ? hang-ups 1
        ? dials node-3@2
        node-3 <! pong
        up node-3
        node-3 > unready
        node-3 <! hello 1
    ",
    ]);
}

#[test]
fn a_hello_younger_than_the_row_is_trusted_and_the_old_row_speaks_no_more() {
    play(&["
        seen node-1@5
        up node-1
        node-1 > unready
        node-1 < hello 6
        node-1 < end 1
        node-1 > ack 1
        node-1 > ready
        seen node-1@5!
        ? sweeps node-1@5
        seen node-1@6
        ? sweeps node-1@5
        ? dials
    "]);
}

#[test]
fn a_hello_of_another_node_or_protocol_closes_the_link() {
    play(&["
        seen node-1@5
        up node-1
        node-1 > unready
        node-1 <! hello node-2 5
        up node-1
        node-1 > unready
        node-1 <! end 1
        up node-1
        node-1 > unready
        node-1 <! ping
        up node-1
        node-1 > unready
        node-1 < hello 5
        node-1 <! hello 5
        up node-1
        node-1 > unready
        node-1 < hello 5
        node-1 <! change 1 +a
    "]);
}

#[test]
fn a_change_of_routes_is_answered_when_every_other_node_has_the_interest() {
    play(&[
        THREE_READY,
        "
        node-1 < change 2 +x
        node-2 > subscribe 3 x
        node-3 > subscribe 2 x
        node-3 < suback 2 1
        node-2 < suback 3 1
        node-1 > ack 2
        node-2 < change 3 +x
        node-1 > subscribe 3 x
        node-1 < suback 3 1
        node-2 > ack 3
        node-3 < change 4 +x
        node-3 > ack 4
    ",
    ]);
}

#[test]
fn a_change_waits_for_the_same_filter_that_another_node_has_just_asked_for() {
    play(&[
        THREE_READY,
        "
        node-1 < change 2 +x
        node-2 > subscribe 3 x
        node-3 > subscribe 2 x
        node-3 < suback 2 1
        node-3 < change 2 +x
        node-1 > subscribe 3 x
        node-1 < suback 3 1
        node-2 < suback 3 1
        node-1 > ack 2
        node-3 > ack 2
    ",
    ]);
}

#[test]
fn a_node_whose_link_breaks_is_waited_for_until_it_has_the_interest_by_another() {
    play(&[
        THREE_READY,
        "
        node-1 < change 2 +x
        node-2 > subscribe 3 x
        node-3 > subscribe 2 x
        node-2 < suback 3 1
        down node-3
        node-1 < change 3 +y
        node-2 > subscribe 4 y
        node-2 < suback 4 1
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b x y
        node-3 < suback 1 4
        node-3 > ready
        node-1 > ack 2
        node-1 > ack 3
    ",
    ]);
}

#[test]
fn a_node_that_is_gone_or_refuses_connections_is_waited_for_no_longer() {
    let waiting = "
        down node-3
        node-1 < change 2 +x
        node-2 > subscribe 3 x
        node-2 < suback 3 1
    ";
    let refused = "
        refused node-3
        node-1 > ack 2
        node-1 < change 3 +y
        node-2 > subscribe 4 y
        node-2 < suback 4 1
        node-1 > ack 3
    ";
    let gone = "
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ack 2
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 b c
    ";
    play(&[THREE_READY, waiting, refused]);
    play(&[THREE_READY, waiting, gone]);
}

#[test]
fn a_lease_that_was_never_seen_running_counts_as_ended_after_a_lease_or_a_refusal() {
    let linked = "
        seen node-1@1 node-2@1!
        ? dials node-1@1 node-2@1
        ? sweeps
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1
        node-1 > ack 1
        seen node-1@1 node-2@1!
    ";
    let in_time = "
        wait 6
        seen node-1@1 node-2@1!
        node-1 > ready
        ? sweeps node-2@1
    ";
    let refused = "
        refused node-2
        node-1 > ready
        ? sweeps node-2@1
    ";
    let away_at_first = "
        seen
        wait 7
        lost
    ";
    play(&[linked, in_time]);
    play(&[linked, refused]);
    play(&[away_at_first, linked, in_time]);
}

#[test]
fn less_interest_waits_for_nobody() {
    play(&[
        THREE_READY,
        "
        node-1 < change 2 -a
        node-1 > ack 2
        node-2 > unsubscribe 3 a
        node-3 > unsubscribe 2 a
        node-2 < unsuback 3
        node-3 < unsuback 2
        node-2 < forward 9 a
        node-2 > ack 9
    ",
    ]);
}

#[test]
fn a_burst_of_changes_shares_a_few_subscribes() {
    let burst = "
        node-1 < change 2 +x0
        node-2 > subscribe 2 x0
        node-1 < change 3 +x1
        node-2 > subscribe 3 x1
        node-1 < change 4 +x2
        node-2 > subscribe 4 x2
        node-1 < change 5 +x3
        node-2 > subscribe 5 x3
        node-1 < change 6 +x4
        node-1 < change 7 +x5
        node-1 < change 8 -x5
        node-1 > ack 8
        node-2 < suback 2 1
        node-1 > ack 2
        node-2 > subscribe 6 x4
        node-2 < suback 3 1
        node-1 > ack 3
        node-2 <! suback 5 1
        refused node-2
        node-1 > ack 4
        node-1 > ack 5
        node-1 > ack 6
        node-1 > ack 7
    ";
    let two = "
        seen node-1@1 node-2@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1 +a
        up node-2
        node-2 > unready
        node-2 < hello 1
        node-2 > subscribe 1 a
        node-2 < suback 1 1
        node-1 > ack 1
        node-2 < end 1
        node-1 > ready
        node-2 > ack 1
        node-2 > ready
    ";
    play(&[two, burst]);
}

#[test]
fn a_bridge_cut_off_from_a_live_node_for_a_lease_is_ready_for_nobody() {
    play(&[
        THREE_READY,
        "
        down node-3
        wait 5
        ? reasons
        wait 1
        node-1 > unready
        node-2 > unready
        ? reasons cut off from node-3
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b
        node-3 < end 1 +b +c
        node-1 > ready
        node-2 > ready
        node-3 > ack 1
        node-3 < suback 1 2
        node-3 > ready
    ",
    ]);
}

#[test]
fn a_new_life_has_a_lease_of_its_own_to_be_linked_in() {
    play(&[
        THREE_READY,
        "
        down node-3
        wait 5
        seen node-1@1 node-2@1 node-3@2
        wait 5
        ? reasons
        wait 1
        node-1 > unready
        node-2 > unready
    ",
    ]);
}

#[test]
fn a_cut_off_node_that_is_gone_is_no_reason_any_more() {
    play(&[
        THREE_READY,
        "
        down node-3
        wait 6
        node-1 > unready
        node-2 > unready
        seen node-1@1 node-2@1 node-3@1!
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        node-1 > ready
        node-2 > ready
    ",
    ]);
}

#[test]
fn leases_that_end_while_the_directory_is_away_end_nothing() {
    play(&[
        THREE_READY,
        "
        down node-3
        node-1 < forward 8 c
        lost
        node-1 > ready blind
        node-2 > ready blind
        ? reasons directory is gone
        wait 5
        seen node-1@1! node-2@1! node-3@1!
        node-1 > ready
        node-2 > ready
        ? sweeps
        wait 1
        node-1 > unready
        node-2 > unready
        seen node-1@1 node-2@1 node-3@1!
        wait 5
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ack 8
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        node-1 > ready
        node-2 > ready
        ? sweeps node-3@1
    ",
    ]);
}

#[test]
fn rows_that_the_directory_has_lost_end_nothing_until_the_node_is_silent_for_a_lease() {
    play(&[
        THREE_READY,
        "
        seen
        ? sweeps
        wait 3
        node-1 < pong
        node-2 < pong
        node-3 < pong
        down node-3
        node-1 < forward 8 c
        wait 2
        seen node-1@1 node-2@1
        ? sweeps
        wait 4
        node-1 > unready
        node-2 > unready
        seen node-1@1 node-2@1
        node-1 > ack 8
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        node-1 > ready
        node-2 > ready
        ? sweeps node-3@1
    ",
    ]);
}

#[test]
fn a_linked_node_without_a_row_is_gone_once_it_is_silent_for_a_lease() {
    play(&[
        THREE_READY,
        "
        wait 5
        node-1 < pong
        node-2 < pong
        seen node-1@1 node-2@1
        ? sweeps
        wait 1
        seen node-1@1 node-2@1
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        ? hang-ups 1
    ",
    ]);
}

#[test]
fn a_node_that_has_left_the_directory_is_waited_for_no_longer() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 8 c
        node-3 > forward 2 c
        down node-3
        seen node-1@1 node-2@1
        node-1 > ack 8
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        ? node_gone 1
    ",
    ]);
}

#[test]
fn a_note_goes_to_one_node_and_its_answer_back() {
    play(&[
        THREE_READY,
        "
        node-1 < take-over 5 node-2
        node-2 > direct 3 node-2 node-1
        node-2 < ack 3
        node-1 > ack 5
        node-1 < take-over 6 node-9
        node-1 > ack 6
        node-1 < probe node-1
        node-1 > direct - node-1 node-1
        node-1 < probe node-2
        node-2 > direct - node-2 node-1
        down node-2
        node-1 < probe node-2
        node-1 < take-over 7 node-2
        seen node-1@1 node-2@1! node-3@1
        node-1 > ack 7
        node-3 > unsubscribe 2 b
        ? node_gone 0
    ",
    ]);
}

#[test]
fn a_node_speaks_for_itself_and_answers_what_it_was_asked() {
    for line in [
        "node-1 <! forge 1 node-2",
        "node-1 <! ack 77",
        "node-1 <! suback 2 1",
        "node-1 <! unsuback 2",
    ] {
        play(&[THREE_READY, line]);
    }
    play(&[
        THREE_READY,
        "
        node-1 < forward 1 b
        node-2 > forward 3 b
        node-3 > forward 2 b
        node-1 <! forward 1 b
    ",
    ]);
}

#[test]
fn a_bridge_that_ends_says_that_it_is_not_ready() {
    play(&[
        THREE_READY,
        "
        close
        node-1 > unready
        node-2 > unready
        node-3 > unready
        ? reasons shutting down
    ",
    ]);
}
