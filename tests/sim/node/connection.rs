//! The connections of a simulated node: the real login as a task, and a shell around the real
//! sessions that does what `broker/src/connection/serve.rs` does.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use causeway_broker::{
    connection::{Ended, Entrance, LoggedIn, admit},
    hub::{Routing, SessionId, change_record},
    session::{Action, Change, CloseReason, Input, Mail, Refusal, Session},
    store::{Position, Store},
};
use causeway_common::{
    id::PacketId,
    mailbox::Mailbox,
    packet::{Connect, Packet, Publish},
    qos::QoS,
};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::Node;
use crate::{
    Fault,
    net::{End, Item},
    scene::{Event, Scene, WireId},
    words::{message_in, number},
};

/// A connection of a client.
pub(super) struct Conn {
    pub(super) life: usize,
    pub(super) will: Option<usize>,
    mailbox: Arc<Mailbox<Mail>>,
    mail: VecDeque<Mail>,
    unread: VecDeque<Packet>,
    /// The client's end is gone.
    is_left: bool,
    stage: Stage,
    is_waking: bool,
    /// Messages of the client that are not answered, by their identifier.
    asked: BTreeMap<PacketId, usize>,
    /// What must be durable before anything more is sent.
    gate: Position,
    /// Whether the hub waits for the first packet of a new session.
    begins: bool,
    /// Packets with their gates.
    held: VecDeque<(Position, Packet)>,
}

type Admitted = Result<Result<LoggedIn, Refusal>, Ended>;

enum Stage {
    Knocking,
    Admitting(Arc<Mutex<Option<Admitted>>>, AbortHandle),
    Serving(SessionId, Box<Session>),
}

impl Node {
    pub(crate) fn accept(&mut self, wire: WireId, life: usize, will: Option<usize>) {
        self.conns.insert(
            wire,
            Conn {
                life,
                will,
                mailbox: Arc::new(Mailbox::new(0)),
                mail: VecDeque::new(),
                unread: VecDeque::new(),
                is_left: false,
                stage: Stage::Knocking,
                is_waking: false,
                asked: BTreeMap::new(),
                gate: Position::default(),
                begins: false,
                held: VecDeque::new(),
            },
        );
    }

    pub(crate) fn client_arrival(&mut self, s: &mut Scene, wire: WireId, item: Item<Packet>) {
        let Some(conn) = self.conns.get_mut(&wire) else {
            return;
        };
        match item {
            Item::One(packet) => {
                s.note(message_in(&packet), || format!("node-{} < {wire} {packet:?}", self.index));
                conn.unread.push_back(packet);
            }
            Item::Open | Item::End => conn.is_left = true,
        }
        self.turn(s, wire);
    }

    pub(crate) fn wake_client(&mut self, s: &mut Scene, wire: WireId) {
        if let Some(conn) = self.conns.get_mut(&wire) {
            conn.is_waking = false;
            conn.fetch(s, self.index);
            self.turn(s, wire);
        }
    }

    /// Everything that is in a mailbox is taken out, so that it is known who has what.
    pub(crate) fn fetch_all(&mut self, s: &mut Scene) {
        for conn in self.conns.values_mut() {
            conn.fetch(s, self.index);
        }
    }

    /// Lets every task whose mailbox has something look into it soon.
    pub(crate) fn wake_all(&mut self, s: &mut Scene) {
        for (wire, conn) in &mut self.conns {
            let has_mail = !conn.mailbox.is_empty() || !conn.mail.is_empty();
            if has_mail && !std::mem::replace(&mut conn.is_waking, true) {
                let delay = s.wake_delay_us();
                s.after(delay, Event::WakeClient(*wire));
            }
        }
        if self.disk.pending() > 0 && !std::mem::replace(&mut self.is_syncing, true) {
            let delay = s.sync_delay_us();
            s.after(delay, Event::Synced(self.index, self.life, self.disk.pending()));
        }
        for (wire, end) in &mut self.links {
            if !end.mailbox.is_empty() && !std::mem::replace(&mut end.is_waking, true) {
                let delay = s.wake_delay_us();
                s.after(delay, Event::WakeLink(End::Node, *wire));
            }
        }
    }

    pub(super) fn turn(&mut self, s: &mut Scene, wire: WireId) {
        let Some(mut conn) = self.conns.remove(&wire) else {
            return;
        };
        let goes_on = self.turn_conn(s, wire, &mut conn);
        match goes_on {
            Ok(()) => {
                self.conns.insert(wire, conn);
            }
            Err(reason) => self.hang_up(s, wire, conn, reason),
        }
    }

