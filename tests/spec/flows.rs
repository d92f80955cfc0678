//! 4.3 to 4.5: the flows of the three QoS, what is sent again, and who gets a message.

use crate::{
    bytes::{DUP, PUBACK, PUBCOMP, PUBREC, PUBREL, QOS_0, QOS_1, QOS_2, answer, publish},
    peer::{Peer, read_publish},
    stage::{both_ways, port, unique},
};

/// [MQTT-4.3.1-1] Without an answer, and never twice.
#[tokio::test]
async fn a_message_of_qos_0_is_sent_once_and_not_again() {
    both_ways(async |way| {
        let (id, topic) = (way.id("bob"), way.topic("a"));
        let mut bob = Peer::begin(way.here, &id).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_0, &topic, "x").await;
        bob.gets(&publish(QOS_0, &topic, 0, "x")).await;
        drop(bob);
        Peer::resume(way.there, &id).await.pings().await;
    })
    .await;
}

/// [MQTT-4.3.2-1]
#[tokio::test]
async fn a_message_of_qos_1_is_unacknowledged_until_its_puback() {
    both_ways(async |way| {
        let (bob_id, topic) = (way.id("bob"), way.topic("a"));
        let mut bob = Peer::begin(way.here, &bob_id).await;
        bob.wants(&topic, 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_1, &topic, "one").await;
        alice.tells(QOS_1, &topic, "two").await;
        let one = bob.finds(QOS_1, &topic, "one").await;
        let two = bob.finds(QOS_1, &topic, "two").await;
        assert_ne!(one, two);
        // Answers of another flow are none.
        bob.send(&answer(PUBCOMP, one)).await;
        bob.send(&answer(PUBACK, two)).await;
        bob.pings().await;
        drop(bob);
        let mut bob = Peer::resume(way.there, &bob_id).await;
        assert_eq!(bob.finds(DUP | QOS_1, &topic, "one").await, one);
        bob.send(&answer(PUBACK, one)).await;
        bob.pings().await;
        drop(bob);
        Peer::resume(way.here, &bob_id).await.pings().await;
    })
    .await;
}

/// [MQTT-4.3.2-2]
#[tokio::test]
async fn after_puback_the_same_identifier_is_a_new_message_with_dup_or_without() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for flags in [QOS_1, QOS_1 | DUP, QOS_1] {
            alice.send(&publish(flags, &topic, 7, "x")).await;
            alice.gets(&answer(PUBACK, 7)).await;
            bob.takes(QOS_1, &topic, "x").await;
        }
    })
    .await;
}

/// [MQTT-4.3.3-1]
#[tokio::test]
async fn a_message_of_qos_2_is_released_after_pubrec_and_not_sent_again() {
    both_ways(async |way| {
        let (bob_id, topic) = (way.id("bob"), way.topic("a"));
        let mut bob = Peer::begin(way.here, &bob_id).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_2, &topic, "x").await;
        let id = bob.finds(QOS_2, &topic, "x").await;
        bob.send(&answer(PUBACK, id)).await; // no answer to QoS 2
        drop(bob);
        let mut bob = Peer::resume(way.there, &bob_id).await;
        assert_eq!(bob.finds(DUP | QOS_2, &topic, "x").await, id);
        bob.send(&answer(PUBREC, id)).await;
        bob.gets(&answer(PUBREL, id)).await;
        drop(bob);
        let mut bob = Peer::resume(way.here, &bob_id).await;
        bob.gets(&answer(PUBREL, id)).await; // and not PUBLISH
        bob.send(&answer(PUBCOMP, id)).await;
        bob.pings().await;
        drop(bob);
        Peer::resume(way.there, &bob_id).await.pings().await;
    })
    .await;
}

/// [MQTT-4.3.3-1] A PUBREC that is repeated has its PUBREL each time.
#[tokio::test]
async fn every_pubrec_is_answered_by_pubrel() {
    let mut peer = Peer::login(port().await, &unique("bob")).await;
    for id in [1, 1, 60_000] {
        peer.send(&answer(PUBREC, id)).await;
        peer.gets(&answer(PUBREL, id)).await;
    }
}

/// [MQTT-4.3.3-2]
#[tokio::test]
async fn a_message_of_qos_2_is_passed_on_once_until_its_release() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for payload in ["first", "second"] {
            for flags in [QOS_2, QOS_2 | DUP, QOS_2] {
                alice.send(&publish(flags, &topic, 7, payload)).await;
                alice.gets(&answer(PUBREC, 7)).await;
            }
            for _ in 0..2 {
                alice.send(&answer(PUBREL, 7)).await;
                alice.gets(&answer(PUBCOMP, 7)).await;
            }
            bob.takes(QOS_2, &topic, payload).await;
        }
    })
    .await;
}

