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
        // Every second time it dies with all windows full of what it has not passed on.
        if round % 2 == 1 {
            cluster.bridge(1).process.signal("STOP");
            eventually("messages wait for the bridge", async || {
                total(cluster.nodes(), "causeway_forwards_waiting").await >= 100.0
            })
            .await;
        }
        cluster.bridge_mut(1).process.kill();
        cluster.bridge_mut(1).restart().await;
    }
    for stream in &streams {
        stream.advances(100).await;
    }
    let resent = total(cluster.nodes(), "causeway_messages_resent_total").await;
    let dropped = total(cluster.nodes(), "causeway_duplicates_dropped_total").await;
    println!("bridge loss: {resent} messages sent again, {dropped} of them had arrived before");
    assert!(
        resent >= 100.0,
        "the bridge never died with anything in flight"
    );
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
    let (first, second) = (
        passed(cluster.bridge(1)).await,
        passed(cluster.bridge(2)).await,
    );
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
