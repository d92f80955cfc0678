//! Floods and packets made to hurt, one kind after the other: a node stays within its memory, and two
//! bystanders talk on. It prints how long their messages take (`--nocapture`).

use bytes::{BufMut as _, Bytes, BytesMut};
use causeway_common::{
    packet::{Connect, ConnectCode, Login, Packet, SubscribeCode, Subscription},
    qos::QoS,
    topic::Filter,
};
use causeway_tests::{
    bystanders::Pair,
    client::{RawClient, connect, publish},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_under_attack_serves_the_others_within_its_memory() {
    let cluster = Cluster::builder()
        .nodes(1)
        .set_nodes("listener.1.address=127.0.0.1:0")
        .set_nodes("listener.1.allow_anonymous=no")
        .set_nodes("connections.connect_timeout_secs=5")
        .set_nodes("limits.connections_per_address=20")
        .set_nodes(&format!("limits.memory_bytes_max={BYTES_MAX}"))
        .start()
        .await;
    let node = cluster.node(1);
    let mut pair = Pair::new("hostile", node).await;
    pair.talk("quiet").await;
    let port = node.mqtt_port();
    pair.talk_during("10,000 from 20 addresses", tokio::spawn(half_open(port))).await;
    let closed_port = second_port(node);
    pair.talk_during("wrong passwords", tokio::spawn(wrong_passwords(closed_port))).await;
    pair.talk_during("100,000 filters", tokio::spawn(many_filters(port))).await;
    pair.talk_during("topics and lengths", tokio::spawn(monsters(port))).await;
    pair.talk_during("never acknowledged", tokio::spawn(never_acknowledged(port))).await;
    let most = pair.most_memory;
    println!("hostile: the node took at most {} MiB of {}", most >> 20, BYTES_MAX >> 20);
    assert!(most < BYTES_MAX, "{most}");
    let metrics = node.metrics().await;
    let closed = metrics.sum_where("causeway_limited_total", "limit=\"connections_per_address\"");
    assert!(closed > 5_000.0, "{closed} were closed for their address");
    let late = async || {
        let client = RawClient::open_from([127, 0, 0, 77], port).await;
        let Ok(mut client) = client else { return false };
        client.log_in(connect("late")).await.is_ok_and(|code| code == ConnectCode::Accepted)
    };
    eventually("a newcomer gets in", late).await;
}

/// Where nobody is let in without a password.
fn second_port(node: &Service) -> u16 {
    let lines = node.process.lines();
    let address = lines.iter().filter_map(|line| line.strip_prefix("node-1: mqtt on ")).nth(1);
    address.unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Connections that say half a CONNECT, from so few addresses that most are closed at once.
async fn half_open(port: u16) {
    let mut open = Vec::new();
    for number in 0..10_000_u32 {
        let from = [127, 0, 1, u8::try_from(number % 20 + 1).unwrap()];
        if let Ok(mut client) = RawClient::open_from(from, port).await {
            let _ = client.send_bytes(b"\x10\x20\x00\x04MQ").await;
            open.push(client);
        }
    }
    assert!(open.len() > 5_000, "{} are open", open.len());
}

async fn wrong_passwords(port: u16) {
    for number in 0..1_000_u32 {
        let from = [127, 0, 2, u8::try_from(number % 200 + 1).unwrap()];
        let password = Some(Bytes::from_static(b"guessed"));
        let login = Some(Login { user: "admin".into(), password });
        let mut client = RawClient::open_from(from, port).await.unwrap();
        let code = client.log_in(Connect { login, ..connect("guess") }).await.unwrap();
        assert_eq!(code, ConnectCode::BadUserNameOrPassword);
    }
}

/// Beyond `session.filters_max` each is refused by itself.
async fn many_filters(port: u16) {
    let mut client = RawClient::login(port, "greedy").await;
    let mut refused = 0;
    for packet in 0..100 {
        let filter = |number| Filter::new(format!("greedy/{packet}/{number}")).unwrap();
        let one = |number| Subscription { filter: filter(number), qos: QoS::AtLeastOnce };
        let id = client.next_id();
        let subscriptions = (0..1_000).map(one).collect();
        client.send(&Packet::Subscribe { id, subscriptions }).await.unwrap();
        let Packet::SubAck { codes, .. } = client.packet().await.unwrap() else {
            panic!("no SUBACK");
        };
        refused += codes.iter().filter(|code| **code == SubscribeCode::Failure).count();
    }
    assert!((90_000..=90_001).contains(&refused), "{refused} refused");
}

/// Packets of the largest kind.
async fn monsters(port: u16) {
    let deep = vec!["a"; 32_000].join("/");
    for topic in ["a".repeat(65_535), deep] {
        let mut client = RawClient::login(port, "monster").await;
        let id = client.next_id();
        let packet = raw_publish(&topic, id.get());
        client.send_bytes(&packet).await.unwrap();
        client.closed(PATIENCE).await.unwrap();
    }
    let mut client = RawClient::login(port, "monster").await;
    client.send_bytes(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01]).await.unwrap();
    client.closed(PATIENCE).await.unwrap();
}

fn raw_publish(topic: &str, id: u16) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0x32);
    let mut length = topic.len() + 4;
    while length >= 128 {
        bytes.put_u8(u8::try_from(length % 128).unwrap() | 0x80);
        length /= 128;
    }
    bytes.put_u8(u8::try_from(length).unwrap());
    bytes.put_u16(u16::try_from(topic.len()).unwrap());
    bytes.put_slice(topic.as_bytes());
    bytes.put_u16(id);
    bytes
}

/// A reader that answers nothing, and 50 MB for it.
async fn never_acknowledged(port: u16) {
    let mut deaf = RawClient::login(port, "deaf").await;
    deaf.subscribe("deaf", QoS::AtLeastOnce).await.unwrap();
    let mut loud = RawClient::login(port, "loud").await;
    for _ in 0..5_000 {
        let id = loud.next_id();
        let packet = publish("deaf", vec![b'x'; 10_000], QoS::AtLeastOnce, id);
        loud.send(&packet).await.unwrap();
        loud.packet().await.unwrap();
    }
}

const BYTES_MAX: u64 = 192 << 20;
