//! Chapter 7: conformance as a whole.

use causeway_tests::mosquitto::{self, Subscriber};

use crate::{
    bytes::{
        CLEAN, DISCONNECT, PASSWORD, PINGREQ, PINGRESP, PUBACK, QOS_0, QOS_1, USER, answer,
        connack, connect, connect_of, hex, publish, suback, subscribe,
    },
    peer::{Peer, read_publish},
    stage::{both_ways, cluster, port, unique},
};

/// [MQTT-7.0.0-1] Choice: nodes are connected to, bridges connect, and no process does both. What
/// passes between them is plain MQTT, which anybody can read who has the secret.
#[tokio::test]
async fn a_link_is_plain_mqtt() {
    let port = cluster().await.node(1).link_port();
    let login = connect_of(CLEAN | USER | PASSWORD, &[b"looker", b"link", b"causeway"]);
    let mut looker = Peer::enter(port, &login, &connack(0)).await;
    looker.send(&subscribe(1, &[("$link/#", 1)])).await;
    let (mut subscribed, mut messages) = (false, 0);
    while !subscribed || messages == 0 {
        let packet = looker.packet().await.expect("a packet");
        match packet[0] >> 4 {
            9 => {
                assert_eq!(packet, suback(1, &[1]));
                subscribed = true;
            }
            3 => {
                assert!(read_publish(&packet).topic.starts_with("$link/"));
                messages += 1;
            }
            _ => panic!("{}", hex(&packet)),
        }
    }
    looker.send(&DISCONNECT).await;
}

/// [MQTT-7.0.0-2]
#[tokio::test]
async fn clients_of_others_need_nothing_but_the_standard() {
    both_ways(async |way| {
        let topic = way.topic("a/b");
        let subscription = ["-t", &*way.topic("+/b"), "-q", "2", "-F", "%q %p"];
        let bob = Subscriber::start(way.there, &subscription).await;
        for qos in ["0", "1", "2"] {
            mosquitto::publish(way.here, &["-t", &topic, "-q", qos, "-m", qos]).await;
        }
        bob.has(&["0 0", "1 1", "2 2"]).await;
    })
    .await;
}

/// [MQTT-7.1.1-1] The stream of bytes may be cut anywhere; that of TLS too (`tests/cluster`).
#[tokio::test]
async fn packets_may_come_byte_by_byte_or_many_at_a_time() {
    let (port, topic) = (port().await, unique("pieces"));
    let all = [
        connect(&unique("pieces")),
        subscribe(1, &[(&topic, 0)]),
        publish(QOS_1, "nobody/wants/this", 2, "x".repeat(200)),
        PINGREQ.to_vec(),
    ];
    let expected =
        [connack(0).to_vec(), suback(1, &[0]), answer(PUBACK, 2), PINGRESP.to_vec()].concat();
    let mut peer = Peer::open(port).await;
    for byte in all.concat() {
        peer.send(&[byte]).await;
    }
    let mut came = Vec::new();
    while came.len() < expected.len() {
        came.extend(peer.packet().await.expect("an answer"));
    }
    came.sort_unstable();
    let mut sorted = expected;
    sorted.sort_unstable();
    assert_eq!(came, sorted); // PINGRESP and PUBACK may come before SUBACK
    let many = publish(QOS_0, &topic, 0, "x").repeat(500);
    peer.send(&many).await;
    for _ in 0..500 {
        peer.gets(&publish(QOS_0, &topic, 0, "x")).await;
    }
}
