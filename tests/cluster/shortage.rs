//! A node stays within its memory whatever fills it: filters, messages from other nodes, logins that are never
//! finished, answers that nobody reads. Each prints the most that it took (`--nocapture`).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::{BufMut as _, BytesMut};
use causeway_common::{
    packet::{ConnectCode, Packet, SubscribeCode, Subscription},
    qos::QoS,
    topic::Filter,
};
use causeway_tests::{
    client::{RawClient, connect},
    cluster::{Cluster, Service},
    wait::eventually,
};
use tokio::{net::TcpSocket, task::JoinSet, time::timeout};

#[tokio::test]
async fn new_filters_are_refused_when_memory_is_short() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    let mut clients = Vec::new();
    for number in 0..60 {
        clients.push(RawClient::login(node.mqtt_port(), &format!("greedy-{number}")).await);
    }
    let most = Most::default();
    let (mut granted, mut refused) = (0, 0);
    for packet in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            for code in subscribe(client, number, packet).await {
                match code {
                    SubscribeCode::Failure => refused += 1,
                    SubscribeCode::Granted(_) => granted += 1,
                }
            }
            most.look(node);
        }
    }
    assert!(granted > 10_000 && refused > 100_000, "{granted} granted, {refused} refused");
    most.judge("filters");
    let again = subscribe(&mut clients[0], 0, 0).await;
    assert!(!again.contains(&SubscribeCode::Failure), "what is held may be asked for again");
    for mut client in clients {
        client.ping().await.unwrap();
    }
}

#[tokio::test]
async fn messages_from_other_nodes_are_dropped_or_held_there() {
    let cluster = Cluster::builder().set_nodes(&bound()).start().await;
    let node = cluster.node(1);
    let mut keeper = RawClient::begin(node.mqtt_port(), "keeper").await;
    keeper.subscribe("kept", QoS::AtLeastOnce).await.unwrap();
    let mut deaf = Vec::new();
    for number in 0..READERS {
        let mut client = RawClient::login(node.mqtt_port(), &format!("deaf-{number}")).await;
        client.subscribe(&format!("deaf/{number}"), QoS::AtLeastOnce).await.unwrap();
        deaf.push(client);
    }
    let most = Most::default();
    let mut writer = RawClient::login(cluster.node(2).mqtt_port(), "writer").await;
    for round in 0..ROUNDS {
        for number in 0..READERS {
            let topic = format!("deaf/{number}");
            writer.publish(&topic, vec![b'x'; 100_000], QoS::AtLeastOnce).await.unwrap();
            most.look(node);
        }
        writer.publish("kept", format!("{round}"), QoS::AtLeastOnce).await.unwrap();
    }
    most.judge("messages from another node");
    let metrics = node.metrics().await;
    let closed = metrics.sum_where("causeway_connections_closed_total", "reason=\"memory\"");
    let dropped = metrics.sum_where("causeway_messages_dropped_total", "reason=\"memory\"");
    println!("shortage: {closed} who did not read were closed, {dropped} messages dropped");
    assert!(closed + dropped > 1.0);
    for round in 0..ROUNDS {
        let message = keeper.message().await.unwrap().message;
        assert_eq!(message.payload, format!("{round}"), "what is kept is kept, in its order");
    }
}

#[tokio::test]
async fn logins_that_are_never_finished_take_a_part_of_it_only() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    let mut half = BytesMut::from(&b"\x10\xa0\x8d\x06"[..]);
    half.put_slice(b"\x00\x04MQTT\x04\x04\x00\x00\x00\x01x\x00\x01w\xff\xff");
    half.put_bytes(b'x', 60_000);
    let most = Most::default();
    let mut waiting = Vec::new();
    for _ in 0..400 {
        let mut client = RawClient::open(node.mqtt_port()).await.unwrap();
        let _ = client.send_bytes(&half).await; // it may be closed meanwhile
        waiting.push(client);
        most.look(node);
    }
    let refused = async || {
        most.look(node);
        let limit = "limit=\"memory_connections\"";
        node.metrics().await.sum_where("causeway_limited_total", limit) > 300.0
    };
    eventually("most are closed", refused).await;
    most.judge("half logins");
    assert!(node.metrics().await.sum("causeway_memory_strain") < 0.5);
    RawClient::login(node.mqtt_port(), "late").await;
}

#[tokio::test]
async fn answers_that_nobody_reads_take_little() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    let mut pings = BytesMut::new();
    for _ in 0..50_000 {
        pings.put_slice(b"\xc0\x00");
    }
    let pings = pings.freeze();
    let (before, most) = (node.process.memory_bytes(), Most::default());
    let mut clients = JoinSet::new();
    for number in 0..DEAF {
        let mut client = narrow(node.mqtt_port(), &format!("deaf-{number}")).await;
        let pings = pings.clone();
        clients.spawn(async move {
            // Until the node has stopped reading, which is when nothing goes out for some time.
            while timeout(Duration::from_secs(5), client.send_bytes(&pings)).await.is_ok() {}
            client
        });
    }
    let mut stopped = Vec::new();
    while let Some(client) = clients.join_next().await {
        stopped.push(client.unwrap());
        most.look(node);
    }
    most.judge("unread answers");
    let each = most.0.into_inner().saturating_sub(before) / DEAF;
    println!("shortage: {each} bytes for each who does not read");
    assert!(each < 512 << 10, "{each}");
}

/// What a node took, at most.
#[derive(Debug, Default)]
struct Most(AtomicU64);

impl Most {
    fn look(&self, node: &Service) {
        self.0.fetch_max(node.process.memory_bytes(), Ordering::Relaxed);
    }

    /// It keeps within its bound and the fifth that it is to be left above it.
    fn judge(&self, what: &str) {
        let most = self.0.load(Ordering::Relaxed);
        println!("shortage: {what}: {} MiB of {} MiB", most >> 20, BYTES_MAX >> 20);
        assert!(most < BYTES_MAX / 5 * 6, "{what}: {most}");
    }
}

async fn one_node() -> Cluster {
    Cluster::builder().nodes(1).set_nodes(&bound()).start().await
}

fn bound() -> String {
    format!("limits.memory_bytes_max={BYTES_MAX}")
}

/// Two thousand filters in one packet: the same for the same client and number.
async fn subscribe(client: &mut RawClient, number: usize, packet: usize) -> Vec<SubscribeCode> {
    let filter = |filter| Filter::new(format!("greedy/{number}/{packet}/{filter}")).unwrap();
    let one = |number| Subscription { filter: filter(number), qos: QoS::AtMostOnce };
    let (id, subscriptions) = (client.next_id(), (0..2_000).map(one).collect());
    client.send(&Packet::Subscribe { id, subscriptions }).await.unwrap();
    let Packet::SubAck { codes, .. } = client.packet().await.unwrap() else {
        panic!("no SUBACK");
    };
    codes
}

/// One that takes in little of what it is sent, and is in.
async fn narrow(port: u16, name: &str) -> RawClient {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let mut client = RawClient::over(stream);
    assert_eq!(client.log_in(connect(name)).await.unwrap(), ConnectCode::Accepted);
    client
}

const BYTES_MAX: u64 = 64 << 20;
const DEAF: u64 = 16;
const READERS: usize = 100;
const ROUNDS: usize = 20;
