//! Debian's Prometheus scrapes nodes and a bridge, and knows what the test has done.

use std::{fs, process::Command};

use causeway_common::qos::QoS;
use causeway_tests::{
    client::RawClient,
    cluster::{Cluster, Service},
    process::{Process, free_port},
};
use tempfile::TempDir;

use crate::prometheus::knows;

#[tokio::test]
async fn prometheus_knows_what_was_said_across_the_cluster() {
    let cluster = Cluster::builder().start().await;
    let (_prometheus, port, _folder) = start(&cluster);
    knows(port, "up", "instance", &each(&cluster, ["1", "1", "1"])).await;

    let mut bob = RawClient::login(cluster.node(2).mqtt_port(), "bob").await;
    let mut alice = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    for text in ["a", "b", "c"] {
        alice.publish("user/bob/alice", text, QoS::AtLeastOnce).await.unwrap();
        bob.message().await.unwrap();
    }
    let label = "job";
    for (query, expected) in [
        ("causeway_connections", "node-1=1 node-2=1"),
        ("sum by (job) (causeway_messages_received_total{qos='1'})", "node-1=3 node-2=0"),
        ("sum by (job) (causeway_messages_delivered_total{qos='1'})", "node-1=0 node-2=3"),
        ("causeway_messages_forwarded_total{qos='1'}", "bridge-1=3 node-1=3 node-2=0"),
        ("causeway_messages_from_links_total{qos='1'}", "node-1=0 node-2=3"),
        ("causeway_links_ready", "bridge-1=2 node-1=1 node-2=1"),
    ] {
        knows(port, query, label, expected).await;
    }
}

/// The values of all services as a query has them.
fn each(cluster: &Cluster, values: [&str; 3]) -> String {
    let services = cluster.nodes().iter().chain([cluster.bridge(1)]);
    let value =
        |(service, value): (&Service, &str)| format!("127.0.0.1:{}={value}", service.admin_port());
    let mut all: Vec<_> = services.zip(values).map(value).collect();
    all.sort();
    all.join(" ")
}

fn start(cluster: &Cluster) -> (Process, u16, TempDir) {
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let config = folder.path().join("prometheus.yml");
    let job = |service: &Service| {
        let (name, port) = (service.name(), service.admin_port());
        let targets = format!("[{{ targets: [\"127.0.0.1:{port}\"] }}]");
        format!("  - {{ job_name: {name}, static_configs: {targets} }}\n")
    };
    let jobs: String = cluster.nodes().iter().chain([cluster.bridge(1)]).map(job).collect();
    let text = format!("global: {{ scrape_interval: 1s }}\nscrape_configs:\n{jobs}");
    fs::write(&config, text).unwrap();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    (Process::start("prometheus", &mut command, folder.path()), port, folder)
}
