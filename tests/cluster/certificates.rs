//! Clients with certificates: whom each kind of listener takes, as whom, and what is said of whoever is
//! refused.

use causeway_common::packet::{ConnectCode, Login};
use causeway_tests::{
    certificates::{Certificates, is_resumed},
    client::{RawClient, connect},
    cluster::{Cluster, Service},
    mosquitto::{Subscriber, try_publish},
    wait::eventually,
};

#[tokio::test]
async fn each_kind_of_listener_takes_whom_it_should() {
    let made = Certificates::default();
    let mut only_new = made.door(4);
    only_new.push("listener.4.tls_version_min=1.3".to_owned());
    let cluster = Cluster::builder()
        .nodes(1)
        .set_all_nodes(made.door(1))
        .set_all_nodes(made.door_with_clients(2, "optional", "none"))
        .set_all_nodes(made.door_with_clients(3, "required", "none"))
        .set_all_nodes(only_new)
        .start()
        .await;
    let node = cluster.node(1);
    let (authority, certificate, key) =
        (made.path("authority.pem"), made.path("client-alice.pem"), made.path("client-alice.key"));
    let bob = Subscriber::start(node.mqtt_port(), &["-t", "room", "-q", "1"]).await;
    let nothing: [&str; 2] = ["--cafile", &authority];
    let own = [&nothing[..], &["--cert", &certificate, "--key", &key]].concat();
    let mut heard = 0;
    for (door, tls, is_taken) in [
        (0, &nothing[..], true),
        (0, &own[..], true),
        (1, &nothing[..], true),
        (1, &own[..], true),
        (2, &nothing[..], false),
        (2, &own[..], true),
        (3, &nothing[..], true),
    ] {
        let arguments = [&["-t", "room", "-q", "1", "-m", "hi"][..], tls].concat();
        let output = try_publish(node.tls_port(door), &arguments).await;
        assert_eq!(output.status.success(), is_taken, "{door} {tls:?}: {output:?}");
        heard += usize::from(is_taken);
    }
    bob.has(&vec!["hi"; heard]).await;
    refused(node, "no_certificate", 1.0).await;
    // What mosquitto's clients are told is the lowest version, not the highest.
    for (door, is_taken) in [(0, true), (3, false)] {
        let port = node.tls_port(door);
        assert_eq!(made.shakes_hands(port, "-tls1_2"), is_taken, "{door}");
        assert!(made.shakes_hands(port, "-tls1_3"), "{door}");
    }
    refused(node, "incompatible", 1.0).await;
}

#[tokio::test]
async fn a_certificate_says_who_the_user_is_whatever_connect_says() {
    let made = Certificates::default();
    made.sign(
        "carol",
        "/CN=c",
        "extendedKeyUsage=clientAuth\nsubjectAltName=IP:10.0.0.1,email:carol@example.org",
    );
    let cluster = Cluster::builder()
        .nodes(1)
        .set_nodes("auth.allow_anonymous=false")
        .set_all_nodes(made.door_with_clients(1, "required", "cn"))
        .set_all_nodes(made.door_with_clients(2, "optional", "san"))
        .start()
        .await;
    let node = cluster.node(1);
    for (door, own, user) in [(0, "client-alice", "alice"), (1, "carol", "carol@example.org")] {
        let dialer = made.dialer("authority.pem", Some(own));
        for login in [None, Some(Login { user: "root".into(), password: Some("guess".into()) })] {
            let mut client = dialer.dial(node.tls_port(door)).await.unwrap();
            let code = client.log_in(connect_as("phone", login)).await.unwrap();
            assert_eq!(code, ConnectCode::Accepted, "{user}");
            let row = cluster.redis_cli(&["HGETALL", "causeway:client:phone"]);
            assert!(row.contains(user) && !row.contains("root"), "{row}");
            client.disconnect().await.unwrap();
        }
    }
    // Who shows none is nobody, and must say who he is.
    let nobody = made.dialer("authority.pem", None);
    let mut client = nobody.dial(node.tls_port(1)).await.unwrap();
    assert_eq!(client.log_in(connect("phone")).await.unwrap(), ConnectCode::NotAuthorized);
}

