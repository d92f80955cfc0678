//! 3.8 SUBSCRIBE and 3.9 SUBACK.

use crate::{
    bytes::{QOS_0, QOS_1, QOS_2, RETAIN, field, packet, publish, suback, subscribe},
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// [MQTT-3.8.1-1]
#[tokio::test]
async fn a_subscribe_with_other_flags_closes_the_connection() {
    let (port, topic) = (port().await, unique("flags"));
    for flags in (0..16).filter(|flags| *flags != 2) {
        let mut wrong = subscribe(1, &[(&topic, 0)]);
        wrong[0] = 0x80 | flags;
        let mut peer = Peer::login(port, &unique("flags")).await;
        peer.send(&wrong).await;
        peer.closed().await;
    }
}

/// [MQTT-3.8.3-1]
#[tokio::test]
async fn a_filter_that_is_no_utf_8_closes_the_connection() {
    let port = port().await;
    for filter in [&b"\xff"[..], b"a\xed\xa0\x80", b"a\0b", b"\xc3"] {
        let body = [&[0, 1][..], &field("right"), &[0], &field(filter), &[0]].concat();
        let mut peer = Peer::login(port, &unique("utf8")).await;
        peer.send(&packet(0x82, &body)).await;
        peer.closed().await;
    }
}

/// [MQTT-3.8.3-2] Choice: filters with wildcards are supported.
#[tokio::test]
async fn filters_with_wildcards_are_granted() {
    both_ways(async |way| {
        let (plus, hash) = (way.topic("+/b"), way.topic("c/#"));
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.send(&subscribe(1, &[(&plus, 1), (&hash, 1)])).await;
        bob.gets(&suback(1, &[1, 1])).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for topic in ["a/b", "c", "c/d/e"] {
            alice.tells(QOS_1, &way.topic(topic), topic).await;
            bob.takes(QOS_1, &way.topic(topic), topic).await;
        }
    })
    .await;
}

/// [MQTT-3.8.3-3]
#[tokio::test]
async fn a_subscribe_without_a_filter_closes_the_connection() {
    let mut peer = Peer::login(port().await, &unique("none")).await;
    peer.send(&packet(0x82, &[0, 1])).await;
    peer.closed().await;
}

/// [MQTT-3.8.3-4] The standard prints it as MQTT-3-8.3-4.
#[tokio::test]
async fn a_qos_of_3_or_a_reserved_bit_closes_the_connection() {
    let (port, topic) = (port().await, unique("options"));
    for options in [3, 4, 5, 0x10, 0x20, 0x41, 0x80, 0xff] {
        for filters in [&[(&*topic, options)][..], &[("right", 0), (&topic, options)]] {
            let mut peer = Peer::login(port, &unique("options")).await;
            peer.send(&subscribe(1, filters)).await;
            peer.closed().await;
        }
    }
}

/// [MQTT-3.8.4-1] [MQTT-3.8.4-2]
#[tokio::test]
async fn every_subscribe_has_its_suback() {
    let (port, topic) = (port().await, unique("many"));
    let mut peer = Peer::login(port, &unique("many")).await;
    let ids = [1, 500, 65_535];
    let all: Vec<u8> = ids.iter().flat_map(|id| subscribe(*id, &[(&topic, 1)])).collect();
    peer.send(&all).await;
    let mut answered = Vec::new();
    for _ in ids {
        let packet = peer.packet().await.expect("a SUBACK");
        answered.push(packet);
    }
    answered.sort_unstable();
    assert_eq!(answered, ids.map(|id| suback(id, &[1])));
}

/// [MQTT-3.8.4-3]
#[tokio::test]
async fn a_filter_held_already_is_replaced_and_nothing_is_lost_meanwhile() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for (qos, flags) in [(0, QOS_0), (2, QOS_2), (1, QOS_1), (0, QOS_0)] {
            bob.wants(&topic, qos).await;
            alice.tells(QOS_2, &topic, "once").await;
            bob.takes(flags, &topic, "once").await;
        }
        // While the subscription is renewed again and again, every message comes, once.
        bob.wants(&topic, 1).await;
        for number in 1..=50_u16 {
            bob.send(&subscribe(number, &[(&topic, 1)])).await;
            alice.tells(QOS_1, &topic, number.to_string()).await;
        }
        let (mut subacks, mut numbers) = (0, Vec::new());
        while subacks < 50 || numbers.len() < 50 {
            let packet = bob.packet().await.expect("a packet");
            if packet[0] == 0x90 {
                subacks += 1;
                continue;
            }
            assert_eq!(packet[0], 0x30 | QOS_1);
            let content = &packet[2 + 2 + topic.len()..];
            bob.answers(QOS_1, u16::from_be_bytes([content[0], content[1]])).await;
            numbers.push(String::from_utf8_lossy(&content[2..]).into_owned());
        }
        let expected: Vec<String> = (1..=50).map(|number: u16| number.to_string()).collect();
        assert_eq!(numbers, expected);
    })
    .await;
}

