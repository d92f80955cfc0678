//! Certificates are renewed while clients are connected: nobody notices, and whoever comes next gets the
//! new ones. What cannot be read changes nothing.

use std::{fs, time::SystemTime};

use causeway_common::qos::QoS;
use causeway_tests::{
    certificates::{Certificates, Dialer, TlsClient, chain, shown},
    cluster::{Cluster, Service},
    wait::eventually,
};

#[tokio::test]
async fn new_files_are_in_force_and_none_of_five_hundred_connections_is_dropped() {
    let made = Certificates::default();
    let cluster = Cluster::builder()
        .nodes(1)
        .set_nodes("connections.max_connections=600")
        .set_all_nodes(made.door_with_clients(1, "optional", "none"))
        .start()
        .await;
    let node = cluster.node(1);
    let dialer = made.dialer("authority.pem", Some("client-alice"));
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let name = format!("member-{number}");
        let mut client = dialer.login(node.mqtts_port(), &name).await.unwrap();
        client.subscribe(&format!("to/{name}"), QoS::AtLeastOnce).await.unwrap();
        crowd.push(client);
    }
    all_talk(&mut crowd).await;
    let old = chain(&made.path("server.pem"))[0].clone();
    let expiry = expiry(node).await;

    made.again(&["--days", "30"]);
    let new = chain(&made.path("server.pem"))[0].clone();
    shows(node, &made.dialer("authority.pem", None), &new).await;
    assert_ne!(old, new);
    let days = (expiry - self::expiry(node).await) / 86_400.0;
    assert!((366.0..368.0).contains(&days), "{days} days fewer");
    all_talk(&mut crowd).await;

    // Broken in each of its files, one after the other.
    for (number, file) in
        ["server.pem", "server.key", "authority.pem", "revoked.pem"].into_iter().enumerate()
    {
        let path = made.path(file);
        let newcomer = made.dialer("authority.pem", Some("client-alice"));
        let stranger = made.dialer("link-authority.pem", None);
        let good = fs::read(&path).unwrap();
        fs::write(&path, "-----BEGIN NOTHING-----\n").unwrap();
        failed(node, number + 1, &path).await;
        assert!(stranger.dial(node.mqtts_port()).await.is_err(), "he looks at certificates");
        let client = newcomer.login(node.mqtts_port(), "after").await.unwrap();
        assert_eq!(shown(&client), new, "{file}");
        client.disconnect().await.unwrap();
        let done = reloads(node, "done").await;
        fs::write(&path, good).unwrap();
        eventually("the file is good again", async || reloads(node, "done").await > done).await;
    }
    all_talk(&mut crowd).await;
    let metrics = node.metrics().await;
    assert!(metrics.counts("causeway_connections", CROWD));
    // One that renewed in the same second must be found too, and SIGHUP needs no change.
    let done = reloads(node, "done").await;
    node.process.signal("HUP");
    eventually("it hears SIGHUP", async || reloads(node, "done").await > done).await;
    all_talk(&mut crowd).await;
}

#[tokio::test]
async fn a_client_of_a_former_authority_cannot_come_back() {
    let (made, other) = (Certificates::default(), Certificates::default());
    let cluster = Cluster::builder()
        .nodes(1)
        .set_all_nodes(made.door_with_clients(1, "required", "cn"))
        .start()
        .await;
    let node = cluster.node(1);
    let alice = made.dialer("authority.pem", Some("client-alice"));
    alice.login(node.mqtts_port(), "alice").await.unwrap().disconnect().await.unwrap();
    for file in ["authority.pem", "revoked.pem"] {
        fs::copy(other.path(file), made.path(file)).unwrap();
    }
    eventually("the new authority is in force", async || reloads(node, "done").await > 0.0).await;
    assert!(alice.login(node.mqtts_port(), "alice").await.is_err(), "not by her session either");
    let metrics = node.metrics().await;
    assert!(metrics.counts("causeway_tls_handshakes_resumed_total", 0));
}

/// Nobody would accept it, so those that are accepted stay.
#[tokio::test]
async fn a_certificate_that_has_expired_replaces_none_that_is_valid() {
    let made = Certificates::default();
    let builder = made.links().iter().fold(Cluster::builder(), |all, one| all.set(one));
    let cluster = builder.nodes(1).set_all_nodes(made.door(1)).start().await;
    let node = cluster.node(1);
    let valid = chain(&made.path("server.pem"))[0].clone();
    let expiry = expiry(node).await;
    made.again(&["--days", "0"]);
    failed(node, 2, &made.path("server.pem")).await;
    failed(cluster.bridge(1), 1, &made.path("link.pem")).await;
    for service in [node, cluster.bridge(1)] {
        let log = service.process.log();
        assert!(
            log.contains("certificate that is valid now") && log.contains("has expired"),
            "{log}"
        );
    }
    let client = made.dialer("authority.pem", None).login(node.mqtts_port(), "one").await.unwrap();
    assert_eq!(shown(&client), valid);
    assert!((expiry - self::expiry(node).await).abs() < 0.5, "the old one's end is shown");
}

/// There is no other, and who trusts it anyway can talk.
#[tokio::test]
async fn a_node_starts_with_a_certificate_that_has_expired_and_says_so() {
    let made = Certificates::default();
    made.again(&["--days", "0"]);
    let cluster = Cluster::builder().nodes(1).set_all_nodes(made.door(1)).start().await;
    let node = cluster.node(1);
    let file = made.path("server.pem");
    let warned = |line: &str| {
        line.contains("WARN") && line.contains(&file) && line.contains("it has expired")
    };
    assert!(node.process.log().lines().any(warned), "{}", node.process.log());
    // Whatever else is in its files is still taken: it loses nothing by that.
    node.process.signal("HUP");
    eventually("it hears SIGHUP", async || reloads(node, "done").await > 0.0).await;
}

/// Each member tells the next one something, and hears it.
async fn all_talk(crowd: &mut [TlsClient]) {
    let now = format!("{:?}", SystemTime::now());
    for (number, client) in crowd.iter_mut().enumerate() {
        let next = (number + 1) % usize::try_from(CROWD).unwrap();
        let topic = format!("to/member-{next}");
        client.publish(&topic, now.clone(), QoS::AtLeastOnce).await.unwrap();
    }
    for client in crowd {
        assert_eq!(client.message().await.unwrap().message.payload, now);
    }
}

/// Waits until a new handshake shows a certificate.
async fn shows(node: &Service, dialer: &Dialer, wanted: &[u8]) {
    eventually("the new certificate is shown", async || {
        let client = dialer.dial(node.mqtts_port()).await.unwrap();
        shown(&client).as_ref() == wanted
    })
    .await;
}

async fn reloads(node: &Service, result: &str) -> f64 {
    let label = format!("result=\"{result}\"");
    node.metrics().await.sum_where("causeway_tls_reloads_total", &label)
}

/// Waits until so many reloads have failed; the last one names a file.
async fn failed(node: &Service, count: usize, file: &str) {
    let named = |line: &str| line.contains("tls files stay as they were") && line.contains(file);
    eventually("the log names the file", async || node.process.log().lines().any(named)).await;
    assert!(reloads(node, "failed").await >= f64::from(u32::try_from(count).unwrap()), "{file}");
}

async fn expiry(node: &Service) -> f64 {
    node.metrics().await.sum("causeway_tls_certificate_expiry_timestamp_seconds")
}

const CROWD: u32 = 500;