#[tokio::test]
async fn whoever_is_refused_is_named_with_the_reason_and_counted() {
    let (made, other) = (Certificates::default(), Certificates::default());
    made.again(&["--client", "mallory"]);
    made.again(&["--revoke", "client-mallory"]);
    made.again(&["--client", "late", "--days", "0"]);
    made.again(&[]);
    made.sign("two", "/CN=a/CN=b", "extendedKeyUsage=clientAuth");
    made.sign("unfit", "/CN=unfit", "extendedKeyUsage=serverAuth");
    let cluster = Cluster::builder()
        .nodes(1)
        .set_all_nodes(made.door_with_clients(1, "required", "cn"))
        .set_all_nodes(made.door_with_clients(2, "required", "san"))
        .set_all_nodes(made.door_with_clients(3, "optional", "none"))
        .start()
        .await;
    let node = cluster.node(1);
    let authority = made.path("authority.pem");
    for (from, own, door, who, what, reason) in [
        (&other, "client-alice", 0, "CN=alice, serial ", "BadSignature", "unknown_authority"),
        (&made, "client-late", 0, "CN=late, serial ", "certificate expired", "expired"),
        (&made, "client-mallory", 0, "CN=mallory, serial ", "Revoked", "revoked"),
        (&made, "client-mallory", 2, "CN=mallory, serial ", "Revoked", "revoked"),
        (&made, "unfit", 0, "CN=unfit, serial ", "invalid peer certificate", "bad_certificate"),
        (&made, "two", 0, "CN=a, CN=b, serial ", "no user name", "no_name"),
        (&made, "client-bob", 1, "CN=bob, serial ", "no user name", "no_name"),
    ] {
        let before = refusals(node, reason).await;
        let (pem, key) = (from.path(&format!("{own}.pem")), from.path(&format!("{own}.key")));
        let tls = ["--cafile", &authority, "--cert", &pem, "--key", &key];
        let arguments = [&["-t", "room", "-q", "1", "-m", "hi"][..], &tls].concat();
        let output = try_publish(node.tls_port(door), &arguments).await;
        assert!(!output.status.success(), "{own}: {output:?}");
        refused(node, reason, before + 1.0).await;
        let said = |line: &str| {
            line.contains("address=127.0.0.1:") && line.contains(who) && line.contains(what)
        };
        let log = node.process.log();
        assert!(log.lines().any(said), "{who} {what}\n{log}");
    }
    let alice = made.dialer("authority.pem", Some("client-alice"));
    alice.login(node.tls_port(0), "alice").await.unwrap();
}

/// A resumed handshake shows no certificate again, so the library does not look at the lists.
#[tokio::test]
async fn a_client_that_is_revoked_cannot_resume_its_session() {
    let made = Certificates::default();
    let cluster = Cluster::builder()
        .nodes(1)
        .set_all_nodes(made.door_with_clients(1, "required", "cn"))
        .start()
        .await;
    let node = cluster.node(1);
    let alice = made.dialer("authority.pem", Some("client-alice"));
    let bob = made.dialer("authority.pem", Some("client-bob"));
    for resumed in [false, true] {
        for (dialer, name) in [(&alice, "alice"), (&bob, "bob")] {
            let client = dialer.login(node.mqtts_port(), name).await.unwrap();
            assert_eq!(is_resumed(&client), resumed, "{name}");
            client.disconnect().await.unwrap();
        }
    }
    assert!(node.metrics().await.counts("causeway_tls_handshakes_resumed_total", 2));
    let mut still_in = alice.login(node.mqtts_port(), "alice").await.unwrap();
    made.again(&["--revoke", "client-alice"]);
    reloaded(node, 1.0).await;

    let mut client = alice.dial(node.mqtts_port()).await.unwrap();
    assert!(is_resumed(&client), "the client thinks so");
    assert!(client.log_in(connect("alice")).await.is_err());
    refused(node, "revoked", 1.0).await;
    let log = node.process.log();
    let said = |line: &str| line.contains("certificate is revoked: subject CN=alice, serial ");
    assert!(log.lines().any(said), "{log}");
    // Others still resume, and whoever is in stays in.
    assert!(is_resumed(&bob.login(node.mqtts_port(), "bob").await.unwrap()));
    still_in.ping().await.unwrap();
}

#[tokio::test]
async fn a_listener_may_be_open_where_the_node_is_closed_and_the_other_way_round() {
    for (all, one) in [("false", "yes"), ("true", "no")] {
        let cluster = Cluster::builder()
            .nodes(1)
            .set_nodes(&format!("auth.allow_anonymous={all}"))
            .set_nodes(&format!("listener.0.allow_anonymous={one}"))
            .start()
            .await;
        let port = cluster.node(1).mqtt_port();
        let (_, code) = RawClient::connect(port, connect("anybody")).await.unwrap();
        assert_eq!(code == ConnectCode::Accepted, one == "yes", "{code:?}");
    }
}

fn connect_as(client_id: &str, login: Option<Login>) -> causeway_common::packet::Connect {
    causeway_common::packet::Connect { login, ..connect(client_id) }
}

async fn refusals(node: &Service, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    node.metrics().await.sum_where("causeway_tls_handshakes_failed_total", &label)
}

/// Waits until so many handshakes have failed for a reason.
async fn refused(node: &Service, reason: &str, count: f64) {
    let what = format!("{count} handshakes failed for {reason}");
    eventually(&what, async || refusals(node, reason).await >= count).await;
}

/// Waits until the files of a node's only TLS listener were read anew so many times.
async fn reloaded(node: &Service, count: f64) {
    eventually("files are read anew", async || {
        let metrics = node.metrics().await;
        metrics.sum_where("causeway_tls_reloads_total", "result=\"done\"") >= count
    })
    .await;
}
