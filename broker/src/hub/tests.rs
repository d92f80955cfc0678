//! The hub with clients and bridges that are nothing but mailboxes.

mod access;
mod shortage;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use causeway_common::{
    directory::{Before, Claimed, Member, Owner, Previous},
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, PacketId, Ticket, UserName},
    link::{Envelope, Frame, Note, Origin, Status},
    mailbox::Mailbox,
    message::Message,
    packet::Subscription,
    qos::QoS,
    topic::{Filter, Topic},
};
use prometheus::Registry;

use super::{
    Attach, Detached, Hub, HubError, HubLimits, Knock, LinkId, LinkViolation, Routing, SessionId,
    TakeOver,
    moves::Claim,
    retained::{ExchangeLimits, RetainedLimits},
};
use crate::{
    metrics::Metrics,
    session::{CloseReason, Limits, Mail, Session},
    store::{Batch, Position, Store, memory::MemoryStore},
};

struct Setting {
    hub: Hub,
    now: Instant,
    wall_secs: u64,
    metrics: Arc<Metrics>,
}

struct Client {
    id: SessionId,
    mailbox: Arc<Mailbox<Mail>>,
}

struct Bridge {
    id: LinkId,
    name: &'static str,
    mailbox: Arc<Mailbox<Frame>>,
}

/// A hub for two connections, on a node that knows of another one.
fn setting() -> Setting {
    let now = Instant::now();
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    let me = Member { node: NodeId::from("node-1"), incarnation: Incarnation(7) };
    let store = Arc::new(MemoryStore::default());
    let mut hub = Hub::new(now, me, hub_limits(), (Arc::clone(&metrics), store));
    hub.home_noted(u64::MAX); // there is no directory to be told
    hub.set_peers(vec![NodeId::from("node-2")], vec![]);
    Setting { hub, now, wall_secs: 1000, metrics }
}

/// For two connections, and sessions that hold little.
pub(crate) fn hub_limits() -> HubLimits {
    HubLimits {
        connections_max: 2,
        connections_per_user: 0,
        session: Arc::new(session_limits()),
        mailbox_bytes_max: 100_000,
        session_expiry_secs: Some(100),
        backlog_bytes_max: 1000,
        route_timeout: Duration::from_secs(5),
        lost_bridge_grace: Duration::from_secs(12),
        probe_interval: Duration::from_secs(3),
        retained: RetainedLimits::default(),
        exchange: ExchangeLimits::default(),
    }
}

fn session_limits() -> Limits {
    Limits {
        max_inflight: 20,
        queue_messages_max: 100,
        queue_bytes_max: 10_000,
        topic_levels_max: 10,
        filters_max: 10,
        owed_messages_max: 10,
        owed_bytes_max: 10_000,
    }
}

fn knock(name: &str, clean: bool) -> Knock {
    Knock { client_id: ClientId::from(name), user: UserName::from(name), clean }
}

impl Setting {
    fn client(&mut self, name: &str) -> Client {
        let waiting = Arc::new(Mailbox::new(0));
        let Attach::In(attached) = self.hub.attach(&knock(name, true), &waiting).unwrap() else {
            panic!("{name} has to wait");
        };
        Client { id: attached.session, mailbox: attached.mailbox }
    }

    /// The connection of a session that is not durable ends.
    fn end(&mut self, client: &Client) -> Detached {
        let state = Session::new(self.now, None, Arc::new(session_limits()));
        self.hub.leave(client.id, Box::new(state), VecDeque::new()).unwrap()
    }

    fn refused(&mut self, name: &str) -> HubError {
        let waiting = Arc::new(Mailbox::new(0));
        self.hub.attach(&knock(name, true), &waiting).unwrap_err()
    }

    fn subscribe(&mut self, client: &Client, ticket: u64, filter: &str) {
        let wanted = [Subscription { filter: filter_of(filter), qos: QoS::ExactlyOnce }];
        self.hub.subscribe(self.now, client.id, Ticket(ticket), &wanted);
    }

