//! `$SYS`: what a node says of itself, under the names that mosquitto has made usual, so that its
//! exporters and dashboards read Causeway too.
//!
//! ```text
//!   Snapshot ──tick(now)──► values ──► the changed ones, to whoever is subscribed
//!                             └──────► all that match, to whoever subscribes
//! ```
//!
//! Each node speaks for itself alone: the values go to no other node and into no store. They have
//! QoS 0, whatever was subscribed to: the next one comes soon, and a client that is away should not
//! find hours of them in its queue. That no wildcard at the first level matches them is the
//! topic tree's part [MQTT-4.7.2-1]; that no client publishes there is the session's.

mod load;
mod say;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bytes::Bytes;
use causeway_common::{
    message::Message,
    qos::QoS,
    topic::{Filter, Topic, is_reserved},
};

use crate::session::Said;

use load::Load;

/// What a node has counted until now, and what it holds now. The counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Bytes from clients.
    pub bytes_received: u64,
    /// Bytes to clients.
    pub bytes_sent: u64,
    /// MQTT packets from clients, of every kind.
    pub packets_received: u64,
    /// MQTT packets to clients, of every kind.
    pub packets_sent: u64,
    /// Messages published by clients.
    pub messages_received: u64,
    /// Messages sent to clients.
    pub messages_sent: u64,
    /// Messages given up, for whatever reason.
    pub messages_dropped: u64,
    /// Bytes of payload in messages from clients.
    pub payload_bytes_received: u64,
    /// Bytes of payload in messages to clients.
    pub payload_bytes_sent: u64,
    /// Connections accepted from clients.
    pub sockets: u64,
    /// CONNECTs answered, however.
    pub connects: u64,
    /// Clients connected now.
    pub clients_connected: u64,
    /// Sessions kept now for clients that are not connected.
    pub clients_disconnected: u64,
    /// Sessions that nobody resumed in time.
    pub clients_expired: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Retained messages now.
    pub retained: u64,
    /// Messages kept now: retained ones, and those queued for clients that are not connected.
    pub stored_messages: u64,
    /// Bytes they take.
    pub stored_bytes: u64,
    /// The memory of the process, as far as is known.
    pub memory: Option<Memory>,
}

/// Resident memory of this process: the nearest to mosquitto's heap that the system knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub bytes: u64,
    /// The most it ever was.
    pub bytes_max: u64,
}

/// The topics of one node with their values; empty until the first [`SysTree::tick`].
#[derive(Debug)]
pub struct SysTree {
    started: Instant,
    ticked: Option<Instant>,
    clients_max: u64,
    /// In the order of [`STREAMS`].
    loads: Vec<Load>,
    values: BTreeMap<String, Arc<Said>>,
}

impl SysTree {
    /// The topics of a node that starts now.
    pub fn new(now: Instant) -> Self {
        let (loads, values) = (Vec::new(), BTreeMap::new());
        Self { started: now, ticked: None, clients_max: 0, loads, values }
    }

    /// Takes what the node says of itself now; returns the messages whose value is new.
    pub fn tick(&mut self, now: Instant, snapshot: &Snapshot) -> Vec<Arc<Said>> {
        self.clients_max = self.clients_max.max(snapshot.clients_connected);
        self.note_loads(now, snapshot);
        let mut changed = Vec::new();
        for (name, value) in self.values_at(now, snapshot) {
            let known = self.values.get(&name).is_some_and(|known| known.payload == value);
            if !known && let Some(said) = say(&name, value) {
                self.values.insert(name, Arc::clone(&said));
                changed.push(said);
            }
        }
        changed
    }

    /// The messages that a new subscription to this filter should see at once.
    pub fn matching<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Arc<Said>> {
        let values = is_reserved(filter.as_str()).then(|| self.values.values());
        values.into_iter().flatten().filter(|said| filter.matches(said.topic.as_str()))
    }

