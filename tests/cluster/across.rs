//! Four processes (two nodes, a bridge, Redis) carry messages between strangers on both nodes.

use causeway_tests::{
    cluster::Cluster,
    mosquitto::{self, Subscriber, payload_file},
    wait::{eventually, within},
};
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test]
async fn a_message_crosses_at_every_qos_and_by_every_kind_of_filter() {
    let cluster = Cluster::builder().start().await;
    let (from, to) = (cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port());
    let mut subscribers = Vec::new();
    for (filter, qos) in [("room/red/door", "2"), ("room/+/door", "1"), ("room/#", "0")] {
        let arguments = ["-t", filter, "-q", qos, "-F", "%q %t %p"];
        subscribers.push(Subscriber::start(to, &arguments).await);
    }
    for (topic, qos) in [
        ("room/red/door", "0"),
        ("room/red/door", "1"),
        ("room/red/door", "2"),
        ("room/blue/window", "2"),
    ] {
        mosquitto::publish(from, &["-t", topic, "-q", qos, "-m", qos]).await;
    }
    let [two, one, zero] = &subscribers[..] else { panic!("three subscribers") };
    two.has(&["0 room/red/door 0", "1 room/red/door 1", "2 room/red/door 2"]).await;
    one.has(&["0 room/red/door 0", "1 room/red/door 1", "1 room/red/door 2"]).await;
    let all =
        ["0 room/red/door 0", "0 room/red/door 1", "0 room/red/door 2", "0 room/blue/window 2"];
    zero.has(&all).await;
}

#[tokio::test]
async fn the_inbox_comes_by_the_login_on_another_node() {
    let cluster = Cluster::builder().start().await;
    let subscription = ["-i", "phone", "-u", "bob", "-t", "weather", "-v"];
    let bob = Subscriber::start(cluster.node(2).mqtt_port(), &subscription).await;
    let message = ["-i", "alice", "-t", "user/bob/alice", "-q", "1", "-m", "hi"];
    mosquitto::publish(cluster.node(1).mqtt_port(), &message).await;
    bob.has(&["user/bob/alice hi"]).await;
}

#[tokio::test]
async fn a_payload_of_a_mebibyte_crosses_unchanged() {
    let cluster = Cluster::builder().start().await;
    let (folder, payload) = (TempDir::new().unwrap(), mebibyte());
    let file = payload_file(folder.path(), payload.as_bytes());
    for qos in ["0", "1", "2"] {
        let subscription = ["-i", "bob", "-t", "big", "-q", qos];
        let bob = Subscriber::start(cluster.node(2).mqtt_port(), &subscription).await;
        let message = ["-i", "alice", "-t", "big", "-q", qos, "-f", &*file];
        mosquitto::publish(cluster.node(1).mqtt_port(), &message).await;
        eventually("the mebibyte arrives", async || !bob.messages().is_empty()).await;
        assert!(bob.messages() == [&*payload], "QoS {qos}: it arrived changed");
    }
}

#[tokio::test]
async fn a_message_for_local_subscribers_alone_does_not_cross_the_bridge() {
    let cluster = Cluster::builder().start().await;
    let (from, to) = (cluster.node(1), cluster.node(2));
    let local = ["-i", "bob", "-t", "here", "-v"];
    let bob = Subscriber::start(from.mqtt_port(), &local).await;
    let remote = ["-i", "carol", "-t", "there", "-v"];
    let carol = Subscriber::start(to.mqtt_port(), &remote).await;
    for (topic, crossed) in [("here", 0.0), ("there", 1.0)] {
        let message = ["-i", "alice", "-t", topic, "-q", "1", "-m", "x"];
        mosquitto::publish(from.mqtt_port(), &message).await;
        let metrics = from.metrics().await;
        let left = metrics.sum("causeway_messages_forwarded_total");
        let metrics = cluster.bridge(1).metrics().await;
        let passed = metrics.sum("causeway_messages_forwarded_total");
        assert_eq!((left, passed), (crossed, crossed), "after {topic}");
    }
    bob.has(&["here x"]).await;
    carol.has(&["there x"]).await;
}

#[tokio::test]
async fn a_node_started_later_is_linked_within_two_seconds() {
    let mut cluster = Cluster::builder().start().await;
    let port = {
        let node = cluster.add_node().await;
        let linked = async || node.metrics().await.sum("causeway_links_ready") >= 1.0;
        within(Duration::from_secs(2), "the new node is linked", linked).await;
        node.mqtt_port()
    };
    let bob = Subscriber::start(port, &["-i", "bob", "-t", "news", "-v"]).await;
    let message = ["-i", "alice", "-t", "news", "-q", "1", "-m", "hi"];
    mosquitto::publish(cluster.node(1).mqtt_port(), &message).await;
    bob.has(&["news hi"]).await;
}

/// Letters and digits in no simple order, on one line.
fn mebibyte() -> String {
    let mut state = 1_u32;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_digit((state >> 16) % 36, 36).unwrap()
    });
    letters.take(1 << 20).collect()
}
