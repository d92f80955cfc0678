//! 3.2 CONNACK.

use causeway_tests::cluster::Cluster;

use crate::{
    bytes::{
        CLEAN, PASSWORD, PINGREQ, QOS_1, SESSION_PRESENT, USER, connack, connect, connect_of,
        connect_raw, field, resume, subscribe,
    },
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// [MQTT-3.2.0-1]
#[tokio::test]
async fn connack_comes_first_even_if_messages_wait() {
    both_ways(async |way| {
        let (id, topic) = (way.id("bob"), way.topic("waiting"));
        let mut bob = Peer::begin(way.here, &id).await;
        bob.wants(&topic, 1).await;
        drop(bob);
        let mut publisher = Peer::login(way.there, &way.id("alice")).await;
        for payload in ["one", "two"] {
            publisher.tells(QOS_1, &topic, payload).await;
        }
        let mut hasty = [resume(&id), PINGREQ.to_vec()].concat();
        hasty.extend(subscribe(9, &[("more", 0)]));
        let mut bob = Peer::say(way.there, &hasty).await;
        bob.gets(&SESSION_PRESENT).await;
    })
    .await;
}

/// [MQTT-3.2.2-1]
#[tokio::test]
async fn clean_session_1_never_finds_a_session_present() {
    both_ways(async |way| {
        let id = way.id("bob");
        for _ in 0..2 {
            Peer::begin(way.here, &id).await.wants(&way.topic("a"), 1).await;
            Peer::enter(way.there, &connect(&id), &connack(0)).await.pings().await;
        }
    })
    .await;
}

/// [MQTT-3.2.2-2] [MQTT-3.2.2-3]
#[tokio::test]
async fn session_present_says_whether_there_was_a_session() {
    both_ways(async |way| {
        let id = way.id("bob");
        Peer::enter(way.here, &resume(&id), &connack(0)).await.pings().await;
        Peer::enter(way.there, &resume(&id), &SESSION_PRESENT).await.pings().await;
        let mut said_good_bye = Peer::enter(way.here, &resume(&id), &SESSION_PRESENT).await;
        said_good_bye.send(&[0xe0, 0]).await;
        said_good_bye.closed().await;
        Peer::enter(way.there, &resume(&id), &SESSION_PRESENT).await.pings().await;
        Peer::enter(way.here, &connect(&id), &connack(0)).await.pings().await;
        Peer::enter(way.there, &resume(&id), &connack(0)).await.pings().await;
    })
    .await;
}

/// [MQTT-3.2.2-4] [MQTT-3.2.2-5]
#[tokio::test]
async fn a_refusal_finds_no_session_and_is_the_end() {
    let (port, id) = (port().await, unique("bob"));
    Peer::begin(port, &id).await.pings().await;
    let level = connect_raw("MQTT", 5, 0, 0, &field(&id));
    for (connect, code) in [(level, 1), (resume(""), 2)] {
        let mut refused = Peer::enter(port, &connect, &connack(code)).await;
        refused.closed().await;
    }
}

/// [MQTT-3.2.2-4] [MQTT-3.2.2-5] Also where the node is full, or the client not welcome.
#[tokio::test]
async fn a_full_node_answers_3_and_a_closed_one_4_or_5() {
    let cluster = Cluster::builder().nodes(1).set_nodes("connections.max_connections=1");
    let cluster = cluster.start().await;
    let port = cluster.node(1).mqtt_port();
    let mut first = Peer::login(port, "first").await;
    Peer::enter(port, &connect("second"), &connack(3)).await.closed().await;
    first.pings().await;
    let cluster = Cluster::builder().nodes(1).set_nodes("auth.allow_anonymous=false");
    let cluster = cluster.start().await;
    let port = cluster.node(1).mqtt_port();
    let wrong = connect_of(CLEAN | USER | PASSWORD, &[b"a", b"bob", b"guess"]);
    Peer::enter(port, &wrong, &connack(4)).await.closed().await;
    Peer::enter(port, &connect("a"), &connack(5)).await.closed().await;
}

/// [MQTT-3.2.2-6]
#[tokio::test]
async fn what_no_code_names_is_the_end_without_connack() {
    let (port, id) = (port().await, field(unique("odd")));
    let too_large = [0x10, 0xff, 0xff, 0x7f];
    let name = connect_raw("AMQP", 4, CLEAN, 0, &id);
    let flag = connect_raw("MQTT", 4, CLEAN | 1, 0, &id);
    let body = connect_raw("MQTT", 4, CLEAN, 0, &id[1..]);
    for wrong in [too_large.to_vec(), name, flag, body] {
        Peer::say(port, &wrong).await.closed().await;
    }
}
