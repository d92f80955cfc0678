//! Clients behind a proxy that says who they are: that address counts, and nothing else is let in.

use bytes::BytesMut;
use causeway_common::packet::{ConnectCode, Packet, encode};
use causeway_tests::{
    certificates::Certificates,
    client::{RawClient, connect},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};

use crate::abuse::dribble;

#[tokio::test]
async fn the_address_that_the_proxy_says_stands_in_the_directory_and_in_limits() {
    let cluster = cluster().await;
    let node = cluster.node(1);
    let mut v1 = proxied(node, "one", b"PROXY TCP4 203.0.113.7 10.0.0.2 4711 1883\r\n").await;
    v1.ping().await.unwrap();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x08\x0a\0\0\x02\x12\x67\x07\x5b";
    let mut other = proxied(node, "two", v2).await;
    other.ping().await.unwrap();
    for (client_id, address) in [("one", "203.0.113.7:4711"), ("two", "203.0.113.8:4711")] {
        let row = cluster.redis_cli(&["HGETALL", &format!("causeway:client:{client_id}")]);
        assert!(row.contains(address), "{row}");
    }
    let mut second = RawClient::open(node.mqtt_port()).await.unwrap();
    let header = b"PROXY TCP4 203.0.113.7 10.0.0.2 4712 1883\r\n";
    second.send_bytes(header).await.unwrap();
    assert_eq!(second.closed(PATIENCE).await.unwrap(), 0, "one connection an address");
}

#[tokio::test]
async fn without_a_header_nobody_comes_in_and_the_log_says_why() {
    let cluster = cluster().await;
    let node = cluster.node(1);
    let long = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
    for (bytes, reason) in [
        (&b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01a"[..], "no PROXY header"),
        (b"PROXY TCP4 here there 1 2\r\n", "malformed PROXY header"),
        (&long, "PROXY header of more than 107 bytes"),
        (b"PROXY TCP4 203", "no PROXY header in time"),
        (b"", "no PROXY header in time"),
    ] {
        let mut client = RawClient::open(node.mqtt_port()).await.unwrap();
        client.send_bytes(bytes).await.unwrap();
        assert_eq!(client.closed(PATIENCE).await.unwrap(), 0, "{reason}");
        let logged = async || node.process.log().contains(reason);
        eventually(reason, logged).await;
    }
    let metrics = node.metrics().await;
    let closed = metrics.sum_where("causeway_connections_closed_total", "reason=\"proxy_header\"");
    assert!((closed - 5.0).abs() < 0.5, "{closed}");
    let mut honest = proxied(node, "honest", b"PROXY UNKNOWN\r\n").await;
    honest.ping().await.unwrap();
}

/// The proxy is on this machine, whoever is behind it is not.
#[tokio::test]
async fn nameless_clients_are_local_only_where_the_header_says_so() {
    let proxied = "listener.0.proxy_protocol=true";
    let cluster = Cluster::builder().nodes(1).set_nodes(proxied).start().await;
    let port = cluster.node(1).mqtt_port();
    for (header, code) in [
        (&b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 1883\r\n"[..], ConnectCode::NotAuthorized),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 1883\r\n", ConnectCode::NotAuthorized),
        (b"PROXY UNKNOWN\r\n", ConnectCode::NotAuthorized),
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 1883\r\n", ConnectCode::Accepted),
        (b"PROXY TCP6 ::1 ::1 4711 1883\r\n", ConnectCode::Accepted),
    ] {
        let mut client = RawClient::open(port).await.unwrap();
        client.send_bytes(header).await.unwrap();
        assert_eq!(client.log_in(connect("nobody")).await.unwrap(), code, "{header:?}");
    }
}

/// Header and CONNECT, each within the time for both.
#[tokio::test]
async fn there_is_one_time_for_all_that_comes_before_a_login() {
    let cluster = Cluster::builder()
        .nodes(1)
        .set_nodes("listener.0.proxy_protocol=true")
        .set_nodes("listener.0.allow_anonymous=yes")
        .set_nodes("connections.connect_timeout_secs=3")
        .start()
        .await;
    let node = cluster.node(1);
    let mut bytes = BytesMut::from(&b"PROXY TCP4 203.0.113.7 10.0.0.2 4711 1883\r\n"[..]);
    let header = bytes.len();
    encode(&Packet::Connect(Box::new(connect("who-says-his-name-slowly"))), &mut bytes).unwrap();
    let client = RawClient::open(node.mqtt_port()).await.unwrap();
    let sent = dribble(client, &bytes).await;
    assert!(sent < bytes.len(), "{header} and {sent} of {} bytes were waited for", bytes.len());
    eventually("it is counted", async || {
        let metrics = node.metrics().await;
        let closed = "causeway_connections_closed_total";
        metrics.sum_where(closed, "reason=\"connect_timeout\"") > 0.0
    })
    .await;
}

/// The header goes before the handshake.
#[tokio::test]
async fn tls_follows_the_header() {
    let made = Certificates::default();
    let mut settings = made.door(1);
    settings.push("listener.1.proxy_protocol=true".into());
    settings.push("listener.1.allow_anonymous=yes".into());
    let cluster = Cluster::builder().nodes(1).set_all_nodes(settings).start().await;
    let node = cluster.node(1);
    let header = b"PROXY TCP6 2001:db8::7 ::1 4711 8883\r\n";
    let dialer = made.dialer("authority.pem", None);
    let mut client = dialer.login_behind(header, node.mqtts_port(), "secret").await.unwrap();
    client.ping().await.unwrap();
    let row = cluster.redis_cli(&["HGETALL", "causeway:client:secret"]);
    assert!(row.contains("[2001:db8::7]:4711"), "{row}");
}

async fn cluster() -> Cluster {
    Cluster::builder()
        .nodes(1)
        .set_nodes("listener.0.proxy_protocol=true")
        .set_nodes("listener.0.allow_anonymous=yes")
        .set_nodes("connections.connect_timeout_secs=1")
        .set_nodes("limits.connections_per_address=1")
        .start()
        .await
}

async fn proxied(node: &Service, client_id: &str, header: &[u8]) -> RawClient {
    let mut client = RawClient::open(node.mqtt_port()).await.unwrap();
    client.send_bytes(header).await.unwrap();
    assert_eq!(client.log_in(connect(client_id)).await.unwrap(), ConnectCode::Accepted);
    client
}