    fn publish(&mut self, client: &Client, ticket: u64, qos: u8, topic: &str) -> Routing {
        let qos = QoS::from_bits(qos).unwrap();
        let ticket = qos.is_answered().then_some(Ticket(ticket));
        self.hub.publish(&client.mailbox, ticket, message(qos, topic), None)
    }

    /// A bridge that is linked and has said how it is.
    fn bridge(&mut self, name: &'static str, ready: bool) -> Bridge {
        let mailbox = Arc::new(Mailbox::new(10_000));
        let id = self.hub.link_up(&mailbox);
        let bridge = Bridge { id, name, mailbox };
        self.status(&bridge, ready);
        bridge
    }

    fn status(&mut self, bridge: &Bridge, ready: bool) {
        let status = Status {
            bridge: BridgeId::from(bridge.name),
            incarnation: Incarnation(1),
            ready,
            directory_reachable: true,
        };
        self.frame(bridge, Frame::Status(status));
    }

    fn wants(&mut self, bridge: &Bridge, filter: &str) {
        let id = PacketId::new(1).unwrap();
        self.frame(bridge, Frame::Subscribe { id, filters: vec![filter_of(filter)] });
    }

    fn frame(&mut self, bridge: &Bridge, frame: Frame) {
        self.hub.link_frame(self.now, bridge.id, frame).unwrap();
    }

    fn ack_all(&mut self, bridge: &Bridge, frames: &[Frame]) {
        for id in frames.iter().filter_map(packet_id) {
            self.frame(bridge, Frame::Ack(id));
        }
    }

    /// Sends every probe back, as if the node it was meant for had.
    fn echo_all(&mut self, bridge: &Bridge) {
        for frame in bridge.frames() {
            let Frame::Direct { to: from, note, .. } = frame else {
                continue;
            };
            if let Note::Probe { number, sent_us } = note {
                let (to, note) = (NodeId::from("node-1"), Note::Echo { number, sent_us });
                let id = None;
                self.frame(bridge, Frame::Direct { id, to, from, note });
            }
        }
    }

    fn after(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
        self.wall_secs += secs;
        self.hub.tick(self.now, self.wall_secs);
    }
}

impl Client {
    /// What is in the mailbox, as words.
    fn mail(&self) -> Vec<String> {
        let mut taken = VecDeque::new();
        self.mailbox.take_all(&mut taken);
        let word = |mail| match mail {
            Mail::Deliver(delivery) => format!("{} {}", delivery.message.topic, delivery.qos),
            Mail::Routed(ticket) => format!("routed {ticket}"),
            Mail::Subscribed(ticket) => format!("subscribed {ticket}"),
            Mail::Vacant => "vacant".to_owned(),
            Mail::Inherit(_) => "inherit".to_owned(),
            Mail::Close(reason) => format!("close {}", reason.label()),
        };
        taken.into_iter().map(word).collect()
    }
}

impl Bridge {
    fn frames(&self) -> Vec<Frame> {
        let mut taken = VecDeque::new();
        self.mailbox.take_all(&mut taken);
        taken.into()
    }

    /// Sequences and topics of the messages that were given to it.
    fn forwarded(&self) -> Vec<String> {
        self.frames().iter().filter_map(forwarded).collect()
    }
}

fn forwarded(frame: &Frame) -> Option<String> {
    match frame {
        Frame::Forward { envelope, .. } => {
            Some(format!("{} {}", envelope.origin.sequence, envelope.topic()))
        }
        _ => None,
    }
}

fn packet_id(frame: &Frame) -> Option<PacketId> {
    match frame {
        Frame::Routes { id, .. } => Some(*id),
        Frame::Forward { id, .. } | Frame::Direct { id, .. } => *id,
        _ => None,
    }
}

