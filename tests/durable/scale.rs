//! Ten thousand durable sessions with a hundred messages each on one node: what they take while
//! they wait, how long a start takes, how fast they are drained.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use causeway_common::{
    packet::{Packet, Subscription},
    qos::QoS,
    topic::Filter,
};
use causeway_tests::{
    client::{RawClient, publish},
    cluster::{Cluster, Service},
};
use tokio::task::JoinSet;

use crate::stage::number;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_sessions_wait_with_a_hundred_messages_each() {
    let builder = Cluster::builder().nodes(1).set("directory.lease_secs=20").durable();
    let mut cluster = builder.start().await;
    let port = cluster.node(1).mqtt_port();
    let folder = cluster.store_folder("node-1");

    let start = Instant::now();
    for_each_session(begin, port).await;
    say("sessions began and subscribed", start, SESSIONS);
    let start = Instant::now();
    fill(port).await;
    say("messages were queued", start, SESSIONS * MESSAGES);
    state("full", cluster.node(1), &folder);

    cluster.node_mut(1).process.kill();
    let start = Instant::now();
    cluster.node_mut(1).restart().await;
    let opened = start.elapsed();
    cluster.is_ready().await;
    println!("scale: it listens after {opened:.1?} and is ready after {:.1?}", start.elapsed());
    state("started anew", cluster.node(1), &folder);

    let start = Instant::now();
    for_each_session(drain, port).await;
    say("messages were drained", start, SESSIONS * MESSAGES);
    state("drained", cluster.node(1), &folder);
}

/// Does something with every session, many at a time.
async fn for_each_session<F>(what: fn(u16, usize) -> F, port: u16)
where
    F: Future<Output = ()> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            loop {
                let session = next.fetch_add(1, Ordering::Relaxed);
                if session >= SESSIONS {
                    return;
                }
                what(port, session).await;
            }
        });
    }
    tasks.join_all().await;
}

/// Begins a session that wants what all want, and what it alone wants.
async fn begin(port: u16, session: usize) {
    let mut client = RawClient::begin(port, &name(session)).await;
    let filter =
        |text: String| Subscription { filter: Filter::new(text).unwrap(), qos: QoS::AtLeastOnce };
    let subscriptions = vec![filter("all/#".into()), filter(format!("own/{session}"))];
    let id = client.next_id();
    client.send(&Packet::Subscribe { id, subscriptions }).await.unwrap();
    assert!(matches!(client.packet().await.unwrap(), Packet::SubAck { .. }));
    client.disconnect().await.unwrap();
}

/// First what all want, then each its own.
async fn fill(port: u16) {
    let mut publisher = RawClient::login(port, "publisher").await;
    for number in 0..SHARED {
        let topic = format!("all/{}", number % 7);
        publisher.publish(&topic, number.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    let own = (SHARED..MESSAGES).flat_map(|number| (0..SESSIONS).map(move |to| (number, to)));
    let own: Vec<(usize, usize)> = own.collect();
    for batch in own.chunks(BATCH) {
        let message = |(number, to): &(usize, usize)| {
            let (topic, id) = (format!("own/{to}"), publisher.next_id());
            publish(&topic, number.to_string(), QoS::AtLeastOnce, id)
        };
        let packets: Vec<Packet> = batch.iter().map(message).collect();
        publisher.send_all(&packets).await.unwrap();
        let mut answers = 0;
        while answers < batch.len() {
            answers += publisher.packets().await.unwrap().len();
        }
    }
}

/// Takes all that a session has, in order.
async fn drain(port: u16, session: usize) {
    let mut client = RawClient::resume(port, &name(session)).await;
    let mut expected = 0;
    while expected < MESSAGES {
        let mut answers = Vec::new();
        for packet in client.packets().await.unwrap() {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            let found = number(&publish.message.payload) as usize;
            assert_eq!(found, expected, "{}", name(session));
            expected += 1;
            answers.extend(publish.id.map(Packet::PubAck));
        }
        client.send_all(&answers).await.unwrap();
    }
    client.disconnect().await.unwrap();
}

fn say(what: &str, start: Instant, count: usize) {
    let took = start.elapsed();
    let rate = count as u128 * 1_000 / took.max(Duration::from_millis(1)).as_millis();
    println!("scale: {count} {what} in {took:.1?}: {rate} a second");
}

fn state(when: &str, node: &Service, folder: &Path) {
    let memory = node.process.memory_bytes() >> 20;
    println!("scale: {when}: {memory} MiB of memory, {} MiB on disk", size_of(folder) >> 20);
}

/// Bytes of all files of a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

fn name(session: usize) -> String {
    format!("session-{session}")
}

const SESSIONS: usize = 10_000;

/// For each session.
const MESSAGES: usize = 100;

/// Of these, how many go to all.
const SHARED: usize = 90;

/// Sessions that are connected at a time.
const AT_ONCE: usize = 64;

/// Messages sent before their answers are read; as many as a node lets a client be owed.
const BATCH: usize = 100;
