//! Whatever a peer sends, or refuses to read, can close its own connection and nothing else.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use causeway_common::{
    packet::{ConnectCode, Login, Packet, encode},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, connect, publish},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};
use tokio::time::interval;

use crate::stream::{Stream, finish_all};

#[tokio::test]
async fn garbage_closes_its_own_connection_and_is_counted() {
    let cluster = Cluster::builder().start().await;
    let node = cluster.node(1);
    let mut witness = RawClient::login(node.mqtt_port(), "witness").await;
    let noise: Vec<u8> = (0..4_096_u32).map(|n| (n * n % 251).to_le_bytes()[0]).collect();
    let first: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0", &[0x10, 0xff, 0xff, 0xff, 0xff], &noise];
    for garbage in first {
        let mut client = RawClient::open(node.mqtt_port()).await.unwrap();
        client.send_bytes(garbage).await.unwrap();
        client.closed(PATIENCE).await.unwrap();
    }
    for (number, garbage) in first.into_iter().enumerate() {
        let mut client = RawClient::login(node.mqtt_port(), &format!("mad-{number}")).await;
        client.send_bytes(garbage).await.unwrap();
        client.closed(PATIENCE).await.unwrap();
    }
    closed_for(node, "protocol_violation", 8).await;
    witness.ping().await.unwrap();
}

#[tokio::test]
async fn a_stranger_on_the_link_port_is_refused_and_learns_nothing() {
    let cluster = Cluster::builder().start().await;
    let node = cluster.node(1);
    let mut guess = connect("bridge-1");
    let password = Some(Bytes::from_static(b"guessed"));
    guess.login = Some(Login { user: "link".into(), password });
    for login in [connect("bridge-1"), guess] {
        let (mut stranger, code) = RawClient::connect(node.link_port(), login).await.unwrap();
        assert_ne!(code, ConnectCode::Accepted);
        assert_eq!(stranger.closed(PATIENCE).await.unwrap(), 0, "packets after the refusal");
    }
    let mut noisy = RawClient::open(node.link_port()).await.unwrap();
    noisy.send_bytes(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    noisy.closed(PATIENCE).await.unwrap();
    let metrics = node.metrics().await;
    let (refused, links) = ("causeway_link_logins_refused_total", "causeway_links_ready");
    assert!(metrics.sum(refused) >= 2.0, "refusals are counted");
    assert_eq!(metrics.sum(links).to_string(), "1", "the bridge itself noticed nothing");
}

/// More than there are places for, and they may stay for an hour.
#[tokio::test]
async fn silent_strangers_on_the_link_port_keep_no_bridge_out() {
    let limit = "connections.connect_timeout_secs=3600";
    let mut cluster = Cluster::builder().nodes(1).set_nodes(limit).start().await;
    cluster.bridge_mut(1).process.kill();
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(RawClient::open(cluster.node(1).link_port()).await.unwrap());
    }
    cluster.bridge_mut(1).restart().await;
    cluster.is_ready().await;
    for client in &mut silent[..100] {
        assert_eq!(client.closed(PATIENCE).await.unwrap(), 0, "the oldest first");
    }
    assert!(cluster.node(1).metrics().await.counts("causeway_links", 1));
}

