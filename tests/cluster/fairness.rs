//! Fifty clients that send as fast as they can, one kind of packet after the other: a bystander is served, and
//! the node keeps its lease. It prints how long the bystander's messages take (`--nocapture`).

use std::time::{Duration, Instant};

use bytes::BytesMut;
use causeway_common::{
    id::PacketId,
    packet::{Packet, Subscription, encode},
    qos::QoS,
    topic::Filter,
};
use causeway_tests::{
    client::{RawClient, publish},
    cluster::Cluster,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::sleep,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_send_without_end_starve_nobody() {
    let cluster = Cluster::builder().nodes(1).start().await;
    let node = cluster.node(1);
    let mut bystander = RawClient::login(node.mqtt_port(), "bystander").await;
    bystander.subscribe("own", QoS::AtMostOnce).await.unwrap();
    for kind in [Kind::Ping, Kind::AtMostOnce, Kind::AtLeastOnce, Kind::Subscribe, Kind::Filters] {
        let mut attackers = JoinSet::new();
        for number in 0..ATTACKERS {
            let name = format!("attacker-{number}");
            let client = RawClient::login(node.mqtt_port(), &name).await;
            attackers.spawn(attack(client, kind.bytes(number)));
        }
        let mut times = Vec::new();
        let began = Instant::now();
        while began.elapsed() < LASTS || times.len() < MESSAGES_MIN {
            let start = Instant::now();
            bystander.publish("own", "x", QoS::AtMostOnce).await.unwrap();
            bystander.message().await.unwrap();
            times.push(start.elapsed());
            sleep(Duration::from_millis(1)).await; // pacing: a bystander, no load
        }
        assert_eq!(attackers.len(), ATTACKERS);
        assert!(attackers.try_join_next().is_none(), "{kind:?}: nobody was closed");
        attackers.shutdown().await;
        times.sort_unstable();
        let (half, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("fairness: {kind:?}: p50 {half:?}, p99 {p99:?} of {} messages", times.len());
        assert!(p99 < Duration::from_secs(2), "{kind:?}: {p99:?}");
    }
    let fenced =
        node.metrics().await.sum_where("causeway_connections_closed_total", "reason=\"fenced\"");
    assert!(fenced < 0.5, "{fenced} were disconnected because the lease had ended");
}

/// What is sent without end.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Ping,
    /// To a topic that nobody reads.
    AtMostOnce,
    /// Every one is answered.
    AtLeastOnce,
    /// One filter each.
    Subscribe,
    /// Thousands of filters in a packet.
    Filters,
}

impl Kind {
    /// Whole packets, to be sent again and again.
    fn bytes(self, number: usize) -> BytesMut {
        let mut bytes = BytesMut::new();
        let topic = format!("attack/{number}");
        let id = |n: usize| PacketId::new(u16::try_from(n + 1).unwrap()).unwrap();
        for n in 0..self.packets() {
            let packet = match self {
                Self::Ping => Packet::PingReq,
                Self::AtMostOnce => publish(&topic, "x", QoS::AtMostOnce, id(n)),
                Self::AtLeastOnce => publish(&topic, "x", QoS::AtLeastOnce, id(n)),
                Self::Subscribe => subscribe(id(n), n..n + 1),
                Self::Filters => subscribe(id(n), 0..5_000),
            };
            encode(&packet, &mut bytes).unwrap();
        }
        bytes
    }

    fn packets(self) -> usize {
        match self {
            Self::Ping | Self::AtMostOnce | Self::AtLeastOnce => 10_000,
            Self::Subscribe => 1_000,
            Self::Filters => 1,
        }
    }
}

fn subscribe(id: PacketId, numbers: std::ops::Range<usize>) -> Packet {
    let filter = |number| Filter::new(format!("attacked/{number}")).unwrap();
    let one = |number| Subscription { filter: filter(number), qos: QoS::AtMostOnce };
    Packet::Subscribe { id, subscriptions: numbers.map(one).collect() }
}

/// Sends without end, and reads whatever comes. Ends when it is closed.
async fn attack(client: RawClient, bytes: BytesMut) {
    let (mut from, mut to) = client.into_stream().into_split();
    let reading = async {
        let mut room = vec![0; 64 << 10];
        while from.read(&mut room).await.is_ok_and(|read| read > 0) {}
    };
    let writing = async { while to.write_all(&bytes).await.is_ok() {} };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

const ATTACKERS: usize = 50;
const MESSAGES_MIN: usize = 50;

/// How long each attack goes on: longer than a lease in all.
const LASTS: Duration = Duration::from_secs(3);
