//! What the first screen of the README promises: the whole cluster in one process, and two
//! strangers who chat across its nodes.

use std::process::Command;

use causeway_tests::{
    cluster::{port, program},
    mosquitto::{self, Subscriber},
    process::Process,
};
use tempfile::TempDir;

#[tokio::test]
async fn bob_reads_what_alice_says_on_the_other_node_of_the_local_cluster() {
    let (_local, _folder, ports) = local_cluster().await;
    let bob = Subscriber::start(ports[1], &["-i", "bob", "-t", "user/bob/#", "-v"]).await;
    say(ports[0], "hi").await;
    bob.has(&["user/bob/alice hi"]).await;
}

#[tokio::test]
async fn bob_reads_his_inbox_without_having_subscribed_to_it() {
    let (_local, _folder, ports) = local_cluster().await;
    let bob = Subscriber::start(ports[1], &["-i", "bob", "-t", "weather", "-v"]).await;
    say(ports[0], "hi").await;
    bob.has(&["user/bob/alice hi"]).await;
}

async fn say(port: u16, words: &str) {
    let arguments = ["-i", "alice", "-t", "user/bob/alice", "-q", "1", "-m", words];
    mosquitto::publish(port, &arguments).await;
}

/// `causeway`, and the client ports of its two nodes.
async fn local_cluster() -> (Process, TempDir, [u16; 2]) {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(program("causeway"));
    command.args(["--mqtt-port", "0", "--link-port", "0", "--admin-port", "0"]);
    let mut local = Process::start("causeway", &mut command, folder.path());
    for name in ["node-1", "node-2", "bridge-1"] {
        let ready = format!("{name}: ready to serve");
        let is_ready = |line: &str| (line == ready).then_some(());
        local.line(&ready, is_ready).await;
    }
    let of = |node: &str| port(&local, &format!("{node}: mqtt on ")).unwrap();
    let ports = [of("node-1"), of("node-2")];
    (local, folder, ports)
}
