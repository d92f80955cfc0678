//! Numbered messages from a publisher on one node to a subscriber on another, and the judge of
//! what arrived.
//!
//! Both stay connected throughout, so nothing may be missing, twice or out of order, whatever
//! happens to the processes between them. It leaves to the tests what happens.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use causeway_common::{
    id::PacketId,
    packet::{Packet, SubscribeCode},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, publish},
    cluster::{Cluster, Service},
    wait::eventually,
};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

/// A running stream.
pub(crate) struct Stream {
    topic: String,
    progress: Arc<Progress>,
    stop: watch::Sender<bool>,
    publisher: JoinHandle<RawClient>,
    subscriber: JoinHandle<()>,
}

/// What publisher and subscriber have seen so far.
#[derive(Default)]
struct Progress {
    /// Numbers below this are acknowledged.
    acked: AtomicU64,
    /// Every number that arrived, as it arrived.
    received: Mutex<Vec<u64>>,
    /// The longest time between a PUBLISH and its answer since it was last asked for.
    longest_wait: Mutex<Duration>,
}

/// A PUBLISH without its last answer.
struct Sent {
    id: PacketId,
    at: Instant,
    /// Whether PUBREC has come.
    is_acked: bool,
}

impl Stream {
    /// Starts one on a topic of its own, at the same QoS on both ends.
    pub(crate) async fn start(from: &Service, to: &Service, qos: QoS) -> Self {
        let topic = format!("stream/{}/{}/{qos}", from.name(), to.name());
        let progress = Arc::new(Progress::default());
        let mut subscriber = RawClient::login(to.mqtt_port(), &format!("sub/{topic}")).await;
        let granted = subscriber.subscribe(&topic, qos).await;
        assert_eq!(granted.unwrap(), SubscribeCode::Granted(qos));
        let subscriber = tokio::spawn(receive(subscriber, Arc::clone(&progress)));
        let client = RawClient::login(from.mqtt_port(), &format!("pub/{topic}")).await;
        let (stop, stopped) = watch::channel(false);
        let publisher = Publisher {
            client,
            topic: topic.clone(),
            qos,
            progress: Arc::clone(&progress),
            sent: VecDeque::new(),
            next: 0,
        };
        Self { topic, progress, stop, publisher: tokio::spawn(publisher.run(stopped)), subscriber }
    }

    /// One of QoS 1 and one of QoS 2, each way between two nodes.
    pub(crate) async fn all_ways(a: &Service, b: &Service) -> Vec<Self> {
        let mut streams = Vec::new();
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            streams.push(Self::start(a, b, qos).await);
            streams.push(Self::start(b, a, qos).await);
        }
        streams
    }

    /// How many messages are acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.progress.acked.load(Ordering::Relaxed)
    }

    /// Waits until this many more messages are acknowledged than now.
    pub(crate) async fn advances(&self, count: u64) {
        let goal = self.acked() + count;
        let what = format!("{} advances by {count}", self.topic);
        eventually(&what, async || self.acked() >= goal).await;
    }

    /// The longest time an answer has taken since the last call.
    pub(crate) fn take_longest_wait(&self) -> Duration {
        std::mem::take(&mut self.progress.longest_wait.lock())
    }

    /// Ends the publisher once all is acknowledged, and judges what the subscriber had. Whatever
    /// the cluster still repeats comes before a last message that is sent when all is quiet.
    pub(crate) async fn finish(self, cluster: &Cluster) -> u64 {
        self.stop.send(true).unwrap();
        let mut publisher = self.publisher.await.unwrap();
        let acked = self.progress.acked.load(Ordering::Relaxed);
        cluster.is_quiet().await;
        let last = LAST.to_string();
        let answer = publisher.publish(&self.topic, last, QoS::AtLeastOnce);
        answer.await.unwrap();
        let arrived = || self.progress.received.lock().last() == Some(&LAST);
        let what = format!("the last message of {} arrives", self.topic);
        eventually(&what, async || arrived() || self.subscriber.is_finished()).await;
        self.subscriber.abort();
        let mut received = self.progress.received.lock().clone();
        assert_eq!(received.pop(), Some(LAST), "{}: the subscriber broke off", self.topic);
        if let Err(fault) = judge(acked, &received) {
            panic!("{}: {fault}; {:?}", self.topic, drops(cluster).await);
        }
        acked
    }
}

/// Ends all streams and prints how many messages they carried.
pub(crate) async fn finish_all(streams: Vec<Stream>, cluster: &Cluster) {
    let mut total = 0;
    for stream in streams {
        total += stream.finish(cluster).await;
    }
    println!("streams: {total} messages acknowledged, each arrived once and in order");
}

