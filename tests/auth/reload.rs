//! Both files are read again when they change, and at SIGHUP; a bad one changes nothing.

use causeway_common::{
    packet::{ConnectCode, SubscribeCode},
    qos::QoS,
};
use causeway_tests::{
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};

use crate::stage::{Files, code, enter, heard, named, replace};

async fn failures(node: &Service) -> f64 {
    node.metrics().await.sum("causeway_reload_failures_total")
}

async fn start(files: &Files) -> Cluster {
    let mut builder = Cluster::builder().nodes(1).bridges(0);
    if files.passwords().exists() {
        builder = builder.set_nodes(&files.password_setting());
    }
    if files.acl().exists() {
        builder = builder.set_nodes(&files.acl_setting());
    }
    builder.start().await
}

#[tokio::test]
async fn connections_of_users_that_are_taken_away_or_changed_are_closed() {
    let files = Files::new();
    for user in ["stays", "changes", "goes"] {
        files.add(user, "one", "sha512-pbkdf2");
    }
    let cluster = start(&files).await;
    let port = cluster.node(1).mqtt_port();
    let client = async |user: &str| enter(port, named(user, user, Some("one"))).await;
    let (mut stays, mut changes, mut goes) =
        (client("stays").await, client("changes").await, client("goes").await);
    files.add("changes", "two", "sha512-pbkdf2");
    assert_eq!(changes.closed(PATIENCE).await.unwrap(), 0);
    let text = std::fs::read_to_string(files.passwords()).unwrap();
    let rest: Vec<&str> = text.lines().filter(|line| !line.starts_with("goes:")).collect();
    replace(&files.passwords(), &(rest.join("\n") + "\n"));
    assert_eq!(goes.closed(PATIENCE).await.unwrap(), 0);
    stays.ping().await.unwrap();
    for (user, password, expected) in [
        ("changes", "two", ConnectCode::Accepted),
        ("changes", "one", ConnectCode::BadUserNameOrPassword),
        ("goes", "one", ConnectCode::BadUserNameOrPassword),
        ("stays", "one", ConnectCode::Accepted),
    ] {
        assert_eq!(code(port, named("new", user, Some(password))).await, expected, "{user}");
    }
    let metrics = cluster.node(1).metrics().await;
    let closed = metrics.sum_where("causeway_connections_closed_total", "credentials_changed");
    assert!((closed - 2.0).abs() < 0.1, "{closed}");
}

#[tokio::test]
async fn a_bad_file_is_named_with_its_line_and_changes_nothing() {
    let files = Files::new();
    files.add("bob", "one", "sha512-pbkdf2");
    files.write_acl("user bob\ntopic readwrite a\n");
    let cluster = start(&files).await;
    let node = cluster.node(1);
    let port = node.mqtt_port();
    let mut bob = enter(port, named("b", "bob", Some("one"))).await;
    let good = std::fs::read_to_string(files.passwords()).unwrap();
    replace(&files.passwords(), "# nobody\nbob:hunter2\n");
    eventually("the password file is refused", async || failures(node).await > 0.5).await;
    files.write_acl("user bob\n\ntopic reed a\n");
    eventually("the access file is refused", async || failures(node).await > 1.5).await;
    let log = node.process.log();
    assert!(log.contains("line 2: ") && log.contains("line 3: `reed` is none of"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    // Nothing has changed: who is in, who may come, what they may.
    bob.subscribe("a", QoS::AtMostOnce).await.unwrap();
    bob.publish("a", "x", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(heard(&mut bob).await, ["a"]);
    assert_eq!(code(port, named("c", "bob", Some("one"))).await, ConnectCode::Accepted);
    // Both are taken again once they are right.
    replace(&files.passwords(), &good);
    files.write_acl("user bob\ntopic readwrite b\n");
    eventually("the access file is taken", async || {
        bob.subscribe("b", QoS::AtMostOnce).await.unwrap() != SubscribeCode::Failure
    })
    .await;
}

#[tokio::test]
async fn rights_that_are_taken_away_end_what_they_allowed() {
    let files = Files::new();
    files.write_acl("user bob\ntopic readwrite #\nuser root\ntopic readwrite #\n");
    let cluster = start(&files).await;
    let node = cluster.node(1);
    let port = node.mqtt_port();
    let mut bob = enter(port, named("b", "bob", None)).await;
    let mut root = enter(port, named("r", "root", None)).await;
    for client in [&mut bob, &mut root] {
        client.subscribe("#", QoS::AtLeastOnce).await.unwrap();
    }
    root.publish("both", "x", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(heard(&mut bob).await, ["both"]);
    heard(&mut root).await;
    files.write_acl("user bob\ntopic readwrite kept\nuser root\ntopic readwrite #\n");
    node.process.signal("HUP");
    eventually("bob reads no more than he may", async || {
        root.publish("both", "x", QoS::AtLeastOnce).await.unwrap();
        root.publish("kept", "x", QoS::AtLeastOnce).await.unwrap();
        heard(&mut bob).await == ["kept"]
    })
    .await;
    heard(&mut root).await;
    // His connection and his subscription are there, and he writes no more than he may either.
    bob.publish("both", "x", QoS::AtLeastOnce).await.unwrap();
    bob.publish("kept", "x", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(heard(&mut root).await, ["kept"]);
    let log = node.process.log();
    let said = log.lines().find(|line| line.contains("client may not publish here"));
    assert!(said.is_some_and(|line| line.contains("client_id=\"b\"")), "who is it?\n{log}");
    assert_eq!(bob.subscribe("both", QoS::AtMostOnce).await.unwrap(), SubscribeCode::Failure);
}

#[tokio::test]
async fn a_hang_up_ends_no_node() {
    let files = Files::new();
    let cluster = start(&files).await;
    let node = cluster.node(1);
    let mut client = enter(node.mqtt_port(), causeway_tests::client::connect("c")).await;
    node.process.signal("HUP");
    client.ping().await.unwrap();
    node.is_ready().await;
}
