//! Links over TLS: nodes and bridges know each other by certificates of an authority of their own, which
//! lets no client pass for a bridge, nor a bridge for a client.

use std::process::Command;

use causeway_common::{
    packet::{Connect, ConnectCode, Login},
    tls::{ClientFiles, TlsClient},
};
use causeway_tests::{
    certificates::Certificates,
    client::{RawClient, connect},
    cluster::{Builder, Cluster, Service, program},
    mosquitto::{Subscriber, publish},
    wait::eventually,
};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_message_crosses_by_links_over_tls_and_whoever_has_no_part_in_them_is_refused() {
    let (made, other) = (Certificates::default(), Certificates::default());
    let cluster = with_links(&made).set_all_nodes(made.door_with_clients(1, "required", "cn"));
    let cluster = cluster.start().await;
    let (from, to) = (cluster.node(1), cluster.node(2));
    let bob = Subscriber::start(to.mqtt_port(), &["-t", "room", "-q", "1"]).await;
    publish(from.mqtt_port(), &["-t", "room", "-q", "1", "-m", "hi"]).await;
    bob.has(&["hi"]).await;

    // Nobody's certificate, a client's, another cluster's, and none.
    let intruders = [
        (made.dialer("link-authority.pem", None), "no_certificate"),
        (made.dialer("link-authority.pem", Some("client-alice")), "unknown_authority"),
        (trusting(&other, &made), "unknown_authority"),
    ];
    for (intruder, reason) in intruders {
        let before = link_refusals(from, reason).await;
        let mut client = intruder.dial(from.link_port()).await;
        if let Ok(client) = &mut client {
            assert!(client.log_in(bridge()).await.is_err(), "{reason}");
        }
        eventually("it is counted", async || link_refusals(from, reason).await > before).await;
    }
    let mut plain = RawClient::open(from.link_port()).await.unwrap();
    assert!(plain.log_in(bridge()).await.is_err());
    eventually("it is counted", async || link_refusals(from, "protocol").await > 0.0).await;

    // A bridge is no client, and even a bridge has to know the secret.
    let link = made.dialer("authority.pem", Some("link"));
    assert!(link.login(from.mqtts_port(), "bridge-2").await.is_err());
    let link = made.dialer("link-authority.pem", Some("link"));
    let mut guess = link.dial(from.link_port()).await.unwrap();
    let code = guess.log_in(connect("bridge-2")).await.unwrap();
    assert_eq!(code, ConnectCode::BadUserNameOrPassword);
    assert!(from.metrics().await.counts("causeway_link_logins_refused_total", 1));
}

#[tokio::test]
async fn a_bridge_links_to_no_node_that_another_authority_has_signed_and_to_none_after_revocation()
{
    let (made, other) = (Certificates::default(), Certificates::default());
    let mut cluster = with_links(&made).nodes(1).start().await;
    std::fs::copy(made.path("link-revoked.pem"), made.path("kept.pem")).unwrap();
    made.again(&["--revoke", "link"]);
    eventually("both have read the list", async || {
        let mut read = cluster.node(1).metrics().await.sum("causeway_tls_reloads_total");
        read = read.min(cluster.bridge(1).metrics().await.sum("causeway_tls_reloads_total"));
        read > 0.0
    })
    .await;
    assert!(cluster.node(1).metrics().await.counts("causeway_links", 1), "a link stays");
    cluster.bridge_mut(1).process.kill();
    cluster.bridge_mut(1).restart().await;
    fails_for_tls(cluster.bridge(1)).await;

    std::fs::copy(made.path("kept.pem"), made.path("link-revoked.pem")).unwrap();
    cluster.is_ready().await;
    for file in ["link.pem", "link.key"] {
        std::fs::copy(other.path(file), made.path(file)).unwrap();
    }
    cluster.bridge_mut(1).process.kill();
    cluster.bridge_mut(1).restart().await;
    fails_for_tls(cluster.bridge(1)).await;
}

