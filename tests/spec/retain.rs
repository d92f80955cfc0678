//! RETAIN (3.3.1.3).

use crate::{
    bytes::{QOS_0, QOS_1, QOS_2, RETAIN, publish, suback, subscribe},
    peer::Peer,
    stage::{Way, both_ways},
};

/// A new client that subscribes to a filter and waits for nothing.
async fn newcomer(port: u16, way: &Way, filter: &str, qos: u8) -> Peer {
    let mut newcomer = Peer::login(port, &way.id("newcomer")).await;
    newcomer.wants(filter, qos).await;
    newcomer
}

/// Nothing is retained on a topic, on either node.
async fn is_empty(way: &Way, topic: &str) {
    let mark = way.topic(&way.id("mark"));
    Peer::login(way.here, &way.id("marker")).await.tells(QOS_1 | RETAIN, &mark, "mark").await;
    for port in [way.here, way.there] {
        let mut newcomer = newcomer(port, way, topic, 2).await;
        newcomer.wants(&mark, 0).await;
        newcomer.takes(QOS_0 | RETAIN, &mark, "mark").await;
    }
}

/// [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8]
#[tokio::test]
async fn a_retained_message_is_sent_to_whoever_subscribes_later() {
    both_ways(async |way| {
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for (flags, name) in [(QOS_1, "one"), (QOS_2, "two")] {
            let topic = way.topic(name);
            alice.tells(flags | RETAIN, &topic, name).await;
            for port in [way.here, way.there] {
                let mut bob = newcomer(port, &way, &topic, 2).await;
                bob.takes(flags | RETAIN, &topic, name).await;
            }
        }
    })
    .await;
}

/// [MQTT-3.3.1-6] The last one only, of every topic that matches, at the smaller QoS.
#[tokio::test]
async fn the_last_message_of_each_matching_topic_is_sent() {
    both_ways(async |way| {
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for name in ["a", "b", "b/c"] {
            alice.tells(QOS_2 | RETAIN, &way.topic(name), "old").await;
            alice.tells(QOS_1 | RETAIN, &way.topic(name), name).await;
        }
        for (filter, qos, expected) in [
            ("#", 2, &["a", "b", "b/c"][..]),
            ("+", 0, &["a", "b"]),
            ("b", 1, &["b"]),
            ("+/c", 1, &["b/c"]),
            ("c", 1, &[]),
        ] {
            let mut bob = newcomer(way.there, &way, &way.topic(filter), qos).await;
            let mut names = Vec::new();
            for _ in expected {
                let message = bob.message().await;
                let flags = if qos == 0 { QOS_0 } else { QOS_1 };
                assert_eq!(message.flags, flags | RETAIN, "{filter}");
                bob.answers(message.flags, message.id).await;
                names.push(String::from_utf8(message.payload).unwrap());
            }
            names.sort_unstable();
            assert_eq!(names, expected, "{filter}");
            bob.pings().await;
        }
    })
    .await;
}

/// [MQTT-3.3.1-7] Choice: the message of QoS 0 is kept, as one of QoS 1 would be.
#[tokio::test]
async fn a_retained_message_of_qos_0_replaces_the_one_before() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut watcher = newcomer(way.there, &way, &topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_1 | RETAIN, &topic, "old").await;
        alice.tells(QOS_0 | RETAIN, &topic, "new").await;
        watcher.takes(QOS_1, &topic, "old").await;
        watcher.takes(QOS_0, &topic, "new").await;
        newcomer(way.there, &way, &topic, 2).await.takes(QOS_0 | RETAIN, &topic, "new").await;
    })
    .await;
}

/// [MQTT-3.3.1-9]
#[tokio::test]
async fn a_live_message_comes_without_retain_whatever_it_said() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = newcomer(way.there, &way, &topic, 2).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for flags in [QOS_0, QOS_1, QOS_2] {
            alice.tells(flags | RETAIN, &topic, "live").await;
            bob.takes(flags, &topic, "live").await;
        }
        alice.tells(QOS_1 | RETAIN, &topic, "").await;
        bob.takes(QOS_1, &topic, "").await;
    })
    .await;
}

/// [MQTT-3.3.1-10] [MQTT-3.3.1-11]
#[tokio::test]
async fn an_empty_retained_message_is_passed_on_and_removes_what_was() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = newcomer(way.there, &way, &topic, 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for payload in ["", "there", "", ""] {
            alice.tells(QOS_1 | RETAIN, &topic, payload).await;
            bob.takes(QOS_1, &topic, payload).await;
        }
        is_empty(&way, &topic).await;
        alice.tells(QOS_1 | RETAIN, &topic, "there again").await;
        let mut later = newcomer(way.there, &way, &topic, 1).await;
        later.takes(QOS_1 | RETAIN, &topic, "there again").await;
    })
    .await;
}

/// [MQTT-3.3.1-12]
#[tokio::test]
async fn a_message_without_retain_changes_nothing_that_is_retained() {
    both_ways(async |way| {
        let (topic, other) = (way.topic("a"), way.topic("b"));
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_1 | RETAIN, &topic, "kept").await;
        for payload in ["", "passing"] {
            alice.tells(QOS_1, &topic, payload).await;
            alice.tells(QOS_1, &other, payload).await;
        }
        newcomer(way.there, &way, &topic, 1).await.takes(QOS_1 | RETAIN, &topic, "kept").await;
        is_empty(&way, &other).await;
    })
    .await;
}

/// A client with a session that goes on has made no new subscription: nothing retained comes.
#[tokio::test]
async fn a_session_that_goes_on_gets_no_retained_messages_again() {
    both_ways(async |way| {
        let (id, topic) = (way.id("bob"), way.topic("a"));
        Peer::login(way.here, &way.id("alice")).await.tells(QOS_1 | RETAIN, &topic, "x").await;
        let mut bob = Peer::begin(way.here, &id).await;
        bob.wants(&topic, 1).await;
        bob.takes(QOS_1 | RETAIN, &topic, "x").await;
        bob.pings().await; // so that its PUBACK is not lost with the connection
        drop(bob);
        let mut bob = Peer::resume(way.there, &id).await;
        bob.send(&publish(QOS_0, &topic, 0, "live")).await;
        bob.takes(QOS_0, &topic, "live").await;
    })
    .await;
}

/// Two filters of one SUBSCRIBE are two subscriptions: what is retained comes once for each.
#[tokio::test]
async fn each_of_two_overlapping_subscriptions_gets_what_is_retained() {
    both_ways(async |way| {
        let topic = way.topic("a");
        Peer::login(way.here, &way.id("alice")).await.tells(QOS_2 | RETAIN, &topic, "x").await;
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.send(&subscribe(1, &[(&topic, 0), (&way.topic("#"), 1)])).await;
        bob.awaits(&suback(1, &[0, 1])).await;
        let mut all = [bob.message().await.flags, bob.message().await.flags];
        all.sort_unstable();
        assert_eq!(all, [QOS_0 | RETAIN, QOS_1 | RETAIN]);
    })
    .await;
}
