//! Strangers on two nodes: Python's Paho and mosquitto's programs, as Debian ships them, each with
//! every feature it has.

use std::process::Stdio;

use causeway_tests::{
    cluster::Cluster,
    mosquitto::{Subscriber, publish, run, told},
    process::Process,
    wait::{PATIENCE, eventually},
};
use tempfile::TempDir;

#[tokio::test]
async fn pahos_features_work_across_two_nodes() {
    let cluster = Cluster::builder().start().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/durable/paho/features.py");
    let mut command = tokio::process::Command::new("/usr/bin/python3");
    command.arg(script).stdin(Stdio::null()).kill_on_drop(true);
    command.args(cluster.nodes().iter().map(|node| node.mqtt_port().to_string()));
    let output = tokio::time::timeout(PATIENCE * 2, command.output()).await;
    let output = output.expect("the script ends").expect("python3 is installed");
    let told = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{error}");
    assert_eq!(told.lines().count(), CHECKS, "{told}");
    assert!(told.lines().all(|line| line.starts_with("ok ")), "{told}\n{error}");
}

#[tokio::test]
async fn mosquitto_sub_resumes_its_session_on_either_node() {
    let cluster = Cluster::builder().start().await;
    let [one, two] = [cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port()];
    let session = ["-i", "bob", "-c", "-q", "2", "-t", "news/#"];
    told("mosquitto_sub", two, &[&session[..], &["-E"]].concat()).await;
    for (number, port) in [(0, two), (1, one), (2, two)] {
        let mut expected = Vec::new();
        for qos in ["1", "2"] {
            let text = format!("{number} with {qos}");
            publish(one, &["-i", "alice", "-c", "-t", "news/a", "-q", qos, "-m", &text]).await;
            expected.push(format!("{qos} news/a {text}"));
        }
        let mut lines = read(port, &[&session[..], &["-C", "2"]].concat()).await;
        lines.sort();
        assert_eq!(lines, expected, "visit {number}");
    }
}

#[tokio::test]
async fn mosquitto_sub_reads_and_removes_what_is_retained() {
    let cluster = Cluster::builder().start().await;
    let [one, two] = [cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port()];
    for (topic, value) in [("kept/a", "1"), ("kept/b", "2"), ("kept/a", "3")] {
        publish(one, &["-t", topic, "-r", "-q", "1", "-m", value]).await;
    }
    let all = ["-t", "kept/#", "-q", "1", "-C", "2", "--retained-only"];
    for port in [one, two] {
        let mut lines = read(port, &all).await;
        lines.sort();
        assert_eq!(lines, ["1 kept/a 3", "1 kept/b 2"]);
    }
    publish(two, &["-t", "kept/b", "-r", "-q", "1", "-n"]).await;
    let one_left = ["-t", "kept/#", "-q", "1", "-C", "1", "--retained-only"];
    assert_eq!(read(one, &one_left).await, ["1 kept/a 3"]);
    // It ends by its time limit, which is no success to it.
    let remove = ["-t", "kept/#", "-q", "1", "-W", "1", "--remove-retained"];
    run("mosquitto_sub", two, &remove).await;
    publish(two, &["-t", "kept/end", "-r", "-q", "1", "-m", "end"]).await;
    let first = ["-t", "kept/#", "-q", "1", "-C", "1"];
    assert_eq!(read(one, &first).await, ["1 kept/end end"]);
}

#[tokio::test]
async fn wills_of_mosquittos_clients_come_when_they_are_killed() {
    let cluster = Cluster::builder().start().await;
    let [one, two] = [cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port()];
    let watcher = Subscriber::start(two, &["-t", "will/#", "-q", "2", "-F", "%q %t %p"]).await;
    let will = ["-t", "x", "--will-topic", "will/a", "--will-payload", "gone", "--will-qos", "2"];
    let folder = TempDir::new().unwrap();
    let mut command = std::process::Command::new("mosquitto_sub");
    command.args(["-d", "-p", &one.to_string()]).args(will).arg("--will-retain");
    let mut doomed = Process::start("doomed", &mut command, folder.path());
    let in_metrics = async || cluster.node(1).metrics().await.sum("causeway_connections") >= 1.0;
    eventually("it is connected", in_metrics).await;
    doomed.kill();
    watcher.has(&["2 will/a gone"]).await;
    let retained = ["-t", "will/a", "-q", "2", "-C", "1", "--retained-only"];
    assert_eq!(read(one, &retained).await, ["2 will/a gone"]);
}

#[tokio::test]
async fn mosquitto_rr_asks_on_one_node_and_is_answered_from_the_other() {
    let cluster = Cluster::builder().start().await;
    let [one, two] = [cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port()];
    let questions = Subscriber::start(two, &["-t", "ask", "-q", "1"]).await;
    let ask = ["-V", "311", "-t", "ask", "-e", "answer", "-m", "how?", "-q", "1"];
    let asked = told("mosquitto_rr", one, &ask);
    let answer = async {
        questions.has(&["how?"]).await;
        publish(two, &["-t", "answer", "-q", "1", "-m", "so"]).await;
    };
    let (told, ()) = tokio::join!(asked, answer);
    assert_eq!(told, "so");
}

/// What `mosquitto_sub` prints: QoS, topic and payload of each message.
async fn read(port: u16, arguments: &[&str]) -> Vec<String> {
    let printed = told("mosquitto_sub", port, &[arguments, &["-F", "%q %t %p"]].concat()).await;
    printed.lines().map(str::to_owned).collect()
}

/// How many checks the script has.
const CHECKS: usize = 12;
