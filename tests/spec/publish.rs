//! 3.3 PUBLISH, without RETAIN; 3.6 PUBREL.

use crate::{
    bytes::{
        DUP, PUBACK, PUBCOMP, PUBREC, PUBREL, QOS_0, QOS_1, QOS_2, RETAIN, answer, packet, publish,
        suback, subscribe,
    },
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// [MQTT-3.3.1-1]
#[tokio::test]
async fn what_is_sent_again_has_dup() {
    both_ways(async |way| {
        let (id, topic) = (way.id("bob"), way.topic("a"));
        let mut bob = Peer::begin(way.here, &id).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_1, &topic, "one").await;
        alice.tells(QOS_2, &topic, "two").await;
        bob.finds(QOS_1, &topic, "one").await;
        bob.finds(QOS_2, &topic, "two").await;
        drop(bob);
        let mut bob = Peer::resume(way.there, &id).await;
        bob.finds(DUP | QOS_1, &topic, "one").await;
        bob.finds(DUP | QOS_2, &topic, "two").await;
        drop(bob);
        let mut bob = Peer::resume(way.here, &id).await;
        bob.takes(DUP | QOS_1, &topic, "one").await;
        bob.finds(DUP | QOS_2, &topic, "two").await;
    })
    .await;
}

/// [MQTT-3.3.1-2]
#[tokio::test]
async fn dup_with_qos_0_closes_the_connection() {
    let (port, topic) = (port().await, unique("dup"));
    for flags in [DUP, DUP | RETAIN] {
        let mut peer = Peer::login(port, &unique("dup")).await;
        peer.send(&publish(flags, &topic, 0, "x")).await;
        peer.closed().await;
    }
}

/// [MQTT-3.3.1-3]
#[tokio::test]
async fn dup_of_the_publisher_is_not_passed_on() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for flags in [QOS_1, QOS_2] {
            alice.tells(flags | DUP, &topic, "again?").await;
            bob.takes(flags, &topic, "again?").await;
        }
    })
    .await;
}

/// [MQTT-3.3.1-4]
#[tokio::test]
async fn both_qos_bits_close_the_connection() {
    let (port, topic) = (port().await, unique("three"));
    for flags in [0, DUP, RETAIN, DUP | RETAIN] {
        let mut peer = Peer::login(port, &unique("three")).await;
        peer.send(&publish(QOS_1 | QOS_2 | flags, &topic, 1, "x")).await;
        peer.closed().await;
    }
}

/// [MQTT-3.3.2-1]
#[tokio::test]
async fn a_publish_begins_with_its_topic() {
    let port = port().await;
    for body in [&[][..], &[0], &[0, 3, b'a'], &[0xff, 0xff, b'a'], &[0, 1, 0xff], &[0, 2, 0xc3]] {
        let mut peer = Peer::login(port, &unique("topic")).await;
        peer.send(&packet(0x30, body)).await;
        peer.closed().await;
    }
    both_ways(async |way| {
        let topic = way.topic("é/温度");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&way.topic("#"), 0).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_0, &topic, "x").await;
        bob.gets(&publish(QOS_0, &topic, 0, "x")).await;
    })
    .await;
}

/// [MQTT-3.3.2-2] [MQTT-4.7.1-1]
#[tokio::test]
async fn a_wildcard_in_a_topic_closes_the_connection() {
    let port = port().await;
    for topic in ["#", "+", "a/#", "a/+", "a/+/b", "a+", "#a", "a#b/c"] {
        for flags in [QOS_0, QOS_1] {
            let mut peer = Peer::login(port, &unique("wild")).await;
            peer.send(&publish(flags, topic, 1, "x")).await;
            peer.closed().await;
        }
    }
}

/// [MQTT-3.3.2-3]
#[tokio::test]
async fn a_message_comes_under_its_own_topic_and_only_where_the_filter_matches() {
    both_ways(async |way| {
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&way.topic("+/b"), 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for (topic, matches) in [("a/b", true), ("a/c", false), ("b", false), ("c/b", true)] {
            alice.tells(QOS_1, &way.topic(topic), topic).await;
            if matches {
                bob.takes(QOS_1, &way.topic(topic), topic).await;
            }
        }
    })
    .await;
}

/// [MQTT-3.3.4-1]
#[tokio::test]
async fn the_answer_to_a_publish_is_that_of_its_qos() {
    let (port, topic) = (port().await, unique("answer"));
    let mut peer = Peer::login(port, &unique("answer")).await;
    peer.send(&publish(QOS_0, &topic, 0, "x")).await;
    peer.pings().await; // none
    peer.send(&publish(QOS_1, &topic, 5, "x")).await;
    peer.gets(&answer(PUBACK, 5)).await;
    peer.send(&publish(QOS_2, &topic, 6, "x")).await;
    peer.gets(&answer(PUBREC, 6)).await;
    peer.send(&answer(PUBREL, 6)).await;
    peer.gets(&answer(PUBCOMP, 6)).await;
    peer.pings().await;
}

/// [MQTT-3.3.5-1]
#[tokio::test]
async fn overlapping_filters_deliver_once_with_the_greatest_qos() {
    both_ways(async |way| {
        let topic = way.topic("a/b");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        for (filter, qos) in [("a/#", 0), ("a/b", 2), ("+/b", 1)] {
            bob.wants(&way.topic(filter), qos).await;
        }
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for flags in [QOS_2, QOS_1, QOS_0] {
            alice.tells(flags, &topic, "x").await;
            bob.takes(flags, &topic, "x").await;
        }
        alice.tells(QOS_1, &topic, "the end").await;
        bob.takes(QOS_1, &topic, "the end").await;
    })
    .await;
}

/// [MQTT-3.3.5-2]
#[tokio::test]
async fn what_may_not_be_published_is_answered_and_goes_nowhere() {
    both_ways(async |way| {
        let reserved = format!("$SYS/{}", way.topic("mine"));
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&reserved, 2).await;
        bob.wants(&way.topic("end"), 0).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for topic in [&reserved, "$link/x", "$"] {
            for flags in [QOS_0, QOS_1, QOS_2, QOS_1 | RETAIN] {
                alice.tells(flags, topic, "x").await;
            }
        }
        alice.tells(QOS_0, &way.topic("end"), "the end").await;
        bob.takes(QOS_0, &way.topic("end"), "the end").await;
        bob.send(&subscribe(9, &[(&reserved, 0)])).await;
        bob.gets(&suback(9, &[0])).await;
        bob.pings().await; // nor was it retained
    })
    .await;
}

/// A payload may be empty, or any bytes, up to the size of a packet (3.3.3).
#[tokio::test]
async fn a_payload_of_any_length_comes_unchanged() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for length in [0, 1, 100, 127, 128, 16_383, 16_384, 200_000, 2_000_000] {
            let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
            alice.tells(QOS_1, &topic, &payload).await;
            let message = bob.message().await;
            assert!(message.payload == payload, "{length} bytes came otherwise");
            bob.answers(QOS_1, message.id).await;
        }
    })
    .await;
}

/// [MQTT-3.6.1-1]
#[tokio::test]
async fn a_pubrel_with_other_flags_closes_the_connection() {
    let (port, topic) = (port().await, unique("release"));
    for flags in (0..16).filter(|flags| *flags != 2) {
        let mut peer = Peer::login(port, &unique("release")).await;
        peer.send(&publish(QOS_2, &topic, 1, "x")).await;
        peer.gets(&answer(PUBREC, 1)).await;
        peer.send(&answer(0x60 | flags, 1)).await;
        peer.closed().await;
    }
}
