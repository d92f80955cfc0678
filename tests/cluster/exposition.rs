//! What both services expose is what Prometheus expects.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use causeway_common::qos::QoS;
use causeway_tests::{
    client::RawClient,
    cluster::{Cluster, Service},
};

#[tokio::test]
async fn promtool_accepts_both_expositions() {
    let cluster = Cluster::builder().start().await;
    let mut bob = RawClient::login(cluster.node(2).mqtt_port(), "bob").await;
    let mut alice = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    alice.publish("user/bob/alice", "hi", QoS::ExactlyOnce).await.unwrap();
    bob.message().await.unwrap();
    check(cluster.node(1)).await;
    check(cluster.bridge(1)).await;
}

/// Has promtool read what a service exposes now.
pub(crate) async fn check(service: &Service) {
    let exposition = service.exposition().await;
    assert!(exposition.contains("\ncauseway_"), "{exposition}");
    let mut command = Command::new("promtool");
    let command = command.args(["check", "metrics"]).stdin(Stdio::piped());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().expect("promtool is installed");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(exposition.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", service.name());
}