fn filter_of(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

fn claimed(epoch: u64) -> Claimed {
    Claimed { epoch: Epoch(epoch), ..Claimed::default() }
}

/// A claim of what that node had.
fn claimed_from(node: &str) -> Claimed {
    let member = Member { node: NodeId::from(node), incarnation: Incarnation(1) };
    let previous = Previous {
        owner: Owner { member, epoch: Epoch(1) },
        address: "there".to_owned(),
        connected: true,
        durable: true,
    };
    let before = Before { node: NodeId::from(node), epoch: Epoch(1) };
    Claimed { before: Some(before), previous: Some(previous), ..claimed(2) }
}

fn message(qos: QoS, topic: &str) -> Message {
    let topic = Topic::new(topic).unwrap();
    Message { topic, payload: Bytes::from_static(b"hi"), qos, retain: false }
}

fn envelope(sequence: u64, topic: &str) -> Arc<Envelope> {
    let (node, incarnation) = (NodeId::from("node-2"), Incarnation(3));
    let origin = Origin { node, incarnation, sequence };
    Arc::new(Envelope::new(origin, &message(QoS::AtLeastOnce, topic), None).unwrap())
}

#[test]
fn a_client_with_overlapping_subscriptions_gets_a_message_once_with_the_greatest_qos() {
    let mut set = setting();
    let client = set.client("bob");
    let low = [Subscription { filter: filter_of("a/#"), qos: QoS::AtMostOnce }];
    set.hub.subscribe(set.now, client.id, Ticket(1), &low);
    set.subscribe(&client, 2, "a/+");
    client.mail();
    set.publish(&client, 1, 1, "a/b");
    assert_eq!(client.mail(), ["a/b 1"]);
    set.hub.unsubscribe(client.id, &[filter_of("a/+")]);
    set.publish(&client, 1, 1, "a/b");
    assert_eq!(client.mail(), ["a/b 0"]);
}

#[test]
fn the_cap_counts_clients_and_not_links_and_a_freed_place_is_usable_at_once() {
    let mut set = setting();
    let _bridge = set.bridge("b-1", true);
    let first = set.client("one");
    let _second = set.client("two");
    assert_eq!(set.refused("three"), HubError::Full);
    assert!(set.hub.unready_reasons().contains(&"full".to_owned()));
    set.end(&first);
    set.client("three");
}

#[test]
fn a_user_has_so_many_connections_and_its_device_may_come_back() {
    let mut set = setting();
    set.hub.limits.connections_per_user = 1;
    let mut attach = |client_id: &str, user: &str| {
        let (client_id, user) = (ClientId::from(client_id), UserName::from(user));
        let waiting = Arc::new(Mailbox::new(0));
        set.hub.attach(&Knock { client_id, user, clean: true }, &waiting).err()
    };
    for (client_id, user, refused) in [
        ("phone", "alice", None),
        ("tablet", "alice", Some(HubError::Crowded)),
        ("phone", "alice", None),
        ("desk", "bob", None),
        ("phone", "bob", Some(HubError::Crowded)),
    ] {
        assert_eq!(attach(client_id, user), refused, "{client_id} of {user}");
    }
    assert_eq!(set.metrics.limited.connections_per_user.get(), 2);
}

#[test]
fn a_second_login_of_a_client_id_takes_the_first_ones_place_even_on_a_full_node() {
    let mut set = setting();
    let first = set.client("one");
    let _second = set.client("two");
    set.subscribe(&first, 1, "a");
    first.mail();
    let again = set.client("one");
    assert_eq!(first.mail(), ["close taken_over"]);
    set.publish(&again, 1, 0, "a");
    assert!(first.mail().is_empty() && again.mail().is_empty());
    let detached = set.end(&first);
    assert!(detached.replaced);
    assert_eq!(set.hub.connection_count(), 2);
    assert_eq!(set.metrics.takeovers.local.get(), 1);
}

#[test]
fn whoever_is_here_now_has_the_youngest_epoch_whichever_login_claimed_it() {
    let mut set = setting();
    let first = set.client("one");
    let second = set.client("one");
    assert!(set.hub.set_epoch(second.id, &claimed(5)));
    set.hub.set_epoch(first.id, &claimed(6));
    let gone = set.end(&first);
    assert_eq!((gone.epoch, gone.replaced), (None, true), "there is nothing to release");
    assert_eq!(set.end(&second).epoch, Some(Epoch(6)));
}

#[test]
fn a_bridge_that_said_good_bye_holds_up_no_subscription() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    set.hub.link_left(bridge.id);
    let client = set.client("bob");
    set.subscribe(&client, 1, "a");
    assert_eq!(client.mail(), ["subscribed 1"]);
}