    fn note_loads(&mut self, now: Instant, snapshot: &Snapshot) {
        let totals = STREAMS.into_iter().map(|(_, total)| total(snapshot));
        match self.ticked.replace(now) {
            None => self.loads = totals.map(Load::new).collect(),
            Some(before) => {
                let elapsed = now.saturating_duration_since(before);
                for (load, total) in self.loads.iter_mut().zip(totals) {
                    load.note(elapsed, total);
                }
            }
        }
    }

    /// Every name behind `$SYS/broker/` with its value.
    fn values_at(&self, now: Instant, snapshot: &Snapshot) -> Vec<(String, String)> {
        let mut values = vec![
            ("version".to_owned(), concat!("causeway ", env!("CARGO_PKG_VERSION")).to_owned()),
            (
                "uptime".to_owned(),
                format!("{} seconds", now.saturating_duration_since(self.started).as_secs()),
            ),
        ];
        let counts = counts(snapshot, self.clients_max);
        values.extend(counts.map(|(name, count)| (name.to_owned(), count.to_string())));
        if let Some(Memory { bytes, bytes_max }) = snapshot.memory {
            values.push(("heap/current".to_owned(), bytes.to_string()));
            values.push(("heap/maximum".to_owned(), bytes_max.to_string()));
        }
        for ((stream, _), load) in STREAMS.into_iter().zip(&self.loads) {
            for (window, average) in load.averages() {
                values.push((format!("load/{stream}/{window}"), format!("{average:.2}")));
            }
        }
        values
    }
}

/// The topics that show a number as it is. `clients/active`, `clients/inactive` and
/// `messages/stored` are older names that are still read.
fn counts(snapshot: &Snapshot, clients_max: u64) -> [(&'static str, u64); 21] {
    let Snapshot { clients_connected: connected, clients_disconnected: disconnected, .. } =
        snapshot;
    [
        ("bytes/received", snapshot.bytes_received),
        ("bytes/sent", snapshot.bytes_sent),
        ("messages/received", snapshot.packets_received),
        ("messages/sent", snapshot.packets_sent),
        ("publish/messages/received", snapshot.messages_received),
        ("publish/messages/sent", snapshot.messages_sent),
        ("publish/messages/dropped", snapshot.messages_dropped),
        ("publish/bytes/received", snapshot.payload_bytes_received),
        ("publish/bytes/sent", snapshot.payload_bytes_sent),
        ("clients/connected", *connected),
        ("clients/active", *connected),
        ("clients/disconnected", *disconnected),
        ("clients/inactive", *disconnected),
        ("clients/total", connected + disconnected),
        ("clients/maximum", clients_max),
        ("clients/expired", snapshot.clients_expired),
        ("subscriptions/count", snapshot.subscriptions),
        ("retained messages/count", snapshot.retained),
        ("store/messages/count", snapshot.stored_messages),
        ("messages/stored", snapshot.stored_messages),
        ("store/messages/bytes", snapshot.stored_bytes),
    ]
}

fn say(name: &str, value: String) -> Option<Arc<Said>> {
    let topic = Topic::new(format!("$SYS/broker/{name}")).ok()?;
    let payload = Bytes::from(value);
    let message = Message { topic, payload, qos: QoS::AtMostOnce, retain: false };
    Some(Arc::new(Said { message, origin: None }))
}

/// A counter of a snapshot.
type Counter = fn(&Snapshot) -> u64;

/// What has averages under `load/`.
const STREAMS: [(&str, Counter); 9] = [
    ("bytes/received", |snapshot| snapshot.bytes_received),
    ("bytes/sent", |snapshot| snapshot.bytes_sent),
    ("messages/received", |snapshot| snapshot.packets_received),
    ("messages/sent", |snapshot| snapshot.packets_sent),
    ("publish/received", |snapshot| snapshot.messages_received),
    ("publish/sent", |snapshot| snapshot.messages_sent),
    ("publish/dropped", |snapshot| snapshot.messages_dropped),
    ("sockets", |snapshot| snapshot.sockets),
    ("connections", |snapshot| snapshot.connects),
];

#[cfg(test)]
mod tests;
