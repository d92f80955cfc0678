//! A bridge keeps nothing that it could lose: killing it costs a stall.

use causeway_tests::cluster::Cluster;

use crate::stream::{Stream, finish_all};

#[tokio::test]
async fn a_bridge_killed_ten_times_loses_nothing_and_repeats_nothing() {
    let mut cluster = Cluster::builder().start().await;
    let streams = Stream::all_ways(cluster.node(1), cluster.node(2)).await;
    for _ in 0..10 {
        for stream in &streams {
            stream.advances(50).await;
        }
        cluster.bridge_mut(1).process.kill();
        cluster.bridge_mut(1).restart().await;
    }
    for stream in &streams {
        stream.advances(50).await;
    }
    finish_all(streams, &cluster).await;
}

#[tokio::test]
async fn of_two_bridges_one_may_die_for_good() {
    let mut cluster = Cluster::builder().bridges(2).start().await;
    let streams = Stream::all_ways(cluster.node(1), cluster.node(2)).await;
    for stream in &streams {
        stream.advances(100).await;
    }
    cluster.bridge_mut(1).process.kill();
    for stream in &streams {
        stream.advances(500).await;
    }
    finish_all(streams, &cluster).await;
}
