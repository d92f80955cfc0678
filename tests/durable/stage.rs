//! One node and what interrupts a session on it: a connection that breaks, or a process that is
//! killed. The tests of [`crate::durable`] run with each.

use causeway_common::{
    id::PacketId,
    packet::{Packet, Publish},
    qos::QoS,
};
use causeway_tests::{
    client::RawClient,
    cluster::{Builder, Cluster},
};

/// A running node.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// Whether an interruption takes the process too.
    pub(crate) is_deadly: bool,
}

impl Stage {
    /// Connections break, the node stays.
    pub(crate) async fn with_breaks() -> Self {
        Self { cluster: one_node().start().await, is_deadly: false }
    }

    /// The node is killed and started anew.
    pub(crate) async fn with_kills() -> Self {
        Self { cluster: one_node().durable().start().await, is_deadly: true }
    }

    /// Where clients connect.
    pub(crate) fn port(&self) -> u16 {
        self.cluster.node(1).mqtt_port()
    }

    /// Ends these connections without a word, and the node if it is to die.
    pub(crate) async fn interrupt(&mut self, clients: impl IntoIterator<Item = RawClient>) {
        let clients: Vec<RawClient> = clients.into_iter().collect();
        if self.is_deadly {
            let node = self.cluster.node_mut(1);
            node.process.kill();
            node.restart().await;
            node.is_ready().await;
        }
        drop(clients);
    }

    /// A session that wants a filter at QoS 2, and has no connection.
    pub(crate) async fn absent(&self, client_id: &str, filter: &str) {
        self.present(client_id, filter).await.disconnect().await.unwrap();
    }

    /// A session that wants a filter at QoS 2, and its connection.
    pub(crate) async fn present(&self, client_id: &str, filter: &str) -> RawClient {
        let mut client = RawClient::begin(self.port(), client_id).await;
        client.subscribe(filter, QoS::ExactlyOnce).await.unwrap();
        client
    }

    /// Publishes numbers from a range to a topic, each acknowledged.
    pub(crate) async fn say(&self, topic: &str, numbers: std::ops::Range<u32>, qos: QoS) {
        let mut client = RawClient::login(self.port(), "sayer").await;
        for number in numbers {
            client.publish(topic, number.to_string(), qos).await.unwrap();
        }
        client.disconnect().await.unwrap();
    }

    /// The next connection of a session that must be there.
    pub(crate) async fn resume(&self, client_id: &str) -> RawClient {
        RawClient::resume(self.port(), client_id).await
    }

    /// Sends a client a last message past its queue and returns the numbers it gets before.
    pub(crate) async fn numbers(&self, client: &mut RawClient) -> Vec<u32> {
        client.subscribe("last", QoS::ExactlyOnce).await.unwrap();
        self.say("last", 0..1, QoS::AtLeastOnce).await;
        let mut numbers = Vec::new();
        loop {
            let message = client.message().await.unwrap().message;
            if message.topic.as_str() == "last" {
                return numbers;
            }
            numbers.push(number(&message.payload));
        }
    }
}

/// The next packet, which must be a PUBLISH; not answered.
pub(crate) async fn unanswered(client: &mut RawClient) -> Publish {
    match client.packet().await.unwrap() {
        Packet::Publish(publish) => publish,
        other => panic!("instead of PUBLISH: {other:?}"),
    }
}

/// What stands in a payload of [`Stage::say`].
pub(crate) fn number(payload: &[u8]) -> u32 {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

/// A packet identifier.
pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn one_node() -> Builder {
    Cluster::builder().nodes(1)
}
