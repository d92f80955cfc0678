//! A publisher with a durable session, who keeps his own packet identifiers: whatever was not
//! answered when a connection broke he sends again on the next, PUBLISH with DUP and PUBREL, in
//! the order of before [MQTT-4.4.0-1].

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use causeway_common::{
    id::PacketId,
    message::Message,
    packet::{Packet, Publish},
    qos::QoS,
    topic::Topic,
};
use causeway_tests::client::{RawClient, durable};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::{dice::Dice, ledger::Ledger};

/// What a talker is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// His client id, and the second level of his topics.
    pub(crate) name: String,
    /// Where he may connect; he picks one of them each time.
    pub(crate) ports: Vec<u16>,
    /// His topics: QoS 1 and 2 of each kind.
    pub(crate) routes: Vec<Route>,
    /// Time between two messages.
    pub(crate) pace: Duration,
    /// The longest he stays on one connection; nothing if he stays.
    pub(crate) visit: Option<Duration>,
    /// What his choices come from.
    pub(crate) seed: u64,
}

/// One of his topics.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// How many messages it has had.
    pub(crate) count: u64,
}

/// A message that is not answered to the end.
#[derive(Debug)]
struct Open {
    id: PacketId,
    publish: Publish,
    /// Whether PUBREC has come: from then on PUBREL stands for it.
    is_received: bool,
}

/// A running talker.
#[derive(Debug)]
pub(crate) struct Talker {
    plan: Plan,
    ledger: Arc<Ledger>,
    dice: Dice,
    open: VecDeque<Open>,
    last_id: u16,
    next_route: usize,
    has_session: bool,
}

/// A topic for each of QoS 1 and 2.
pub(crate) fn streams(name: &str) -> Vec<Route> {
    let route =
        |qos: QoS| Route { topic: format!("talk/{name}/{qos}"), qos, retain: false, count: 0 };
    vec![route(QoS::AtLeastOnce), route(QoS::ExactlyOnce)]
}

impl Talker {
    /// One who has not yet connected.
    pub(crate) fn new(plan: Plan, ledger: Arc<Ledger>) -> Self {
        let dice = Dice::new(plan.seed, &plan.name);
        let (open, last_id, next_route) = (VecDeque::new(), 0, 0);
        Self { plan, ledger, dice, open, last_id, next_route, has_session: false }
    }

    /// Talks until told to stop, and then until all is answered. Returns what he published where.
    pub(crate) async fn run(mut self, stop: watch::Receiver<bool>) -> Vec<Route> {
        while !self.is_done(&stop) {
            if self.visit(&stop).await.is_err() {
                sleep(Duration::from_millis(20)).await; // pacing: a server that is down
            }
        }
        for route in self.plan.routes.iter().filter(|route| !route.retain) {
            self.ledger.promise(&route.topic, route.count);
        }
        self.plan.routes
    }

    fn is_done(&self, stop: &watch::Receiver<bool>) -> bool {
        *stop.borrow() && self.open.is_empty()
    }

    /// One connection, until it breaks or he has had enough of it.
    async fn visit(&mut self, stop: &watch::Receiver<bool>) -> io::Result<()> {
        let port = self.dice.pick(&self.plan.ports);
        let start = Instant::now();
        let (mut client, found) = RawClient::attach(port, durable(&self.plan.name)).await?;
        self.judge_session(found, start.elapsed());
        client.send_all(&self.unanswered()).await?;
        let stay = self.plan.visit.map(|longest| self.dice.time_up_to(longest));
        let end = Instant::now() + stay.unwrap_or(FOREVER);
        let mut pace = interval(self.plan.pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_done(stop) {
            let may_send = self.open.len() < WINDOW && !*stop.borrow();
            tokio::select! {
                _ = pace.tick(), if may_send => self.publish(&mut client).await?,
                packets = client.packets() => self.answer(&mut client, packets?).await?,
                () = sleep_until(end) => return self.leave(client).await,
            }
        }
        client.disconnect().await
    }

    /// Goes with or without a word.
    async fn leave(&mut self, client: RawClient) -> io::Result<()> {
        if self.dice.once_in(2) { client.disconnect().await } else { Ok(()) }
    }

    fn judge_session(&mut self, found: bool, login: Duration) {
        if self.has_session && !found {
            self.ledger.fault(format!("{}: the session is gone", self.plan.name));
        }
        if found {
            self.ledger.note_resumed(login);
        }
        self.has_session = true;
    }

    fn unanswered(&self) -> Vec<Packet> {
        let again = |open: &Open| {
            if open.is_received {
                return Packet::PubRel(open.id);
            }
            Packet::Publish(Publish { dup: true, ..open.publish.clone() })
        };
        self.open.iter().map(again).collect()
    }

    async fn publish(&mut self, client: &mut RawClient) -> io::Result<()> {
        let id = self.free_id();
        let count = self.plan.routes.len();
        let route = &mut self.plan.routes[self.next_route % count];
        self.next_route += 1;
        let message = Message {
            topic: Topic::new(&*route.topic).expect("a topic name"),
            payload: route.count.to_string().into(),
            qos: route.qos,
            retain: route.retain,
        };
        route.count += 1;
        let publish = Publish { message, id: Some(id), dup: false };
        self.open.push_back(Open { id, publish: publish.clone(), is_received: false });
        client.send(&Packet::Publish(publish)).await
    }

    /// The next identifier that nothing open has.
    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = PacketId::new(self.last_id).expect("never 0");
            if self.open.iter().all(|open| open.id != id) {
                return id;
            }
        }
    }

    async fn answer(&mut self, client: &mut RawClient, packets: Vec<Packet>) -> io::Result<()> {
        let mut answers = Vec::new();
        for packet in packets {
            match packet {
                Packet::PubAck(id) => self.on_taken(id, QoS::AtLeastOnce, true),
                Packet::PubRec(id) => {
                    self.on_taken(id, QoS::ExactlyOnce, false);
                    answers.push(Packet::PubRel(id));
                }
                Packet::PubComp(id) => self.on_complete(id),
                other => self.ledger.fault(format!("{} got {other:?}", self.plan.name)),
            }
        }
        client.send_all(&answers).await
    }

    /// The server has taken a message over. Answers keep the order of the questions, for each QoS
    /// [MQTT-4.6.0-2], [MQTT-4.6.0-3].
    fn on_taken(&mut self, id: PacketId, qos: QoS, is_complete: bool) {
        let waits = |open: &Open| open.publish.message.qos == qos && !open.is_received;
        let Some(at) = self.open.iter().position(waits).filter(|at| self.open[*at].id == id) else {
            let ids: Vec<_> = self.open.iter().map(|open| (open.id, open.is_received)).collect();
            let name = &self.plan.name;
            let fault = format!("{name}: {id:?} of QoS {qos} answered out of order; open: {ids:?}");
            return self.ledger.fault(fault);
        };
        self.ledger.note_acked();
        self.open[at].is_received = true;
        if is_complete {
            self.open.remove(at);
        }
    }

    fn on_complete(&mut self, id: PacketId) {
        let done = self.open.iter().position(|open| open.id == id && open.is_received);
        match done {
            Some(at) => drop(self.open.remove(at)),
            None => self.ledger.fault(format!("{}: PUBCOMP {id:?} is no answer", self.plan.name)),
        }
    }
}

/// How many messages may be unanswered.
const WINDOW: usize = 24;

/// Longer than any test.
const FOREVER: Duration = Duration::from_hours(1);
