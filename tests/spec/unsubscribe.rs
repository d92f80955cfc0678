//! 3.10 UNSUBSCRIBE and 3.11 UNSUBACK.

use crate::{
    bytes::{
        DUP, PUBACK, PUBCOMP, PUBREC, PUBREL, QOS_0, QOS_1, QOS_2, UNSUBACK, answer, field, packet,
        suback, subscribe, unsubscribe,
    },
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// [MQTT-3.10.1-1]
#[tokio::test]
async fn an_unsubscribe_with_other_flags_closes_the_connection() {
    let port = port().await;
    for flags in (0..16).filter(|flags| *flags != 2) {
        let mut wrong = unsubscribe(1, &["a"]);
        wrong[0] = 0xa0 | flags;
        let mut peer = Peer::login(port, &unique("flags")).await;
        peer.send(&wrong).await;
        peer.closed().await;
    }
}

/// [MQTT-3.10.3-1]
#[tokio::test]
async fn filters_that_are_no_utf_8_or_not_packed_close_the_connection() {
    let port = port().await;
    let right = field("right");
    for rest in [&field(b"\xff")[..], &field(b"a\0"), b"x", &[0, 9, b'x'], &field("a#")] {
        let mut peer = Peer::login(port, &unique("utf8")).await;
        peer.send(&packet(0xa2, &[&[0, 1], &right[..], rest].concat())).await;
        peer.closed().await;
    }
}

/// [MQTT-3.10.3-2]
#[tokio::test]
async fn an_unsubscribe_without_a_filter_closes_the_connection() {
    let mut peer = Peer::login(port().await, &unique("none")).await;
    peer.send(&packet(0xa2, &[0, 1])).await;
    peer.closed().await;
}

/// [MQTT-3.10.4-1]
#[tokio::test]
async fn a_filter_is_given_up_only_by_its_own_characters() {
    both_ways(async |way| {
        let topic = way.topic("a/b");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&way.topic("a/+"), 1).await;
        let others = ["a/b", "a/#", "#", "+/+", "A/+", "a/+/", "/a/+"].map(|rest| way.topic(rest));
        let others = others.each_ref().map(|other| &**other);
        bob.send(&unsubscribe(8, &others)).await;
        bob.gets(&answer(UNSUBACK, 8)).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_1, &topic, "still").await;
        bob.takes(QOS_1, &topic, "still").await;
        bob.send(&unsubscribe(9, &[&way.topic("a/+")])).await;
        bob.gets(&answer(UNSUBACK, 9)).await;
        alice.tells(QOS_1, &topic, "no longer").await;
        bob.wants(&topic, 1).await;
        alice.tells(QOS_1, &topic, "the end").await;
        bob.takes(QOS_1, &topic, "the end").await;
    })
    .await;
}

/// [MQTT-3.10.4-2]
#[tokio::test]
async fn nothing_more_comes_for_a_filter_given_up() {
    both_ways(async |way| {
        let (topic, other) = (way.topic("a"), way.topic("b"));
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 2).await;
        bob.wants(&other, 0).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_1, &topic, "before").await;
        bob.takes(QOS_1, &topic, "before").await;
        bob.send(&unsubscribe(9, &[&topic])).await;
        bob.gets(&answer(UNSUBACK, 9)).await;
        for flags in [QOS_0, QOS_1, QOS_2] {
            alice.tells(flags, &topic, "after").await;
        }
        alice.tells(QOS_1, &other, "the end").await;
        bob.takes(QOS_0, &other, "the end").await;
    })
    .await;
}

/// [MQTT-3.10.4-3]
#[tokio::test]
async fn what_was_being_delivered_is_delivered_to_the_end() {
    both_ways(async |way| {
        let (topic, id) = (way.topic("a"), way.id("bob"));
        let mut bob = Peer::begin(way.here, &id).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_1, &topic, "one").await;
        alice.tells(QOS_2, &topic, "two").await;
        let one = bob.finds(QOS_1, &topic, "one").await;
        let two = bob.finds(QOS_2, &topic, "two").await;
        bob.send(&unsubscribe(9, &[&topic])).await;
        bob.gets(&answer(UNSUBACK, 9)).await;
        drop(bob);
        let mut bob = Peer::resume(way.there, &id).await;
        assert_eq!(bob.finds(QOS_1 | DUP, &topic, "one").await, one);
        assert_eq!(bob.finds(QOS_2 | DUP, &topic, "two").await, two);
        bob.send(&answer(PUBACK, one)).await;
        bob.send(&answer(PUBREC, two)).await;
        bob.gets(&answer(PUBREL, two)).await;
        bob.send(&answer(PUBCOMP, two)).await;
        bob.pings().await;
    })
    .await;
}

/// [MQTT-3.10.4-4] [MQTT-3.10.4-5]
#[tokio::test]
async fn every_unsubscribe_has_its_unsuback_whether_or_not_anything_was_held() {
    let mut peer = Peer::login(port().await, &unique("none")).await;
    for id in [1, 500, 65_535] {
        peer.send(&unsubscribe(id, &["never/held", "nor/this/#"])).await;
        peer.gets(&answer(UNSUBACK, id)).await;
    }
    peer.send(&unsubscribe(7, &["$link/#"])).await;
    peer.gets(&answer(UNSUBACK, 7)).await;
}

/// [MQTT-3.10.4-6]
#[tokio::test]
async fn many_filters_are_given_up_with_one_answer() {
    both_ways(async |way| {
        let topics = [way.topic("a"), way.topic("b"), way.topic("c")];
        let [a, b, c] = topics.each_ref().map(|topic| &**topic);
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.send(&subscribe(1, &[(a, 0), (b, 1), (c, 0)])).await;
        bob.gets(&suback(1, &[0, 1, 0])).await;
        bob.send(&unsubscribe(9, &[a, "not held", b, a])).await;
        bob.gets(&answer(UNSUBACK, 9)).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for topic in [a, b, c] {
            alice.tells(QOS_1, topic, "x").await;
        }
        bob.takes(QOS_0, c, "x").await;
        bob.pings().await;
    })
    .await;
}
