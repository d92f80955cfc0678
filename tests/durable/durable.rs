//! Durable sessions (MQTT 3.1.2.4, 4.1): each rule over a broken connection and over a killed
//! process, and the bounds of what waits.

use causeway_common::{
    packet::{Packet, Publish},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, connect, publish},
    cluster::Cluster,
    wait::eventually,
};

use crate::stage::{Stage, id, number, unanswered};

/// A test of its own for each kind of interruption.
macro_rules! over_each_interruption {
    ($($name:ident)*) => {
        mod over_a_broken_connection {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Stage::with_breaks().await).await;
            })*
        }
        mod over_a_killed_process {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Stage::with_kills().await).await;
            })*
        }
    };
}

over_each_interruption! {
    the_session_is_present_until_a_clean_one_erases_it
    what_came_meanwhile_waits_in_order
    what_was_not_answered_comes_again_with_dup_and_its_identifier
    a_release_is_sent_again_and_no_message
    a_publisher_goes_on_where_he_was_with_qos_2
    subscriptions_stay_and_what_was_given_up_does_not_come_back
}

async fn the_session_is_present_until_a_clean_one_erases_it(mut stage: Stage) {
    // What is said after an erasure, and acknowledged as she has it, is written after it.
    stage.absent("witness", "a/#").await;
    let bob = stage.present("bob", "a/#").await;
    stage.interrupt([bob]).await;
    stage.say("a/b", 0..3, QoS::AtLeastOnce).await;
    let bob = stage.resume("bob").await;
    stage.interrupt([bob]).await;

    let (clean, found) = RawClient::attach(stage.port(), connect("bob")).await.unwrap();
    assert!(!found, "[MQTT-3.2.2-1]");
    stage.say("a/b", 3..6, QoS::AtLeastOnce).await;
    stage.interrupt([clean]).await;
    let mut bob = RawClient::begin(stage.port(), "bob").await;
    assert_eq!(stage.numbers(&mut bob).await, [0_u32; 0], "neither queue nor subscriptions");
}

async fn what_came_meanwhile_waits_in_order(mut stage: Stage) {
    let bob = stage.present("bob", "a/#").await;
    stage.interrupt([bob]).await;
    // More than the window takes at once.
    for number in 0..60 {
        let qos = QoS::from_bits(u8::try_from(number % 3).unwrap()).unwrap();
        stage.say("a/b", number..number + 1, qos).await;
    }
    stage.interrupt([]).await;
    let mut bob = stage.resume("bob").await;
    for expected in (0..60).filter(|number| number % 3 != 0) {
        let Publish { message, dup, .. } = bob.message().await.unwrap();
        let qos = QoS::from_bits(u8::try_from(expected % 3).unwrap()).unwrap();
        let found = (number(&message.payload), message.qos, message.retain);
        assert_eq!(found, (expected, qos, false));
        // A node that was killed cannot know what it has sent: DUP says that it may have been.
        assert!(!dup || stage.is_deadly, "{expected}: never sent before");
    }
    bob.ping().await.unwrap();
}

async fn what_was_not_answered_comes_again_with_dup_and_its_identifier(mut stage: Stage) {
    let mut bob = stage.present("bob", "a/#").await;
    stage.say("a/b", 0..5, QoS::AtLeastOnce).await;
    stage.say("a/b", 5..10, QoS::ExactlyOnce).await;
    let mut first = Vec::new();
    for _ in 0..10 {
        first.push(unanswered(&mut bob).await);
    }
    assert!(first.iter().all(|publish| !publish.dup));
    stage.interrupt([bob]).await;
    stage.say("a/b", 10..13, QoS::AtLeastOnce).await;
    // It may happen again and again [MQTT-4.4.0-1].
    for _ in 0..2 {
        let mut bob = stage.resume("bob").await;
        for publish in &first {
            let expected = Publish { dup: true, ..publish.clone() };
            assert_eq!(unanswered(&mut bob).await, expected);
        }
        for expected in 10..13 {
            assert_eq!(number(&unanswered(&mut bob).await.message.payload), expected);
        }
        stage.interrupt([bob]).await;
    }
    let mut bob = stage.resume("bob").await;
    assert_eq!(stage.numbers(&mut bob).await, (0..13).collect::<Vec<_>>());
    bob.disconnect().await.unwrap();
    stage.interrupt([]).await;
    let mut bob = stage.resume("bob").await;
    assert_eq!(stage.numbers(&mut bob).await, [0_u32; 0], "answered is answered");
}

