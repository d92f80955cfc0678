//! A subscriber with a durable session who comes and goes, and keeps his half of QoS 2 over all
//! his connections: he takes a message on its first PUBLISH and forgets its identifier on PUBREL
//! (MQTT 4.3.3, method A).

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use causeway_common::{
    id::PacketId,
    packet::{Packet, Publish, SubscribeCode, Subscription},
    qos::QoS,
    topic::Filter,
};
use causeway_tests::client::{RawClient, durable};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{dice::Dice, ledger::Ledger};

/// What a listener is to do.
#[derive(Clone, Debug)]
pub(crate) struct Habit {
    /// His client id.
    pub(crate) name: String,
    /// Where he may connect; he picks one of them each time.
    pub(crate) ports: Vec<u16>,
    /// The longest he stays on one connection.
    pub(crate) visit: Duration,
    /// The longest he stays away.
    pub(crate) absence: Duration,
    /// What his choices come from.
    pub(crate) seed: u64,
}

/// A running listener.
#[derive(Debug)]
pub(crate) struct Listener {
    habit: Habit,
    ledger: Arc<Ledger>,
    dice: Dice,
    /// QoS 2 messages taken whose PUBREL has not come.
    taken: BTreeSet<PacketId>,
    /// Whether the session he knows has his filters: there was a SUBACK.
    subscribed: bool,
}

impl Listener {
    /// Begins his session and subscribes to all streams; goes again at once.
    pub(crate) async fn begin(habit: Habit, ledger: Arc<Ledger>) -> Self {
        let mut client = RawClient::begin(habit.ports[0], &habit.name).await;
        for qos in STREAMS {
            let granted = client.subscribe(&streams_of(qos), qos).await.expect("an answer");
            assert_eq!(granted, SubscribeCode::Granted(qos));
        }
        client.disconnect().await.expect("a good-bye");
        let dice = Dice::new(habit.seed, &habit.name);
        Self { habit, ledger, dice, taken: BTreeSet::new(), subscribed: true }
    }

    /// Comes and goes until told to stay, then stays for as long as it is asked to run.
    pub(crate) async fn run(mut self, stay: watch::Receiver<bool>) {
        loop {
            let broke = self.visit(stay.clone()).await.is_err();
            let absence = if broke || *stay.borrow() { A_MOMENT } else { self.habit.absence };
            let absence = self.dice.time_up_to(absence);
            sleep(absence).await; // pacing: he is away, which is what is tested
        }
    }

    /// One connection, until it breaks or he has had enough of it.
    async fn visit(&mut self, mut stay: watch::Receiver<bool>) -> io::Result<()> {
        let port = self.dice.pick(&self.habit.ports);
        let start = Instant::now();
        let (mut client, found) = RawClient::attach(port, durable(&self.habit.name)).await?;
        if found {
            self.ledger.note_resumed(start.elapsed());
        } else {
            self.ledger.fault(format!("{}: the session is gone", self.habit.name));
            self.taken.clear();
            self.subscribed = false;
        }
        if !self.subscribed {
            client.send(&subscribe()).await?; // messages may come before its answer
        }
        let end = Instant::now() + self.dice.time_up_to(self.habit.visit);
        loop {
            let may_go = !*stay.borrow();
            tokio::select! {
                packets = client.packets() => self.receive(&mut client, packets?).await?,
                () = sleep_until(end), if may_go => return self.leave(client).await,
                _ = stay.changed(), if may_go => {}
            }
        }
    }

    /// Goes with or without a word.
    async fn leave(&mut self, client: RawClient) -> io::Result<()> {
        if self.dice.once_in(2) { client.disconnect().await } else { Ok(()) }
    }

    /// Takes what came and answers it, all at once or, now and then, not at all.
    async fn receive(&mut self, client: &mut RawClient, packets: Vec<Packet>) -> io::Result<()> {
        let answers: Vec<Packet> =
            packets.into_iter().filter_map(|packet| self.answer_to(packet)).collect();
        if self.dice.once_in(FORGETFUL) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        client.send_all(&answers).await
    }

    fn answer_to(&mut self, packet: Packet) -> Option<Packet> {
        match packet {
            Packet::Publish(publish) => self.take(&publish),
            Packet::PubRel(id) => {
                self.taken.remove(&id);
                Some(Packet::PubComp(id))
            }
            Packet::SubAck { codes, .. }
                if !self.subscribed && codes == STREAMS.map(SubscribeCode::Granted) =>
            {
                self.subscribed = true;
                None
            }
            other => {
                self.ledger.fault(format!("{} got {other:?}", self.habit.name));
                None
            }
        }
    }

    fn take(&mut self, publish: &Publish) -> Option<Packet> {
        let id = publish.id?;
        let topic = publish.message.topic.as_str();
        let text = std::str::from_utf8(&publish.message.payload).expect("a number");
        let number = text.parse().expect("a number");
        let is_known = publish.message.qos == QoS::ExactlyOnce && !self.taken.insert(id);
        if !is_known {
            self.ledger.hear(&self.habit.name, topic, number);
        }
        match publish.message.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Packet::PubAck(id)),
            QoS::ExactlyOnce => Some(Packet::PubRec(id)),
        }
    }
}

/// Every stream at its own QoS.
fn subscribe() -> Packet {
    let subscription = |qos| {
        let filter = Filter::new(streams_of(qos)).expect("a filter");
        Subscription { filter, qos }
    };
    let subscriptions = STREAMS.map(subscription).to_vec();
    Packet::Subscribe { id: PacketId::FIRST, subscriptions }
}

fn streams_of(qos: QoS) -> String {
    format!("talk/+/{qos}")
}

const STREAMS: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Between two attempts.
const A_MOMENT: Duration = Duration::from_millis(40);

/// Once in so many times a listener goes without having answered.
const FORGETFUL: u64 = 150;
