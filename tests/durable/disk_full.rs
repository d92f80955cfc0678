//! A full disk: what a durable session wants is not acknowledged, everything else goes on, and it
//! heals when room is made.

use std::time::Duration;

use causeway_common::{packet::Packet, qos::QoS};
use causeway_tests::{
    client::{RawClient, connect, publish},
    cluster::Cluster,
    wait::{PATIENCE, eventually},
};
use tokio::time::timeout;

#[tokio::test]
async fn a_full_disk_holds_up_durable_sessions_alone_and_heals() {
    let builder = Cluster::builder().durable().set_nodes("store.bytes_max=2000000");
    let cluster = builder.start().await;
    let port = cluster.node(1).mqtt_port();
    for name in ["bob", "hoarder"] {
        let mut durable = RawClient::begin(port, name).await;
        durable.subscribe(&format!("for/{name}"), QoS::AtLeastOnce).await.unwrap();
        durable.disconnect().await.unwrap();
    }
    // On the other node: it is held up by a disk that is not its own.
    let mut alice = RawClient::login(cluster.node(2).mqtt_port(), "alice").await;
    let filled = fill(&mut alice, "for/hoarder").await;
    println!("disk full: {filled} messages of 10 kB were acknowledged");
    assert!((20..400).contains(&filled), "{filled}");
    let (_, reasons) = cluster.node(1).readiness().await.unwrap();
    println!("disk full: the node says {reasons:?}");

    let mut waiting = RawClient::login(port, "waiting").await;
    let id = waiting.next_id();
    waiting.send(&publish("for/bob", "1", QoS::AtLeastOnce, id)).await.unwrap();
    everything_else_goes_on(&cluster).await;
    let early = timeout(Duration::from_millis(300), waiting.packet()).await;
    assert!(early.is_err(), "acknowledged on a full disk: {early:?}");

    // Whoever ends his session makes room.
    let (hoarder, _) = RawClient::attach(port, connect("hoarder")).await.unwrap();
    hoarder.disconnect().await.unwrap();
    let answer = timeout(PATIENCE, waiting.packet()).await.unwrap().unwrap();
    assert_eq!(answer, Packet::PubAck(id));
    assert!(matches!(alice.packet().await.unwrap(), Packet::PubAck(_)), "so is the one before");
    let mut bob = RawClient::resume(port, "bob").await;
    assert_eq!(bob.message().await.unwrap().message.payload, "1");
    let ready = async || cluster.node(1).readiness().await.is_some_and(|(code, _)| code == 200);
    eventually("the node is well again", ready).await;
}

/// Nobody else could make room: the messages are its own.
#[tokio::test]
async fn a_sleeping_session_that_has_filled_the_disk_comes_and_empties_it() {
    let builder = Cluster::builder().nodes(1).bridges(0).durable();
    let cluster = builder.set_nodes("store.bytes_max=2000000").start().await;
    let port = cluster.node(1).mqtt_port();
    let mut sleeper = RawClient::begin(port, "sleeper").await;
    sleeper.subscribe("for/sleeper", QoS::AtLeastOnce).await.unwrap();
    sleeper.disconnect().await.unwrap();
    let mut alice = RawClient::login(port, "alice").await;
    let acknowledged = fill(&mut alice, "for/sleeper").await;
    assert!((20..400).contains(&acknowledged), "{acknowledged}");

    let mut sleeper = RawClient::resume(port, "sleeper").await;
    for _ in 0..acknowledged {
        sleeper.message().await.unwrap();
    }
    let held = timeout(PATIENCE, alice.packet()).await.unwrap().unwrap();
    assert!(matches!(held, Packet::PubAck(_)), "{held:?}");
    sleeper.message().await.unwrap();
    let ready = async || cluster.node(1).readiness().await.is_some_and(|(code, _)| code == 200);
    eventually("the node is well again", ready).await;
}

/// Publishes until no acknowledgement comes; returns how many came.
async fn fill(publisher: &mut RawClient, topic: &str) -> usize {
    for count in 0.. {
        let id = publisher.next_id();
        publisher.send(&publish(topic, vec![b'x'; 10_000], QoS::AtLeastOnce, id)).await.unwrap();
        match timeout(STALL, publisher.packet()).await {
            Ok(answer) => assert_eq!(answer.unwrap(), Packet::PubAck(id)),
            Err(_) => return count,
        }
    }
    unreachable!("the disk is never full")
}

/// Fleeting sessions talk at every QoS, across nodes too, and log in.
async fn everything_else_goes_on(cluster: &Cluster) {
    let (one, two) = (cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port());
    for (from, to) in [(one, two), (two, one), (one, one)] {
        let mut listener = RawClient::login(to, "listener").await;
        listener.subscribe("aside", QoS::ExactlyOnce).await.unwrap();
        let mut talker = RawClient::login(from, "talker").await;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            talker.publish("aside", "x", qos).await.unwrap();
            assert_eq!(listener.message().await.unwrap().message.qos, qos);
        }
        talker.disconnect().await.unwrap();
        listener.disconnect().await.unwrap();
    }
}

/// An acknowledgement that has not come by then does not come: a commit takes some milliseconds,
/// also on a busy machine.
const STALL: Duration = Duration::from_secs(4);
