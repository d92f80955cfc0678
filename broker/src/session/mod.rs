//! A session: everything MQTT 3.1.1 asks of the server for one client, decided and not done.
//!
//! ```text
//!        packets                                   mail from the hub
//!           │                                            │
//!           ▼                                            ▼
//!   ┌─────────────── Session::handle(now, input) ───────────────┐
//!   │  Receiver: what the client sends     Sender: what it gets │
//!   │   identifiers of the client           identifiers of ours │
//!   │   answers owed, in order              window, then queue  │
//!   └───────────────────────────┬───────────────────────────────┘
//!                               ▼
//!              actions, to be carried out in their order
//! ```
//!
//! It knows no socket, clock, task or lock. Who else gets a message is the hub's business; how
//! bytes come and go is the connection's.

mod close;
mod connect;
mod input;
mod permits;
mod receiver;
mod sender;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_common::{
    id::{PacketId, Ticket},
    keyed::KeyedMap,
    packet::{Packet, Publish, SubscribeCode, Subscription},
    qos::QoS,
    topic::Filter,
};

pub use close::{CloseReason, Violation};
pub use connect::{Accepted, Door, Refusal, Verdict, judge};
pub use input::{
    Action, Change, Delivery, DropReason, Inheritance, Input, Limits, Mail, Place, Room, Said,
    Stored,
};

use crate::acl::Rights;

use permits::Permits;
use receiver::Receiver;
use sender::Sender;

/// The state of one client's session.
#[derive(Debug)]
pub struct Session {
    limits: Arc<Limits>,
    /// Whether it outlives its connections and the process.
    durable: bool,
    keep_alive: Option<Duration>,
    /// When the client was last heard, or last not listened to.
    heard: Instant,
    receiver: Receiver,
    sender: Sender,
    filters: KeyedMap<Filter, QoS>,
    permits: Permits,
    room: Room,
    /// SUBACKs that wait until their subscription is effective in the whole cluster.
    subscribing: KeyedMap<Ticket, (PacketId, Vec<SubscribeCode>)>,
    tickets: u64,
}

impl Session {
    /// The session of a client that has been let in.
    pub fn new(now: Instant, keep_alive: Option<Duration>, limits: Arc<Limits>) -> Self {
        Self {
            receiver: Receiver::default(),
            sender: Sender::new(&limits),
            limits,
            durable: false,
            keep_alive,
            heard: now,
            filters: KeyedMap::default(),
            permits: Permits::default(),
            room: Room::default(),
            subscribing: KeyedMap::default(),
            tickets: 0,
        }
    }

    /// A session that outlives its connections (clean session 0) and has no client yet: what a store
    /// kept of it, if anything. Its messages come by [`Session::keep`].
    pub fn durable(now: Instant, limits: Arc<Limits>, kept: Kept) -> Self {
        let mut session = Self { durable: true, ..Self::new(now, None, limits) };
        session.receiver.remember(kept.received);
        session.sender.restore(kept.first, &kept.released, kept.doubtful);
        for subscription in &kept.subscriptions {
            session.hold(subscription);
        }
        session
    }

    /// The client has connected: what it has not answered is sent again, then what waits
    /// [MQTT-4.4.0-1].
    pub fn resume(
        &mut self,
        now: Instant,
        keep_alive: Option<Duration>,
        actions: &mut Vec<Action>,
    ) {
        self.keep_alive = keep_alive;
        self.heard = now;
        self.sender.resume(actions);
    }

    /// The connection is gone, the session stays [MQTT-3.1.2-4]. Takes mail that the connection had not
    /// dealt with.
    pub fn park(&mut self, left: impl IntoIterator<Item = Mail>) {
        self.subscribing.clear();
        self.receiver.park();
        for mail in left {
            match mail {
                Mail::Deliver(delivery) => self.sender.keep(delivery),
                // Its answer is lost with the connection; the client asks again.
                Mail::Routed(ticket) => self.receiver.on_routed(ticket, &mut Vec::new()),
                Mail::Inherit(inheritance) => self.inherit(*inheritance),
                Mail::Subscribed(_) | Mail::Vacant | Mail::Close(_) => {}
            }
        }
    }

    /// What its client may do from now on; none: everything. What it holds already, it keeps.
    pub fn set_rights(&mut self, rights: Option<Arc<Rights>>) {
        self.permits.replace(rights);
    }

