//! A node takes 500, says no to the next in so many words, and twenty of them take ten thousand.

use std::time::Instant;

use causeway_common::{packet::ConnectCode, qos::QoS};
use causeway_tests::{
    client::{RawClient, connect},
    cluster::{Cluster, Service},
    process::raise_open_files,
    wait::eventually,
};
use tokio::task::JoinSet;

#[tokio::test]
async fn the_501st_client_is_refused_with_code_3_and_the_500_notice_nothing() {
    let cluster = Cluster::builder().start().await;
    let node = cluster.node(1);
    let mut clients = Vec::new();
    for number in 0..500 {
        clients.push(RawClient::login(node.mqtt_port(), &format!("client-{number}")).await);
    }
    let (status, reasons) = node.readiness().await.unwrap();
    assert_eq!(status, 503);
    assert!(reasons.lines().any(|line| line == "full"), "{reasons:?}");
    for number in 0..3 {
        let late = connect(&format!("late-{number}"));
        let (mut late, code) = RawClient::connect(node.mqtt_port(), late).await.unwrap();
        assert_eq!(code, ConnectCode::ServerUnavailable);
        late.closed(causeway_tests::wait::PATIENCE).await.unwrap();
    }
    let metrics = node.metrics().await;
    let reason = "reason=\"server_unavailable\"";
    let refused = metrics.sum_where("causeway_connects_refused_total", reason);
    let connected = metrics.sum("causeway_connections");
    assert_eq!((refused, connected), (3.0, 500.0));
    for client in &mut clients {
        client.ping().await.unwrap();
    }
    // Once the server has closed, the place is free at once, not after a while.
    clients.pop().unwrap().disconnect().await.unwrap();
    clients.push(RawClient::login(node.mqtt_port(), "next").await);
    println!(
        "capacity: a node with 500 clients uses {} MiB",
        mebibytes(node.process.memory_bytes())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_users_on_twenty_nodes_are_each_reached_from_another_node() {
    raise_open_files(NODES * PER_NODE + 1_000);
    let start = Instant::now();
    let cluster = Cluster::builder().nodes(NODES).set("directory.lease_secs=30").start().await;
    println!("capacity: {NODES} nodes are ready after {:?}", start.elapsed());
    let ports: Vec<_> = cluster.nodes().iter().map(Service::mqtt_port).collect();

    let start = Instant::now();
    let mut logins = JoinSet::new();
    for (node, port) in ports.iter().copied().enumerate() {
        logins.spawn(async move { (node, login_all(node, port).await) });
    }
    let mut groups = logins.join_all().await;
    println!("capacity: {} logins took {:?}", NODES * PER_NODE, start.elapsed());

    let start = Instant::now();
    let mut talks = JoinSet::new();
    for (node, mut clients) in groups {
        talks.spawn(async move {
            for (number, client) in clients.iter_mut().enumerate() {
                let (to, from) = (user((node + 1) % NODES, number), user(node, number));
                let topic = format!("user/{to}/{from}");
                client.publish(&topic, from, QoS::AtLeastOnce).await.unwrap();
            }
            (node, clients)
        });
    }
    groups = talks.join_all().await;
    for (node, clients) in &mut groups {
        for (number, client) in clients.iter_mut().enumerate() {
            let message = client.message().await.unwrap().message;
            let from = user((*node + NODES - 1) % NODES, number);
            assert_eq!(message.payload, from.as_bytes());
        }
    }
    println!("capacity: each of them had a message from another node after {:?}", start.elapsed());
    let directory = cluster.redis_cli(&["KEYS", "causeway:client:*"]);
    assert_eq!(directory.lines().count(), NODES * PER_NODE, "rows in the directory");
    state_memory(&cluster).await;
}

async fn state_memory(cluster: &Cluster) {
    let of_nodes = cluster.nodes().iter().map(|node| node.process.memory_bytes());
    let largest = mebibytes(of_nodes.max().unwrap_or_default());
    let bridge = mebibytes(cluster.bridge(1).process.memory_bytes());
    println!("capacity: the largest node uses {largest} MiB, the bridge {bridge} MiB");
    let merged = async || cluster.bridge(1).metrics().await.sum("causeway_interest_merged_groups");
    eventually("interest beyond the budget is merged", async || merged().await >= 1.0).await;
}

/// Logs in all users of a node, some at a time.
async fn login_all(node: usize, port: u16) -> Vec<RawClient> {
    let mut clients = Vec::with_capacity(PER_NODE);
    while clients.len() < PER_NODE {
        let first = clients.len();
        let numbers = first..PER_NODE.min(first + AT_ONCE);
        let logins: Vec<_> = numbers
            .map(|number| {
                tokio::spawn(async move { RawClient::login(port, &user(node, number)).await })
            })
            .collect();
        for login in logins {
            clients.push(login.await.unwrap());
        }
    }
    clients
}

fn user(node: usize, number: usize) -> String {
    format!("u{number}-of-{node}")
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

const NODES: usize = 20;

const PER_NODE: usize = 500;

/// How many logins a node gets at a time.
const AT_ONCE: usize = 25;
