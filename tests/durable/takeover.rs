//! A client id moves: to another connection, to another node; its session moves with it, and
//! nobody else notices.

use std::time::{Duration, Instant};

use causeway_common::{
    packet::{Packet, Publish},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, durable},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually, within},
};

use crate::{
    crowd::{Crowd, LONG_QUEUES, Size},
    stage::{number, unanswered},
};

#[tokio::test]
async fn the_session_moves_with_its_window_and_queue() {
    let cluster = Cluster::builder().start().await;
    let [one, two] = [cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port()];
    let mut alice = RawClient::login(one, "alice").await;
    let mut bob = RawClient::begin(one, "bob").await;
    bob.subscribe("a/#", QoS::ExactlyOnce).await.unwrap();
    for number in 0..QUEUED {
        let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        alice.publish("a/b", number.to_string(), qos).await.unwrap();
    }
    let window = window_of(&mut bob).await;
    assert!(window.iter().all(|publish| !publish.dup));
    // On its own node, to the other one, within that, and back.
    for (hop, port) in [one, two, two, one].into_iter().enumerate() {
        let mut old = std::mem::replace(&mut bob, RawClient::resume(port, "bob").await);
        old.closed(PATIENCE).await.unwrap();
        let again: Vec<_> =
            window.iter().map(|publish| Publish { dup: true, ..publish.clone() }).collect();
        assert_eq!(window_of(&mut bob).await, again, "hop {hop}");
    }
    bob = RawClient::resume(two, "bob").await;
    for expected in 0..QUEUED {
        assert_eq!(number(&bob.message().await.unwrap().message.payload), expected);
    }
    alice.publish("a/b", "1000", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(number(&bob.message().await.unwrap().message.payload), 1_000);
    bob.ping().await.unwrap();
}

#[tokio::test]
async fn both_halves_of_qos_2_move() {
    let cluster = Cluster::builder().start().await;
    let [one, two] = [cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port()];
    let mut carol = RawClient::login(two, "carol").await;
    carol.subscribe("c", QoS::ExactlyOnce).await.unwrap();
    let mut bob = RawClient::begin(one, "bob").await;
    bob.subscribe("b", QoS::ExactlyOnce).await.unwrap();
    carol.publish("b", "1", QoS::ExactlyOnce).await.unwrap();
    let received = unanswered(&mut bob).await.id.unwrap();
    bob.send(&Packet::PubRec(received)).await.unwrap();
    assert_eq!(bob.packet().await.unwrap(), Packet::PubRel(received));
    let sent = bob.next_id();
    let message = causeway_tests::client::publish("c", "2", QoS::ExactlyOnce, sent);
    bob.send(&message).await.unwrap();
    assert_eq!(bob.packet().await.unwrap(), Packet::PubRec(sent));

    let mut bob = RawClient::resume(two, "bob").await;
    assert_eq!(bob.packet().await.unwrap(), Packet::PubRel(received));
    bob.send(&Packet::PubComp(received)).await.unwrap();
    let Packet::Publish(again) = message else { unreachable!() };
    bob.send(&Packet::Publish(Publish { dup: true, ..again })).await.unwrap();
    assert_eq!(bob.packet().await.unwrap(), Packet::PubRec(sent));
    bob.send(&Packet::PubRel(sent)).await.unwrap();
    assert_eq!(bob.packet().await.unwrap(), Packet::PubComp(sent));
    bob.publish("c", "3", QoS::ExactlyOnce).await.unwrap();
    for expected in [2, 3] {
        let message = carol.message().await.unwrap().message;
        assert_eq!(number(&message.payload), expected, "each once");
    }
}

#[tokio::test]
async fn sessions_that_roam_under_traffic_lose_nothing_and_repeat_nothing() {
    let cluster = Cluster::builder().set_nodes(LONG_QUEUES).start().await;
    let ports: Vec<u16> = cluster.nodes().iter().map(Service::mqtt_port).collect();
    let pace = Duration::from_millis(2);
    let size = Size { talkers: 3, listeners: 4, pace, roams: true, seed: 4 };
    let crowd = Crowd::start(&ports, &size).await;
    crowd.advances(6_000).await;
    let tally = crowd.finish(&cluster).await;
    println!("takeover: {tally:?} for sessions that roam");
}

#[tokio::test]
async fn a_stuck_loser_does_not_hold_up_the_winner() {
    let builder = Cluster::builder().set_nodes("link.takeover_timeout_secs=1");
    let builder = builder.set_nodes("link.route_timeout_secs=1");
    let cluster = builder.set("directory.lease_secs=12").start().await;
    let mut bob = RawClient::begin(cluster.node(1).mqtt_port(), "bob").await;
    bob.subscribe("a", QoS::AtLeastOnce).await.unwrap();
    // A node that joins may wait for a stuck one before it lets its first client in: this one has joined.
    RawClient::login(cluster.node(2).mqtt_port(), "first").await;
    cluster.node(1).process.signal("STOP");
    let start = Instant::now();
    let attached = RawClient::attach(cluster.node(2).mqtt_port(), durable("bob")).await;
    let waited = start.elapsed();
    cluster.node(1).process.signal("CONT");
    let (mut bob, found) = attached.unwrap();
    println!("takeover: the winner waited {waited:?}, with a session: {found}");
    // 1 s for the loser and 1 s for the route; the bound says that he did not wait for the lease.
    assert!(waited < Duration::from_secs(6), "{waited:?}");
    bob.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_fighters_on_two_nodes_disturb_nobody_and_leak_nothing() {
    let cluster = Cluster::builder().start().await;
    let ports: Vec<u16> = cluster.nodes().iter().map(Service::mqtt_port).collect();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    // One short fight first: what it allocates once is no leak.
    fight([ports[0], ports[1]], Duration::from_secs(2)).await;
    is_over(&cluster).await;
    let before = Burden::of(&cluster);
    let bystander = tokio::spawn(bystand(ports.clone(), stopped));
    let fought = fight([ports[0], ports[1]], FIGHT).await;
    stop.send_replace(true);
    let slowest = bystander.await.unwrap();
    is_over(&cluster).await;
    let after = Burden::of(&cluster);
    println!("takeover: {fought:?} in {FIGHT:?}; slowest message of a bystander {slowest:?}");
    println!("takeover: before {before:?}, after {after:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(after.open_files <= before.open_files + 8, "{before:?} {after:?}");
    assert!(after.memory_bytes <= before.memory_bytes + (16 << 20), "{before:?} {after:?}");
    is_fair(&fought);
    is_told(&cluster).await;
}

#[tokio::test]
async fn two_fighters_on_one_node_are_slowed_down_and_served_too() {
    let cluster = Cluster::builder().nodes(1).start().await;
    let port = cluster.node(1).mqtt_port();
    let fought = fight([port, port], FIGHT).await;
    println!("takeover: {fought:?} in {FIGHT:?} on one node");
    is_fair(&fought);
    is_over(&cluster).await;
    is_told(&cluster).await;
}

/// What two fighters got.
#[derive(Debug)]
struct Fought {
    /// How often each got in.
    logins: [u32; 2],
    /// How long each was in.
    served: [Duration; 2],
}

/// Both are slowed down, and both get something done.
fn is_fair(fought: &Fought) {
    let Fought { logins, served } = fought;
    assert!(logins.iter().sum::<u32>() < 100, "the fighters are slowed down: {fought:?}");
    assert!(served.iter().all(|served| *served > FIGHT / 10), "{fought:?}");
    assert!(served.iter().sum::<Duration>() > FIGHT / 2, "{fought:?}");
}

/// Two devices that connect again whenever they are put out.
async fn fight([one, two]: [u16; 2], duration: Duration) -> Fought {
    let end = Instant::now() + duration;
    let fighter = |port: u16| async move {
        let (mut logins, mut served) = (0, Duration::ZERO);
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let attached = RawClient::attach(port, durable("fighter"));
            let Ok(attached) = tokio::time::timeout(left, attached).await else { break };
            let Ok((mut client, _)) = attached else { continue };
            logins += 1;
            let start = Instant::now();
            let left = end.saturating_duration_since(start);
            // Until put out, or until the end.
            let _ = tokio::time::timeout(left, client.closed(PATIENCE)).await;
            served += start.elapsed();
        }
        (logins, served)
    };
    let (one, two) = tokio::join!(fighter(one), fighter(two));
    Fought { logins: [one.0, two.0], served: [one.1, two.1] }
}

/// Talks to itself across the nodes and returns the longest time a message took.
async fn bystand(ports: Vec<u16>, stopped: tokio::sync::watch::Receiver<bool>) -> Duration {
    let mut talker = RawClient::login(ports[0], "talker").await;
    let mut listener = RawClient::login(ports[1], "listener").await;
    listener.subscribe("aside", QoS::AtLeastOnce).await.unwrap();
    let mut slowest = Duration::ZERO;
    while !*stopped.borrow() {
        let start = Instant::now();
        talker.publish("aside", "x", QoS::AtLeastOnce).await.unwrap();
        listener.message().await.unwrap();
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

/// Waits until no client is left on any node.
async fn is_over(cluster: &Cluster) {
    for node in cluster.nodes() {
        let left = async || node.metrics().await.sum("causeway_connections");
        let what = format!("nobody is connected to {}", node.name());
        eventually(&what, async || left().await < 0.5).await;
    }
}

/// One line of a log names both addresses, and a counter counts.
async fn is_told(cluster: &Cluster) {
    let contests = async || {
        let mut contests = 0.0;
        for node in cluster.nodes() {
            contests += node.metrics().await.sum("causeway_contests_total");
        }
        contests
    };
    within(PATIENCE, "the fight is counted", async || contests().await >= 1.0).await;
    let lines: Vec<String> = cluster
        .nodes()
        .iter()
        .flat_map(|node| node.process.log().lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.contains("fighter") && line.matches("127.0.0.1:").count() >= 2)
        .collect();
    println!("takeover: {} lines such as {:?}", lines.len(), lines.first());
    assert!((1..=20).contains(&lines.len()), "{lines:#?}");
}

/// What a cluster holds.
#[derive(Clone, Copy, Debug)]
struct Burden {
    open_files: usize,
    memory_bytes: u64,
}

impl Burden {
    fn of(cluster: &Cluster) -> Self {
        let nodes = cluster.nodes().iter().map(|node| &node.process);
        let all = nodes.chain([&cluster.bridge(1).process]);
        let (mut open_files, mut memory_bytes) = (0, 0);
        for process in all {
            open_files += process.open_files();
            memory_bytes += process.memory_bytes();
        }
        Self { open_files, memory_bytes }
    }
}

/// As many as the window takes at once, not answered.
async fn window_of(client: &mut RawClient) -> Vec<Publish> {
    let mut window = Vec::new();
    for _ in 0..WINDOW {
        window.push(unanswered(client).await);
    }
    window
}

/// `session.max_inflight`.
const WINDOW: usize = 20;

/// Messages for the session that moves: beyond the window.
const QUEUED: u32 = 200;

const FIGHT: Duration = Duration::from_secs(20);
