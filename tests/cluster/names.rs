//! Names that would spoil a log, a key, a pattern or a metric, were they taken for more than names: client
//! ids, users and topics of control characters and the like. What the standard forbids closes the
//! connection [MQTT-1.5.3-1] [MQTT-1.5.3-2]; all else is let through, and is one name wherever it stands.

use std::fs;

use bytes::Bytes;
use causeway_common::{
    packet::{Connect, ConnectCode, Login, SubscribeCode},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, connect, will},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};

use crate::exposition;

#[tokio::test]
async fn a_name_is_one_name_in_keys_patterns_logs_and_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("acl");
    fs::write(&acl, "topic readwrite open/#\npattern readwrite dev/%c\n").unwrap();
    let cluster = Cluster::builder()
        .set("log.filter=info,causeway_broker=debug,causeway_common=debug,causeway_bridge=debug")
        .set_nodes(&format!("auth.acl_file={}", acl.display()))
        .start()
        .await;
    for name in NAMES {
        travels(&cluster, name).await;
        reaches_only_its_own(&cluster, name).await;
        has_one_row(&cluster, name).await;
        is_contended_for(&cluster, name).await;
    }
    let rows = cluster.redis_cli(&["EVAL", "return #redis.call('KEYS', 'causeway:client:*')", "0"]);
    assert_eq!(rows, "0", "rows are left");
    for service in [cluster.node(1), cluster.node(2), cluster.bridge(1)] {
        lines_are_its_own(service);
        exposition::check(service).await;
        assert!(!service.exposition().await.contains(FORGED), "{}", service.name());
    }
    let log = cluster.node(1).process.log();
    for said in ["not publish here", "not have its will published", "contend for one id"] {
        let line = log.lines().find(|line| line.contains(said) && line.contains(r"\nforged"));
        assert!(line.is_some(), "{said}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_text_closes_the_connection_and_is_not_logged() {
    let cluster = Cluster::builder().nodes(1).start().await;
    let node = cluster.node(1);
    let wrong: [&[u8]; 6] =
        [b"a\0b", b"\0", b"\xc0\x80", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"];
    for name in wrong {
        for user in [false, true] {
            let mut client = RawClient::open(node.mqtt_port()).await.unwrap();
            client.send_bytes(&raw_connect(name, user)).await.unwrap();
            assert_eq!(client.closed(PATIENCE).await.unwrap(), 0, "{name:?}");
        }
    }
    let closed = node.metrics().await;
    let violations =
        closed.sum_where("causeway_connections_closed_total", "reason=\"protocol_violation\"");
    assert!((violations - 12.0).abs() < 0.5, "{violations}");
    assert_eq!(cluster.redis_cli(&["KEYS", "causeway:client:*"]), "");
    lines_are_its_own(node);
}

/// As client id, topic, filter and part of a topic, from one node to the other.
async fn travels(cluster: &Cluster, name: &str) {
    let mut reader = RawClient::login(cluster.node(2).mqtt_port(), &format!("r{name}")).await;
    let topic = format!("open/{name}");
    let code = reader.subscribe(&topic, QoS::AtLeastOnce).await.unwrap();
    assert_eq!(code, SubscribeCode::Granted(QoS::AtLeastOnce), "{name:?}");
    let mut writer = RawClient::login(cluster.node(1).mqtt_port(), name).await;
    writer.publish(&topic, "hi", QoS::AtLeastOnce).await.unwrap();
    let message = reader.message().await.unwrap().message;
    assert_eq!(message.topic.as_str(), topic);
    reader.disconnect().await.unwrap();
    writer.disconnect().await.unwrap();
}

/// A pattern with the client's id gives it that level, and not what stands before or behind a line break
/// in it; what it may not have is logged with its name.
async fn reaches_only_its_own(cluster: &Cluster, name: &str) {
    let node = cluster.node(1);
    let will = Some(will(&format!("shut/{name}"), "gone", QoS::AtMostOnce));
    let login = Connect { will, ..connect(name) };
    let (mut client, code) = RawClient::connect(node.mqtt_port(), login).await.unwrap();
    assert_eq!(code, ConnectCode::Accepted, "{name:?}");
    let mut may_read = async |topic: &str| {
        client.subscribe(topic, QoS::AtMostOnce).await.unwrap() != SubscribeCode::Failure
    };
    assert!(may_read(&format!("dev/{name}")).await, "{name:?}");
    for part in name.split(['\n', '\r', '\t', ' ']).filter(|part| *part != name) {
        assert!(!may_read(&format!("dev/{part}")).await, "{name:?}: {part:?}");
    }
    client.publish(&format!("shut/{name}"), "x", QoS::AtLeastOnce).await.unwrap();
    client.disconnect().await.unwrap();
}

/// The row in the directory has the name as it is, and no other row is touched. As a user name it proves
/// nothing.
async fn has_one_row(cluster: &Cluster, name: &str) {
    let port = cluster.node(1).mqtt_port();
    let login = Some(Login { user: name.to_owned(), password: Some(Bytes::from_static(b"x")) });
    let login = Connect { login, ..connect(name) };
    let (client, code) = RawClient::connect(port, login).await.unwrap();
    assert_eq!(code, ConnectCode::Accepted, "{name:?}: there is no password file");
    let row = format!("causeway:client:{name}");
    let is_there = async || {
        let user = cluster.redis_cli(&["HGET", &row, "user"]);
        user == name.trim()
            && cluster.redis_cli(&["KEYS", "causeway:client:*"]).trim() == row.trim()
    };
    eventually(&format!("the row of {name:?} stands alone"), is_there).await;
    client.disconnect().await.unwrap();
    let is_gone = async || cluster.redis_cli(&["KEYS", "causeway:client:*"]).is_empty();
    eventually(&format!("the row of {name:?} is gone"), is_gone).await;
}

/// Two take the id from one another until the log says so.
async fn is_contended_for(cluster: &Cluster, name: &str) {
    let ports = [1, 2].map(|number| cluster.node(number).mqtt_port());
    let mut former = None;
    for port in [ports, ports, ports].concat() {
        let (mut client, code) = RawClient::connect(port, connect(name)).await.unwrap();
        assert_eq!(code, ConnectCode::Accepted, "{name:?}");
        client.ping().await.unwrap();
        former = Some(client);
    }
    former.unwrap().disconnect().await.unwrap();
}

/// No name has begun a line of the log, or can steer who reads it.
fn lines_are_its_own(service: &Service) {
    let log = service.process.log();
    assert!(!log.is_empty());
    for line in log.split_terminator('\n') {
        let begins = line.starts_with("20") && line.contains("Z ");
        assert!(begins && !line.starts_with(FORGED), "{}: {line:?}", service.name());
        assert!(!line.contains(char::is_control), "{}: {line:?}", service.name());
        assert!(!line.contains(['\u{202e}', '\u{2028}', '\u{feff}']), "{line:?}");
    }
}

/// A CONNECT with any bytes as the client id, or as the user name.
fn raw_connect(name: &[u8], as_user: bool) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    let field = [&[0, length], name].concat();
    let (flags, names) =
        if as_user { (0x82, [&b"\0\x01a"[..], &field].concat()) } else { (2, field) };
    let body = [&b"\0\x04MQTT\x04"[..], &[flags, 0, 0], &names].concat();
    [&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

const FORGED: &str = "forged";

/// Each is a text of MQTT, if one that it advises against.
const NAMES: [&str; 9] = [
    "x\nforged INFO all is well",
    "x\r\nforged_total 9",
    "x\u{1b}[2J\u{1b}[31mred\u{7}\u{8}",
    "\u{1}\u{1f}\u{7f}\u{80}\u{85}\u{9f}",
    "\u{feff}\u{202e}txt\u{2028}\u{2029}",
    "\u{fdd0}\u{ffff}\u{10ffff}",
    "x\"} 1\nforged{a=\"",
    "a:client:b\t*[x]?",
    "{\"a\":1} OR '1'='1",
];