#[test]
fn without_other_nodes_nothing_waits() {
    let mut set = setting();
    set.hub.set_peers(vec![], vec![]);
    let client = set.client("bob");
    assert_eq!(set.publish(&client, 1, 1, "a"), Routing::Settled);
    set.subscribe(&client, 2, "a");
    assert_eq!(client.mail(), ["subscribed 2"]);
}

#[test]
fn a_bridge_that_was_just_lost_means_other_nodes_whatever_the_directory_last_said() {
    let mut set = setting();
    set.hub.set_peers(vec![], vec![]);
    let client = set.client("bob");
    let bridge = set.bridge("b-1", true);
    set.wants(&bridge, "a");
    set.hub.link_down(set.now, bridge.id);
    assert_eq!(set.publish(&client, 1, 1, "a"), Routing::Awaited);
    let again = set.bridge("b-1", false);
    set.wants(&again, "a");
    again.frames();
    assert_eq!(set.publish(&client, 2, 1, "a"), Routing::Awaited);
    set.status(&again, true);
    assert_eq!(again.forwarded(), ["1 a", "2 a"]);
    set.hub.link_down(set.now, again.id);
    set.after(12);
    set.hub.set_peers(vec![], vec![]);
    assert_eq!(client.mail(), ["routed 1", "routed 2"]);
}

#[test]
fn a_message_nobody_elsewhere_wants_does_not_leave_the_node() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    let client = set.client("bob");
    set.wants(&bridge, "elsewhere/#");
    bridge.frames();
    assert_eq!(set.publish(&client, 1, 1, "here"), Routing::Settled);
    assert!(bridge.forwarded().is_empty());
    assert_eq!(set.publish(&client, 2, 1, "elsewhere/x"), Routing::Awaited);
    assert_eq!(bridge.forwarded(), ["1 elsewhere/x"]);
}

#[test]
fn an_answer_is_due_when_the_bridge_has_acknowledged() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    set.wants(&bridge, "#");
    let client = set.client("bob");
    bridge.frames();
    set.publish(&client, 4, 2, "a");
    let frames = bridge.frames();
    assert!(client.mail().is_empty());
    set.ack_all(&bridge, &frames);
    assert_eq!(client.mail(), ["routed 4"]);
    set.ack_all(&bridge, &frames);
    assert!(client.mail().is_empty());
}

#[test]
fn while_no_bridge_is_ready_answers_wait_and_qos_0_is_dropped_and_counted() {
    let mut set = setting();
    let client = set.client("bob");
    assert_eq!(set.publish(&client, 1, 1, "a"), Routing::Awaited);
    assert_eq!(set.publish(&client, 2, 1, "b"), Routing::Awaited);
    set.publish(&client, 0, 0, "a");
    assert_eq!(set.metrics.messages_dropped.no_bridge.get(), 1);
    let bridge = set.bridge("b-1", false);
    set.wants(&bridge, "a");
    assert!(bridge.forwarded().is_empty());
    set.status(&bridge, true);
    // What nobody wants is settled, what is wanted goes out.
    assert_eq!(bridge.forwarded(), ["1 a"]);
    assert_eq!(client.mail(), ["routed 2"]);
}

#[test]
fn what_a_lost_bridge_had_goes_through_another_in_order() {
    let mut set = setting();
    let first = set.bridge("b-1", true);
    set.wants(&first, "#");
    let client = set.client("bob");
    first.frames();
    for ticket in 1..=3 {
        set.publish(&client, ticket, 1, "a");
    }
    let frames = first.frames();
    set.ack_all(&first, &frames[1..2]);
    set.hub.link_down(set.now, first.id);
    set.publish(&client, 4, 1, "a");
    let second = set.bridge("b-2", false);
    set.wants(&second, "#");
    second.frames();
    set.status(&second, true);
    assert_eq!(client.mail(), ["routed 2"]);
    assert_eq!(second.forwarded(), ["1 a", "3 a", "4 a"]);
    assert_eq!(set.metrics.messages_resent.get(), 2);
}

