//! TLS is a door like the other one: who comes through it is a client like any other, and who
//! can't, or never tries, costs the others nothing.

use std::{process::Command, sync::Arc, time::SystemTime};

use bytes::BytesMut;
use causeway_common::{
    packet::{ConnectCode, Packet, encode},
    qos::QoS,
};
use causeway_tests::{
    certificates::Certificates,
    client::{RawClient, connect},
    cluster::{Builder, Cluster, Service, program},
    mosquitto::{Subscriber, payload_file, publish, try_publish},
    wait::{PATIENCE, eventually},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName,
};

#[tokio::test]
async fn a_message_crosses_from_either_tls_version_to_either() {
    let folder = Certificates::default();
    let cluster = with_tls(&folder).start().await;
    let (from, to) = (cluster.node(1), cluster.node(2));
    let authority = folder.path("authority.pem");
    let tls = |version: &'static str| ["--cafile", &*authority, "--tls-version", version];
    let big = "x".repeat(1 << 20);
    let big_file = payload_file(folder.folder(), big.as_bytes());
    let mut bobs = Vec::new();
    for version in VERSIONS {
        let filter = ["-t", "room", "-q", "2", "-F", "%p"];
        let arguments = [&filter[..], &tls(version)].concat();
        bobs.push(Subscriber::start(to.mqtts_port(), &arguments).await);
    }
    for version in VERSIONS {
        for payload in [["-m", version], ["-f", &big_file]] {
            // One QoS: mosquitto_sub prints what it gets at QoS 2 later than the rest.
            let topic = ["-t", "room", "-q", "2"];
            let arguments = [&topic[..], &payload, &tls(version)].concat();
            publish(from.mqtts_port(), &arguments).await;
        }
    }
    publish(from.mqtt_port(), &["-t", "room", "-q", "2", "-m", "plain"]).await;
    for bob in &bobs {
        bob.has(&["tlsv1.2", &big, "tlsv1.3", &big, "plain"]).await;
    }
    for (node, handshakes) in [(from, 4.0), (to, 2.0)] {
        assert_eq!(counted(node).await, (handshakes, 0.0), "{}", node.name());
    }
}