    fn hang_up(&mut self, s: &mut Scene, wire: WireId, conn: Conn, reason: CloseReason) {
        s.note(None, || format!("node-{} hangs up {wire}: {reason:?}", self.index));
        s.ledger.end(conn.life);
        s.leave_client(End::Node, wire);
        let said_farewell = reason == CloseReason::ClientDisconnect;
        let reason = match s.fault {
            Some(Fault::WillInSpite) if said_farewell => CloseReason::ClientClosed,
            _ => reason,
        };
        if said_farewell {
            s.ledger.wills.farewell_heard(conn.will, self.life);
        } else {
            s.ledger.wills.ends(conn.will, s.step);
            s.ledger.wills.ends_on(conn.will, (self.life, s.now_us));
        }
        if let Stage::Serving(session, state) = conn.stage {
            let (membership, left) = (Arc::clone(&self.parts.membership), (state, conn.mail));
            tokio::spawn(async move { membership.log_out(session, left, reason).await });
        }
    }

    /// Does what can be done on a connection; an error if it is to be closed.
    fn turn_conn(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn) -> Step {
        self.flush(s, wire, conn);
        match &conn.stage {
            Stage::Knocking => self.knocked(s, wire, conn),
            Stage::Admitting(slot, _) => {
                let Some(admitted) = slot.lock().take() else {
                    return Ok(()); // nobody listens to the client meanwhile
                };
                let client = admitted.map_err(|ended| ended.reason)?;
                self.let_in(s, wire, conn, client.map_err(|_| CloseReason::Refused)?)?;
                self.serve(s, wire, conn)
            }
            Stage::Serving(..) => self.serve(s, wire, conn),
        }
    }

    fn knocked(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn) -> Step {
        let Some(Packet::Connect(connect)) = conn.unread.pop_front() else {
            return if conn.is_left { Err(CloseReason::ClientClosed) } else { Ok(()) };
        };
        s.note(None, || format!("node-{} admits {}", self.index, connect.client_id));
        let slot = Arc::new(Mutex::new(None));
        let (parts, answer) = (Arc::clone(&self.parts), Arc::clone(&slot));
        let connect: Connect = *connect;
        let address = format!("wire-{wire}");
        let task = tokio::spawn(async move {
            let entrance =
                Entrance { address, is_local: true, allow_anonymous: None, user: None, seat: None };
            let admitted = admit(&parts, &connect, &entrance).await;
            *answer.lock() = Some(admitted);
        });
        conn.stage = Stage::Admitting(slot, task.abort_handle());
        Ok(())
    }

    fn let_in(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn, client: LoggedIn) -> Step {
        let LoggedIn { session, state, mailbox, early, first, begins, after, .. } = client;
        conn.begins = begins;
        conn.gate = conn.gate.max(after);
        conn.stage = Stage::Serving(session, state);
        conn.mailbox = mailbox;
        note_arrivals(s, self.index, conn.life, early.iter());
        conn.mail = early;
        self.carry_out(s, wire, conn, first)
    }

    fn serve(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn) -> Step {
        self.take_packets(s, wire, conn)?;
        let close = conn.mail.iter().find_map(|mail| match mail {
            Mail::Close(reason) => Some(*reason),
            _ => None,
        });
        if let Some(reason) = close {
            return Err(reason);
        }
        while let Some(mail) = conn.mail.pop_front() {
            if let Mail::Deliver(delivery) = &mail
                && delivery.stored.is_none()
            {
                conn.mailbox.release(1, delivery.cost());
            }
            self.step(s, wire, conn, Input::Mail(mail))?;
        }
        self.take_packets(s, wire, conn)?;
        let is_read = conn.unread.is_empty();
        if conn.is_left && is_read { Err(CloseReason::ClientClosed) } else { Ok(()) }
    }

    fn take_packets(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn) -> Step {
        while let Stage::Serving(id, session) = &conn.stage
            && session.wants_input()
            && let Some(packet) = conn.unread.pop_front()
        {
            if std::mem::take(&mut conn.begins) {
                self.parts.hub.lock().know(*id);
            }
            if let Packet::Publish(Publish { id: Some(id), message, .. }) = &packet {
                let nameless = s.nameless.get(&(wire, *id)).filter(|_| message.payload.is_empty());
                conn.asked.insert(*id, nameless.copied().unwrap_or(number(&message.payload)));
            }
            self.step(s, wire, conn, Input::Packet(packet))?;
        }
        Ok(())
    }

    fn step(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn, input: Input) -> Step {
        let mut actions = Vec::new();
        if let Stage::Serving(_, session) = &mut conn.stage
            && let Err(violation) = session.handle(s.now(), input, &mut actions)
        {
            s.fail(None, format!("{wire} broke the protocol: {violation}"));
        }
        self.carry_out(s, wire, conn, actions)
    }

