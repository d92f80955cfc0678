//! The directory is not on the path of a message: losing it, or all it knows, costs a login at
//! most.

use std::time::{Duration, Instant};

use causeway_tests::{client::RawClient, cluster::Cluster, wait::eventually};

use crate::stream::{Stream, finish_all};

#[tokio::test]
async fn redis_may_be_emptied_and_killed_while_clients_talk() {
    let mut cluster =
        Cluster::builder().set(&format!("directory.lease_secs={LEASE_SECS}")).start().await;
    let streams = Stream::all_ways(cluster.node(1), cluster.node(2)).await;
    let clients = clients(&cluster);
    assert_eq!(clients.len(), 2 * streams.len(), "each stream has two clients: {clients:?}");

    cluster.redis_cli(&["FLUSHALL"]);
    all_rows_are_back(&cluster, &clients).await;
    for stream in &streams {
        stream.advances(50).await;
    }

    cluster.redis.kill().unwrap();
    // Longer than a lease: nobody can renew one, and nobody may take that for his own death.
    let (start, down) = (Instant::now(), Duration::from_secs(2 * LEASE_SECS));
    while start.elapsed() < down {
        for stream in &streams {
            stream.advances(50).await;
        }
    }
    RawClient::login(cluster.node(1).mqtt_port(), "newcomer").await;

    cluster.redis.restart().await.unwrap();
    all_rows_are_back(&cluster, &clients).await;
    for stream in &streams {
        stream.advances(50).await;
    }
    cluster.is_ready().await;
    finish_all(streams, &cluster).await;
}

async fn all_rows_are_back(cluster: &Cluster, expected: &[String]) {
    let back = async || {
        let found = clients(cluster);
        let nodes = cluster.redis_cli(&["EXISTS", "causeway:node:node-1", "causeway:node:node-2"]);
        expected.iter().all(|key| found.contains(key)) && nodes == "2"
    };
    eventually("all rows are back", back).await;
}

fn clients(cluster: &Cluster) -> Vec<String> {
    let keys = cluster.redis_cli(&["KEYS", "causeway:client:*"]);
    keys.lines().filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
}

const LEASE_SECS: u64 = 3;