#[tokio::test]
async fn a_client_that_trusts_another_authority_leaves_and_is_counted() {
    let (folder, other) = (Certificates::default(), Certificates::default());
    let cluster = with_tls(&folder).nodes(1).start().await;
    let node = cluster.node(1);
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let output = publish_over_tls(node, &other, version).await;
        assert!(!output.status.success(), "{version}: {output:?}");
        failed(node, number + 1, "UnknownCA").await;
    }
    assert_eq!(counted(node).await, (0.0, 2.0));
    let output = publish_over_tls(node, &folder, "tlsv1.3").await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn what_is_no_tls_is_refused_and_the_reason_is_logged() {
    let folder = Certificates::default();
    let cluster = with_tls(&folder).nodes(1).start().await;
    let node = cluster.node(1);
    let mut witness = RawClient::login(node.mqtt_port(), "witness").await;
    let mut plain = BytesMut::new();
    encode(&Packet::Connect(Box::new(connect("plain"))), &mut plain).unwrap();
    let no_hello = [&[22, 3, 1, 0, 4][..], b"\x01\0\0\0"].concat();
    let first: [&[u8]; 4] = [&plain, b"GET / HTTP/1.1\r\n\r\n", &[0; 4096], &no_hello];
    for (number, garbage) in first.into_iter().enumerate() {
        let mut client = TcpStream::connect(("127.0.0.1", node.mqtts_port())).await.unwrap();
        client.write_all(garbage).await.unwrap();
        // It may say why, or break off.
        let ended = timeout(PATIENCE, client.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "{garbage:?} is still connected");
        failed(node, number + 1, "corrupt message").await;
    }
    witness.ping().await.unwrap();
    let output = publish_over_tls(node, &folder, "tlsv1.3").await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_handshake_that_goes_no_further_ends_in_time() {
    let folder = Certificates::default();
    let cluster = with_tls(&folder)
        .nodes(1)
        .set_nodes("connections.handshake_timeout_secs=1")
        .set_nodes("connections.handshakes_max=2")
        .start()
        .await;
    let node = cluster.node(1);
    let mut begun = begin(node, 5).await;
    let output = publish_over_tls(node, &folder, "tlsv1.3").await;
    assert!(output.status.success(), "{output:?}");
    for client in &mut begun {
        client.stream().readable().await.unwrap();
    }
    failed(node, 5, "timed out").await;
    assert_eq!(counted(node).await, (1.0, 5.0));
}

/// Nor is a turn kept by half of a first message.
#[tokio::test]
async fn silence_takes_no_turn() {
    let folder = Certificates::default();
    let cluster = with_tls(&folder)
        .nodes(1)
        .set_nodes("connections.connect_timeout_secs=3600")
        .set_nodes("connections.handshakes_max=1")
        .start()
        .await;
    let node = cluster.node(1);
    let mut silent = Vec::new();
    for number in 0..10 {
        let mut client = RawClient::open(node.mqtts_port()).await.unwrap();
        if number % 2 > 0 {
            let hello = hello();
            client.send_bytes(&hello[..hello.len() / 2]).await.unwrap();
        }
        silent.push(client);
    }
    for version in VERSIONS {
        let output = publish_over_tls(node, &folder, version).await;
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(counted(node).await, (2.0, 0.0));
}

#[tokio::test]
async fn silence_ends_with_the_time_for_a_login() {
    let folder = Certificates::default();
    let limit = "connections.connect_timeout_secs=1";
    let cluster = with_tls(&folder).nodes(1).set_nodes(limit).start().await;
    let node = cluster.node(1);
    let mut silent = RawClient::open(node.mqtts_port()).await.unwrap();
    silent.closed(PATIENCE).await.unwrap();
    failed(node, 1, "timed out").await;
}

#[tokio::test]
async fn others_come_and_are_served_while_handshakes_go_no_further() {
    let folder = Certificates::default();
    let cluster = with_tls(&folder)
        .nodes(1)
        .set_nodes("connections.handshake_timeout_secs=3600")
        .set_nodes("connections.connect_timeout_secs=3600")
        .set_nodes("connections.handshakes_max=1")
        .start()
        .await;
    let node = cluster.node(1);
    let authority = folder.path("authority.pem");
    let arguments = ["-t", "room", "--cafile", &*authority];
    let bob = Subscriber::start(node.mqtts_port(), &arguments).await;
    let _begun = begin(node, 20).await;
    for _ in 0..10 {
        let mut alice = RawClient::login(node.mqtt_port(), "alice").await;
        alice.publish("room", "hi", QoS::AtLeastOnce).await.unwrap();
    }
    for version in VERSIONS {
        let output = publish_over_tls(node, &folder, version).await;
        assert!(output.status.success(), "{output:?}");
    }
    bob.has(&["hi"; 12]).await;
    assert_eq!(counted(node).await, (3.0, 0.0), "none has ended");
}

#[tokio::test]
async fn a_client_that_vanishes_has_closed_its_connection() {
    let folder = Certificates::default();
    let cluster = with_tls(&folder).nodes(1).start().await;
    let node = cluster.node(1);
    let authority = folder.path("authority.pem");
    let arguments = ["-t", "room", "--cafile", &*authority];
    drop(Subscriber::start(node.mqtts_port(), &arguments).await);
    eventually("it counts as closed by the client", async || {
        let metrics = node.metrics().await;
        let closed = "causeway_connections_closed_total";
        metrics.sum_where(closed, "reason=\"client_closed\"") > 0.0
    })
    .await;
}

#[tokio::test]
async fn both_doors_lead_to_the_same_places() {
    let folder = Certificates::default();
    let cluster = with_tls(&folder)
        .nodes(1)
        .set_nodes("connections.max_connections=1")
        .set_nodes("connections.refusals_max=1")
        .start()
        .await;
    let node = cluster.node(1);
    let first = RawClient::login(node.mqtt_port(), "first").await;
    // Whoever is in has left the door: two may stand there, whichever door it is.
    for names in [["one too many", "another"], ["a third", "a fourth"]] {
        let mut lingering = Vec::new();
        for name in names {
            let answer = RawClient::connect(node.mqtt_port(), connect(name)).await;
            let (lingers, code) = answer.unwrap();
            assert_eq!(code, ConnectCode::ServerUnavailable);
            lingering.push(lingers);
        }
        let output = publish_over_tls(node, &folder, "tlsv1.3").await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("unavailable"), "{said}");
        // The places are for both: the third came in when the node had seen off one of the two.
        let log = node.process.log();
        let named = |line: &str| names.iter().any(|name| line.contains(name));
        let seen_off = |line: &str| line.contains("connection closed") && named(line);
        assert!(log.lines().any(seen_off), "{log}");
        drop(lingering);
    }
    first.disconnect().await.unwrap();
    let output = publish_over_tls(node, &folder, "tlsv1.3").await;
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn files_that_are_missing_or_do_not_fit_are_named_by_the_check_of_the_configuration() {
    let folder = Certificates::default();
    for (certificate, key, blamed) in [
        ("server.pem", "server.key", None),
        ("link.pem", "link.key", None),
        ("none.pem", "server.key", Some(("certificate", "none.pem"))),
        ("server.key", "server.key", Some(("certificate", "server.key"))),
        ("server.pem", "none.key", Some(("key", "none.key"))),
        ("server.pem", "server.pem", Some(("key", "server.pem"))),
        ("server.pem", "link.key", Some(("key", "link.key"))),
    ] {
        let mut command = Command::new(program("causeway-broker"));
        command.args(["--check-config", "--set", "listener.0.address=127.0.0.1:0"]);
        let files = [folder.path(certificate), folder.path(key)];
        for setting in settings(&files[0], &files[1]) {
            command.args(["--set", &setting]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let pair = format!("{certificate} and {key}: {said}");
        let code = if blamed.is_some() { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{pair}");
        if let Some((blamed, file)) = blamed {
            assert!(said.contains(&format!("`listener.1.{blamed}`")), "{pair}");
            assert!(said.contains(&folder.path(file)), "{pair}");
        }
    }
}

#[tokio::test]
async fn the_end_of_the_certificate_is_exposed() {
    let folder = Certificates::default();
    let cluster = with_tls(&folder).nodes(1).start().await;
    let metrics = cluster.node(1).metrics().await;
    let end = metrics.sum("causeway_tls_certificate_expiry_timestamp_seconds");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let days = (end - now.unwrap().as_secs_f64()) / 86_400.0;
    assert!((396.0..398.0).contains(&days), "in {days} days");
}

fn settings(certificate: &str, key: &str) -> [String; 3] {
    [
        "listener.1.address=127.0.0.1:0".to_owned(),
        format!("listener.1.certificate={certificate}"),
        format!("listener.1.key={key}"),
    ]
}

fn with_tls(folder: &Certificates) -> Builder {
    let files = ["server.pem", "server.key"].map(|file| folder.path(file));
    let settings = settings(&files[0], &files[1]);
    settings.iter().fold(Cluster::builder(), |builder, setting| builder.set_nodes(setting))
}

/// One message from a client that trusts the authority of a folder.
async fn publish_over_tls(
    node: &Service,
    trusted: &Certificates,
    version: &str,
) -> std::process::Output {
    let authority = trusted.path("authority.pem");
    let tls = ["--cafile", &*authority, "--tls-version", version];
    let message = ["-t", "room", "-q", "1", "-m", "hi"];
    try_publish(node.mqtts_port(), &[&message[..], &tls].concat()).await
}

/// What a client says first.
pub(crate) fn hello() -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// Clients that begin a handshake and then say nothing.
async fn begin(node: &Service, count: usize) -> Vec<RawClient> {
    let mut begun = Vec::new();
    for _ in 0..count {
        let mut client = RawClient::open(node.mqtts_port()).await.unwrap();
        client.send_bytes(&hello()).await.unwrap();
        begun.push(client);
    }
    begun
}

/// Handshakes that succeeded, and that failed.
async fn counted(node: &Service) -> (f64, f64) {
    let metrics = node.metrics().await;
    let sum = |name: &str| metrics.sum(&format!("causeway_tls_{name}_total"));
    (sum("handshakes"), sum("handshakes_failed"))
}

/// Waits until this many handshakes have failed, and looks for the reason of each in the log.
async fn failed(node: &Service, count: usize, reason: &str) {
    let what = format!("{count} handshakes failed");
    let lines = || {
        let log = node.process.log();
        let failures = log.lines().filter(|line| line.contains("tls handshake failed"));
        failures.map(str::to_owned).collect::<Vec<_>>()
    };
    eventually(&what, async || lines().len() >= count).await;
    let lines = lines();
    assert!(lines.iter().all(|line| line.contains(reason)), "{lines:?}");
}

const VERSIONS: [&str; 2] = ["tlsv1.2", "tlsv1.3"];