    /// What it may take more of from now on.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
        self.sender.set_short(!room.queue);
    }

    /// Whether it outlives its connections.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// What it is subscribed to.
    pub fn subscriptions(&self) -> impl Iterator<Item = Subscription> {
        let held = self.filters.iter();
        held.map(|(filter, qos)| Subscription { filter: filter.clone(), qos: *qos })
    }

    /// Identifiers of QoS 2 messages that the client has sent and not released.
    pub fn received(&self) -> impl Iterator<Item = PacketId> {
        self.receiver.received()
    }

    /// Messages that the client has not answered, in order, with whether it may have seen them.
    pub fn deliveries(&self) -> impl Iterator<Item = (&Delivery, bool)> {
        self.sender.deliveries()
    }

    /// Places whose PUBREL the client has not answered.
    pub fn released(&self) -> impl Iterator<Item = Place> {
        self.sender.released()
    }

    /// Messages in places before this one may have been sent.
    pub fn doubtful(&self) -> Place {
        self.sender.doubtful()
    }

    /// Takes a message that is written down, while the client waits to be let in.
    pub fn keep(&mut self, delivery: Delivery) {
        self.sender.keep(delivery);
    }

    /// Another node has the message in this place from now on. Returns what it counted for.
    pub fn give_away(&mut self, place: Place) -> Option<usize> {
        self.sender.give_away(place)
    }

    /// The client is told that it has no session, and forgets all identifiers: so do we. Its messages and
    /// filters stay. Returns what is to be written down.
    pub fn start_over(&mut self) -> Vec<Change> {
        let released = self.sender.start_over().into_iter();
        let completed = released.map(|place| Change::Completed { place });
        let forgotten = self.receiver.start_over().map(|id| Change::Forgotten { id });
        completed.chain(forgotten).collect()
    }

    /// Takes what another node kept for this client.
    pub fn inherit(&mut self, inheritance: Inheritance) {
        self.receiver.remember(inheritance.received);
        self.sender.inherit(&inheritance.released, inheritance.doubtful);
        for subscription in inheritance.subscriptions {
            self.filters.entry(subscription.filter).or_insert(subscription.qos);
        }
    }

    /// Takes one input; what must be done is appended to `actions`, in the order it must be done.
    pub fn handle(
        &mut self,
        now: Instant,
        input: Input,
        actions: &mut Vec<Action>,
    ) -> Result<(), Violation> {
        match input {
            Input::Packet(packet) => {
                self.heard = now;
                return self.on_packet(packet, actions);
            }
            Input::Mail(Mail::Deliver(delivery)) => self.sender.deliver(delivery, actions),
            Input::Mail(Mail::Routed(ticket)) => self.receiver.on_routed(ticket, actions),
            Input::Mail(Mail::Subscribed(ticket)) => self.on_subscribed(ticket, actions),
            Input::Mail(Mail::Inherit(inheritance)) => self.inherit(*inheritance),
            Input::Mail(Mail::Vacant) => {}
            Input::Mail(Mail::Close(reason)) => actions.push(Action::Close(reason)),
            Input::Tick => self.on_tick(now, actions),
        }
        Ok(())
    }

    /// When [`Input::Tick`] is due: the end of the keep-alive time.
    pub fn deadline(&self) -> Option<Instant> {
        // One and a half times the keep-alive [MQTT-3.1.2-24].
        self.keep_alive.map(|keep_alive| self.heard + keep_alive + keep_alive / 2)
    }

    /// Whether the connection should read on. It should not while too many answers are owed: the
    /// messages they answer are held somewhere, and what is held must be bounded.
    pub fn wants_input(&self) -> bool {
        self.receiver.owes_at_most(self.limits.owed_messages_max, self.limits.owed_bytes_max)
    }

    /// The client was not listened to: its silence until now cannot be held against it.
    pub fn excuse(&mut self, now: Instant) {
        self.heard = now;
    }

    /// How many messages of QoS 1 and 2 the client has been promised and has not taken.
    pub fn undelivered_count(&self) -> usize {
        self.sender.deliveries().count()
    }

    /// Bytes of such messages, those retained by the node left out that wait.
    pub fn held_bytes(&self) -> usize {
        self.sender.held_bytes()
    }

    /// How many PUBLISH packets wait for their answer.
    pub fn owed_count(&self) -> usize {
        self.receiver.owed_count()
    }

    /// Lets the session hold a filter without a SUBSCRIBE (the inbox, DESIGN section 7).
    pub fn hold(&mut self, subscription: &Subscription) {
        self.filters.insert(subscription.filter.clone(), subscription.qos);
    }

    fn on_packet(&mut self, packet: Packet, actions: &mut Vec<Action>) -> Result<(), Violation> {
        match packet {
            Packet::Publish(publish) => return self.on_publish(publish, actions),
            Packet::PubAck(id) => self.sender.on_puback(id, actions),
            Packet::PubRec(id) => self.sender.on_pubrec(id, actions),
            Packet::PubRel(id) => self.receiver.on_pubrel(id, self.durable, actions),
            Packet::PubComp(id) => self.sender.on_pubcomp(id, actions),
            Packet::Subscribe { id, subscriptions } => {
                self.on_subscribe(id, subscriptions, actions);
            }
            Packet::Unsubscribe { id, filters } => self.on_unsubscribe(id, filters, actions),
            Packet::PingReq => actions.push(Action::Send(Packet::PingResp)), // [MQTT-3.12.4-1]
            Packet::Disconnect => actions.push(Action::Close(CloseReason::ClientDisconnect)),
            Packet::Connect(_) => return Err(Violation::SecondConnect), // [MQTT-3.1.0-2]
            Packet::ConnAck { .. }
            | Packet::SubAck { .. }
            | Packet::UnsubAck(_)
            | Packet::PingResp => return Err(Violation::ServerPacket),
        }
        Ok(())
    }

    fn on_publish(&mut self, publish: Publish, actions: &mut Vec<Action>) -> Result<(), Violation> {
        let Publish { message, id, .. } = publish;
        self.judge_topic(&message)?;
        let ticket = match (message.qos, id) {
            (QoS::AtMostOnce, _) | (_, None) => None,
            (QoS::AtLeastOnce, Some(id)) => Some(self.receiver.owe_puback(id, message.cost())),
            (QoS::ExactlyOnce, Some(id)) => {
                match self.receiver.owe_pubrec(id, message.cost(), actions) {
                    Some(ticket) => Some(ticket),
                    None => return Ok(()), // had it before: not routed again [MQTT-4.3.3-2]
                }
            }
        };
        if let Some(refused) = self.refuse(&message) {
            // It is answered, because 3.1.1 has no other answer [MQTT-3.3.5-2], and goes nowhere.
            actions.push(refused);
            if let Some(ticket) = ticket {
                self.receiver.on_routed(ticket, actions);
            }
            return Ok(());
        }
        let received = id.filter(|_| self.durable && message.qos == QoS::ExactlyOnce);
        actions.push(Action::Route { ticket, message, received });
        Ok(())
    }

    fn on_subscribe(
        &mut self,
        id: PacketId,
        subscriptions: Vec<Subscription>,
        actions: &mut Vec<Action>,
    ) {
        let mut codes = Vec::with_capacity(subscriptions.len());
        let mut granted = Vec::with_capacity(subscriptions.len());
        for subscription in subscriptions {
            if !self.may_hold(&subscription.filter) {
                codes.push(SubscribeCode::Failure);
                continue;
            }
            // A filter held already is replaced [MQTT-3.8.4-3].
            self.hold(&subscription);
            codes.push(SubscribeCode::Granted(subscription.qos));
            granted.push(subscription);
        }
        let ticket = self.next_ticket();
        // One code a filter, in their order [MQTT-3.8.4-5]; sent once the routes are effective.
        self.subscribing.insert(ticket, (id, codes));
        actions.push(Action::Subscribe { ticket, subscriptions: granted });
    }

    fn on_subscribed(&mut self, ticket: Ticket, actions: &mut Vec<Action>) {
        if let Some((id, codes)) = self.subscribing.remove(&ticket) {
            actions.push(Action::Send(Packet::SubAck { id, codes })); // [MQTT-3.8.4-2]
        }
    }

    fn on_unsubscribe(&mut self, id: PacketId, filters: Vec<Filter>, actions: &mut Vec<Action>) {
        let held = filters.into_iter().filter(|filter| self.filters.remove(filter).is_some());
        let gone: Vec<Filter> = held.collect();
        if !gone.is_empty() {
            actions.push(Action::Unsubscribe { filters: gone });
        }
        // One answer, whether or not anything was held [MQTT-3.10.4-4] [MQTT-3.10.4-5].
        actions.push(Action::Send(Packet::UnsubAck(id)));
    }

    fn on_tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.wants_input() {
            // What is not read cannot be held against the client.
            self.excuse(now);
            return;
        }
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            actions.push(Action::Close(CloseReason::KeepAlive)); // [MQTT-3.1.2-24]
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(SUBSCRIBE_TICKETS + self.tickets)
    }
}

/// What a store kept of a session, without its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What it was subscribed to.
    pub subscriptions: Vec<Subscription>,
    /// Identifiers of QoS 2 messages of the client, without their PUBREL.
    pub received: Vec<PacketId>,
    /// The first place that is in use, or would be.
    pub first: Place,
    /// Places where only PUBCOMP is to come.
    pub released: Vec<Place>,
    /// Messages in places before this one may have been sent.
    pub doubtful: Place,
}

/// Tickets of subscriptions start here, those of messages at 0: two counters, one kind of name.
const SUBSCRIBE_TICKETS: u64 = 1 << 63;

#[cfg(test)]
mod tests;
