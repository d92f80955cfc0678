//! The loop of a connection that is logged in.

use std::{collections::VecDeque, sync::Arc};

use causeway_common::{mailbox::Mailbox, packet::PublishHeader, qos::QoS, wire::Wire};
use parking_lot::MutexGuard;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};

use super::{Ended, Parts, login::LoggedIn};
use crate::{
    hub::{Hub, Routing, SessionId, change_record},
    session::{Action, Change, Input, Mail, Session},
    store::Position,
};

/// Everything the loop owns.
pub(super) struct Serving<'a, R, W> {
    parts: &'a Arc<Parts>,
    wire: Wire<R, W>,
    id: SessionId,
    session: Box<Session>,
    mailbox: Arc<Mailbox<Mail>>,
    /// Mail taken out of the mailbox and not yet given to the session.
    mail: VecDeque<Mail>,
    /// Reused: no allocation per packet.
    actions: Vec<Action>,
    /// What is durable up to a position lets bytes up to a mark be sent, in the order of both.
    gates: VecDeque<(Position, u64)>,
    /// Whether the hub waits for the first packet of a new session.
    begins: bool,
    /// Whether too much waits for other nodes to read on from a publisher.
    congested: bool,
}

/// Whether the connection goes on.
type Step = Result<(), Ended>;

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Serving<'a, R, W> {
    pub(super) fn new(parts: &'a Arc<Parts>, wire: Wire<R, W>, client: LoggedIn) -> Self {
        let LoggedIn { session: id, state: session, mailbox, early: mail, first, begins, after } =
            client;
        let (actions, gates) = (first, VecDeque::new());
        let mut serving = Self {
            parts,
            wire,
            id,
            session,
            mailbox,
            mail,
            actions,
            gates,
            begins,
            congested: false,
        };
        serving.hold_until(after);
        serving
    }

    /// Runs until the connection ends. Returns why it did, the session, its mail that was not dealt
    /// with, and the socket, to be closed last.
    pub(super) async fn run(mut self) -> (Ended, (Box<Session>, VecDeque<Mail>), Wire<R, W>) {
        let Err(ended) = self.turn_until_end().await;
        if !self.session.is_durable() {
            self.count_lost();
        }
        (ended, (self.session, self.mail), self.wire)
    }

    /// What the client has been promised and will not get: the session ends with the connection.
    fn count_lost(&mut self) {
        self.mailbox.take_counted(&mut self.mail);
        let waiting = self.mail.iter().filter(|mail| match mail {
            Mail::Deliver(delivery) => delivery.qos.is_answered(),
            Mail::Routed(_)
            | Mail::Subscribed(_)
            | Mail::Vacant
            | Mail::Inherit(_)
            | Mail::Close(_) => false,
        });
        let lost = waiting.count() + self.session.undelivered_count();
        self.parts.metrics.messages_dropped.connection_lost.inc_by(lost as u64);
    }

    async fn turn_until_end(&mut self) -> Result<std::convert::Infallible, Ended> {
        let alarm = sleep_until(self.alarm_time());
        tokio::pin!(alarm);
        let mailbox = Arc::clone(&self.mailbox);
        let store = Arc::clone(&self.parts.store);
        self.carry_out(Instant::now().into_std())?;
        loop {
            self.take_packets()?;
            self.take_mail()?;
            let reads = self.wants_input();
            let durable = store.durable();
            self.open_gates(durable);
            tokio::select! {
                turned = self.wire.turn(reads) => turned?,
                () = mailbox.wait() => {}
                _ = store.wait(durable), if !self.gates.is_empty() => {}
                // The alarm may be early: deadlines only move away, and it is set again here.
                () = alarm.as_mut() => {
                    self.on_alarm()?;
                    alarm.as_mut().reset(self.alarm_time());
                }
            }
        }
    }

    /// Gives the session every whole packet received, as long as it wants more.
    fn take_packets(&mut self) -> Step {
        while self.wants_input() {
            let now = Instant::now().into_std();
            let mut taken = 0;
            while self.session.wants_input() && taken < PACKETS_PER_TURN {
                let Some(packet) = self.wire.decode()? else {
                    break;
                };
                taken += 1;
                if std::mem::take(&mut self.begins) {
                    self.parts.hub.lock().know(self.id);
                }
                let input = Input::Packet(packet);
                self.session.handle(now, input, &mut self.actions)?;
            }
            self.carry_out(now)?;
            if taken == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the session its mail, as long as the client takes what becomes of it.
    fn take_mail(&mut self) -> Step {
        let known = self.mail.len();
        self.mailbox.take_counted(&mut self.mail);
        let newcomers = self.mail.iter().skip(known);
        for mail in newcomers {
            if let Mail::Close(reason) = mail {
                return Err(Ended::new(*reason)); // even if the client does not read
            }
        }
        let now = Instant::now().into_std();
        let (mut items, mut bytes) = (0, 0);
        while self.wire.unsent_bytes() < UNSENT_BYTES_MAX {
            let Some(mail) = self.mail.pop_front() else {
                break;
            };
            if let Mail::Deliver(delivery) = &mail
                && delivery.stored.is_none()
            {
                // What is written down counts until the client has it.
                items += 1;
                bytes += delivery.cost();
            }
            self.session.handle(now, Input::Mail(mail), &mut self.actions)?;
            self.carry_out(now)?;
        }
        if items > 0 {
            self.mailbox.release(items, bytes);
        }
        Ok(())
    }

    fn on_alarm(&mut self) -> Step {
        let now = Instant::now().into_std();
        if self.congested {
            self.session.excuse(now);
        }
        if self.session.deadline().is_some_and(|deadline| deadline <= now) {
            self.session.handle(now, Input::Tick, &mut self.actions)?;
            self.carry_out(now)?;
        }
        Ok(())
    }

    /// Does what the session asks for, in its order. The hub is locked at most once.
    fn carry_out(&mut self, now: std::time::Instant) -> Step {
        let mut actions = std::mem::take(&mut self.actions);
        let mut hub: Option<MutexGuard<'_, Hub>> = None;
        let mut settled = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::Send(packet) => self.wire.send(&packet),
                Action::Deliver { delivery, id, dup } => {
                    let (qos, retain) = (delivery.qos, delivery.retain);
                    if let Some(stored) = &delivery.stored
                        && qos == QoS::ExactlyOnce
                    {
                        // A crash must not give its identifier to another message.
                        self.hold_until(stored.position);
                    }
                    self.parts.metrics.count_delivered(qos, delivery.message.payload.len());
                    let header = PublishHeader { qos, id, dup, retain };
                    self.wire.send_message(&delivery.message, header);
                }
                Action::Route { ticket, message, received } => {
                    self.parts.metrics.count_received(message.qos, message.payload.len());
                    let hub = hub.get_or_insert_with(|| self.parts.hub.lock());
                    let routing = hub.publish(
                        &self.mailbox,
                        ticket,
                        message,
                        received.map(|id| (self.id, id)),
                    );
                    self.congested = hub.is_congested();
                    settled.extend(ticket.filter(|_| routing == Routing::Settled));
                }
                Action::Subscribe { ticket, subscriptions } => {
                    let hub = hub.get_or_insert_with(|| self.parts.hub.lock());
                    hub.subscribe(now, self.id, ticket, &subscriptions);
                }
                Action::Unsubscribe { filters } => {
                    let hub = hub.get_or_insert_with(|| self.parts.hub.lock());
                    let position = hub.unsubscribe(self.id, &filters);
                    self.hold_until(position);
                }
                Action::Persist(change) => self.persist(&change),
                Action::Dropped { reason, .. } => self.parts.metrics.count_drop(reason),
                Action::Close(reason) => return Err(Ended::new(reason)),
            }
        }
        drop(hub);
        self.actions = actions;
        self.answer(now, &settled)
    }

    /// Writes down what must outlive the process. What comes after it is sent when it is durable,
    /// unless it can be lost without harm.
    fn persist(&mut self, change: &Change) {
        let position = self.parts.store.write(change_record(self.id, change));
        match *change {
            Change::Taken { cost, .. } => self.mailbox.release(1, cost),
            Change::Released { cost, .. } => {
                self.mailbox.release(1, cost);
                self.hold_until(position);
            }
            Change::Forgotten { .. } => self.hold_until(position),
            Change::Completed { .. } => {}
        }
    }

    /// Holds everything that is sent from now on until a position is durable.
    fn hold_until(&mut self, position: Position) {
        let last = self.gates.back().map_or(Position::default(), |(last, _)| *last);
        if position > last && position > self.parts.store.durable() {
            self.gates.push_back((position, self.wire.mark()));
            self.wire.hold_at(self.gates.front().map(|(_, mark)| *mark));
        }
    }

    fn open_gates(&mut self, durable: Position) {
        if self.gates.is_empty() {
            return;
        }
        while self.gates.pop_front_if(|(position, _)| *position <= durable).is_some() {}
        self.wire.hold_at(self.gates.front().map(|(_, mark)| *mark));
    }

    /// Messages that were settled at once: their answers are due.
    fn answer(&mut self, now: std::time::Instant, settled: &[causeway_common::id::Ticket]) -> Step {
        for ticket in settled {
            let input = Input::Mail(Mail::Routed(*ticket));
            self.session.handle(now, input, &mut self.actions)?;
        }
        if settled.is_empty() { Ok(()) } else { self.carry_out(now) }
    }

    /// Whether to read from the client: not while it is owed too much, nor, if it is owed
    /// anything, while too much of the node's memory waits for other nodes, nor while it does not
    /// take what it has asked for.
    fn wants_input(&mut self) -> bool {
        if self.congested && self.session.owed_count() > 0 {
            self.congested = self.parts.hub.lock().is_congested();
        }
        self.congested &= self.session.owed_count() > 0;
        let unsent = self.wire.unsent_bytes();
        self.session.wants_input() && !self.congested && unsent < ANSWERS_BYTES_MAX
    }

    fn alarm_time(&self) -> Instant {
        let far = || Instant::now() + FAR;
        self.session.deadline().map_or_else(far, Instant::from_std)
    }
}

/// Bytes that may wait in the write buffer before no more mail is taken.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// Bytes that may wait in the write buffer before nothing more is read: only answers to a client
/// that sends and does not read make it grow so far.
const ANSWERS_BYTES_MAX: usize = 1024 * 1024;

/// Packets handled before what they ask for is carried out.
const PACKETS_PER_TURN: usize = 256;

/// A time that does not come.
const FAR: std::time::Duration = std::time::Duration::from_hours(365 * 24);