#[test]
fn a_topic_stays_with_its_bridge_while_anything_of_it_is_in_flight() {
    let mut set = setting();
    let first = set.bridge("b-1", true);
    set.wants(&first, "#");
    let client = set.client("bob");
    first.frames();
    // Some topic that the second bridge would take if it could choose.
    let topics: Vec<String> = (0..64).map(|number| format!("t/{number}")).collect();
    for topic in &topics {
        set.publish(&client, 1, 1, topic);
    }
    let frames = first.frames();
    let second = set.bridge("b-2", true);
    set.wants(&second, "#");
    second.frames();
    for topic in &topics {
        set.publish(&client, 1, 1, topic);
    }
    assert_eq!(first.forwarded().len(), topics.len());
    assert!(second.forwarded().is_empty());
    set.ack_all(&first, &frames);
}

#[test]
fn a_suback_waits_for_every_bridge_and_not_for_ever() {
    let mut set = setting();
    let (first, second) = (set.bridge("b-1", true), set.bridge("b-2", false));
    for bridge in [&first, &second] {
        let frames = bridge.frames();
        set.ack_all(bridge, &frames);
    }
    let client = set.client("bob");
    set.subscribe(&client, 1, "a");
    let frames = first.frames();
    set.ack_all(&first, &frames);
    assert!(client.mail().is_empty());
    let frames = second.frames();
    set.ack_all(&second, &frames);
    assert_eq!(client.mail(), ["subscribed 1"]);
    set.subscribe(&client, 2, "b");
    set.after(6);
    assert_eq!(client.mail(), ["subscribed 2"]);
    assert_eq!(set.metrics.route_timeouts.get(), 1);
}

#[test]
fn a_bridge_whose_link_broke_still_counts_until_it_is_back_or_long_gone() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    let frames = bridge.frames();
    set.ack_all(&bridge, &frames);
    set.hub.link_down(set.now, bridge.id);
    let client = set.client("bob");
    set.subscribe(&client, 1, "a");
    assert!(client.mail().is_empty());
    let again = set.bridge("b-1", false);
    assert!(client.mail().is_empty());
    let frames = again.frames();
    set.ack_all(&again, &frames);
    assert_eq!(client.mail(), ["subscribed 1"]);
}

#[test]
fn a_bridge_that_is_back_has_acknowledged_nothing_before_the_snapshot() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    let frames = bridge.frames();
    set.ack_all(&bridge, &frames);
    let client = set.client("bob");
    set.subscribe(&client, 1, "a");
    set.subscribe(&client, 2, "b");
    set.hub.link_down(set.now, bridge.id);
    let again = set.bridge("b-1", true);
    assert!(client.mail().is_empty());
    let frames = again.frames();
    set.ack_all(&again, &frames);
    assert_eq!(client.mail(), ["subscribed 1", "subscribed 2"]);
}

#[test]
fn only_the_first_and_the_last_holder_of_a_filter_change_the_routes() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    let (one, two) = (set.client("one"), set.client("two"));
    bridge.frames();
    let routes = |bridge: &Bridge| {
        let frames = bridge.frames();
        frames.iter().filter(|frame| matches!(frame, Frame::Routes { .. })).count()
    };
    set.subscribe(&one, 1, "a");
    assert_eq!(routes(&bridge), 1);
    set.subscribe(&two, 1, "a");
    set.subscribe(&two, 2, "$SYS/#");
    set.end(&one);
    assert_eq!(routes(&bridge), 0);
    set.end(&two);
    assert_eq!(routes(&bridge), 1);
}

#[test]
fn a_message_from_a_link_is_delivered_once_here_and_goes_no_further() {
    let mut set = setting();
    let (bridge, other) = (set.bridge("b-1", true), set.bridge("b-2", true));
    set.wants(&bridge, "#");
    set.wants(&other, "#");
    let client = set.client("bob");
    set.subscribe(&client, 1, "a");
    client.mail();
    bridge.frames();
    other.frames();
    let id = PacketId::new(9);
    for _ in 0..2 {
        set.frame(&bridge, Frame::Forward { id, envelope: envelope(1, "a") });
    }
    assert_eq!(client.mail(), ["a 1"]);
    assert_eq!(set.metrics.duplicates_dropped.get(), 1);
    assert_eq!(bridge.frames(), [Frame::Ack(id.unwrap()), Frame::Ack(id.unwrap())]);
    assert!(other.frames().is_empty());
}

