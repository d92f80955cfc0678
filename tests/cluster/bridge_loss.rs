//! A bridge keeps nothing that it could lose: killing it costs a stall.

use causeway_tests::{
    cluster::{Cluster, Service},
    wait::eventually,
};

use crate::stream::{Stream, finish_all};

#[tokio::test]
async fn a_bridge_killed_ten_times_loses_nothing_and_repeats_nothing() {
    let mut cluster = Cluster::builder().start().await;
    let streams = Stream::all_ways(cluster.node(1), cluster.node(2)).await;
    for round in 0..10 {
        for stream in &streams {
            stream.advances(100).await;
        }
        // It dies as it is, with what it has not passed on, and with what it has passed on and a
        // node has not acknowledged.
        let stalled = [None, Some(cluster.bridge(1)), Some(cluster.node(2))][round % 3];
        if let Some(stalled) = stalled {
            stalled.process.signal("STOP");
            let node = [cluster.node(1)];
            let waiting = async || total(node, "causeway_forwards_waiting").await >= 60.0;
            eventually("messages wait for the stalled", waiting).await;
        }
        cluster.bridge_mut(1).process.kill();
        cluster.node(2).process.signal("CONT");
        cluster.bridge_mut(1).restart().await;
    }
    for stream in &streams {
        stream.advances(100).await;
    }
    let resent = total(cluster.nodes(), "causeway_messages_resent_total").await;
    let had = total(cluster.nodes(), "causeway_duplicates_dropped_total").await;
    println!("bridge loss: {resent} messages sent again, {had} of them had arrived before");
    assert!(resent >= 100.0, "the bridge never died with anything in flight");
    finish_all(streams, &cluster).await;
}

#[tokio::test]
async fn of_two_bridges_one_may_die_for_good() {
    let mut cluster = Cluster::builder().bridges(2).start().await;
    let streams = Stream::all_ways(cluster.node(1), cluster.node(2)).await;
    for stream in &streams {
        stream.advances(200).await;
    }
    let passed = async |bridge| total([bridge], "causeway_messages_forwarded_total").await;
    let (first, second) = (passed(cluster.bridge(1)).await, passed(cluster.bridge(2)).await);
    println!("bridge loss: the two had passed on {first} and {second} messages");
    let busier = if first > second { 1 } else { 2 };
    cluster.bridge_mut(busier).process.kill();
    for stream in &streams {
        stream.advances(1_000).await;
    }
    finish_all(streams, &cluster).await;
}

async fn total(services: impl IntoIterator<Item = &Service>, name: &str) -> f64 {
    let mut total = 0.0;
    for service in services {
        total += service.metrics().await.sum(name);
    }
    total
}
