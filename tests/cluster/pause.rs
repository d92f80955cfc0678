//! One stalled node delays nobody but those who wait for it, and them only until its lease ends.

use std::time::{Duration, Instant};

use causeway_common::qos::QoS;
use causeway_tests::{client::RawClient, cluster::Cluster, wait::eventually};

use crate::stream::{Stream, finish_all};

#[tokio::test]
async fn a_paused_node_does_not_disturb_the_others() {
    let cluster = Cluster::builder().nodes(3).start().await;
    let streams = Stream::all_ways(cluster.node(1), cluster.node(2)).await;
    let mut stalled = RawClient::login(cluster.node(3).mqtt_port(), "carol").await;
    stalled.subscribe("stalled", QoS::AtLeastOnce).await.unwrap();
    let mut waiting = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    for stream in &streams {
        stream.advances(50).await;
        stream.take_longest_wait();
    }

    cluster.node(3).process.signal("STOP");
    let start = Instant::now();
    let waiting = tokio::spawn(async move {
        waiting.publish("stalled", "x", QoS::AtLeastOnce).await.unwrap();
        start.elapsed()
    });
    while start.elapsed() < PAUSE {
        for stream in &streams {
            stream.advances(20).await;
        }
    }
    let waits = streams.iter().map(Stream::take_longest_wait);
    let longest = waits.max().unwrap_or_default();
    println!("pause: the longest wait of the undisturbed was {longest:?}");
    assert!(longest < PAUSE / 3, "an answer took {longest:?}");
    let waited = waiting.await.unwrap();
    println!("pause: the answer that waited for the paused node took {waited:?}");
    cluster.node(3).process.signal("CONT");

    // Its lease has ended meanwhile: it lets its clients go and joins again.
    stalled.closed(causeway_tests::wait::PATIENCE).await.unwrap();
    cluster.is_ready().await;
    let mut back = RawClient::login(cluster.node(3).mqtt_port(), "carol").await;
    let mut alice = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    let mut reached = false;
    eventually("the node that was paused is a member again", async || {
        alice.publish("user/carol/alice", "hi", QoS::AtLeastOnce).await.unwrap();
        let message = tokio::time::timeout(Duration::from_secs(1), back.message()).await;
        reached = message.is_ok_and(|message| message.is_ok());
        reached
    })
    .await;
    finish_all(streams, &cluster).await;
}

/// Longer than the lease.
const PAUSE: Duration = Duration::from_secs(10);
