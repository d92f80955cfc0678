//! What TLS costs a node: handshakes in full and resumed, and the memory of a connection. It prints what
//! it sees (`--nocapture`).

use std::time::Instant;

use causeway_tests::{
    certificates::{Certificates, Dialer, is_resumed},
    client::RawClient,
    cluster::{Cluster, Service},
};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_resume_and_a_connection_costs_little() {
    let made = Certificates::default();
    let cluster = Cluster::builder()
        .nodes(1)
        .set_nodes("connections.max_connections=2000")
        .set_nodes("log.filter=warn")
        .set_all_nodes(made.door(1))
        .set_all_nodes(made.door_with_clients(2, "required", "cn"))
        .start()
        .await;
    let node = cluster.node(1);
    for (door, own, what) in [(0, None, "server only"), (1, Some("client-alice"), "both sides")] {
        let dialer = || made.dialer("authority.pem", own);
        let strangers = || (0..EACH).map(|_| dialer()).collect();
        let port = node.tls_port(door);
        let full = handshakes(port, (0..HANDS).map(|_| strangers()).collect(), false).await;
        let known = || async {
            let one = dialer();
            one.login(port, "").await.unwrap();
            vec![one; EACH]
        };
        let mut hands = Vec::new();
        for _ in 0..HANDS {
            hands.push(known().await);
        }
        let resumed = handshakes(port, hands, true).await;
        println!("{what}: {full:.0} handshakes/s in full, {resumed:.0} resumed");
    }
    let mut crowd = Vec::new();
    let before = node.process.memory_bytes();
    for number in 0..CROWD {
        crowd.push(RawClient::login(node.mqtt_port(), &format!("plain-{number}")).await);
    }
    let plain = per_connection(node, before);
    let before = node.process.memory_bytes();
    let mut tls_crowd = Vec::new();
    for number in 0..CROWD {
        let dialer = made.dialer("authority.pem", None);
        tls_crowd.push(dialer.login(node.tls_port(0), &format!("tls-{number}")).await.unwrap());
    }
    let tls = per_connection(node, before);
    println!("bytes a connection: {plain} plain, {tls} with TLS");
    assert!(tls < 64 * 1024, "{tls}");
}

/// Handshakes a second with TCP connection and login, by several hands at a time; both ends are in the
/// figure.
async fn handshakes(port: u16, hands: Vec<Vec<Dialer>>, resumed: bool) -> f64 {
    let start = Instant::now();
    let mut working = JoinSet::new();
    for dialers in hands {
        working.spawn(async move {
            for dialer in dialers {
                // The answer to the login brings the ticket for the next time.
                let client = dialer.login(port, "").await.unwrap();
                assert_eq!(is_resumed(&client), resumed);
            }
        });
    }
    while let Some(ended) = working.join_next().await {
        ended.unwrap();
    }
    f64::from(u32::try_from(HANDS * EACH).unwrap()) / start.elapsed().as_secs_f64()
}

fn per_connection(node: &Service, before: u64) -> u64 {
    node.process.memory_bytes().saturating_sub(before) / CROWD
}

const HANDS: usize = 8;
/// Handshakes of each hand.
const EACH: usize = 125;
const CROWD: u64 = 500;
