//! A node without sockets: a hub, and clients that take their mail and answer it, as their tasks
//! would.
//!
//! It leaves to the benches what is said, and what is measured.

use std::{collections::VecDeque, sync::Arc, time::Duration, time::Instant};

use bytes::{Bytes, BytesMut};
use causeway_broker::{
    hub::{
        Attach, Hub, HubLimits, Knock,
        retained::{ExchangeLimits, RetainedLimits},
    },
    metrics::Metrics,
    session::{Action, Input, Limits, Mail, Session},
    store::memory::MemoryStore,
};
use causeway_common::{
    directory::Member,
    id::{ClientId, Incarnation, NodeId, Ticket, UserName},
    mailbox::Mailbox,
    message::Message,
    packet::{Packet, PublishHeader, Subscription, encode, encode_publish},
    qos::QoS,
    topic::{Filter, Topic},
};
use prometheus::Registry;

/// A node and its clients.
#[derive(Debug)]
pub struct Stage {
    /// Who gets what.
    pub hub: Hub,
    /// All are subscribed to [`FILTER`].
    pub clients: Vec<Client>,
    now: Instant,
}

/// A client that takes everything and answers at once.
#[derive(Debug)]
pub struct Client {
    /// Its session.
    pub session: Session,
    /// Where the hub puts what is for it.
    pub mailbox: Arc<Mailbox<Mail>>,
    mail: VecDeque<Mail>,
    actions: Vec<Action>,
    /// What it is sent.
    sent: BytesMut,
}

impl Stage {
    /// A node with so many clients, subscribed at this QoS. None if something in here is wrong.
    pub fn new(clients: usize, qos: QoS) -> Option<Self> {
        let now = Instant::now();
        let limits = Arc::new(session_limits());
        let mut hub = empty_hub(now, clients, &limits)?;
        let wanted = [Subscription { filter: Filter::new(FILTER).ok()?, qos }];
        let clients = (0..clients).map(|number| {
            let name = format!("c{number}");
            let (client_id, user) = (ClientId::from(&*name), UserName::from(&*name));
            let knock = Knock { client_id, user, clean: true };
            let Attach::In(attached) = hub.attach(&knock, &Arc::new(Mailbox::new(0))).ok()? else {
                return None;
            };
            hub.subscribe(now, attached.session, Ticket(1), &wanted);
            Some(Client::new(Session::new(now, None, Arc::clone(&limits)), attached.mailbox))
        });
        let clients = clients.collect::<Option<_>>()?;
        let mut stage = Self { hub, clients, now };
        stage.take_all(); // what subscribing has left
        Some(stage)
    }

    /// The first client says this; it is put into the mailbox of everybody.
    pub fn publish(&mut self, message: Message) {
        if let Some(publisher) = self.clients.first() {
            self.hub.publish(&publisher.mailbox, None, message, None);
        }
    }

    /// Every client takes its mail, and answers until nothing is left to answer.
    pub fn take_all(&mut self) {
        for client in &mut self.clients {
            client.take(self.now);
        }
    }
}

impl Client {
    fn new(session: Session, mailbox: Arc<Mailbox<Mail>>) -> Self {
        let (mail, actions, sent) = (VecDeque::new(), Vec::new(), BytesMut::new());
        Self { session, mailbox, mail, actions, sent }
    }

    /// Takes its mail, is sent what becomes of it, and answers.
    pub fn take(&mut self, now: Instant) {
        self.mailbox.take_all(&mut self.mail);
        while let Some(mail) = self.mail.pop_front() {
            self.handle(now, Input::Mail(mail));
        }
        self.sent.clear();
    }

    fn handle(&mut self, now: Instant, input: Input) {
        let mut answers: [Option<Packet>; 2] = [None, None];
        // A client of the stage sends what it may send.
        let _ = self.session.handle(now, input, &mut self.actions);
        for (action, answer) in self.actions.drain(..).zip(&mut answers) {
            *answer = send(&action, &mut self.sent);
        }
        for answer in answers.into_iter().flatten() {
            self.handle(now, Input::Packet(answer));
        }
    }
}

/// Sends what is to be sent; returns what the client answers.
fn send(action: &Action, sent: &mut BytesMut) -> Option<Packet> {
    match action {
        Action::Deliver { delivery, id, dup } => {
            let header =
                PublishHeader { qos: delivery.qos, id: *id, dup: *dup, retain: delivery.retain };
            let _ = encode_publish(&delivery.message, header, sent);
            match (delivery.qos, *id) {
                (QoS::AtMostOnce, _) | (_, None) => None,
                (QoS::AtLeastOnce, Some(id)) => Some(Packet::PubAck(id)),
                (QoS::ExactlyOnce, Some(id)) => Some(Packet::PubRec(id)),
            }
        }
        Action::Send(packet) => {
            let _ = encode(packet, sent);
            if let Packet::PubRel(id) = packet { Some(Packet::PubComp(*id)) } else { None }
        }
        Action::Route { .. }
        | Action::Persist(_)
        | Action::Subscribe { .. }
        | Action::Unsubscribe { .. }
        | Action::Dropped { .. }
        | Action::Denied { .. }
        | Action::Close(_) => None,
    }
}

/// A message under [`TOPIC`], of 64 bytes.
pub fn message(qos: QoS) -> Option<Message> {
    let payload = Bytes::from_static(&[b'x'; 64]);
    Some(Message { topic: Topic::new(TOPIC).ok()?, payload, qos, retain: false })
}

fn empty_hub(now: Instant, connections_max: usize, limits: &Arc<Limits>) -> Option<Hub> {
    let limits = HubLimits {
        connections_max,
        connections_per_user: 0,
        session: Arc::clone(limits),
        mailbox_bytes_max: 1 << 20,
        session_expiry_secs: None,
        backlog_bytes_max: 1 << 20,
        route_timeout: Duration::from_secs(5),
        lost_bridge_grace: Duration::from_secs(12),
        probe_interval: Duration::from_secs(3),
        retained: RetainedLimits::default(),
        exchange: ExchangeLimits::default(),
    };
    let me = Member { node: NodeId::from("node-1"), incarnation: Incarnation(1) };
    let metrics = Arc::new(Metrics::new(&Registry::new()).ok()?);
    Some(Hub::new(now, me, limits, (metrics, Arc::new(MemoryStore::default()))))
}

fn session_limits() -> Limits {
    Limits {
        max_inflight: 20,
        queue_messages_max: 1000,
        queue_bytes_max: 1 << 20,
        topic_levels_max: 200,
        filters_max: 1000,
        owed_messages_max: 100,
        owed_bytes_max: 1 << 20,
    }
}

/// What all clients are subscribed to.
pub const FILTER: &str = "news/+";

/// What is said goes here.
pub const TOPIC: &str = "news/today";
