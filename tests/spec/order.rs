//! 4.6: what stays in order.

use crate::{
    bytes::{PUBACK, PUBCOMP, PUBREC, PUBREL, QOS_0, QOS_1, QOS_2, answer, publish},
    peer::{Peer, read_publish},
    stage::both_ways,
};

/// [MQTT-4.6.0-2] [MQTT-4.6.0-3] They bind the client; the node keeps to them too, though some
/// messages must be safe on another node first.
#[tokio::test]
async fn answers_come_in_the_order_of_the_messages() {
    both_ways(async |way| {
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&way.topic("wanted"), 0).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for (flags, kind) in [(QOS_1, PUBACK), (QOS_2, PUBREC)] {
            let message = |id: u16| {
                let name = if id.is_multiple_of(2) { "wanted" } else { "unwanted" };
                publish(flags, &way.topic(name), id, "x")
            };
            alice.send(&(1..=60).flat_map(message).collect::<Vec<_>>()).await;
            for id in 1..=60 {
                alice.gets(&answer(kind, id)).await;
            }
        }
        let releases: Vec<u8> = (1..=60).flat_map(|id| answer(PUBREL, id)).collect();
        alice.send(&releases).await;
        for id in 1..=60 {
            alice.gets(&answer(PUBCOMP, id)).await;
        }
    })
    .await;
}

/// [MQTT-4.6.0-4]
#[tokio::test]
async fn releases_come_in_the_order_of_the_pubrecs() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        let mut ids = Vec::new();
        for _ in 0..10 {
            alice.tells(QOS_2, &topic, "x").await;
            ids.push(bob.finds(QOS_2, &topic, "x").await);
        }
        ids.rotate_left(3);
        ids.swap(0, 5);
        let pubrecs: Vec<u8> = ids.iter().flat_map(|id| answer(PUBREC, *id)).collect();
        bob.send(&pubrecs).await;
        for id in ids {
            bob.gets(&answer(PUBREL, id)).await;
        }
    })
    .await;
}

/// [MQTT-4.6.0-5] [MQTT-4.6.0-6] Choice: every topic is ordered, without an exception.
#[tokio::test]
async fn messages_of_one_client_topic_and_qos_come_in_their_order() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        let mut carol = Peer::login(way.there, &way.id("carol")).await;
        let message = |who: &str, number: u16| {
            let flags = [QOS_0, QOS_1, QOS_2][usize::from(number % 3)];
            publish(flags, &topic, number + 1, format!("{who} {number}"))
        };
        for number in (0..90).step_by(10) {
            for (peer, who) in [(&mut alice, "alice"), (&mut carol, "carol")] {
                let burst = (number..number + 10).flat_map(|number| message(who, number));
                peer.send(&burst.collect::<Vec<_>>()).await;
            }
        }
        let mut streams = std::collections::BTreeMap::<(String, u8), Vec<u16>>::new();
        let mut count = 0;
        while count < 180 {
            let packet = bob.packet().await.expect("a packet");
            if packet[0] == PUBREL {
                bob.send(&answer(PUBCOMP, u16::from_be_bytes([packet[2], packet[3]]))).await;
                continue;
            }
            let message = read_publish(&packet);
            match message.flags {
                QOS_1 => bob.send(&answer(PUBACK, message.id)).await,
                QOS_2 => bob.send(&answer(PUBREC, message.id)).await,
                _ => {}
            }
            let text = String::from_utf8(message.payload).unwrap();
            let (who, number) = text.split_once(' ').unwrap();
            let stream = streams.entry((who.to_owned(), message.flags)).or_default();
            stream.push(number.parse().unwrap());
            count += 1;
        }
        for ((who, flags), numbers) in streams {
            assert!(numbers.is_sorted() && numbers.len() == 30, "{who} {flags}: {numbers:?}");
        }
    })
    .await;
}

/// [MQTT-4.6.0-6] Also where a backlog and live messages meet.
#[tokio::test]
async fn what_waited_comes_before_what_is_live() {
    both_ways(async |way| {
        let (id, topic) = (way.id("bob"), way.topic("a"));
        let mut bob = Peer::begin(way.there, &id).await;
        bob.wants(&topic, 1).await;
        drop(bob);
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for number in 0..100 {
            alice.tells(QOS_1, &topic, number.to_string()).await;
        }
        let mut bob = Peer::resume(way.there, &id).await;
        for number in 100..150 {
            alice.tells(QOS_1, &topic, number.to_string()).await;
        }
        for number in 0..150 {
            bob.takes(QOS_1, &topic, &number.to_string()).await;
        }
        bob.pings().await;
    })
    .await;
}
