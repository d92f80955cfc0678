//! 3.14 DISCONNECT; what it does to the will stands in `will`.

use crate::{
    bytes::{DISCONNECT, PINGREQ, QOS_1, connect, publish},
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// [MQTT-3.14.1-1]
#[tokio::test]
async fn a_disconnect_with_flags_is_a_violation_and_the_end() {
    let port = port().await;
    for flags in 1..16 {
        let mut peer = Peer::login(port, &unique("flags")).await;
        peer.send(&[0xe0 | flags, 0]).await;
        peer.closed().await;
    }
}

/// [MQTT-3.14.4-1] If the client does not close, the node does.
#[tokio::test]
async fn the_node_closes_after_a_disconnect() {
    let mut peer = Peer::login(port().await, &unique("bye")).await;
    peer.send(&DISCONNECT).await;
    peer.closed().await;
}

/// [MQTT-3.14.4-2]
#[tokio::test]
async fn what_comes_behind_a_disconnect_is_not_done() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        let late = publish(QOS_1, &topic, 1, "too late");
        let all = [&DISCONNECT[..], &late, &PINGREQ, &connect(&way.id("late"))].concat();
        alice.send(&all).await;
        alice.closed().await;
        Peer::login(way.here, &way.id("carol")).await.tells(QOS_1, &topic, "in time").await;
        bob.takes(QOS_1, &topic, "in time").await;
    })
    .await;
}
