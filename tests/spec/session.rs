//! Clean session (3.1.2.4), and how long a session lasts (4.1).

use std::time::{Duration, Instant};

use crate::{
    bytes::{
        DUP, PUBCOMP, PUBREC, PUBREL, QOS_0, QOS_1, QOS_2, RETAIN, UNSUBACK, answer, connack,
        connect, publish, unsubscribe,
    },
    peer::Peer,
    stage::both_ways,
};

/// [MQTT-3.1.2-4]
#[tokio::test]
async fn clean_session_0_goes_on_where_the_session_was() {
    both_ways(async |way| {
        let (id, topic, other) = (way.id("bob"), way.topic("a/+"), way.topic("b"));
        let mut bob = Peer::begin(way.here, &id).await;
        bob.wants(&topic, 2).await;
        bob.wants(&other, 1).await;
        bob.send(&unsubscribe(9, &[&other])).await;
        bob.gets(&answer(UNSUBACK, 9)).await;
        drop(bob);
        let mut bob = Peer::resume(way.there, &id).await;
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        publisher.tells(QOS_1, &other, "no longer").await;
        publisher.tells(QOS_2, &way.topic("a/b"), "live").await;
        bob.takes(QOS_2, &way.topic("a/b"), "live").await;
    })
    .await;
}

/// [MQTT-3.1.2-5]
#[tokio::test]
async fn messages_of_qos_1_and_2_wait_for_a_client_that_is_away() {
    both_ways(async |way| {
        let (id, topic) = (way.id("bob"), way.topic("a"));
        let mut bob = Peer::begin(way.here, &id).await;
        bob.wants(&topic, 2).await;
        bob.wants(&way.topic("low"), 0).await;
        bob.send(&[0xe0, 0]).await;
        bob.closed().await;
        let mut here = Peer::login(way.here, &way.id("alice")).await;
        let mut there = Peer::login(way.there, &way.id("carol")).await;
        here.tells(QOS_1, &topic, "one").await;
        there.tells(QOS_2, &topic, "two").await;
        here.tells(QOS_1, &way.topic("low"), "of QoS 0 by now").await;
        there.tells(QOS_1, &topic, "three").await;
        let mut bob = Peer::resume(way.there, &id).await;
        bob.takes(QOS_1, &topic, "one").await;
        bob.takes(QOS_2, &topic, "two").await;
        bob.takes(QOS_1, &topic, "three").await;
        bob.pings().await;
        drop(bob);
        Peer::resume(way.here, &id).await.pings().await; // and each of them once
    })
    .await;
}

/// [MQTT-3.1.2-6]
#[tokio::test]
async fn clean_session_1_leaves_and_finds_nothing() {
    both_ways(async |way| {
        let (id, topic) = (way.id("bob"), way.topic("a"));
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        let mut bob = Peer::begin(way.here, &id).await;
        bob.wants(&topic, 1).await;
        drop(bob);
        publisher.tells(QOS_1, &topic, "to nobody soon").await;
        let mut clean = Peer::login(way.there, &id).await;
        publisher.tells(QOS_1, &topic, "to nobody").await;
        clean.wants(&topic, 1).await;
        publisher.tells(QOS_1, &topic, "to the new one").await;
        clean.finds(QOS_1, &topic, "to the new one").await;
        drop(clean);
        let mut bob = Peer::begin(way.here, &id).await;
        publisher.tells(QOS_1, &topic, "to nobody again").await;
        bob.pings().await;
    })
    .await;
}

/// [MQTT-3.1.2-7]
#[tokio::test]
async fn retained_messages_outlive_the_session_that_left_them() {
    both_ways(async |way| {
        let (clean, durable) = (way.topic("clean"), way.topic("durable"));
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        publisher.tells(QOS_1 | RETAIN, &clean, "still here").await;
        drop(publisher);
        let id = way.id("carol");
        let mut publisher = Peer::begin(way.here, &id).await;
        publisher.tells(QOS_1 | RETAIN, &durable, "still here").await;
        drop(publisher);
        drop(Peer::enter(way.here, &connect(&id), &connack(0)).await);
        let mut subscriber = Peer::login(way.there, &way.id("bob")).await;
        subscriber.wants(&clean, 1).await;
        subscriber.takes(QOS_1 | RETAIN, &clean, "still here").await;
        subscriber.wants(&durable, 1).await;
        subscriber.takes(QOS_1 | RETAIN, &durable, "still here").await;
    })
    .await;
}

/// [MQTT-4.1.0-1] Of a server's list in 4.1: subscriptions, messages sent and not acknowledged,
/// messages that wait, and identifiers of QoS 2 messages received and not released.
#[tokio::test]
async fn every_part_of_a_session_is_kept_while_its_client_is_away() {
    both_ways(async |way| {
        let (id, topic, own) = (way.id("bob"), way.topic("a"), way.topic("own"));
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.wants(&own, 2).await;
        let mut bob = Peer::begin(way.here, &id).await;
        bob.wants(&topic, 2).await;
        alice.tells(QOS_1, &topic, "sent").await;
        alice.tells(QOS_2, &topic, "released").await;
        let sent = bob.finds(QOS_1, &topic, "sent").await;
        let released = bob.finds(QOS_2, &topic, "released").await;
        bob.send(&answer(PUBREC, released)).await;
        bob.gets(&answer(PUBREL, released)).await;
        bob.send(&publish(QOS_2, &own, 77, "once")).await;
        bob.gets(&answer(PUBREC, 77)).await;
        drop(bob);
        alice.takes(QOS_2, &own, "once").await;
        alice.tells(QOS_1, &topic, "waiting").await;

        let mut bob = Peer::resume(way.there, &id).await;
        // Releases and messages may come in any order to one another.
        bob.awaits(&answer(PUBREL, released)).await;
        assert_eq!(bob.finds(QOS_1 | DUP, &topic, "sent").await, sent);
        bob.finds(QOS_1, &topic, "waiting").await;
        bob.send(&answer(PUBCOMP, released)).await;
        bob.send(&publish(QOS_2 | DUP, &own, 77, "once")).await;
        bob.gets(&answer(PUBREC, 77)).await;
        bob.send(&answer(PUBREL, 77)).await;
        bob.gets(&answer(PUBCOMP, 77)).await;
        bob.tells(QOS_2, &own, "the end").await;
        alice.takes(QOS_2, &own, "the end").await; // and not "once" once more
    })
    .await;
}

/// [MQTT-4.1.0-2]
#[tokio::test]
async fn a_session_lasts_as_long_as_its_connection() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login_for(way.there, &way.id("bob"), 1).await;
        bob.wants(&topic, 1).await;
        // Others with the same filter come and go; time passes beyond the keep-alive.
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(3) {
            let mut other = Peer::login(way.there, &way.id("other")).await;
            other.wants(&topic, 1).await;
            bob.pings().await;
            tokio::time::sleep(Duration::from_millis(250)).await; // pacing: pings
        }
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_0, &topic, "still here").await;
        bob.takes(QOS_0, &topic, "still here").await;
    })
    .await;
}
