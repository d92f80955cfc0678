//! The will (3.1.2.5 to 3.1.2.7, 3.14.4).

use crate::{
    bytes::{
        CLEAN, DISCONNECT, QOS_0, QOS_1, QOS_2, RETAIN, WILL, WILL_QOS_1, WILL_QOS_2, WILL_RETAIN,
        connack, connect_of, connect_raw, field, publish,
    },
    peer::Peer,
    stage::{Way, both_ways},
};

/// A client with clean session 1 and a will, "gone".
async fn mortal(port: u16, flags: u8, id: &str, topic: &str) -> Peer {
    let fields = [id.as_bytes(), topic.as_bytes(), b"gone"];
    Peer::enter(port, &connect_of(CLEAN | WILL | flags, &fields), &connack(0)).await
}

/// A client that is told of wills on this topic.
async fn observer(way: &Way, topic: &str) -> Peer {
    let mut observer = Peer::login(way.there, &way.id("observer")).await;
    observer.wants(topic, 2).await;
    observer
}

/// Whoever logs in as this client may be sure that the will of the last one has been settled;
/// "the end" on its topic is the next message, if there was none.
async fn none_came(way: &Way, observer: &mut Peer, id: &str, topic: &str) {
    let mut next = Peer::login(way.here, id).await;
    next.tells(QOS_1, topic, "the end").await;
    observer.takes(QOS_1, topic, "the end").await;
}

/// [MQTT-3.1.2-8] A socket that is closed without DISCONNECT.
#[tokio::test]
async fn the_will_is_published_when_the_connection_ends() {
    both_ways(async |way| {
        for (flags, qos) in [(0, QOS_0), (WILL_QOS_1, QOS_1), (WILL_QOS_2, QOS_2)] {
            let topic = way.topic("will");
            let mut observer = observer(&way, &topic).await;
            drop(mortal(way.here, flags, &way.id("mortal"), &topic).await);
            observer.takes(qos, &topic, "gone").await;
        }
    })
    .await;
}

/// [MQTT-3.1.2-8] A violation of the protocol, by a packet or by a second CONNECT.
#[tokio::test]
async fn the_will_is_published_when_the_node_closes_for_a_violation() {
    both_ways(async |way| {
        let topic = way.topic("will");
        let mut observer = observer(&way, &topic).await;
        let second_connect = connect_of(CLEAN, &[b"another"]);
        let wildcard = publish(QOS_0, "a/#", 0, "x");
        for violation in [&second_connect[..], &wildcard, &[0xf0, 0], &[0xe1, 0]] {
            let mut mortal = mortal(way.here, WILL_QOS_1, &way.id("mortal"), &topic).await;
            mortal.send(violation).await;
            mortal.closed().await;
            observer.takes(QOS_1, &topic, "gone").await;
        }
    })
    .await;
}

/// [MQTT-3.1.2-8] Silence.
#[tokio::test]
async fn the_will_is_published_when_the_keep_alive_ends() {
    both_ways(async |way| {
        let (topic, id) = (way.topic("will"), way.id("mortal"));
        let mut observer = observer(&way, &topic).await;
        let fields = [field(&id), field(&topic), field("gone")].concat();
        let connect = connect_raw("MQTT", 4, CLEAN | WILL | WILL_QOS_1, 1, &fields);
        let mut mortal = Peer::enter(way.here, &connect, &connack(0)).await;
        observer.takes(QOS_1, &topic, "gone").await;
        mortal.closed().await;
    })
    .await;
}

/// [MQTT-3.1.2-8] A login of the same client id takes the connection's end for the network's: its
/// will is published, and before the new one has its CONNACK.
#[tokio::test]
async fn the_will_is_published_when_the_client_id_is_taken_over() {
    both_ways(async |way| {
        let (topic, id) = (way.topic("will"), way.id("mortal"));
        let mut observer = observer(&way, &topic).await;
        let mut first = mortal(way.here, WILL_QOS_1, &id, &topic).await;
        let mut second = Peer::login(way.there, &id).await;
        second.tells(QOS_1, &topic, "back").await;
        first.closed().await;
        observer.takes(QOS_1, &topic, "gone").await;
        observer.takes(QOS_1, &topic, "back").await;
    })
    .await;
}