async fn a_release_is_sent_again_and_no_message(mut stage: Stage) {
    let mut bob = stage.present("bob", "a/#").await;
    stage.say("a/b", 0..2, QoS::ExactlyOnce).await;
    let ids = [unanswered(&mut bob).await.id.unwrap(), unanswered(&mut bob).await.id.unwrap()];
    for id in ids {
        bob.send(&Packet::PubRec(id)).await.unwrap();
        assert_eq!(bob.packet().await.unwrap(), Packet::PubRel(id));
    }
    for _ in 0..2 {
        stage.interrupt([bob]).await;
        bob = stage.resume("bob").await;
        for id in ids {
            assert_eq!(bob.packet().await.unwrap(), Packet::PubRel(id), "[MQTT-4.4.0-1]");
        }
    }
    for id in ids {
        bob.send(&Packet::PubComp(id)).await.unwrap();
    }
    bob.ping().await.unwrap();
    stage.interrupt([bob]).await;
    bob = stage.resume("bob").await;
    assert_eq!(stage.numbers(&mut bob).await, [0_u32; 0]);
}

async fn a_publisher_goes_on_where_he_was_with_qos_2(mut stage: Stage) {
    stage.absent("bob", "a/#").await;
    let mut alice = RawClient::begin(stage.port(), "alice").await;
    let say = |number: u16| publish("a/b", number.to_string(), QoS::ExactlyOnce, id(number));
    for number in 1..=2 {
        alice.send(&say(number)).await.unwrap();
        assert_eq!(alice.packet().await.unwrap(), Packet::PubRec(id(number)));
    }
    alice.send(&Packet::PubRel(id(1))).await.unwrap();
    assert_eq!(alice.packet().await.unwrap(), Packet::PubComp(id(1)));
    stage.interrupt([alice]).await;
    let mut alice = stage.resume("alice").await;
    // As if neither PUBREC nor PUBCOMP had arrived; the first identifier is free and is not.
    let Packet::Publish(again) = say(2) else { unreachable!() };
    let again = Packet::Publish(Publish { dup: true, ..again });
    alice.send(&again).await.unwrap();
    assert_eq!(alice.packet().await.unwrap(), Packet::PubRec(id(2)));
    alice.send(&Packet::PubRel(id(1))).await.unwrap();
    assert_eq!(alice.packet().await.unwrap(), Packet::PubComp(id(1)));
    stage.interrupt([alice]).await;
    let mut alice = stage.resume("alice").await;
    alice.send(&Packet::PubRel(id(2))).await.unwrap();
    assert_eq!(alice.packet().await.unwrap(), Packet::PubComp(id(2)));
    alice.send(&publish("a/b", "3", QoS::ExactlyOnce, id(2))).await.unwrap();
    assert_eq!(alice.packet().await.unwrap(), Packet::PubRec(id(2)), "the identifier is free");
    alice.send(&Packet::PubRel(id(2))).await.unwrap();
    assert_eq!(alice.packet().await.unwrap(), Packet::PubComp(id(2)));
    let mut bob = stage.resume("bob").await;
    assert_eq!(stage.numbers(&mut bob).await, [1, 2, 3], "each once");
}

async fn subscriptions_stay_and_what_was_given_up_does_not_come_back(mut stage: Stage) {
    let mut bob = stage.present("bob", "a/#").await;
    bob.subscribe("b/#", QoS::AtMostOnce).await.unwrap();
    bob.subscribe("c/+", QoS::AtLeastOnce).await.unwrap();
    bob.subscribe("d", QoS::AtLeastOnce).await.unwrap();
    bob.unsubscribe("d").await.unwrap();
    stage.interrupt([bob]).await;
    let mut bob = stage.resume("bob").await;
    for (at, topic) in ["a/x", "d", "b/x", "c/x"].into_iter().enumerate() {
        let at = u32::try_from(at).unwrap();
        stage.say(topic, at..at + 1, QoS::ExactlyOnce).await;
    }
    for (topic, qos) in
        [("a/x", QoS::ExactlyOnce), ("b/x", QoS::AtMostOnce), ("c/x", QoS::AtLeastOnce)]
    {
        let message = bob.message().await.unwrap().message;
        assert_eq!((message.topic.as_str(), message.qos), (topic, qos));
    }
}

