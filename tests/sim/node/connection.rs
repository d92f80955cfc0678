//! The connections of a simulated node: a shell around the real sessions that does what the tasks
//! of `broker/src/connection` do.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use causeway_broker::{
    hub::{Routing, SessionId},
    session::{Accepted, Action, Door, Input, Mail, Session, Verdict, judge},
};
use causeway_common::{
    id::{ClientId, PacketId},
    mailbox::Mailbox,
    packet::{ConnectCode, Packet, Publish},
};

use super::Node;
use crate::{
    Fault,
    net::{End, Item},
    scene::{Event, Scene, WireId},
    words::{message_in, number},
};

pub(super) struct Conn {
    pub(super) life: usize,
    mailbox: Arc<Mailbox<Mail>>,
    mail: VecDeque<Mail>,
    unread: VecDeque<Packet>,
    stage: Stage,
    is_waking: bool,
    /// Messages of the client that are not answered, by their identifier.
    asked: BTreeMap<PacketId, usize>,
}

enum Stage {
    Knocking,
    Opening(SessionId, Accepted),
    Serving(SessionId, Box<Session>),
}

impl Node {
    pub(crate) fn accept(&mut self, wire: WireId, life: usize) {
        self.conns.insert(
            wire,
            Conn {
                life,
                mailbox: Arc::new(Mailbox::new(4 << 20)),
                mail: VecDeque::new(),
                unread: VecDeque::new(),
                stage: Stage::Knocking,
                is_waking: false,
                asked: BTreeMap::new(),
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
                self.turn(s, wire);
            }
            Item::Open | Item::End => self.hang_up(s, wire),
        }
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
        for (wire, end) in &mut self.links {
            if !end.mailbox.is_empty() && !std::mem::replace(&mut end.is_waking, true) {
                let delay = s.wake_delay_us();
                s.after(delay, Event::WakeLink(End::Node, *wire));
            }
        }
    }

    fn turn(&mut self, s: &mut Scene, wire: WireId) {
        let Some(mut conn) = self.conns.remove(&wire) else {
            return;
        };
        let goes_on = self.turn_conn(s, wire, &mut conn);
        self.conns.insert(wire, conn);
        if goes_on.is_none() {
            self.hang_up(s, wire);
        }
    }

    fn hang_up(&mut self, s: &mut Scene, wire: WireId) {
        let Some(conn) = self.conns.remove(&wire) else {
            return;
        };
        s.note(None, || format!("node-{} hangs up {wire}", self.index));
        s.ledger.end(conn.life);
        s.leave_client(End::Node, wire);
        match conn.stage {
            Stage::Knocking => {}
            Stage::Opening(session, _) | Stage::Serving(session, _) => {
                self.hub.detach(session);
            }
        }
    }

    /// Does what can be done on a connection; nothing if it is to be closed.
    fn turn_conn(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn) -> Option<()> {
        if conn.mail.iter().any(|mail| matches!(mail, Mail::Close(_))) {
            return None;
        }
        if let Stage::Knocking = conn.stage {
            let Packet::Connect(connect) = conn.unread.pop_front()? else {
                return None;
            };
            let door = Door {
                verdict: Verdict::Admitted,
                assigned_id: ClientId::from("auto"),
                inbox: true,
                keep_alive_secs_max: 0,
            };
            let accepted = judge(&connect, &door).ok()?;
            let session = self.hub.attach(&accepted.client_id, &conn.mailbox).ok()?.session;
            let inbox = accepted.inbox.clone()?;
            conn.stage = Stage::Opening(session, accepted);
            self.hub.subscribe_inbox(s.now(), session, &inbox);
        }
        if let Stage::Opening(session, accepted) = &conn.stage {
            let open = |mail: &Mail| matches!(mail, Mail::Subscribed(_));
            let Some(at) = conn.mail.iter().position(open) else {
                return Some(());
            };
            conn.mail.remove(at);
            let limits = Arc::clone(&self.limits);
            let mut state = Session::new(s.now(), accepted.keep_alive, limits);
            state.hold(accepted.inbox.as_ref()?);
            conn.stage = Stage::Serving(*session, Box::new(state));
            let (session_present, code) = (false, ConnectCode::Accepted);
            let answer = Packet::ConnAck { session_present, code };
            s.send_packet(End::Peer, wire, Item::One(answer));
        }
        self.serve(s, wire, conn)
    }