#[test]
fn a_takeover_by_another_node_is_acknowledged_when_the_connection_has_closed() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    let client = set.client("bob");
    assert!(set.hub.set_epoch(client.id, &claimed(5)));
    bridge.frames();
    let take_over = |epoch| Frame::Direct {
        id: PacketId::new(3),
        to: NodeId::from("node-1"),
        from: NodeId::from("node-2"),
        note: Note::TakeOver { client_id: ClientId::from("bob"), epoch: Epoch(epoch), clean: true },
    };
    set.frame(&bridge, take_over(4));
    assert_eq!(bridge.frames().len(), 1, "an older claim is answered and changes nothing");
    assert!(client.mail().is_empty());
    set.frame(&bridge, take_over(6));
    assert_eq!(client.mail(), ["close taken_over"]);
    assert!(bridge.frames().is_empty());
    set.end(&client);
    assert_eq!(bridge.frames(), [Frame::Ack(PacketId::new(3).unwrap())]);
}

#[test]
fn a_younger_claim_elsewhere_beats_one_that_is_still_being_made_here() {
    let mut set = setting();
    let client = set.client("bob");
    let member = Member { node: NodeId::from("node-2"), incarnation: Incarnation(1) };
    let claim = Claim { by: Owner { member, epoch: Epoch(9) }, clean: false };
    set.hub.give_up(&ClientId::from("bob"), claim, None);
    assert!(!set.hub.set_epoch(client.id, &claimed(8)));
    assert!(client.mail().is_empty());
}

#[test]
fn a_request_to_another_node_is_repeated_through_another_bridge_and_forgotten_in_time() {
    let mut set = setting();
    let first = set.bridge("b-1", true);
    let client = set.client("bob");
    first.frames();
    let deadline = set.now + Duration::from_secs(5);
    let client_id = ClientId::from("bob");
    let claim = TakeOver { client_id, epoch: Epoch(2), clean: false };
    let answer = (&client.mailbox, Ticket(77));
    let asked = set.hub.first_to_ask(&claimed_from("node-2"));
    assert_eq!(set.hub.ask_takeovers(asked, &claim, answer, deadline), 1);
    assert_eq!(first.frames().len(), 1);
    set.hub.link_down(set.now, first.id);
    let second = set.bridge("b-2", true);
    let frames = second.frames();
    set.ack_all(&second, &frames);
    assert_eq!(client.mail(), ["routed 77"]);
    let own = set.hub.first_to_ask(&claimed_from("node-1"));
    assert_eq!(set.hub.ask_takeovers(own, &claim, answer, deadline), 0, "nobody to ask");
}

#[test]
fn a_fenced_hub_serves_nobody_until_it_has_a_new_life() {
    let mut set = setting();
    let client = set.client("bob");
    set.publish(&client, 1, 1, "a");
    set.hub.fence();
    assert_eq!(client.mail(), ["close fenced"]);
    assert_eq!(set.refused("eve"), HubError::Fenced);
    set.end(&client);
    let me = Member { node: NodeId::from("node-1"), incarnation: Incarnation(8) };
    set.hub.rejoin(me);
    assert!(set.hub.is_opening() && !set.hub.is_joined(), "it asks again who else lives");
    assert_eq!(set.refused("eve"), HubError::Fenced);
    set.hub.set_peers(vec![], vec![]);
    assert!(set.hub.is_joined());
    set.hub.open();
    set.client("eve");
    assert!(!set.hub.is_congested() && set.metrics.fenced.get() == 0);
}

#[test]
fn what_a_life_that_is_over_owed_is_in_nobodys_way() {
    let mut set = setting();
    set.hub.set_peers(vec![NodeId::from("node-2")], vec![]);
    let client = set.client("bob");
    assert_eq!(set.publish(&client, 1, 1, "a"), Routing::Awaited);
    set.hub.fence();
    let me = Member { node: NodeId::from("node-1"), incarnation: Incarnation(8) };
    set.hub.rejoin(me);
    // A session that stays counts it as settled; the client repeats it.
    assert_eq!(client.mail(), ["close fenced", "routed 1"]);
}