/// [MQTT-4.3.3-2] Also over the end of a connection, and on another node.
#[tokio::test]
async fn a_message_of_qos_2_repeated_after_a_reconnect_is_passed_on_once() {
    both_ways(async |way| {
        let (alice_id, topic) = (way.id("alice"), way.topic("a"));
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::begin(way.here, &alice_id).await;
        alice.send(&publish(QOS_2, &topic, 7, "once")).await;
        alice.gets(&answer(PUBREC, 7)).await;
        drop(alice);
        let mut alice = Peer::resume(way.there, &alice_id).await;
        alice.send(&publish(QOS_2 | DUP, &topic, 7, "once")).await;
        alice.gets(&answer(PUBREC, 7)).await;
        alice.send(&answer(PUBREL, 7)).await;
        alice.gets(&answer(PUBCOMP, 7)).await;
        alice.send(&publish(QOS_2, &topic, 7, "new")).await;
        alice.gets(&answer(PUBREC, 7)).await;
        bob.takes(QOS_2, &topic, "once").await;
        bob.takes(QOS_2, &topic, "new").await;
    })
    .await;
}

/// [MQTT-4.4.0-1] [MQTT-4.6.0-1]
#[tokio::test]
async fn all_that_is_unacknowledged_is_sent_again_in_its_order_with_its_identifiers() {
    both_ways(async |way| {
        let (bob_id, topic) = (way.id("bob"), way.topic("a"));
        let mut bob = Peer::begin(way.here, &bob_id).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        let mut sent = Vec::new();
        for number in 0..12_u8 {
            let flags = if number % 3 == 0 { QOS_2 } else { QOS_1 };
            alice.tells(flags, &topic, number.to_string()).await;
            let id = bob.finds(flags, &topic, &number.to_string()).await;
            sent.push((number.to_string(), flags, id));
        }
        // The fourth is answered, the first and the last of QoS 2 are half answered.
        let (_, flags, id) = sent.remove(4);
        bob.answers(flags, id).await;
        let released = [sent.remove(8).2, sent.remove(0).2];
        for id in released {
            bob.send(&answer(PUBREC, id)).await;
            bob.gets(&answer(PUBREL, id)).await;
        }
        drop(bob);
        let mut bob = Peer::resume(way.there, &bob_id).await;
        let (mut pubrels, mut again) = (Vec::new(), Vec::new());
        while pubrels.len() + again.len() < sent.len() + released.len() {
            let packet = bob.packet().await.expect("a packet");
            if packet[0] == PUBREL {
                pubrels.push(u16::from_be_bytes([packet[2], packet[3]]));
                continue;
            }
            let message = read_publish(&packet);
            let payload = String::from_utf8(message.payload).unwrap();
            again.push((payload, message.flags & !DUP, message.id));
            assert_ne!(message.flags & DUP, 0);
        }
        assert_eq!(again, sent);
        pubrels.sort_unstable();
        let mut released = released;
        released.sort_unstable();
        assert_eq!(pubrels, released);
    })
    .await;
}

/// [MQTT-4.5.0-1]
#[tokio::test]
async fn a_message_reaches_every_client_with_a_matching_filter_here_and_away() {
    both_ways(async |way| {
        let topic = way.topic("a/b");
        let filters = ["a/b", "a/+", "a/#", "#", "+/b"];
        let mut clients = Vec::new();
        for (number, filter) in filters.iter().enumerate() {
            let port = if number % 2 == 0 { way.here } else { way.there };
            let (present, away) = (way.id("present"), way.id("away"));
            let mut here = Peer::login(port, &present).await;
            here.wants(&way.topic(filter), 1).await;
            let mut gone = Peer::begin(port, &away).await;
            gone.wants(&way.topic(filter), 1).await;
            drop(gone);
            clients.push((port, here, away));
        }
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        publisher.wants(&topic, 1).await;
        let id = publisher.next_id();
        publisher.send(&publish(QOS_1, &topic, id, "to all")).await;
        let mut came = [publisher.packet().await.unwrap(), publisher.packet().await.unwrap()];
        came.sort_unstable(); // its own copy, and PUBACK
        assert_eq!((came[0][0], &came[1][..]), (0x32, &answer(PUBACK, id)[..]));
        for (port, mut present, away) in clients {
            present.takes(QOS_1, &topic, "to all").await;
            Peer::resume(port, &away).await.takes(QOS_1, &topic, "to all").await;
        }
    })
    .await;
}