/// [MQTT-3.1.2-8] A refused CONNECT leaves no will.
#[tokio::test]
async fn the_will_of_a_refused_connect_is_not_published() {
    both_ways(async |way| {
        let topic = way.topic("will");
        let mut observer = observer(&way, &topic).await;
        let fields: [&[u8]; 3] = [b"", topic.as_bytes(), b"gone"];
        let refused = connect_of(WILL | WILL_QOS_1, &fields);
        Peer::enter(way.here, &refused, &connack(2)).await.closed().await;
        none_came(&way, &mut observer, &way.id("next"), &topic).await;
    })
    .await;
}

/// [MQTT-3.1.2-10] [MQTT-3.14.4-3]
#[tokio::test]
async fn the_will_is_forgotten_after_a_disconnect() {
    both_ways(async |way| {
        let topic = way.topic("will");
        let mut observer = observer(&way, &topic).await;
        for flags in [CLEAN, 0] {
            let id = way.id("mortal");
            let fields = [id.as_bytes(), topic.as_bytes(), b"gone"];
            let connect = connect_of(flags | WILL | WILL_QOS_1, &fields);
            let mut mortal = Peer::enter(way.here, &connect, &connack(0)).await;
            mortal.send(&DISCONNECT).await;
            mortal.closed().await;
            none_came(&way, &mut observer, &id, &topic).await;
        }
    })
    .await;
}

/// [MQTT-3.1.2-10] Published once, it is gone: the next connection has another, or none.
#[tokio::test]
async fn the_will_is_published_once() {
    both_ways(async |way| {
        let (topic, id) = (way.topic("will"), way.id("mortal"));
        let mut observer = observer(&way, &topic).await;
        let fields = [id.as_bytes(), topic.as_bytes(), b"gone"];
        let with_will = connect_of(WILL | WILL_QOS_1, &fields);
        drop(Peer::enter(way.here, &with_will, &connack(0)).await);
        observer.takes(QOS_1, &topic, "gone").await;
        drop(Peer::resume(way.there, &id).await); // without a will
        Peer::resume(way.here, &id).await.pings().await;
        none_came(&way, &mut observer, &id, &topic).await;
    })
    .await;
}

/// [MQTT-3.1.2-12]
#[tokio::test]
async fn a_client_without_a_will_leaves_none() {
    both_ways(async |way| {
        let (topic, id) = (way.topic("#"), way.id("mortal"));
        let mut observer = observer(&way, &topic).await;
        drop(Peer::login(way.here, &id).await);
        none_came(&way, &mut observer, &id, &way.topic("end")).await;
    })
    .await;
}

/// [MQTT-3.1.2-16] [MQTT-3.1.2-17]
#[tokio::test]
async fn the_will_is_retained_exactly_if_it_says_so() {
    both_ways(async |way| {
        for (flags, retained) in [(0, false), (WILL_RETAIN, true)] {
            let topic = way.topic(if retained { "retained" } else { "passing" });
            let mut observer = observer(&way, &topic).await;
            drop(mortal(way.here, WILL_QOS_1 | flags, &way.id("mortal"), &topic).await);
            observer.takes(QOS_1, &topic, "gone").await;
            for port in [way.here, way.there] {
                let mut later = Peer::login(port, &way.id("later")).await;
                later.wants(&topic, 1).await;
                if retained {
                    later.takes(QOS_1 | RETAIN, &topic, "gone").await;
                }
                later.tells(QOS_1 | RETAIN, &way.topic("mark"), "the end").await;
                later.wants(&way.topic("mark"), 1).await;
                later.takes(QOS_1 | RETAIN, &way.topic("mark"), "the end").await;
            }
        }
    })
    .await;
}

/// A will may be empty (3.1.3.3), and one that is retained then removes what was.
#[tokio::test]
async fn an_empty_will_is_published_and_removes_what_was_retained() {
    both_ways(async |way| {
        let (topic, id) = (way.topic("will"), way.id("mortal"));
        let mut observer = observer(&way, &topic).await;
        observer.send(&publish(QOS_0 | RETAIN, &topic, 0, "there")).await;
        observer.takes(QOS_0, &topic, "there").await;
        let fields = [id.as_bytes(), topic.as_bytes(), b""];
        let connect = connect_of(CLEAN | WILL | WILL_RETAIN | WILL_QOS_1, &fields);
        drop(Peer::enter(way.here, &connect, &connack(0)).await);
        observer.takes(QOS_1, &topic, "").await;
        observer.wants(&topic, 1).await;
        observer.pings().await;
    })
    .await;
}