    fn serve(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn) -> Option<()> {
        self.take_packets(s, wire, conn)?;
        while let Some(mail) = conn.mail.pop_front() {
            if let Mail::Deliver(delivery) = &mail {
                conn.mailbox.release(delivery.message.cost());
            }
            self.step(s, wire, conn, Input::Mail(mail))?;
        }
        self.take_packets(s, wire, conn)
    }

    fn take_packets(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn) -> Option<()> {
        while let Stage::Serving(_, session) = &conn.stage
            && session.wants_input()
            && let Some(packet) = conn.unread.pop_front()
        {
            if let Packet::Publish(Publish { id: Some(id), message, .. }) = &packet {
                conn.asked.insert(*id, number(&message.payload));
            }
            self.step(s, wire, conn, Input::Packet(packet))?;
        }
        Some(())
    }

    fn step(&mut self, s: &mut Scene, wire: WireId, conn: &mut Conn, input: Input) -> Option<()> {
        let Stage::Serving(id, session) = &mut conn.stage else {
            return Some(());
        };
        let (id, mut actions, mut settled) = (*id, Vec::new(), Vec::new());
        if let Err(violation) = session.handle(s.now(), input, &mut actions) {
            s.fail(None, format!("{wire} broke the protocol: {violation}"));
        }
        for action in actions {
            match action {
                Action::Send(packet) => send(s, wire, conn, packet),
                Action::Deliver { delivery, id, dup } => {
                    let mut message = (*delivery.message).clone();
                    message.qos = delivery.qos;
                    let packet = Packet::Publish(Publish { message, id, dup });
                    send(s, wire, conn, packet);
                }
                Action::Route { ticket, message } => {
                    let routing = self.hub.publish(&conn.mailbox, ticket, message);
                    settled.extend(ticket.filter(|_| routing == Routing::Settled));
                }
                Action::Subscribe { ticket, subscriptions } => {
                    self.hub.subscribe(s.now(), id, ticket, &subscriptions);
                    if s.fault == Some(Fault::SubAckEarly) {
                        conn.mail.push_back(Mail::Subscribed(ticket));
                    }
                }
                Action::Unsubscribe { filters } => self.hub.unsubscribe(id, &filters),
                Action::Dropped { reason, .. } => s.fail(None, format!("dropped: {reason:?}")),
                Action::Close(_) => return None,
            }
        }
        for ticket in settled {
            self.step(s, wire, conn, Input::Mail(Mail::Routed(ticket)))?;
        }
        Some(())
    }
}

impl Conn {
    /// Takes the mail out of the mailbox, and notes which messages have come this far.
    fn fetch(&mut self, s: &mut Scene, node: usize) {
        let known = self.mail.len();
        self.mailbox.take_counted(&mut self.mail);
        for mail in self.mail.iter().skip(known) {
            let Mail::Deliver(delivery) = mail else {
                continue;
            };
            let message = number(&delivery.message.payload);
            let reached = s.ledger.reaches(self.life, message);
            s.note(Some(message), || format!("node-{node} has it for life {}", self.life));
            if let Err(text) = reached {
                s.fail(Some(message), text);
            }
        }
    }
}

fn send(s: &mut Scene, wire: WireId, conn: &mut Conn, packet: Packet) {
    s.note(message_in(&packet), || format!("node > {wire} {packet:?}"));
    if let Packet::PubAck(id) | Packet::PubRec(id) = &packet {
        s.answered.extend(conn.asked.remove(id));
    }
    s.send_packet(End::Peer, wire, Item::One(packet));
}
