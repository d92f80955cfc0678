//! Ten thousand connections that say half a CONNECT, from hundreds of addresses, so that no limit of an
//! address stops them: bystanders talk on. It prints how long their messages take (`--nocapture`).
//!
//! It leaves to `hostile` those whom the limit of an address stops, and to `handshakes` those of TLS.

use causeway_common::{
    packet::{ConnectCode, Packet},
    qos::QoS,
};
use causeway_tests::{
    bystanders::Pair,
    client::{RawClient, connect},
    cluster::{Builder, Cluster, Service},
    process::raise_open_files,
    wait::eventually,
};
use tokio::{sync::Mutex, task::JoinSet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_half_open_at_once_keep_nobody_from_talking_or_coming() {
    let _alone = ALONE.lock().await;
    raise_open_files(HALF_OPEN + 1_000);
    let cluster = one_node()
        .set_nodes("connections.max_connections=12000")
        .set_nodes("connections.connect_timeout_secs=600")
        .start()
        .await;
    let node = cluster.node(1);
    let mut pair = Pair::new("half-open", node).await;
    pair.talk("quiet").await;
    let opening = tokio::spawn(half_open(node.mqtt_port()));
    let mut open = pair.talk_during("while 10,000 come", opening).await;
    assert_eq!(open.len(), HALF_OPEN);
    let all_are_in = async || node.process.open_files() > HALF_OPEN;
    eventually("the node has taken all of them", all_are_in).await;
    pair.talk("while 10,000 are there").await;
    comes_in(node).await;
    println!("half-open: the node took at most {} MiB", pair.most_memory >> 20);
    assert!(pair.most_memory < BYTES_MAX, "{}", pair.most_memory);
    // None of them was given up meanwhile, and a whole CONNECT is still answered.
    for client in open.iter_mut().step_by(500) {
        client.send_bytes(REST).await.unwrap();
        let answer = client.packet().await.unwrap();
        assert!(
            matches!(answer, Packet::ConnAck { code: ConnectCode::Accepted, .. }),
            "{answer:?}"
        );
    }
    drop(open);
    let all_are_gone = async || node.process.open_files() < 500;
    eventually("the node has let go of all of them", all_are_gone).await;
}

/// A client stands at the door for a second at most, and gives way before that if it is silent. Those who find no place wait before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_few_places_takes_ten_thousand_half_open_one_after_the_other() {
    let _alone = ALONE.lock().await;
    raise_open_files(HALF_OPEN + 1_000);
    let cluster = one_node()
        .set_nodes("connections.max_connections=1000")
        .set_nodes("connections.refusals_max=100")
        .set_nodes("connections.connect_timeout_secs=1")
        .start()
        .await;
    let node = cluster.node(1);
    let mut pair = Pair::new("half-open, few places", node).await;
    pair.talk("quiet").await;
    let files = node.process.open_files();
    let opening = tokio::spawn(half_open(node.mqtt_port()));
    let open = pair.talk_during("while 10,000 come", opening).await;
    let closed = async || {
        let metrics = node.metrics().await;
        let late =
            metrics.sum_where("causeway_connections_closed_total", "reason=\"connect_timeout\"");
        // Whose first bytes come after the next connection may have given way to that.
        let gave_way = metrics.sum_where("causeway_limited_total", "limit=\"places\"");
        late + gave_way > 9_999.5
    };
    eventually("each of them was closed for its silence", closed).await;
    assert_eq!(open.len(), HALF_OPEN);
    println!("half-open, few places: at most {} files", pair.most_files);
    assert!(pair.most_files < files + 1_300, "{} open files", pair.most_files);
    comes_in(node).await;
}

fn one_node() -> Builder {
    Cluster::builder()
        .nodes(1)
        .set_nodes("limits.connections_per_address=20")
        .set_nodes(&format!("limits.memory_bytes_max={BYTES_MAX}"))
}

/// Opens all of them from 500 addresses, some at a time, and keeps them open.
async fn half_open(port: u16) -> Vec<RawClient> {
    let mut groups = JoinSet::new();
    for group in 0..GROUPS {
        groups.spawn(async move {
            let mut open = Vec::with_capacity(HALF_OPEN / GROUPS);
            for number in (group..HALF_OPEN).step_by(GROUPS) {
                let address = number % ADDRESSES;
                let [third, fourth] = [10 + address / 250, 1 + address % 250];
                let bytes = [third, fourth].map(|byte| u8::try_from(byte).unwrap());
                let from = [127, 0, bytes[0], bytes[1]];
                let mut client = RawClient::open_from(from, port).await.unwrap();
                client.send_bytes(HALF).await.unwrap();
                open.push(client);
            }
            open
        });
    }
    groups.join_all().await.into_iter().flatten().collect()
}

/// Somebody else comes in, and talks.
async fn comes_in(node: &Service) {
    let mut newcomer = RawClient::open_from([127, 0, 0, 77], node.mqtt_port()).await.unwrap();
    assert_eq!(newcomer.log_in(connect("newcomer")).await.unwrap(), ConnectCode::Accepted);
    newcomer.publish("elsewhere", "x", QoS::AtLeastOnce).await.unwrap();
    newcomer.disconnect().await.unwrap();
}

/// One test at a time: each takes most of the files that this process may have.
static ALONE: Mutex<()> = Mutex::const_new(());

const HALF_OPEN: usize = 10_000;
/// Twenty connections each: as many as the limit of an address lets in.
const ADDRESSES: usize = 500;
const GROUPS: usize = 8;
const BYTES_MAX: u64 = 256 << 20;

/// A CONNECT with an empty client id, in two halves.
const HALF: &[u8] = b"\x10\x0c\x00\x04MQ";
const REST: &[u8] = b"TT\x04\x02\x00\x00\x00\x00";
