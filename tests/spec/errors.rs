//! 4.8: what closes a connection, and that it closes no other.

use crate::{
    bytes::{
        CLEAN, PINGRESP, QOS_1, connack, connect, connect_raw, field, packet, publish, subscribe,
    },
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// [MQTT-4.8.0-1]
#[tokio::test]
async fn a_violation_closes_the_connection_it_came_on_and_no_other() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for wrong in [
            connect("again"),
            connack(0).to_vec(),
            PINGRESP.to_vec(),
            subscribe(1, &[("a/#/b", 0)]),
            publish(QOS_1, "#", 1, "x"),
            packet(0x82, &[0, 1]),
            vec![0xf0, 0],
            b"\x30\xff\xff\xff\xff\x01".to_vec(),
        ] {
            for port in [way.here, way.there] {
                let mut wrongdoer = Peer::login(port, &way.id("mallory")).await;
                // What came before it is done, what comes after is not.
                let behind = publish(QOS_1, &topic, 9, "behind");
                wrongdoer.send(&[&wrong[..], &behind].concat()).await;
                wrongdoer.closed().await;
            }
        }
        alice.tells(QOS_1, &topic, "x").await;
        bob.takes(QOS_1, &topic, "x").await;
    })
    .await;
}

/// [MQTT-4.8.0-2] What a node cannot do for a client, such as to hold a packet of more than
/// `session.packet_bytes_max`, closes the connection before the packet is read.
#[tokio::test]
async fn a_packet_beyond_the_limit_closes_the_connection() {
    let port = port().await;
    let id = unique("large");
    let mut peer = Peer::login(port, &id).await;
    peer.send(&[0x30, 0x81, 0x80, 0x80, 0x01]).await; // 2 MiB and a byte, of which none follows
    peer.closed().await;
    Peer::say(port, &[0x10, 0xff, 0xff, 0x7f]).await.closed().await;
    let right = connect_raw("MQTT", 4, CLEAN, 0, &field(&id));
    Peer::enter(port, &right, &connack(0)).await.pings().await;
}
