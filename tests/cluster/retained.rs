//! What is retained on one node is found on every other, also on one that comes later.

use causeway_tests::{
    cluster::{Cluster, Service},
    mosquitto::{self, Subscriber},
    wait::eventually,
};

async fn retain(node: &Service, topic: &str, payload: &str, qos: &str) {
    let content = if payload.is_empty() { vec!["-n"] } else { vec!["-m", payload] };
    let arguments = [&["-r", "-t", topic, "-q", qos][..], &content].concat();
    mosquitto::publish(node.mqtt_port(), &arguments).await;
}

/// What a new subscriber gets, with its retain flags, before it is told that something came.
async fn found(node: &Service) -> Vec<String> {
    let arguments = ["-t", "room/#", "-t", "end", "-q", "1", "-F", "%r %t %p"];
    let subscriber = Subscriber::start(node.mqtt_port(), &arguments).await;
    mosquitto::publish(node.mqtt_port(), &["-t", "end", "-m", "end", "-q", "1"]).await;
    let ended = || subscriber.messages().contains(&"0 end end".to_owned());
    eventually("the message behind all that is retained", async || ended()).await;
    let mut messages = subscriber.messages();
    messages.retain(|line| line != "0 end end");
    messages
}

#[tokio::test]
async fn what_is_retained_and_acknowledged_is_found_on_every_other_node() {
    let mut cluster = Cluster::builder().start().await;
    let live = ["-t", "room/+", "-F", "%r %t %p"];
    let live = Subscriber::start(cluster.node(2).mqtt_port(), &live).await;
    for (number, topic, payload, qos) in [
        (1, "room/red", "1", "1"),
        (2, "room/red", "2", "2"),
        (1, "room/blue", "3", "1"),
        (1, "room/gone", "4", "1"),
        (2, "room/gone", "", "1"),
    ] {
        retain(cluster.node(number), topic, payload, qos).await;
    }
    let expected = ["1 room/blue 3", "1 room/red 2"];
    for node in cluster.nodes() {
        assert_eq!(found(node).await, expected, "{}", node.name());
    }
    live.has(&["0 room/red 1", "0 room/red 2", "0 room/blue 3", "0 room/gone 4", "0 room/gone "])
        .await;
    let newcomer = cluster.add_node().await;
    newcomer.is_ready().await;
    assert_eq!(found(newcomer).await, expected, "a node is ready when it has them all");
    retain(cluster.node(3), "room/red", "5", "1").await;
    assert_eq!(found(cluster.node(1)).await, ["1 room/blue 3", "1 room/red 5"]);
}

#[tokio::test]
async fn writers_on_two_nodes_come_to_one_value_everywhere() {
    let cluster = Cluster::builder().start().await;
    let write = async |number: usize| {
        for count in 0..20 {
            retain(cluster.node(number), "room/one", &format!("{number}-{count}"), "1").await;
        }
    };
    tokio::join!(write(1), write(2));
    let (one, two) = (found(cluster.node(1)).await, found(cluster.node(2)).await);
    assert_eq!(one, two);
    assert_eq!(one.len(), 1);
}
