//! Floods and packets made to hurt, one kind after the other: a node stays within its memory, and two
//! bystanders talk on. It prints how long their messages take (`--nocapture`).

use bytes::{BufMut as _, Bytes, BytesMut};
use causeway_broker::auth::entry::{Entry, Kind};
use causeway_common::{
    packet::{Connect, ConnectCode, Login, Packet, SubscribeCode, Subscription},
    qos::QoS,
    topic::Filter,
};
use causeway_tests::{
    bystanders::Pair,
    certificates::Certificates,
    client::{RawClient, connect, publish},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};
use tokio::task::JoinSet;

use crate::tls::hello;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_under_attack_serves_the_others_within_its_memory() {
    let (made, users) = (Certificates::default(), tempfile::tempdir().unwrap());
    let passwords = users.path().join("passwords");
    let entry = Entry::new(Kind::DEFAULT, b"password").unwrap();
    std::fs::write(&passwords, format!("admin:{entry}\n")).unwrap();
    let cluster = Cluster::builder()
        .nodes(1)
        .set_nodes("listener.0.allow_anonymous=yes")
        .set_nodes("listener.1.address=127.0.0.1:0")
        .set_nodes("listener.2.address=127.0.0.1:0")
        .set_nodes(&format!("listener.2.certificate={}", made.path("server.pem")))
        .set_nodes(&format!("listener.2.key={}", made.path("server.key")))
        .set_nodes(&format!("auth.password_file={}", passwords.display()))
        .set_nodes("connections.connect_timeout_secs=5")
        .set_nodes("limits.connections_per_address=20")
        .set_nodes(&format!("limits.memory_bytes_max={BYTES_MAX}"))
        .start()
        .await;
    let node = cluster.node(1);
    let mut pair = Pair::new("hostile", node).await;
    pair.talk("quiet").await;
    let port = node.mqtt_port();
    let half = b"\x10\x20\x00\x04MQ".to_vec();
    pair.talk_during("10,000 from 20 addresses", tokio::spawn(half_open(port, half))).await;
    let handshakes = tokio::spawn(half_open(node.mqtts_port(), hello()));
    pair.talk_during("10,000 handshakes that go no further", handshakes).await;
    let closed_port = second_port(node);
    pair.talk_during("wrong passwords", tokio::spawn(wrong_passwords(closed_port))).await;
    pair.talk_during("100,000 filters", tokio::spawn(many_filters(port))).await;
    pair.talk_during("topics and lengths", tokio::spawn(monsters(port))).await;
    pair.talk_during("never acknowledged", tokio::spawn(never_acknowledged(port))).await;
    let most = pair.most_memory;
    println!("hostile: the node took at most {} MiB of {}", most >> 20, BYTES_MAX >> 20);
    assert!(most < BYTES_MAX, "{most}");
    let metrics = node.metrics().await;
    let guessed = metrics.sum_where("causeway_password_checks_total", "wrong");
    assert!((guessed - f64::from(GUESSES * u32::from(GUESSERS))).abs() < 0.1, "{guessed}");
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

/// Connections that say half of what they should, from so few addresses that most are closed at once.
async fn half_open(port: u16, half: Vec<u8>) {
    let mut open = Vec::new();
    for number in 0..10_000_u32 {
        let from = [127, 0, 1, u8::try_from(number % 20 + 1).unwrap()];
        if let Ok(mut client) = RawClient::open_from(from, port).await {
            let _ = client.send_bytes(&half).await;
            open.push(client);
        }
    }
    assert!(open.len() > 5_000, "{} are open", open.len());
}

/// Guesses at a password that is there, as many at a time as addresses; each is hashed.
async fn wrong_passwords(port: u16) {
    let guess = move |address: u8| async move {
        for _ in 0..GUESSES {
            let password = Some(Bytes::from_static(b"guessed"));
            let login = Some(Login { user: "admin".into(), password });
            let mut client = RawClient::open_from([127, 0, 2, address], port).await.unwrap();
            let code = client.log_in(Connect { login, ..connect("") }).await.unwrap();
            assert_eq!(code, ConnectCode::BadUserNameOrPassword);
        }
    };
    (1..=GUESSERS).map(guess).collect::<JoinSet<_>>().join_all().await;
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
/// So few that each has its turn well within the time for a login, on the busiest of machines.
const GUESSERS: u8 = 4;
const GUESSES: u32 = 50;
