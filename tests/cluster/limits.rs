//! Limits of rate and number: whoever is over one waits or is kept out, it is counted, and nobody else
//! notices.

use std::time::{Duration, Instant};

use causeway_common::{
    packet::{Connect, ConnectCode, Login, Packet},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, connect, publish},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};

#[tokio::test]
async fn an_address_has_so_many_connections_and_another_its_own() {
    let cluster = one_node(&["limits.connections_per_address=3"]).await;
    let node = cluster.node(1);
    let mut inside = Vec::new();
    for number in 0..3 {
        inside.push(login_from([127, 0, 0, 9], node, &format!("inside-{number}")).await);
    }
    // Closed before it has said anything.
    let mut fourth = RawClient::open_from([127, 0, 0, 9], node.mqtt_port()).await.unwrap();
    assert_eq!(fourth.closed(PATIENCE).await.unwrap(), 0);
    limited(node, "connections_per_address", 1).await;
    login_from([127, 0, 0, 8], node, "elsewhere").await;
    inside.pop();
    eventually("the seat is free again", async || {
        let mut client = RawClient::open_from([127, 0, 0, 9], node.mqtt_port()).await.unwrap();
        client.log_in(connect("again")).await.is_ok()
    })
    .await;
    for client in &mut inside {
        client.ping().await.unwrap();
    }
}

/// Two places for those who are not in yet, and far more who take one and say nothing.
#[tokio::test]
async fn who_says_nothing_gives_way_when_places_are_short() {
    let settings = [
        "connections.max_connections=1",
        "connections.refusals_max=1",
        "connections.connect_timeout_secs=3600",
    ];
    let cluster = one_node(&settings).await;
    let node = cluster.node(1);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(RawClient::open(node.mqtt_port()).await.unwrap());
    }
    let mut client = RawClient::login(node.mqtt_port(), "talks").await;
    client.ping().await.unwrap();
    limited(node, "places", 19).await;
    for client in &mut silent[..18] {
        assert_eq!(client.closed(PATIENCE).await.unwrap(), 0, "the oldest first");
    }
}

#[tokio::test]
async fn who_has_said_something_keeps_its_place() {
    let settings = [
        "connections.max_connections=1",
        "connections.refusals_max=1",
        "connections.connect_timeout_secs=2",
    ];
    let cluster = one_node(&settings).await;
    let node = cluster.node(1);
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::open(node.mqtt_port()).await.unwrap();
        client.send_bytes(b"\x10").await.unwrap();
        slow.push(client);
    }
    // Lets them in one after the other: there is a place when the two have had their time.
    RawClient::login(node.mqtt_port(), "waits").await;
    let closed = "causeway_connections_closed_total";
    let metrics = node.metrics().await;
    assert!(metrics.sum_where(closed, "reason=\"connect_timeout\"") >= 1.0);
    assert!(metrics.sum_where("causeway_limited_total", "limit=\"places\"") < 0.5);
}

#[tokio::test]
async fn an_address_comes_so_often_a_second() {
    let cluster = one_node(&["limits.address_connections_per_second=5"]).await;
    let node = cluster.node(1);
    let (mut came, start) = (0, Instant::now());
    while start.elapsed() < Duration::from_secs(2) {
        let mut client = RawClient::open_from([127, 0, 0, 9], node.mqtt_port()).await.unwrap();
        came += u32::from(client.log_in(connect("hasty")).await.is_ok());
    }
    let most = 6 + 5 * u32::try_from(start.elapsed().as_secs()).unwrap() + 5;
    assert!((5..=most).contains(&came), "{came} of at most {most}");
    limited(node, "address_connections_per_second", 1).await;
    login_from([127, 0, 0, 8], node, "elsewhere").await;
}

#[tokio::test]
async fn a_node_takes_so_many_connections_a_second_and_the_others_wait() {
    let cluster = one_node(&["limits.connections_per_second=20"]).await;
    let node = cluster.node(1);
    let start = Instant::now();
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(RawClient::open(node.mqtt_port()).await.unwrap());
    }
    for (number, client) in crowd.iter_mut().enumerate() {
        let code = client.log_in(connect(&format!("crowd-{number}"))).await.unwrap();
        assert_eq!(code, ConnectCode::Accepted);
    }
    let taken = start.elapsed();
    assert!(taken > Duration::from_millis(1_900), "60 at 20 a second in {taken:?}");
    limited(node, "connections_per_second", 1).await;
}