#[test]
fn a_link_that_is_up_and_silent_is_given_up() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    for _ in 0..3 {
        set.after(3);
    }
    assert!(!set.hub.link_is_sick(bridge.id));
    set.after(3);
    assert!(set.hub.link_is_sick(bridge.id));
    assert!(set.metrics.peer(&NodeId::from("node-2")).lost.get() > 0);
}

#[test]
fn a_link_whose_probes_come_back_stays() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    for _ in 0..10 {
        set.after(3);
        set.echo_all(&bridge);
    }
    assert!(!set.hub.link_is_sick(bridge.id));
    let peer = set.metrics.peer(&NodeId::from("node-2"));
    assert_eq!((peer.lost.get(), peer.round_trip.get_sample_count()), (0, 10));
}

#[test]
fn nothing_overtakes_what_is_in_flight_on_a_link_that_is_given_up() {
    let mut set = setting();
    let silent = set.bridge("b-1", true);
    set.wants(&silent, "a");
    let client = set.client("bob");
    set.publish(&client, 1, 1, "a");
    let other = set.bridge("b-2", true);
    set.wants(&other, "a");
    for _ in 0..4 {
        set.after(3);
        set.echo_all(&other);
    }
    assert!(set.hub.link_is_sick(silent.id) && !set.hub.link_is_sick(other.id));
    set.publish(&client, 2, 1, "a");
    assert!(other.forwarded().is_empty());
    set.hub.link_down(set.now, silent.id);
    assert_eq!(other.forwarded(), ["1 a", "2 a"]);
}

#[test]
fn an_echo_to_a_probe_that_was_forgotten_is_no_answer_to_later_ones() {
    let mut set = setting();
    let bridge = set.bridge("b-1", true);
    set.after(3);
    // The node leaves and comes back: its probes count from 1 again.
    set.hub.set_peers(vec![], vec![]);
    set.hub.set_peers(vec![NodeId::from("node-2")], vec![]);
    set.after(3);
    let (number, sent_us) = (2, 0);
    let echo = Frame::Direct {
        id: None,
        to: NodeId::from("node-1"),
        from: NodeId::from("node-2"),
        note: Note::Echo { number, sent_us },
    };
    set.frame(&bridge, echo);
    set.after(3);
    let peer = set.metrics.peer(&NodeId::from("node-2"));
    assert_eq!((peer.lost.get(), peer.out_of_order.get()), (1, 1));
}

#[test]
fn a_newer_link_of_the_same_bridge_replaces_the_older() {
    let mut set = setting();
    let old = set.bridge("b-1", true);
    let new = set.bridge("b-1", true);
    assert!(set.hub.link_is_sick(old.id));
    assert!(!set.hub.link_is_sick(new.id));
    let late = set.hub.link_frame(set.now, old.id, Frame::Ping);
    assert_eq!(late, Err(LinkViolation::GivenUp));
}

#[test]
fn an_older_link_whose_first_word_comes_late_replaces_nothing() {
    let mut set = setting();
    let mailbox = Arc::new(Mailbox::new(10_000));
    let id = set.hub.link_up(&mailbox);
    let old = Bridge { id, name: "b-1", mailbox };
    let new = set.bridge("b-1", true);
    set.status(&old, true);
    assert!(set.hub.link_is_sick(old.id));
    assert!(!set.hub.link_is_sick(new.id));
    let client = set.client("bob");
    set.subscribe(&client, 1, "a");
    assert!(client.mail().is_empty());
    let frames = new.frames();
    set.ack_all(&new, &frames);
    assert_eq!(client.mail(), ["subscribed 1"]);
}