#[tokio::test]
async fn half_a_packet_and_a_dribble_end_at_the_time_for_a_whole_one() {
    let cluster = Cluster::builder().set_nodes("connections.connect_timeout_secs=1").start().await;
    let node = cluster.node(1);
    let mut witness = RawClient::login(node.mqtt_port(), "witness").await;
    let bytes = connect_bytes("one-who-takes-far-too-long-to-say-a-name-of-more-than-sixty-bytes");
    let half = &bytes[..bytes.len() / 2];
    let mut silent = RawClient::open(node.mqtt_port()).await.unwrap();
    silent.send_bytes(half).await.unwrap();
    silent.closed(PATIENCE).await.unwrap();
    let dribbler = RawClient::open(node.mqtt_port()).await.unwrap();
    assert!(dribble(dribbler, &bytes).await < bytes.len(), "a dribble of a login was waited for");
    closed_for(node, "connect_timeout", 2).await;

    // The same once logged in: only whole packets keep a connection alive [MQTT-3.1.2-24].
    let mut silent = login_of_a_second(node, "silent").await;
    let id = silent.next_id();
    let mut bytes = BytesMut::new();
    encode(&publish("a", vec![b'x'; 100], QoS::AtLeastOnce, id), &mut bytes).unwrap();
    silent.send_bytes(&bytes[..50]).await.unwrap();
    silent.closed(PATIENCE).await.unwrap();
    let dribbler = login_of_a_second(node, "dribbler").await;
    assert!(dribble(dribbler, &bytes).await < bytes.len(), "a dribble kept a connection alive");
    closed_for(node, "keep_alive", 2).await;
    witness.ping().await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_costs_a_bounded_sum_and_disturbs_nobody() {
    let cluster = Cluster::builder().start().await;
    let streams = Stream::all_ways(cluster.node(1), cluster.node(2)).await;
    let mut deaf = RawClient::login(cluster.node(1).mqtt_port(), "deaf").await;
    deaf.subscribe("flood", QoS::AtLeastOnce).await.unwrap();
    for stream in &streams {
        stream.advances(50).await;
    }
    for (from, qos) in
        [(1, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (2, QoS::AtMostOnce), (2, QoS::AtLeastOnce)]
    {
        let services = [cluster.node(1), cluster.node(2), cluster.bridge(1)];
        let before = services.map(|service| service.process.memory_bytes());
        let mut most = before;
        let port = cluster.node(from).mqtt_port();
        let mut flood = RawClient::login(port, &format!("flood-{from}-{qos}")).await;
        let payload = Bytes::from(vec![b'x'; FLOOD_PAYLOAD_BYTES]);
        for _ in 0..FLOOD_BYTES / FLOOD_PAYLOAD_BYTES {
            flood.publish("flood", payload.clone(), qos).await.unwrap();
            for (most, service) in most.iter_mut().zip(services) {
                *most = service.process.memory_bytes().max(*most);
            }
        }
        flood.ping().await.unwrap();
        for stream in &streams {
            stream.advances(50).await;
        }
        for ((service, before), most) in services.iter().zip(before).zip(most) {
            let growth = most.saturating_sub(before);
            println!(
                "abuse: 100 MB from node-{from} at QoS {qos} cost {} {} MiB",
                service.name(),
                growth >> 20
            );
            assert!(growth < GROWTH_BYTES_MAX, "{} grew by {growth} bytes", service.name());
        }
    }
    let longest = streams.iter().map(Stream::take_longest_wait).max();
    println!("abuse: the longest wait of the others was {:?}", longest.unwrap_or_default());
    let metrics = cluster.node(1).metrics().await;
    assert!(metrics.sum("causeway_messages_dropped_total") >= 1.0, "drops are counted");
    let logged = async || cluster.node(1).process.log().contains("messages dropped");
    eventually("the drops stand in the log", logged).await;
    finish_all(streams, &cluster).await;
}

/// Waits until this many connections were closed for a reason, and looks for it in the log.
async fn closed_for(node: &Service, reason: &str, count: u32) {
    let label = format!("reason=\"{reason}\"");
    let counted = async || {
        let metrics = node.metrics().await;
        metrics.sum_where("causeway_connections_closed_total", &label) >= f64::from(count)
    };
    eventually(&format!("{count} closed for {reason}"), counted).await;
    let log = node.process.log();
    let lines = log.lines().filter(|line| line.contains(reason)).count();
    assert!(lines >= usize::try_from(count).unwrap(), "{lines} lines with {reason}:\n{log}");
}

/// Sends a byte every now and then until the server closes or all is sent; returns how many.
pub(crate) async fn dribble(mut client: RawClient, bytes: &[u8]) -> usize {
    let mut pace = interval(Duration::from_millis(50));
    for (sent, byte) in bytes.iter().enumerate() {
        pace.tick().await;
        let next = async { client.packet().await.map(drop) };
        let heard = tokio::time::timeout(Duration::from_millis(1), next).await;
        let closed = heard.is_ok_and(|heard| heard.is_err());
        if closed || client.send_bytes(&[*byte]).await.is_err() {
            return sent;
        }
    }
    bytes.len()
}

async fn login_of_a_second(node: &Service, name: &str) -> RawClient {
    let mut login = connect(name);
    login.keep_alive_secs = 1;
    let answer: io::Result<_> = RawClient::connect(node.mqtt_port(), login).await;
    answer.unwrap().0
}

fn connect_bytes(client_id: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(&Packet::Connect(Box::new(connect(client_id))), &mut bytes).unwrap();
    bytes
}

const FLOOD_BYTES: usize = 100_000_000;

const FLOOD_PAYLOAD_BYTES: usize = 250_000;

/// A mailbox, a queue and the buffers of links and sockets fit into it with room for the
/// allocator; the flood does not.
const GROWTH_BYTES_MAX: u64 = 64 << 20;