#[tokio::test]
async fn a_user_has_so_many_connections() {
    let cluster = one_node(&["limits.connections_per_user=2"]).await;
    let node = cluster.node(1);
    let of = |client_id: &str, user: &str| Connect {
        login: Some(Login { user: user.to_owned(), password: None }),
        ..connect(client_id)
    };
    let mut inside = Vec::new();
    for (client_id, user, code) in [
        ("phone", "alice", ConnectCode::Accepted),
        ("tablet", "alice", ConnectCode::Accepted),
        ("desk", "alice", ConnectCode::ServerUnavailable),
        ("desk", "bob", ConnectCode::Accepted),
        ("phone", "alice", ConnectCode::Accepted),
    ] {
        let login = of(client_id, user);
        let (client, answer) = RawClient::connect(node.mqtt_port(), login).await.unwrap();
        assert_eq!(answer, code, "{client_id} of {user}");
        inside.push(client);
    }
    limited(node, "connections_per_user", 1).await;
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_read_slowly_and_loses_nothing() {
    let cluster = one_node(&["limits.messages_per_second=50"]).await;
    let node = cluster.node(1);
    let mut hasty = RawClient::login(node.mqtt_port(), "hasty").await;
    let mut packets = Vec::new();
    for _ in 0..150 {
        let id = hasty.next_id();
        packets.push(publish("a", "x", QoS::AtLeastOnce, id));
    }
    let start = Instant::now();
    hasty.send_all(&packets).await.unwrap();
    let mut witness = RawClient::login(node.mqtt_port(), "witness").await;
    witness.publish("b", "x", QoS::AtLeastOnce).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(1_900), "the others wait too");
    for packet in &packets {
        let Packet::Publish(sent) = packet else { unreachable!() };
        assert_eq!(hasty.packet().await.unwrap(), Packet::PubAck(sent.id.unwrap()));
    }
    let taken = start.elapsed();
    assert!(taken > Duration::from_millis(1_900), "150 at 50 a second in {taken:?}");
    limited(node, "messages_per_second", 1).await;
}

/// Not read for 3 s, with a keep-alive of 1 s.
#[tokio::test]
async fn who_is_not_read_is_not_closed_for_silence() {
    let cluster = one_node(&["limits.bytes_per_second=10000"]).await;
    let node = cluster.node(1);
    let mut login = connect("large");
    login.keep_alive_secs = 1;
    let (mut client, _) = RawClient::connect(node.mqtt_port(), login).await.unwrap();
    let start = Instant::now();
    client.publish("a", vec![b'x'; 40_000], QoS::AtMostOnce).await.unwrap();
    client.ping().await.unwrap();
    let taken = start.elapsed();
    assert!(taken > Duration::from_millis(2_900), "40,000 at 10,000 a second in {taken:?}");
    limited(node, "bytes_per_second", 1).await;
    // Read again, it is held to its keep-alive again.
    client.closed(PATIENCE).await.unwrap();
}

async fn one_node(settings: &[&str]) -> Cluster {
    let settings = settings.iter().copied().map(str::to_owned).collect();
    Cluster::builder().nodes(1).set_all_nodes(settings).start().await
}

async fn login_from(from: [u8; 4], node: &Service, client_id: &str) -> RawClient {
    let mut client = RawClient::open_from(from, node.mqtt_port()).await.unwrap();
    let code = client.log_in(connect(client_id)).await.unwrap();
    assert_eq!(code, ConnectCode::Accepted, "{client_id}");
    client
}

/// Waits until a limit was counted so often.
async fn limited(node: &Service, limit: &str, count: u32) {
    let label = format!("limit=\"{limit}\"");
    let counted = async || {
        let metrics = node.metrics().await;
        metrics.sum_where("causeway_limited_total", &label) >= f64::from(count)
    };
    eventually(&format!("{limit} is counted"), counted).await;
}
