//! `$SYS`: mosquitto's names with this node's values, for those who ask for them and nobody else.

use std::collections::BTreeMap;

use causeway_common::qos::QoS;
use causeway_tests::{
    client::RawClient,
    cluster::Cluster,
    mosquitto::{Subscriber, publish, told},
    wait::eventually,
};

/// What exporters read.
const NAMES: [&str; 24] = [
    "bytes/received",
    "bytes/sent",
    "messages/received",
    "messages/sent",
    "publish/messages/received",
    "publish/messages/sent",
    "publish/messages/dropped",
    "publish/bytes/received",
    "publish/bytes/sent",
    "clients/connected",
    "clients/disconnected",
    "clients/maximum",
    "clients/total",
    "clients/expired",
    "subscriptions/count",
    "retained messages/count",
    "store/messages/count",
    "store/messages/bytes",
    "load/messages/received/1min",
    "load/messages/sent/5min",
    "load/connections/15min",
    "load/sockets/1min",
    "uptime",
    "version",
];

#[tokio::test]
async fn mosquitto_sub_reads_every_value_an_exporter_wants() {
    let cluster = Cluster::builder().set_nodes("sys.sys_interval_secs=1").start().await;
    let port = cluster.node(1).mqtt_port();
    let _bob = RawClient::login(port, "bob").await;
    publish(port, &["-t", "a", "-q", "1", "-m", "hi"]).await;
    let read = async || -> BTreeMap<String, String> {
        let all = ["-t", "$SYS/#", "-W", "1", "-F", "%t\t%p"];
        let output = causeway_tests::mosquitto::run("mosquitto_sub", port, &all).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        pairs.map(|(topic, value)| (topic.to_owned(), value.to_owned())).collect()
    };
    let mut values = BTreeMap::new();
    eventually("the message was counted", async || {
        values = read().await;
        let received = values.get("$SYS/broker/publish/messages/received");
        received.is_some_and(|received| received.parse::<u64>().is_ok_and(|count| count >= 1))
    })
    .await;
    let missing: Vec<_> =
        NAMES.iter().filter(|name| !values.contains_key(&format!("$SYS/broker/{name}"))).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {values:#?}");
    let value = |name: &str| values[&format!("$SYS/broker/{name}")].clone();
    assert!(value("uptime").ends_with(" seconds"), "{values:#?}");
    assert!(value("version").starts_with("causeway "), "{values:#?}");
    for name in NAMES.iter().filter(|name| !["uptime", "version"].contains(*name)) {
        assert!(value(name).parse::<f64>().is_ok(), "{name}: {:?}", value(name));
    }
    // One value alone comes at once too, retained as it looks.
    let one = ["-t", "$SYS/broker/version", "-C", "1", "--retained-only"];
    assert!(told("mosquitto_sub", port, &one).await.starts_with("causeway "));
}

#[tokio::test]
async fn wildcards_at_the_first_level_do_not_see_it_and_nobody_writes_to_it() {
    let cluster = Cluster::builder().set_nodes("sys.sys_interval_secs=1").start().await;
    let port = cluster.node(1).mqtt_port();
    let all = Subscriber::start(port, &["-t", "#", "-t", "+/broker/#", "-F", "%t"]).await;
    let mut values = RawClient::login(port, "reader").await;
    values.subscribe("$SYS/#", QoS::AtMostOnce).await.unwrap();
    publish(port, &["-t", "$SYS/broker/version", "-r", "-q", "1", "-m", "forged"]).await;
    // Values change meanwhile.
    let mut uptimes = 0;
    while uptimes < 3 {
        let message = values.message().await.unwrap().message;
        assert_ne!(message.payload, "forged");
        uptimes += usize::from(message.topic.as_str() == "$SYS/broker/uptime");
    }
    publish(port, &["-t", "end", "-q", "1", "-m", "x"]).await;
    all.has(&["end"]).await;
}
