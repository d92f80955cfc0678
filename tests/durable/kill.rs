//! kill -9 of a node, fifty times, under traffic to durable sessions that come and go: nothing
//! acknowledged is missing, QoS 2 comes exactly once, what is retained is there.

use std::time::{Duration, Instant};

use causeway_tests::cluster::{Cluster, Service};

use crate::{
    crowd::{Crowd, LONG_QUEUES, Size},
    dice::Dice,
    ledger::Tally,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_killed_fifty_times_loses_nothing() {
    let size =
        Size { talkers: 3, listeners: 3, pace: Duration::from_millis(2), roams: false, seed: 1 };
    let (crowd, cluster) = kill_fifty_times(1, &size).await;
    state(crowd.finish(&cluster).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_killed_fifty_times_and_their_bridge_lose_nothing() {
    let size =
        Size { talkers: 4, listeners: 4, pace: Duration::from_millis(2), roams: false, seed: 2 };
    let (crowd, cluster) = kill_fifty_times(2, &size).await;
    state(crowd.finish(&cluster).await);
}

/// Who finds his node dead goes to the other one, where his session cannot be yet; what it holds
/// comes after him when the node is back. So he may hear of a message twice, and late, but does
/// hear of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_roam_between_killed_nodes_miss_nothing() {
    let pace = Duration::from_millis(2);
    let size = Size { talkers: 3, listeners: 3, pace, roams: true, seed: 7 };
    let (crowd, cluster) = kill_fifty_times(2, &size).await;
    let (tally, complaints) = crowd.judge(&cluster).await;
    state(tally);
    println!("kill: roaming, {} complaints, such as {:?}", complaints.len(), complaints.first());
    let few = &complaints[..complaints.len().min(20)];
    assert!(tally.missing + tally.invented == 0, "{tally:?}\n{}", few.join("\n"));
}

/// Kills a node as often as that, always under way; the bridge dies with every fifth.
async fn kill_fifty_times(nodes: usize, size: &Size) -> (Crowd, Cluster) {
    let mut cluster =
        Cluster::builder().nodes(nodes).set_nodes(LONG_QUEUES).durable().start().await;
    let ports: Vec<u16> = cluster.nodes().iter().map(Service::mqtt_port).collect();
    let crowd = Crowd::start(&ports, size).await;
    let (mut dice, start) = (Dice::new(size.seed, "killer"), Instant::now());
    for kill in 1..=KILLS {
        crowd.advances(100 + dice.below(200)).await;
        let victim = kill % nodes + 1;
        cluster.node_mut(victim).process.kill();
        let with_bridge = kill % 5 == 0;
        if with_bridge {
            cluster.bridge_mut(1).process.kill();
        }
        if dice.once_in(2) {
            cluster.node_mut(victim).restart().await;
        }
        if with_bridge {
            cluster.bridge_mut(1).restart().await;
        }
        if cluster.node_mut(victim).process.ended().is_some() {
            cluster.node_mut(victim).restart().await;
        }
    }
    println!("kill: {nodes} node(s), {KILLS} kills in {:.0?}", start.elapsed());
    (crowd, cluster)
}

fn state(tally: Tally) {
    println!(
        "kill: of {} messages {} are missing, {} came twice with QoS 2, {} again with QoS 1",
        tally.due, tally.missing, tally.duplicated, tally.repeated
    );
}

const KILLS: usize = 50;