    /// What `Serving::carry_out` does.
    fn carry_out(
        &mut self,
        s: &mut Scene,
        wire: WireId,
        conn: &mut Conn,
        actions: Vec<Action>,
    ) -> Step {
        let Stage::Serving(id, _) = &conn.stage else {
            return Ok(());
        };
        let (id, mut settled) = (*id, Vec::new());
        for action in actions {
            match action {
                Action::Send(packet) => self.send(s, wire, conn, packet),
                Action::Deliver { delivery, id, dup } => {
                    let mut message = delivery.message.message.clone();
                    message.qos = delivery.qos;
                    message.retain = delivery.retain;
                    if let Some(stored) = &delivery.stored
                        && delivery.qos == QoS::ExactlyOnce
                        && s.fault != Some(Fault::DeliverEarly)
                    {
                        conn.gate = conn.gate.max(stored.position);
                    }
                    let packet = Packet::Publish(Publish { message, id, dup });
                    self.send(s, wire, conn, packet);
                }
                Action::Route { ticket, message, received } => {
                    let received = received.map(|packet| (id, packet));
                    let hurries = s.fault == Some(Fault::RetainEarly) && message.retain;
                    let mut hub = self.hub.lock();
                    let routing = hub.publish(&conn.mailbox, ticket, message, received);
                    settled.extend(ticket.filter(|_| hurries || routing == Routing::Settled));
                }
                Action::Subscribe { ticket, subscriptions } => {
                    self.hub.lock().subscribe(s.now(), id, ticket, &subscriptions);
                    if s.fault == Some(Fault::SubAckEarly) {
                        conn.mail.push_back(Mail::Subscribed(ticket));
                    }
                }
                Action::Unsubscribe { filters } => {
                    let position = self.hub.lock().unsubscribe(id, &filters);
                    conn.gate = conn.gate.max(position);
                }
                Action::Persist(change) => self.persist(s, conn, id, &change),
                Action::Dropped { reason, .. } => s.fail(None, format!("dropped: {reason:?}")),
                Action::Denied { topic } => s.fail(None, format!("denied: {topic}")),
                Action::Close(reason) => return Err(reason),
            }
        }
        for ticket in settled {
            self.step(s, wire, conn, Input::Mail(Mail::Routed(ticket)))?;
        }
        Ok(())
    }

    fn persist(&mut self, s: &Scene, conn: &mut Conn, id: SessionId, change: &Change) {
        let position = self.disk.write(change_record(id, change));
        match *change {
            Change::Taken { cost, .. } => conn.mailbox.release(1, cost),
            Change::Released { cost, .. } => {
                conn.mailbox.release(1, cost);
                conn.gate = conn.gate.max(position);
            }
            Change::Forgotten { .. } if s.fault == Some(Fault::ForgetEarly) => {}
            Change::Forgotten { .. } => conn.gate = conn.gate.max(position),
            Change::Completed { .. } => {}
        }
    }

    fn send(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn, packet: Packet) {
        conn.held.push_back((conn.gate, packet));
        self.flush(s, wire, conn);
    }

    /// Sends what needs no more waiting.
    fn flush(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn) {
        let durable = self.disk.durable();
        while let Some((_, packet)) = conn.held.pop_front_if(|(gate, _)| *gate <= durable) {
            s.note(message_in(&packet), || format!("node-{} > {wire} {packet:?}", self.index));
            if let Packet::PubAck(id) | Packet::PubRec(id) = &packet {
                s.answered.extend(conn.asked.remove(id));
            }
            s.send_packet(End::Peer, wire, Item::One(packet));
        }
    }
}

type Step = Result<(), CloseReason>;

impl Conn {
    pub(super) fn is_admitted(&self) -> bool {
        matches!(&self.stage, Stage::Admitting(slot, _) if slot.lock().is_some())
    }

    pub(super) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// The process is gone.
    pub(super) fn abort(&self) {
        if let Stage::Admitting(_, task) = &self.stage {
            task.abort();
        }
    }

    /// Takes the mail out of the mailbox, and notes which messages have come this far.
    fn fetch(&mut self, s: &mut Scene, node: usize) {
        if let Stage::Serving(..) = self.stage {
            let known = self.mail.len();
            self.mailbox.take_counted(&mut self.mail);
            note_arrivals(s, node, self.life, self.mail.iter().skip(known));
        }
    }
}

fn note_arrivals<'a>(
    s: &mut Scene,
    node: usize,
    life: usize,
    mail: impl Iterator<Item = &'a Mail>,
) {
    for mail in mail {
        let Mail::Deliver(delivery) = mail else {
            continue;
        };
        if delivery.message.payload.is_empty() {
            continue; // a deletion, and nothing says which
        }
        let message = number(&delivery.message.payload);
        let reached = if delivery.retain {
            s.ledger.finds(life, message, s.step)
        } else {
            s.ledger.reaches(life, message, delivery.message.origin.as_ref())
        };
        s.note(Some(message), || format!("node-{node} has it for life {life}"));
        if let Err(text) = reached {
            s.fail(Some(message), text);
        }
    }
}