/// As a bridge does, whose directory may lead it anywhere.
#[tokio::test]
async fn a_bridge_accepts_a_node_only_at_an_address_that_its_certificate_names() {
    let made = Certificates::default();
    let cluster = with_links(&made).nodes(1).start().await;
    let path = |file| made.path(file).into();
    let bridge = TlsClient::load(ClientFiles {
        certificate: path("link.pem"),
        key: path("link.key"),
        authority: path("link-authority.pem"),
        revocation_lists: Vec::new(),
    });
    let bridge = bridge.unwrap();
    for (address, is_taken) in [
        ("127.0.0.1:2883", true),
        ("localhost:2883", true),
        ("[::1]:2883", true),
        ("10.0.0.1:2883", false),
        ("node-1.example.org:2883", false),
    ] {
        let stream = TcpStream::connect(("127.0.0.1", cluster.node(1).link_port())).await.unwrap();
        let shaken = bridge.connect(address, stream).await;
        assert_eq!(shaken.is_ok(), is_taken, "{address}: {:?}", shaken.err());
    }
}

#[tokio::test]
async fn a_clients_credentials_open_no_link_and_the_links_secret_admits_no_client() {
    let cluster = Cluster::builder().nodes(1).set_nodes("auth.allow_anonymous=false");
    let cluster = cluster.set("link.secret=of-our-own").start().await;
    let node = cluster.node(1);
    let secret = Login { user: "link".into(), password: Some("of-our-own".into()) };
    let as_client = Connect { login: Some(secret), ..connect("bridge-2") };
    let (_, code) = RawClient::connect(node.mqtt_port(), as_client).await.unwrap();
    assert_eq!(code, ConnectCode::BadUserNameOrPassword);
    for (user, password) in [("alice", "of-our-own"), ("link", "causeway"), ("link", "of-our-owm")]
    {
        let login = Login { user: user.into(), password: Some(password.into()) };
        let as_bridge = Connect { login: Some(login), ..connect("bridge-2") };
        let (_, code) = RawClient::connect(node.link_port(), as_bridge).await.unwrap();
        assert_eq!(code, ConnectCode::BadUserNameOrPassword);
    }
    assert!(node.metrics().await.counts("causeway_link_logins_refused_total", 3));
    for log in [node.process.log(), cluster.bridge(1).process.log()] {
        assert!(!log.contains("of-our-own"), "{log}");
    }
}

#[test]
fn one_authority_for_clients_and_links_is_refused() {
    let made = Certificates::default();
    for (authority, is_taken) in [("link-authority.pem", true), ("authority.pem", false)] {
        let mut command = Command::new(program("causeway-broker"));
        command.args(["--check-config", "--set", "listener.0.address=127.0.0.1:0"]);
        let mut settings = made.door_with_clients(1, "required", "none");
        settings.extend(made.links());
        settings.push(format!("link.authority={}", made.path(authority)));
        for setting in settings {
            command.args(["--set", &setting]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_taken, "{said}");
        assert!(
            is_taken || said.contains("`link.authority` must be an authority of its own"),
            "{said}"
        );
    }
}

fn with_links(made: &Certificates) -> Builder {
    made.links().iter().fold(Cluster::builder(), |builder, setting| builder.set(setting))
}

/// A dialer with another cluster's certificate that trusts this one.
fn trusting(other: &Certificates, made: &Certificates) -> causeway_tests::certificates::Dialer {
    std::fs::copy(made.path("link-authority.pem"), other.path("trusted.pem")).unwrap();
    other.dialer("trusted.pem", Some("link"))
}

/// The CONNECT of a bridge that knows the secret.
fn bridge() -> Connect {
    let login = Login { user: "link".into(), password: Some("causeway".into()) };
    Connect { login: Some(login), ..connect("bridge-2") }
}

async fn link_refusals(node: &Service, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    node.metrics().await.sum_where("causeway_link_tls_handshakes_failed_total", &label)
}

async fn fails_for_tls(bridge: &Service) {
    let failures = async || {
        let metrics = bridge.metrics().await;
        metrics.sum_where("causeway_link_failures_total", "reason=\"tls\"")
    };
    eventually("the bridge cannot link", async || failures().await > 0.0).await;
}
