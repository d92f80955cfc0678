//! A node that dies leaves nothing behind but a lease, and comes back as a full member.

use std::time::Duration;

use causeway_common::qos::QoS;
use causeway_tests::{
    client::RawClient,
    cluster::Cluster,
    wait::{eventually, within},
};

#[tokio::test]
async fn a_killed_node_is_swept_and_its_clients_are_reached_elsewhere() {
    let mut cluster = Cluster::builder().nodes(2).set_nodes("directory.lease_secs=3").start().await;
    let mut alice = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    for client_id in ["bob", "carol"] {
        // The connections end with the node; what counts are their rows.
        let client = RawClient::login(cluster.node(2).mqtt_port(), client_id).await;
        drop_later(client);
    }
    let row = cluster.redis_cli(&["HGETALL", "causeway:client:bob"]);
    for words in ["node\nnode-2", "user\nbob", "address\n127.0.0.1:", "epoch\n", "incarnation\n"] {
        assert!(row.contains(words), "{words:?} in {row:?}");
    }

    cluster.node_mut(2).process.kill();
    let has_row = |client: &str| {
        let key = format!("causeway:client:{client}");
        cluster.redis_cli(&["EXISTS", &key]) == "1"
    };
    assert!(has_row("carol"), "rows stay while the lease runs");

    // Bob does not wait for the sweep, and it does not take his new row away.
    let mut bob = RawClient::login(cluster.node(1).mqtt_port(), "bob").await;
    eventually("the dead node's row is swept", async || !has_row("carol")).await;
    // It is no durable session's home, so its row is not kept for the grace time of 60 s.
    let dead_node = || cluster.redis_cli(&["EXISTS", "causeway:node:node-2"]) == "0";
    within(SOON, "the dead node itself is swept", async || dead_node()).await;
    assert!(has_row("alice"), "the other node's row stays");
    assert!(has_row("bob"), "a row that moved on stays");
    let mut carol = RawClient::login(cluster.node(1).mqtt_port(), "carol").await;
    for (client_id, client) in [("bob", &mut bob), ("carol", &mut carol)] {
        say(&mut alice, client_id).await;
        is_reached(client, client_id).await;
    }

    cluster.node_mut(2).restart().await;
    cluster.is_ready().await;
    let mut dave = RawClient::login(cluster.node(2).mqtt_port(), "dave").await;
    say(&mut alice, "dave").await;
    is_reached(&mut dave, "dave").await;
    say(&mut dave, "alice").await;
    is_reached(&mut alice, "alice").await;
}

#[tokio::test]
async fn a_login_elsewhere_closes_the_connection_before_it_is_answered() {
    let cluster = Cluster::builder().nodes(3).start().await;
    let mut alice = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    // Each client id moves three times: one that moves more often is held back as a fighter.
    let mut clients = Vec::new();
    for name in (0..20).map(|number| format!("bob-{number}")) {
        let mut bob = RawClient::login(cluster.node(1).mqtt_port(), &name).await;
        for node in [2, 3, 1].map(|number| cluster.node(number)) {
            let next = RawClient::login(node.mqtt_port(), &name).await;
            let mut old = std::mem::replace(&mut bob, next);
            // The CONNACK says that it is closed, so its end is already on the way.
            old.closed(Duration::from_secs(2)).await.unwrap();
            let owner = cluster.redis_cli(&["HGET", &format!("causeway:client:{name}"), "node"]);
            assert_eq!(owner, node.name(), "{name}");
            say(&mut alice, &name).await;
            is_reached(&mut bob, &name).await;
        }
        clients.push(bob);
    }
    let mut connected = 0.0;
    for node in cluster.nodes() {
        connected += node.metrics().await.sum("causeway_connections");
    }
    assert_eq!(connected.to_string(), "21", "alice and one of each bob");
}

async fn say(from: &mut RawClient, to: &str) {
    let topic = format!("user/{to}/hello");
    let said = from.publish(&topic, to.to_owned(), QoS::AtLeastOnce);
    said.await.unwrap();
}

async fn is_reached(client: &mut RawClient, name: &str) {
    let message = client.message().await.unwrap().message;
    assert_eq!(message.payload, name.as_bytes());
}

/// Keeps a connection open until the server ends it.
fn drop_later(mut client: RawClient) {
    tokio::spawn(async move { client.packet().await });
}

/// Longer than a lease and a look at the directory on a busy machine, and less than the grace time.
const SOON: Duration = Duration::from_secs(30);