#[test]
fn somebody_who_looks_on_sees_what_passes_and_is_no_bridge() {
    let mut set = setting();
    let mailbox = Arc::new(Mailbox::new(10_000));
    let id = set.hub.link_up(&mailbox);
    let tap = Bridge { id, name: "tap", mailbox };
    set.wants(&tap, "$link/#");
    tap.frames();
    assert!(set.hub.unready_reasons().contains(&"no bridge is ready".to_owned()));
    let bridge = set.bridge("b-1", true);
    set.wants(&bridge, "#");
    let client = set.client("bob");
    tap.frames();
    set.publish(&client, 1, 1, "a");
    assert_eq!(tap.forwarded(), ["1 a"]);
}

#[test]
fn publishers_are_held_back_while_too_much_waits() {
    let mut set = setting();
    let client = set.client("bob");
    for ticket in 0..10 {
        set.publish(&client, ticket, 1, "a");
    }
    assert!(set.hub.is_congested());
    set.hub.set_peers(vec![], vec![]);
    assert!(!set.hub.is_congested());
    assert_eq!(client.mail().len(), 10);
}

#[test]
fn a_full_mailbox_drops_and_counts() {
    let mut set = setting();
    let slow = set.client("slow");
    let all = [Subscription { filter: filter_of("#"), qos: QoS::AtMostOnce }];
    set.hub.subscribe(set.now, slow.id, Ticket(1), &all);
    let client = set.client("bob");
    let cost = message(QoS::AtMostOnce, "a").cost();
    let fit = 100_000 / cost;
    for _ in 0..fit + 4 {
        set.publish(&client, 0, 0, "a");
    }
    assert_eq!(set.metrics.messages_dropped.mailbox_full.get(), 4);
}

#[test]
fn everybody_is_told_when_the_node_stops() {
    let mut set = setting();
    let client = set.client("bob");
    set.hub.shut_down();
    let expected = format!("close {}", CloseReason::Shutdown.label());
    assert_eq!(client.mail(), [expected]);
}

/// A store on a full disk.
#[derive(Debug, Default)]
struct Full;

#[async_trait::async_trait]
impl Store for Full {
    fn write(&self, _batch: Batch) -> Position {
        Position(1)
    }

    fn durable(&self) -> Position {
        Position(0)
    }

    async fn wait(&self, _known: Position) -> Position {
        std::future::pending().await
    }

    fn backlog_bytes(&self) -> usize {
        0
    }

    fn trouble(&self) -> Option<String> {
        Some("full".to_owned())
    }
}

#[test]
fn on_a_full_disk_a_filter_that_is_written_down_already_is_effective_at_once() {
    let mut set = setting();
    set.hub.store = Arc::new(Full);
    let waiting = Arc::new(Mailbox::new(0));
    let Ok(Attach::In(attached)) = set.hub.attach(&knock("bob", false), &waiting) else {
        panic!("the id is free");
    };
    let client = Client { id: attached.session, mailbox: attached.mailbox };
    set.subscribe(&client, 1, "a");
    assert!(client.mail().is_empty(), "what is new must be durable first");
    set.subscribe(&client, 2, "a");
    assert_eq!(client.mail(), ["subscribed 2"], "so that its client can come and drain");
}

#[test]
fn a_suback_of_a_durable_session_waits_until_the_directory_knows_its_filter() {
    let mut set = setting();
    set.hub.set_peers(vec![], vec![]);
    set.hub.home = super::home::Home::new();
    let (changes, waiting) = (set.hub.home_changes(), Arc::new(Mailbox::new(0)));
    let Ok(Attach::In(attached)) = set.hub.attach(&knock("bob", false), &waiting) else {
        panic!("the id is free");
    };
    let client = Client { id: attached.session, mailbox: attached.mailbox };
    set.subscribe(&client, 1, "a");
    assert!(client.mail().is_empty());
    let mut news = VecDeque::new();
    changes.take_all(&mut news);
    set.hub.home_noted(news.back().unwrap().version);
    assert_eq!(client.mail(), ["subscribed 1"]);

    let fleeting = set.client("alice");
    set.subscribe(&client, 2, "b");
    set.subscribe(&fleeting, 3, "c");
    assert_eq!(fleeting.mail(), ["subscribed 3"], "nobody waits for her while she is gone");
    set.now += Duration::from_secs(5);
    set.hub.tick(set.now, set.wall_secs);
    assert_eq!(client.mail(), ["subscribed 2"], "not for ever");
}