/// [MQTT-3.8.4-3] What is retained comes again.
#[tokio::test]
async fn what_is_retained_is_sent_again_to_a_filter_held_already() {
    both_ways(async |way| {
        let topic = way.topic("a");
        Peer::login(way.here, &way.id("alice")).await.tells(QOS_1 | RETAIN, &topic, "x").await;
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        for qos in [1, 1, 0] {
            bob.wants(&topic, qos).await;
            let flags = if qos == 0 { QOS_0 } else { QOS_1 };
            bob.takes(flags | RETAIN, &topic, "x").await;
        }
    })
    .await;
}

/// [MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
#[tokio::test]
async fn many_filters_have_one_suback_with_a_code_for_each_in_their_order() {
    both_ways(async |way| {
        let (a, b, c) = (way.topic("a"), way.topic("b/+"), way.topic("c/#"));
        let deep = "x/".repeat(200) + "x";
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        let filters =
            [(&*a, 2), ("$link/#", 0), (&*b, 0), (&*deep, 1), (&*c, 1), ("$link/x", 2), (&*a, 1)];
        bob.send(&subscribe(77, &filters)).await;
        bob.gets(&suback(77, &[2, 0x80, 0, 0x80, 1, 0x80, 1])).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for (topic, flags) in [("a", QOS_1), ("b/x", QOS_0), ("c/x/y", QOS_1)] {
            alice.tells(QOS_2, &way.topic(topic), topic).await;
            bob.takes(flags, &way.topic(topic), topic).await;
        }
    })
    .await;
}

/// [MQTT-3.8.4-6]
#[tokio::test]
async fn a_message_comes_with_the_smaller_of_the_two_qos() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for granted in [0, 1, 2] {
            let mut bob = Peer::login(way.there, &way.id("bob")).await;
            bob.wants(&topic, granted).await;
            for published in [0, 1, 2] {
                alice.tells(published << 1, &topic, "x").await;
                bob.takes(published.min(granted) << 1, &topic, "x").await;
            }
        }
    })
    .await;
}

/// [MQTT-3.8.4-4] A thousand in one packet.
#[tokio::test]
async fn a_subscribe_for_a_thousand_filters_is_granted_whole() {
    both_ways(async |way| {
        let names: Vec<String> = (0..1_000).map(|n| way.topic(&format!("{n}/+"))).collect();
        let filters: Vec<(&str, u8)> = names.iter().map(|name| (&**name, 1)).collect();
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.send(&subscribe(1, &filters)).await;
        bob.gets(&suback(1, &[1; 1_000])).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.send(&publish(QOS_0, &way.topic("999/x"), 0, "x")).await;
        bob.takes(QOS_0, &way.topic("999/x"), "x").await;
    })
    .await;
}
