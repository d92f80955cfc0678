//! The loop of a connection that is logged in.

mod gates;
mod shortage;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use causeway_common::{
    mailbox::Mailbox,
    packet::{Packet, PublishHeader},
    qos::QoS,
    stint::Stint,
    topic::Topic,
    wire::Wire,
};
use parking_lot::MutexGuard;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tracing::{Instrument, Span, info};

use gates::committed;

use super::{Ended, Parts, login::LoggedIn, note_end, pacing::Pacing};
use crate::{
    auth::Permission,
    count::Tally,
    hub::{Hub, Routing, SessionId},
    limits::Seat,
    session::{Action, DropReason, Input, Mail, Session},
    store::Position,
};

/// Everything the loop owns.
pub struct Serving<S> {
    parts: Arc<Parts>,
    wire: Wire<S>,
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
    /// What the client may do.
    permission: Permission,
    /// Whether the log has heard that it does what it may not.
    was_denied: bool,
    /// Whether too much waits for other nodes to read on from a publisher.
    congested: bool,
    pacing: Pacing,
    /// What it does before the others have their turn.
    stint: Stint,
    /// Given back with the connection.
    _seat: Option<Arc<Seat>>,
    tally: Tally,
    /// Of the connection, for the log.
    span: Span,
}

/// Whether the connection goes on.
type Step = Result<(), Ended>;

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    pub(super) fn new(
        parts: Arc<Parts>,
        wire: Wire<S>,
        client: LoggedIn,
        seat: Option<Arc<Seat>>,
    ) -> Self {
        let LoggedIn { session: id, state: session, mailbox, early: mail, first, .. } = client;
        let (begins, after, permission) = (client.begins, client.after, client.permission);
        let (actions, gates) = (first, VecDeque::new());
        let mut serving = Self {
            pacing: Pacing::new(parts.pace, wire.read_bytes()),
            stint: Stint::new(STINT, parts.turns.clone()),
            parts,
            wire,
            id,
            session,
            mailbox,
            mail,
            actions,
            gates,
            begins,
            permission,
            was_denied: false,
            congested: false,
            _seat: seat,
            tally: Tally::default(),
            span: Span::current(),
        };
        // A full store is emptied by those who log in: they do not wait for it.
        if serving.parts.store.trouble().is_none() {
            serving.hold_until(after);
        }
        serving
    }

    /// Runs until the connection ends, and closes the socket last. No async function, of which the task would
    /// keep twice what it was told.
    #[expect(clippy::manual_async_fn, reason = "its future is smaller")]
    pub fn run(mut self: Box<Self>) -> impl Future<Output = ()> {
        async move {
            let Err(ended) = self.turn_until_end().await;
            self.tally.flush(&self.parts.metrics);
            if !self.session.is_durable() {
                self.count_lost();
            }
            // Taken out of the box one by one: what is taken out at once moves into the task.
            let left = (self.session, self.mail);
            let log_out = self.parts.membership.log_out(self.id, left, ended.reason);
            // Kept out of the task, which is as large as its largest part.
            Box::pin(log_out.instrument(self.span.clone())).await;
            drop(self.wire);
            self.span.in_scope(|| note_end(&self.parts, &ended));
        }
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
        self.carry_out(Instant::now().into_std())?;
        self.actions = Vec::new(); // many clients say nothing for long
        loop {
            if !self.stint.is_over() {
                self.session.set_room(self.room());
                self.take_packets()?;
                self.take_mail()?;
            }
            let gives_way = self.stint.is_over();
            if self.tally.has_received() && !gives_way && self.wire.unsent_bytes() > 0 {
                // Whoever hears what was said comes before the answer to who said it.
                self.stint.step_aside().await;
            }
            let reads = !gives_way && self.wants_input();
            if let Some(over) = self.pacing.pause_end()
                && over < alarm.deadline()
            {
                alarm.as_mut().reset(over);
            }
            let durable = self.parts.store.durable();
            self.open_gates(durable);
            self.mailbox.note_held(self.session.held_bytes() + self.wire.unsent_bytes());
            self.tally.flush(&self.parts.metrics);
            tokio::select! {
                biased; // one that is ready all the time comes last, so that no other waits for it
                // The alarm may be early: deadlines only move away, and it is set again here.
                () = alarm.as_mut() => {
                    self.on_alarm()?;
                    alarm.as_mut().reset(self.alarm_time());
                }
                () = committed(&*self.parts.store, durable, !self.gates.is_empty()) => {}
                () = self.mailbox.wait(), if !gives_way => {}
                turned = self.wire.turn(reads) => turned?,
                () = self.stint.rest(gives_way) => {}
            }
        }
    }

    /// Gives the session the whole packets received, as long as it wants more and may work on.
    fn take_packets(&mut self) -> Step {
        if let Some(rights) = self.permission.changed() {
            self.session.set_rights(rights);
            self.was_denied = false;
        }
        while self.wants_input() {
            let now = Instant::now().into_std();
            let mut taken = 0;
            while self.session.wants_input() && taken < PACKETS_AT_ONCE && !self.is_paced(|| now) {
                let Some(packet) = self.wire.decode()? else {
                    self.ensure_room(self.wire.untaken_bytes() > shortage::PART_BYTES_MAX)?;
                    break;
                };
                // One with filters is as much work as many others.
                let is_long =
                    matches!(packet, Packet::Subscribe { .. } | Packet::Unsubscribe { .. });
                taken += if is_long { PACKETS_AT_ONCE } else { 1 };
                self.weigh(now, &packet)?;
                if std::mem::take(&mut self.begins) {
                    self.parts.hub.lock().know(self.id);
                }
                let input = Input::Packet(packet);
                self.session.handle(now, input, &mut self.actions)?;
            }
            self.carry_out(now)?;
            if taken == 0 || self.stint.is_over() {
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
        if self.mail.is_empty() {
            return Ok(());
        }
        let now = Instant::now().into_std();
        let mut dealt = (0, 0);
        while !self.mail.is_empty() && self.wire.unsent_bytes() < UNSENT_BYTES_MAX {
            self.handle_mail(now, &mut dealt)?;
            self.carry_out(now)?;
        }
        if dealt.0 > 0 {
            self.mailbox.release(dealt.0, dealt.1);
        }
        Ok(())
    }

    /// Gives the session as much mail as the write buffer should take at a time. Adds to `dealt` how
    /// many messages were not written down, and their bytes: those that are count until the client has
    /// them.
    fn handle_mail(&mut self, now: std::time::Instant, dealt: &mut (usize, usize)) -> Step {
        let mut bytes = 0;
        while bytes < UNSENT_BYTES_MAX
            && let Some(mail) = self.mail.pop_front()
        {
            if let Mail::Deliver(delivery) = &mail {
                let cost = delivery.cost();
                bytes += cost;
                if delivery.stored.is_none() {
                    *dealt = (dealt.0 + 1, dealt.1 + cost);
                }
            }
            self.session.handle(now, Input::Mail(mail), &mut self.actions)?;
        }
        Ok(())
    }

    fn on_alarm(&mut self) -> Step {
        let now = Instant::now().into_std();
        if self.congested || self.pacing.pause_end().is_some() {
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
        let parts = Arc::clone(&self.parts);
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
                    self.tally.count_delivered(qos, delivery.message.payload.len());
                    let header = PublishHeader { qos, id, dup, retain };
                    self.wire.send_message(&delivery.message, header);
                }
                Action::Route { ticket, message, received } => {
                    self.tally.count_received(message.qos, message.payload.len());
                    let hub = hub.get_or_insert_with(|| parts.hub.lock());
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
                    let hub = hub.get_or_insert_with(|| parts.hub.lock());
                    hub.subscribe(now, self.id, ticket, &subscriptions);
                }
                Action::Unsubscribe { filters } => {
                    let hub = hub.get_or_insert_with(|| parts.hub.lock());
                    let position = hub.unsubscribe(self.id, &filters);
                    self.hold_until(position);
                }
                Action::Persist(change) => self.persist(&change),
                Action::Dropped { reason, .. } => parts.metrics.count_drop(reason),
                Action::Denied { topic } => self.note_denied(&topic),
                Action::Close(reason) => return Err(Ended::new(reason)),
            }
        }
        drop(hub);
        self.actions = actions;
        self.answer(now, &settled)
    }

    /// Counts a message that the client may not publish; the log hears of the first one.
    fn note_denied(&mut self, topic: &Topic) {
        self.parts.metrics.count_drop(DropReason::NotAuthorized);
        if !std::mem::replace(&mut self.was_denied, true) {
            self.span.in_scope(|| info!(%topic, "client may not publish here"));
        }
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
        let takes_more = self.session.wants_input() && unsent < self.answers_bytes_max();
        takes_more && !self.congested && !self.is_paced(|| Instant::now().into_std())
    }

    /// Whether the client has sent too much lately to be read on. Its silence meanwhile is excused.
    /// Without limits it does not ask for the time.
    fn is_paced(&mut self, now: impl FnOnce() -> std::time::Instant) -> bool {
        if !self.pacing.is_in_force() {
            return false;
        }
        let now = now();
        let was_paced = self.pacing.pause_end().is_some();
        let is_paced = self.pacing.judge(now, self.wire.read_bytes(), &self.parts.metrics);
        if was_paced && !is_paced {
            self.session.excuse(now);
        }
        is_paced
    }

    fn alarm_time(&self) -> Instant {
        let far = || Instant::now() + FAR;
        let deadline = self.session.deadline().map_or_else(far, Instant::from_std);
        self.pacing.pause_end().map_or(deadline, |over| deadline.min(over))
    }
}

/// Bytes that may wait in the write buffer before no more mail is taken.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// Packets handled before what they ask for is carried out.
const PACKETS_AT_ONCE: usize = 32;

/// How long one client is served while others may wait: a few hundred packets.
const STINT: Duration = Duration::from_micros(100);

/// A time that does not come.
const FAR: Duration = Duration::from_hours(365 * 24);
