//! Two clients that talk on while others do their worst, and how long their messages take. It prints that
//! (`--nocapture`); what the others do is each test's own.

use std::time::{Duration, Instant};

use causeway_common::qos::QoS;
use tokio::task::JoinHandle;

use crate::{client::RawClient, cluster::Service};

/// Two who talk, on the node under attack.
pub struct Pair<'a> {
    test: &'static str,
    node: &'a Service,
    writer: RawClient,
    reader: RawClient,
    /// The most that the node was seen to take, in bytes.
    pub most_memory: u64,
    /// The most files and sockets that the node was seen to have open.
    pub most_files: usize,
}

impl<'a> Pair<'a> {
    /// Logs both in; the test's name stands before what is printed.
    pub async fn new(test: &'static str, node: &'a Service) -> Self {
        let mut reader = RawClient::login(node.mqtt_port(), "reader").await;
        reader.subscribe("pair", QoS::AtLeastOnce).await.unwrap();
        let writer = RawClient::login(node.mqtt_port(), "writer").await;
        Self { test, node, writer, reader, most_memory: 0, most_files: 0 }
    }

    /// Talks as long as an attack goes on, and for some messages in any case. Returns what the attack
    /// leaves.
    pub async fn talk_during<T>(&mut self, what: &str, attack: JoinHandle<T>) -> T {
        self.talk_until(what, || attack.is_finished()).await;
        attack.await.unwrap()
    }

    /// Talks while nothing else is going on.
    pub async fn talk(&mut self, what: &str) {
        self.talk_until(what, || true).await;
    }

    async fn talk_until(&mut self, what: &str, is_over: impl Fn() -> bool) {
        let mut times = Vec::new();
        while times.len() < MESSAGES_MIN || !is_over() {
            let start = Instant::now();
            self.writer.publish("pair", "x", QoS::AtLeastOnce).await.unwrap();
            self.reader.message().await.unwrap();
            times.push(start.elapsed());
            self.most_memory = self.most_memory.max(self.node.process.memory_bytes());
            self.most_files = self.most_files.max(self.node.process.open_files());
            tokio::time::sleep(Duration::from_millis(1)).await; // pacing: bystanders, no load
        }
        times.sort_unstable();
        let p99 = times[times.len() * 99 / 100];
        println!("{}: {what}: p99 {p99:?} of {} messages", self.test, times.len());
        assert!(p99 < Duration::from_secs(2), "{what}: {p99:?}");
    }
}

const MESSAGES_MIN: usize = 300;
