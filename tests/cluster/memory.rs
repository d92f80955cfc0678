//! The bound on a node's memory: what is refused and dropped near it, and that it ends with its cause.

use std::io;

use bytes::Bytes;
use causeway_common::{
    id::PacketId,
    packet::{ConnectCode, Packet},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, connect, publish},
    cluster::{Cluster, Service},
    wait::eventually,
};

#[tokio::test]
async fn a_node_keeps_within_its_memory_by_stated_rules_and_recovers() {
    let bound = format!("limits.memory_bytes_max={BYTES_MAX}");
    let cluster = Cluster::builder().nodes(1).set_nodes(&bound).start().await;
    let node = cluster.node(1);
    let mut reader = RawClient::login(node.mqtt_port(), "reader").await;
    reader.subscribe("news", QoS::AtMostOnce).await.unwrap();
    let mut writer = RawClient::login(node.mqtt_port(), "writer").await;
    let mut filler = RawClient::login(node.mqtt_port(), "filler").await;
    let mut floods = Vec::new();
    for number in 0..FLOODS {
        floods.push(RawClient::login(node.mqtt_port(), &format!("flood-{number}")).await);
    }
    let pieces_before = fill_slowly(&mut filler, node).await;
    let refused = async || {
        let answer = RawClient::connect(node.mqtt_port(), connect("late")).await;
        answer.is_ok_and(|(_, code)| code == ConnectCode::ServerUnavailable)
    };
    eventually("nobody new is let in", refused).await;
    let flooding = floods.into_iter().enumerate().map(|(number, client)| flood(client, number));
    let mut working: tokio::task::JoinSet<()> = flooding.collect();
    strained(node, 2).await;
    let dropped = async || {
        writer.publish("news", "x", QoS::AtMostOnce).await.unwrap();
        let metrics = node.metrics().await;
        metrics.sum_where("causeway_messages_dropped_total", "reason=\"memory\"") >= 1.0
    };
    eventually("QoS 0 is dropped", dropped).await;
    while let Some(ended) = working.join_next().await {
        ended.unwrap();
    }
    let metrics = node.metrics().await;
    for limit in ["memory_connections", "memory_messages"] {
        let label = format!("limit=\"{limit}\"");
        assert!(metrics.sum_where("causeway_limited_total", &label) >= 1.0, "{limit}");
    }
    let most = node.process.memory_bytes();
    println!("memory: {} MiB of {} MiB, with {FLOODS} who flood", most >> 20, BYTES_MAX >> 20);
    assert!(most < BYTES_MAX / 4 * 5, "{most}");

    // Deleting is no burden.
    let pieces = (0..FLOODS).flat_map(|n| (0..PIECES).map(move |piece| (n, piece)));
    for (number, piece) in pieces.chain((0..pieces_before).map(|piece| (FILLER, piece))) {
        let id = PacketId::new(1).unwrap();
        let mut deletion = publish(&topic(number, piece), Bytes::new(), QoS::AtMostOnce, id);
        if let Packet::Publish(publish) = &mut deletion {
            publish.message.retain = true;
        }
        writer.send(&deletion).await.unwrap();
    }
    writer.ping().await.unwrap();
    strained(node, 0).await;
    RawClient::login(node.mqtt_port(), "late").await;
    let mut heard = 0;
    while heard == 0 {
        writer.publish("news", "again", QoS::AtMostOnce).await.unwrap();
        heard += reader.message().await.unwrap().message.payload.len();
    }
}

/// Has one message after the other retained, until it is closed.
async fn flood(mut client: RawClient, number: usize) {
    for piece in 0..PIECES {
        if retain(&mut client, &topic(number, piece), PIECE_BYTES).await.is_err() {
            return;
        }
    }
    panic!("flood {number} was never stopped");
}

/// Has small messages retained, so that a look finds memory short before it is all used, and one more then.
/// Returns how many.
async fn fill_slowly(client: &mut RawClient, node: &Service) -> usize {
    let mut pieces = 0;
    let mut is_short = false;
    while !is_short {
        is_short = node.metrics().await.sum("causeway_memory_strain") > 0.5;
        retain(client, &topic(FILLER, pieces), SMALL_PIECE_BYTES).await.unwrap();
        pieces += 1;
    }
    pieces
}

async fn retain(client: &mut RawClient, topic: &str, bytes: usize) -> io::Result<()> {
    let id = client.next_id();
    let mut retained = publish(topic, vec![b'x'; bytes], QoS::AtLeastOnce, id);
    if let Packet::Publish(publish) = &mut retained {
        publish.message.retain = true;
    }
    client.send(&retained).await?;
    client.packet().await.map(drop)
}

fn topic(number: usize, piece: usize) -> String {
    format!("flood/{number}/{piece}")
}

async fn strained(node: &Service, strain: u32) {
    let what = format!("strain {strain}");
    let reached = async || {
        let now = node.metrics().await.sum("causeway_memory_strain");
        if strain == 0 { now < 0.5 } else { now > f64::from(strain) - 0.5 }
    };
    eventually(&what, reached).await;
}

const FLOODS: usize = 8;
const PIECES: usize = 100;
const PIECE_BYTES: usize = 500_000;
const SMALL_PIECE_BYTES: usize = 100_000;
const FILLER: usize = FLOODS;
const BYTES_MAX: u64 = 64 << 20;