/// What the cluster admits to have dropped.
async fn drops(cluster: &Cluster) -> Vec<String> {
    let mut admitted = Vec::new();
    for service in cluster.nodes() {
        let exposition = service.exposition().await;
        let lines = exposition.lines();
        let drops = lines.filter(|line| line.starts_with("causeway_messages_dropped_total"));
        let drops = drops.filter(|line| !line.ends_with(" 0"));
        admitted.extend(drops.map(|line| format!("{}: {line}", service.name())));
    }
    admitted
}

/// The sending half.
struct Publisher {
    client: RawClient,
    topic: String,
    qos: QoS,
    progress: Arc<Progress>,
    sent: VecDeque<Sent>,
    next: u64,
}

impl Publisher {
    /// Publishes at a steady pace, with a bounded number unanswered, until it is told to stop and
    /// all is answered.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> RawClient {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !(*stopped.borrow() && self.sent.is_empty()) {
            let may_send = self.sent.len() < WINDOW && !*stopped.borrow();
            tokio::select! {
                _ = pace.tick(), if may_send => self.publish().await,
                packet = self.client.packet() => self.on_packet(packet.unwrap()).await,
                changed = stopped.changed() => changed.unwrap(),
            }
        }
        self.client
    }

    async fn publish(&mut self) {
        let id = self.client.next_id();
        let packet = publish(&self.topic, self.next.to_string(), self.qos, id);
        self.client.send(&packet).await.unwrap();
        let (at, is_acked) = (Instant::now(), false);
        self.sent.push_back(Sent { id, at, is_acked });
        self.next += 1;
    }

    async fn on_packet(&mut self, packet: Packet) {
        match packet {
            Packet::PubAck(id) if self.qos == QoS::AtLeastOnce => {
                self.on_acked(id);
                self.sent.pop_front();
            }
            Packet::PubRec(id) if self.qos == QoS::ExactlyOnce => {
                self.on_acked(id);
                self.client.send(&Packet::PubRel(id)).await.unwrap();
            }
            Packet::PubComp(id) => {
                let done = self.sent.pop_front().filter(|sent| sent.is_acked);
                assert_eq!(done.map(|sent| sent.id), Some(id), "PUBCOMP out of order");
            }
            other => panic!("the publisher of {} got {other:?}", self.topic),
        }
    }

    /// Answers come in the order of the questions [MQTT-4.6.0-2].
    fn on_acked(&mut self, id: PacketId) {
        let oldest = self.sent.iter_mut().find(|sent| !sent.is_acked);
        let oldest = oldest.expect("an answer needs a question");
        assert_eq!(oldest.id, id, "{}: answered out of order", self.topic);
        oldest.is_acked = true;
        let mut longest = self.progress.longest_wait.lock();
        *longest = oldest.at.elapsed().max(*longest);
        self.progress.acked.fetch_add(1, Ordering::Relaxed);
    }
}

/// The receiving half. It does not look for repeated identifiers: on one connection that never
/// broke nothing may come twice.
async fn receive(mut client: RawClient, progress: Arc<Progress>) {
    loop {
        let Ok(publish) = client.message().await else {
            return; // The judge misses the last message.
        };
        let text = std::str::from_utf8(&publish.message.payload).unwrap();
        progress.received.lock().push(text.parse().unwrap());
    }
}

/// Whether what arrived is exactly the acknowledged numbers, once each and in order.
fn judge(acked: u64, received: &[u64]) -> Result<(), String> {
    let Some(at) = (0..acked).zip(received).position(|(due, number)| due != *number) else {
        let count = received.len() as u64;
        let fault = format!("{acked} were acknowledged and {count} arrived");
        return (count == acked).then_some(()).ok_or(fault);
    };
    let times = |number: u64| received.iter().filter(|other| **other == number).count();
    let missing = (0..acked).filter(|number| times(*number) == 0).count();
    let twice = (0..acked).filter(|number| times(*number) > 1).count();
    let around = &received[at.saturating_sub(4)..received.len().min(at + 12)];
    Err(format!("{at} was due: {around:?}; of {acked} {missing} are missing, {twice} came again"))
}

/// Time between two messages of a stream.
const PACE: Duration = Duration::from_millis(1);

/// How many messages of a stream may be unanswered.
const WINDOW: usize = 32;

/// The number of the last message.
const LAST: u64 = u64::MAX;

#[test]
fn the_judge_sees_what_is_missing_what_is_twice_and_what_is_out_of_order() {
    assert_eq!(judge(3, &[0, 1, 2]), Ok(()));
    for bad in [&[0, 2][..], &[0, 1], &[0, 1, 1, 2], &[0, 1, 2, 2], &[0, 2, 1], &[1, 0, 2], &[]] {
        assert!(judge(3, bad).is_err(), "{bad:?}");
    }
    assert!(judge(2, &[0, 1, 2]).is_err(), "more than was published");
}
