//! Chapter 2: fixed headers and packet identifiers.

use std::collections::BTreeSet;

use crate::{
    bytes::{
        DUP, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, QOS_0, QOS_1, QOS_2, UNSUBACK,
        answer, connack, connect, packet, publish, suback, subscribe, unsubscribe,
    },
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// [MQTT-2.2.2-1]
#[tokio::test]
async fn what_the_node_sends_has_the_reserved_flags_of_the_table() {
    both_ways(async |way| {
        let topic = way.topic("flags");
        let mut peer = Peer::say(way.there, &connect(&way.id("flags"))).await;
        for (question, reply) in [
            (Vec::new(), connack(0).to_vec()),
            (publish(QOS_1, &topic, 1, ""), answer(PUBACK, 1)),
            (publish(QOS_2, &topic, 2, ""), answer(PUBREC, 2)),
            (answer(PUBREL, 2), answer(PUBCOMP, 2)),
            (subscribe(3, &[(&topic, 2)]), suback(3, &[2])),
            (unsubscribe(4, &["other"]), answer(UNSUBACK, 4)),
            (PINGREQ.to_vec(), PINGRESP.to_vec()),
        ] {
            peer.send(&question).await;
            peer.gets(&reply).await;
        }
        let mut publisher = Peer::login(way.here, &way.id("flags")).await;
        publisher.tells(QOS_2, &topic, "").await;
        let id = peer.finds(QOS_2, &topic, "").await;
        peer.send(&answer(PUBREC, id)).await;
        peer.gets(&answer(PUBREL, id)).await; // 0x62: flags 0010
    })
    .await;
}

/// [MQTT-2.2.2-2]
#[tokio::test]
async fn any_other_flags_close_the_connection() {
    let port = port().await;
    let topic = unique("flags");
    let right = [
        answer(PUBACK, 1),
        answer(PUBREC, 1),
        answer(PUBREL, 1),
        answer(PUBCOMP, 1),
        subscribe(1, &[(&topic, 0)]),
        unsubscribe(1, &[&topic]),
        PINGREQ.to_vec(),
        vec![0xe0, 0],
    ];
    for bytes in right {
        for flags in (0..16).filter(|flags| *flags != bytes[0] & 0x0f) {
            let mut wrong = bytes.clone();
            wrong[0] = bytes[0] & 0xf0 | flags;
            let mut peer = Peer::login(port, &unique("flags")).await;
            peer.send(&wrong).await;
            peer.closed().await;
        }
    }
    for flags in 1..16 {
        let mut wrong = connect(&unique("flags"));
        wrong[0] |= flags;
        Peer::say(port, &wrong).await.closed().await;
    }
}

/// [MQTT-2.3.1-1]
#[tokio::test]
async fn a_packet_identifier_of_0_closes_the_connection() {
    let (port, topic) = (port().await, unique("zero"));
    for wrong in [
        subscribe(0, &[(&topic, 0)]),
        unsubscribe(0, &[&topic]),
        publish(QOS_1, &topic, 0, "x"),
        publish(QOS_2, &topic, 0, "x"),
        answer(PUBACK, 0),
        answer(PUBREC, 0),
        answer(PUBREL, 0),
        answer(PUBCOMP, 0),
    ] {
        let mut peer = Peer::login(port, &unique("zero")).await;
        peer.send(&wrong).await;
        peer.closed().await;
    }
}

/// [MQTT-2.3.1-2] [MQTT-2.3.1-3] A client that reuses an identifier when it may is understood.
#[tokio::test]
async fn an_identifier_may_name_something_new_after_the_last_answer() {
    both_ways(async |way| {
        let topic = way.topic("again");
        let mut subscriber = Peer::login(way.there, &way.id("bob")).await;
        subscriber.wants(&topic, 2).await;
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        for payload in ["one", "two", "three"] {
            publisher.send(&publish(QOS_1, &topic, 7, payload)).await;
            publisher.gets(&answer(PUBACK, 7)).await;
            subscriber.takes(QOS_1, &topic, payload).await;
            publisher.send(&publish(QOS_2, &topic, 7, payload)).await;
            publisher.gets(&answer(PUBREC, 7)).await;
            publisher.send(&answer(PUBREL, 7)).await;
            publisher.gets(&answer(PUBCOMP, 7)).await;
            subscriber.takes(QOS_2, &topic, payload).await;
            publisher.send(&subscribe(7, &[("nothing", 0)])).await;
            publisher.gets(&suback(7, &[0])).await;
            publisher.send(&unsubscribe(7, &["nothing"])).await;
            publisher.gets(&answer(UNSUBACK, 7)).await;
        }
    })
    .await;
}

/// [MQTT-2.3.1-4]
#[tokio::test]
async fn the_node_uses_an_identifier_again_only_after_the_last_answer() {
    both_ways(async |way| {
        let topic = way.topic("window");
        let mut subscriber = Peer::login(way.there, &way.id("bob")).await;
        subscriber.wants(&topic, 2).await;
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        let mut open = BTreeSet::new();
        for number in 0..20 {
            let flags = if number % 2 == 0 { QOS_1 } else { QOS_2 };
            publisher.tells(flags, &topic, number.to_string()).await;
            let id = subscriber.finds(flags, &topic, &number.to_string()).await;
            assert!(open.insert(id), "{id} is in use");
        }
        let half_answered = open.pop_last().unwrap(); // of QoS 2: PUBREC alone frees nothing
        subscriber.send(&answer(PUBREC, half_answered)).await;
        subscriber.gets(&answer(PUBREL, half_answered)).await;
        publisher.tells(QOS_1, &topic, "later").await;
        subscriber.send(&answer(PUBCOMP, half_answered)).await;
        let id = subscriber.finds(QOS_1, &topic, "later").await;
        assert!(!open.contains(&id), "{id} is in use");
    })
    .await;
}

/// [MQTT-2.3.1-4] The same identifier when it is sent again.
#[tokio::test]
async fn the_node_sends_again_with_the_same_identifier() {
    both_ways(async |way| {
        let (topic, bob) = (way.topic("same"), way.id("bob"));
        let mut subscriber = Peer::begin(way.here, &bob).await;
        subscriber.wants(&topic, 2).await;
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        publisher.tells(QOS_1, &topic, "one").await;
        publisher.tells(QOS_2, &topic, "two").await;
        let first = subscriber.finds(QOS_1, &topic, "one").await;
        let second = subscriber.finds(QOS_2, &topic, "two").await;
        drop(subscriber);
        let mut subscriber = Peer::resume(way.there, &bob).await;
        assert_eq!(subscriber.finds(DUP | QOS_1, &topic, "one").await, first);
        assert_eq!(subscriber.finds(DUP | QOS_2, &topic, "two").await, second);
    })
    .await;
}

/// [MQTT-2.3.1-4] All of them used, they come again, and none that is not answered.
#[tokio::test]
async fn after_the_last_identifier_none_comes_that_is_in_use() {
    both_ways(async |way| {
        let topic = way.topic("round");
        let mut subscriber = Peer::login(way.there, &way.id("bob")).await;
        subscriber.wants(&topic, 1).await;
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        let burst: Vec<u8> = (1..=BURST).flat_map(|id| publish(QOS_1, &topic, id, "x")).collect();
        let (mut used, mut unanswered, mut again) = (BTreeSet::new(), Vec::new(), 0);
        while again < 1000 {
            publisher.send(&burst).await;
            for id in 1..=BURST {
                publisher.gets(&answer(PUBACK, id)).await;
            }
            for _ in 0..BURST {
                let id = subscriber.finds(QOS_1, &topic, "x").await;
                assert!(!unanswered.contains(&id), "{id} is in use");
                again += usize::from(!used.insert(id));
                if used.len() > NEARLY_ALL && unanswered.len() < 5 {
                    unanswered.push(id);
                } else {
                    subscriber.send(&answer(PUBACK, id)).await;
                }
            }
        }
        assert_eq!(unanswered.len(), 5);
        for id in unanswered {
            subscriber.send(&answer(PUBACK, id)).await;
        }
        subscriber.pings().await;
    })
    .await;
}

/// As many messages as a publisher says before it looks for answers.
const BURST: u16 = 200;

const NEARLY_ALL: usize = 65_500;

/// [MQTT-2.3.1-5] [MQTT-4.3.1-1]
#[tokio::test]
async fn a_message_of_qos_0_has_no_identifier_and_no_dup() {
    both_ways(async |way| {
        let topic = way.topic("zero");
        let mut subscriber = Peer::login(way.there, &way.id("bob")).await;
        subscriber.wants(&topic, 2).await;
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        publisher.tells(QOS_0, &topic, "x").await;
        subscriber.gets(&publish(QOS_0, &topic, 0, "x")).await;
    })
    .await;
}

/// [MQTT-2.3.1-6]
#[tokio::test]
async fn the_answers_to_a_publish_have_its_identifier() {
    let (port, topic) = (port().await, unique("same"));
    let mut peer = Peer::login(port, &unique("same")).await;
    for id in [1, 0x1234, 0xff00, 65_535] {
        peer.send(&publish(QOS_1, &topic, id, "x")).await;
        peer.gets(&answer(PUBACK, id)).await;
        peer.send(&publish(QOS_2, &topic, id, "x")).await;
        peer.gets(&answer(PUBREC, id)).await;
        peer.send(&answer(PUBREL, id)).await;
        peer.gets(&answer(PUBCOMP, id)).await;
    }
}

/// [MQTT-2.3.1-6] The other way: PUBREL has that of PUBREC.
#[tokio::test]
async fn the_release_has_the_identifier_of_the_message() {
    both_ways(async |way| {
        let topic = way.topic("release");
        let mut subscriber = Peer::login(way.there, &way.id("bob")).await;
        subscriber.wants(&topic, 2).await;
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        for payload in ["one", "two", "three"] {
            publisher.tells(QOS_2, &topic, payload).await;
            let id = subscriber.finds(QOS_2, &topic, payload).await;
            subscriber.send(&answer(PUBREC, id)).await;
            subscriber.gets(&answer(PUBREL, id)).await; // and PUBCOMP never comes: it stays taken
        }
    })
    .await;
}

/// [MQTT-2.3.1-7]
#[tokio::test]
async fn suback_and_unsuback_have_the_identifier_of_their_question() {
    let (port, topic) = (port().await, unique("same"));
    let mut peer = Peer::login(port, &unique("same")).await;
    for id in [1, 0x1234, 0xff00, 65_535] {
        peer.send(&subscribe(id, &[(&topic, 1)])).await;
        peer.gets(&suback(id, &[1])).await;
        peer.send(&unsubscribe(id, &[&topic])).await;
        peer.gets(&answer(UNSUBACK, id)).await;
    }
}

/// A header (2.2) of a type that does not exist, of a length that cannot be, or of a packet that
/// only servers send, closes the connection.
#[tokio::test]
async fn a_header_that_cannot_be_closes_the_connection() {
    let (port, topic) = (port().await, unique("odd"));
    let mut wrongs = vec![
        vec![0x00, 0],
        vec![0xf0, 0],
        vec![0x30, 0xff, 0xff, 0xff, 0xff, 0],
        vec![0xc0, 1, 0],
        vec![0x40, 3, 0, 1, 0],
        vec![0x40, 1, 0],
    ];
    wrongs.extend([connack(0).to_vec(), suback(1, &[0]), answer(UNSUBACK, 1), PINGRESP.to_vec()]);
    for wrong in wrongs {
        let mut peer = Peer::login(port, &unique("odd")).await;
        peer.send(&wrong).await;
        peer.closed().await;
    }
    // A length in more bytes than it needs is nowhere forbidden.
    let mut peer = Peer::login(port, &unique("odd")).await;
    let mut long = publish(QOS_1, &topic, 1, "x");
    long.splice(1..2, [long[1] | 0x80, 0x80, 0]);
    peer.send(&long).await;
    peer.gets(&answer(PUBACK, 1)).await;
    assert_eq!(packet(0xc0, &[]), PINGREQ);
    peer.pings().await;
}
