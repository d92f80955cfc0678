//! A client that turns round before it is let in: what has waited for it, and what is said meanwhile on either
//! node, comes once and in its order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use causeway_common::{packet::Packet, qos::QoS};
use causeway_tests::{
    client::{RawClient, durable},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use crate::{crowd::LONG_QUEUES, dice::Dice, stage::number};

/// Says numbers on a topic of its own until it is told to stop; the last one is known then.
struct Talker {
    topic: String,
    said: watch::Receiver<u32>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Talker {
    async fn start(port: u16) -> Self {
        let topic = format!("a/{port}");
        let (count, said) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let mut client = RawClient::login(port, &format!("talker-{port}")).await;
        let to = topic.clone();
        let task = tokio::spawn(async move {
            while !*stopped.borrow() {
                let number = *count.borrow() + 1;
                client.publish(&to, number.to_string(), QoS::ExactlyOnce).await.unwrap();
                count.send_replace(number);
                sleep(PACE).await; // pacing: lines of a length that moves within a login's patience
            }
        });
        Self { topic, said, stop, task }
    }

    async fn has_said(&self, least: u32) {
        eventually("many wait", || async { *self.said.borrow() >= least }).await;
    }

    /// What it has said, all of it answered.
    async fn finish(self) -> (String, u32) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        let last = *self.said.borrow();
        (self.topic, last)
    }
}

/// Knocks on one node and does not wait to be let in there; nor on the next, and so on. Goes on where it is tired
/// of that.
async fn turn_round(ports: [u16; 2], dice: &mut Dice) -> RawClient {
    let (mut knocks, turns) = (Vec::new(), dice.pick(&[1, 2, 3, 4, 5, 6, 7]));
    for port in ports.into_iter().cycle().take(turns) {
        let mut knock = RawClient::open(port).await.unwrap();
        knock.send(&Packet::Connect(Box::new(durable("bob")))).await.unwrap();
        sleep(dice.time_up_to(IMPATIENCE)).await; // pacing: of a client that does not wait
        knocks.push(knock);
    }
    come_back(ports[turns % 2]).await
}

/// Goes on with the session, which must be there. A knock that is heard late may put the client out: it comes again.
async fn come_back(port: u16) -> RawClient {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match RawClient::attach(port, durable("bob")).await {
            Ok((client, present)) => {
                assert!(present, "bob has no session");
                return client;
            }
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

#[tokio::test]
async fn whoever_turns_round_before_it_is_let_in_gets_everything_in_order() {
    let cluster = Cluster::builder().set_nodes(LONG_QUEUES).start().await;
    let ports: Vec<u16> = cluster.nodes().iter().map(Service::mqtt_port).collect();
    let mut bob = RawClient::begin(ports[0], "bob").await;
    bob.subscribe("a/#", QoS::ExactlyOnce).await.unwrap();
    bob.disconnect().await.unwrap();
    let talkers = [Talker::start(ports[0]).await, Talker::start(ports[1]).await];
    let mut dice = Dice::new(7, "bob");
    for turn in 1..=TURNS {
        for talker in &talkers {
            talker.has_said(turn * WAITING).await;
        }
        let ways = if turn % 2 == 0 { [ports[0], ports[1]] } else { [ports[1], ports[0]] };
        turn_round(ways, &mut dice).await;
        come_back(ways[0]).await;
    }
    let mut due = BTreeMap::new();
    for talker in talkers {
        due.extend([talker.finish().await]);
    }
    let mut bob = come_back(ports[1]).await;
    let mut got: BTreeMap<String, u32> = due.keys().map(|topic| (topic.clone(), 0)).collect();
    while got != due {
        let message = bob.message().await.unwrap().message;
        let last = got.get_mut(message.topic.as_str()).unwrap();
        assert_eq!(number(&message.payload), *last + 1, "on {}", message.topic.as_str());
        *last += 1;
    }
    println!("turning: {due:?} in order after {TURNS} turns");
}

const TURNS: u32 = 6;

/// More than fit one letter, or a window.
const WAITING: u32 = 300;

const PACE: Duration = Duration::from_millis(2);

const IMPATIENCE: Duration = Duration::from_millis(10);
