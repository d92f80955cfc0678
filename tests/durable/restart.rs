//! The whole cluster restarts, one node after the other and all at once: sessions, queues and
//! retained messages are there, and clients go on.

use std::time::Duration;

use causeway_common::qos::QoS;
use causeway_tests::{
    client::RawClient,
    cluster::{Cluster, Service},
    wait::eventually,
};

use crate::{
    crowd::{Crowd, LONG_QUEUES, Size},
    stage::number,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing() {
    let mut scene = Scene::start(5).await;
    for number in 1..=NODES {
        scene.crowd.advances(200).await;
        let node = scene.cluster.node_mut(number);
        end(node).await;
        node.restart().await;
        scene.cluster.is_ready().await;
    }
    scene.crowd.advances(200).await;
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_all_at_once_loses_nothing() {
    let mut scene = Scene::start(6).await;
    // Once as operators do it, and once as power cuts do.
    for is_asked in [true, false] {
        scene.crowd.advances(300).await;
        let cluster = &mut scene.cluster;
        for service in cluster.nodes().iter().chain([cluster.bridge(1)]) {
            service.process.signal(if is_asked { "TERM" } else { "KILL" });
        }
        for number in 1..=NODES {
            has_ended(cluster.node_mut(number)).await;
        }
        has_ended(cluster.bridge_mut(1)).await;
        for number in 1..=NODES {
            cluster.node_mut(number).restart().await;
        }
        cluster.bridge_mut(1).restart().await;
        cluster.is_ready().await;
    }
    scene.crowd.advances(300).await;
    scene.finish().await;
}

/// Three nodes with a crowd on them, and sessions that wait for their clients.
struct Scene {
    cluster: Cluster,
    crowd: Crowd,
}

impl Scene {
    async fn start(seed: u64) -> Self {
        let cluster =
            Cluster::builder().nodes(NODES).set_nodes(LONG_QUEUES).durable().start().await;
        for (at, node) in cluster.nodes().iter().enumerate() {
            for parked in 0..PARKED {
                let mut client = RawClient::begin(node.mqtt_port(), &name(at, parked)).await;
                client.subscribe("wait/#", QoS::ExactlyOnce).await.unwrap();
                client.disconnect().await.unwrap();
            }
        }
        let mut writer = RawClient::login(cluster.node(1).mqtt_port(), "writer").await;
        for number in 0..QUEUED {
            let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            writer.publish("wait/a", number.to_string(), qos).await.unwrap();
        }
        writer.disconnect().await.unwrap();
        let ports: Vec<u16> = cluster.nodes().iter().map(Service::mqtt_port).collect();
        let pace = Duration::from_millis(3);
        let size = Size { talkers: 3, listeners: 3, pace, roams: false, seed };
        let crowd = Crowd::start(&ports, &size).await;
        Self { cluster, crowd }
    }

    async fn finish(self) {
        for (at, node) in self.cluster.nodes().iter().enumerate() {
            for parked in 0..PARKED {
                let mut client = RawClient::resume(node.mqtt_port(), &name(at, parked)).await;
                for expected in 0..QUEUED {
                    let found = number(&client.message().await.unwrap().message.payload);
                    assert_eq!(found, expected, "{}", name(at, parked));
                }
                client.disconnect().await.unwrap();
            }
        }
        let tally = self.crowd.finish(&self.cluster).await;
        println!("restart: {tally:?}");
    }
}

/// Asks a service to end, and waits until it has.
async fn end(service: &mut Service) {
    service.process.signal("TERM");
    has_ended(service).await;
}

async fn has_ended(service: &mut Service) {
    let what = format!("{} ends", service.name());
    eventually(&what, async || service.process.ended().is_some()).await;
}

fn name(node: usize, parked: usize) -> String {
    format!("parked-{parked}-on-{node}")
}

const NODES: usize = 3;

/// Waiting sessions on each node.
const PARKED: usize = 20;

/// Messages for each of them.
const QUEUED: u32 = 30;