#[tokio::test]
async fn live_messages_go_behind_the_backlog() {
    let stage = Stage::with_kills().await;
    stage.absent("bob", "a/#").await;
    stage.say("a/b", 0..300, QoS::AtLeastOnce).await;
    let mut bob = stage.resume("bob").await;
    let mut alice = RawClient::login(stage.port(), "alice").await;
    // One live message for each that he takes from the backlog.
    for expected in 0..600 {
        if expected < 300 {
            let live = (300 + expected).to_string();
            alice.publish("a/b", live, QoS::AtLeastOnce).await.unwrap();
        }
        assert_eq!(number(&bob.message().await.unwrap().message.payload), expected);
    }
}

#[tokio::test]
async fn a_session_that_nobody_resumes_expires() {
    let builder = Cluster::builder().nodes(1).set_nodes("session.expiry_secs=1");
    let cluster = builder.start().await;
    let port = cluster.node(1).mqtt_port();
    let mut bob = RawClient::begin(port, "bob").await;
    bob.subscribe("a/#", QoS::AtLeastOnce).await.unwrap();
    let mut carol = RawClient::begin(port, "carol").await;
    carol.subscribe("a/#", QoS::AtLeastOnce).await.unwrap();
    drop(bob);
    let subscriptions = async || cluster.node(1).metrics().await.sum("causeway_subscriptions");
    // Two inboxes and two subscriptions, of which carol's stay.
    let expired = async || subscriptions().await <= 2.0;
    eventually("bob's subscriptions are gone", expired).await;
    let mut bob = RawClient::begin(port, "bob").await;
    bob.ping().await.unwrap();
    carol.publish("a/b", "hi", QoS::AtLeastOnce).await.unwrap();
    carol.message().await.unwrap();
    carol.disconnect().await.unwrap();
    let mut carol = RawClient::resume(port, "carol").await;
    carol.ping().await.unwrap();
}

#[tokio::test]
async fn the_queue_is_bounded_in_messages_and_in_bytes_and_drops_are_counted() {
    for (setting, size) in [("queue_messages_max=50", 1), ("queue_bytes_max=20000", 1_000)] {
        let setting = format!("session.{setting}");
        let cluster = Cluster::builder().nodes(1).set_nodes(&setting).start().await;
        let node = cluster.node(1);
        let mut bob = RawClient::begin(node.mqtt_port(), "bob").await;
        bob.subscribe("a/#", QoS::AtLeastOnce).await.unwrap();
        bob.disconnect().await.unwrap();
        let mut alice = RawClient::login(node.mqtt_port(), "alice").await;
        for number in 0..100_u32 {
            let payload = format!("{number:0size$}");
            alice.publish("a/b", payload, QoS::AtLeastOnce).await.unwrap();
        }
        let metrics = node.metrics().await;
        let dropped = metrics.sum_where("causeway_messages_dropped_total", "reason=\"queue_full\"");
        let mut bob = RawClient::resume(node.mqtt_port(), "bob").await;
        bob.subscribe("last", QoS::AtLeastOnce).await.unwrap();
        alice.publish("last", "", QoS::AtLeastOnce).await.unwrap();
        let mut kept = Vec::new();
        loop {
            let message = bob.message().await.unwrap().message;
            if message.topic.as_str() == "last" {
                break;
            }
            kept.push(number(&message.payload));
        }
        println!("queue: with {setting} {dropped} of 100 were dropped, kept are {kept:?}");
        assert_eq!(format!("{}", 100.0 - dropped), kept.len().to_string());
        assert!((10..=75).contains(&kept.len()) && kept.is_sorted(), "{kept:?}");
    }
}
