//! Connections come and go; sessions stay if they are durable.
//!
//! ```text
//!   attach ──► new session, or a parked one with all it kept       (clean session 1 erases it)
//!      │           └─ an older connection has it: told to close; Mail::Vacant when it has
//!   leave ───► a durable session is parked: it goes on taking messages; any other ends
//!      │
//!   tick ────► a session that waited for its client for too long expires
//! ```
//!
//! Who owns a client id in the whole cluster is not decided here (`ownership.rs`, `membership`).

use std::{collections::VecDeque, sync::Arc};

use causeway_common::{
    id::{ClientId, Epoch, SessionId, UserName},
    mailbox::Mailbox,
    topic::Filter,
};
use thiserror::Error;

use super::{
    Hub,
    record::{Name, SessionRow, encode},
    registry::{Entry, Stay},
};
use crate::{
    session::{CloseReason, DropReason, Mail, Place, Session},
    store::{Batch, Position},
};

/// Who wants a place.
#[derive(Clone, Debug)]
pub struct Knock {
    /// Whose session it is.
    pub client_id: ClientId,
    /// Whose device it is.
    pub user: UserName,
    /// Whether earlier state is to be forgotten, and none to be left [MQTT-3.1.2-6].
    pub clean: bool,
}

/// What came of a knock.
#[derive(Debug)]
pub enum Attach {
    /// The client has its place.
    In(Attached),
    /// An older connection of the same client id is being closed; [`Mail::Vacant`] says when to knock
    /// again.
    Wait,
}

/// A client that has been given a place.
#[derive(Debug)]
pub struct Attached {
    /// Its session from now on.
    pub session: SessionId,
    /// Where the hub puts what is for it.
    pub mailbox: Arc<Mailbox<Mail>>,
    /// What an earlier connection left.
    pub resumed: Option<Box<Session>>,
    /// CONNACK is not sent before this is durable: that earlier state is erased [MQTT-3.1.2-6].
    pub after: Position,
}

/// A session whose connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// Its ownership in the directory, if it had got one.
    pub epoch: Option<Epoch>,
    /// Whether its client id is connected to this node by a newer session.
    pub replaced: bool,
    /// Whether the session stays.
    pub stays: bool,
}

/// What went with a session that was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Discarded {
    /// How many messages.
    messages: usize,
    /// When it is durable.
    pub(super) written: Position,
}

/// Why a client got no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HubError {
    /// `max_connections` are connected.
    #[error("node is full")]
    Full,
    /// Its user has as many connections as one may have.
    #[error("too many connections of its user")]
    Crowded,
    /// The node has lost its lease.
    #[error("node is fenced")]
    Fenced,
}

impl Hub {
    /// Gives a client a place. An older connection of the same client id loses its own
    /// [MQTT-3.1.4-2]. `waiting` is told when a place that is not free yet is.
    pub fn attach(
        &mut self,
        knock: &Knock,
        waiting: &Arc<Mailbox<Mail>>,
    ) -> Result<Attach, HubError> {
        if self.fenced {
            return Err(HubError::Fenced);
        }
        let older = self.registry.current(&knock.client_id);
        let older_entry = older.and_then(|older| self.registry.entries.get(&older));
        if older_entry.is_none_or(|entry| entry.is_parked()) && self.registry.is_full() {
            return Err(HubError::Full);
        }
        if self.registry.is_crowded(knock, self.limits.connections_per_user) {
            self.metrics.limited.connections_per_user.inc();
            return Err(HubError::Crowded);
        }
        let mut after = Position::default();
        if let Some(older) = older {
            if self.replace(older, waiting) {
                return Ok(Attach::Wait);
            }
            after = match self.resume(older, knock) {
                Ok(attached) => {
                    self.note_sizes();
                    return Ok(Attach::In(attached));
                }
                Err(erased) => erased,
            };
        }
        let attached = self.attach_new(knock, after);
        self.note_sizes();
        Ok(Attach::In(attached))
    }

    /// Ends an older connection. True if it must be waited for: its session stays.
    fn replace(&mut self, older: SessionId, waiting: &Arc<Mailbox<Mail>>) -> bool {
        let Some(entry) = self.registry.entries.get_mut(&older) else {
            return false;
        };
        match &mut entry.stay {
            Stay::Parked { .. } => return false,
            Stay::Leaving { successor } => {
                if let Some(overtaken) = successor.replace(Arc::clone(waiting)) {
                    overtaken.push_control(Mail::Close(CloseReason::TakenOver));
                }
            }
            Stay::Attached => {
                self.metrics.takeovers.local.inc();
                if !entry.durable {
                    self.dismiss(older, CloseReason::TakenOver);
                    return false;
                }
                entry.mailbox.push_control(Mail::Close(CloseReason::TakenOver));
                entry.stay = Stay::Leaving { successor: Some(Arc::clone(waiting)) };
            }
        }
        true
    }

    /// Gives a parked session to its client, or forgets it if the client wants none: then it returns when
    /// that is durable.
    fn resume(&mut self, older: SessionId, knock: &Knock) -> Result<Attached, Position> {
        if !self.registry.entries.get(&older).is_some_and(|entry| entry.durable) {
            return Err(Position::default());
        }
        let same_user =
            self.registry.entries.get(&older).is_some_and(|entry| entry.user == knock.user);
        if knock.clean || !same_user {
            // Forgotten [MQTT-3.1.2-6]; and nobody gets what was meant for another user.
            return Err(self.discard(older).written);
        }
        self.stay_here(older);
        self.give_up_unreadable(older);
        self.reopen(older);
        let resumed = self.registry.unpark(older);
        let mailbox = self.registry.mailbox(older).ok_or_else(Position::default)?;
        self.write_session(older);
        Ok(Attached { session: older, mailbox, resumed, after: Position::default() })
    }

    pub(super) fn attach_new(&mut self, knock: &Knock, after: Position) -> Attached {
        let mailbox = Arc::new(self.new_mailbox(!knock.clean));
        let Knock { client_id, user, clean } = knock.clone();
        let mut entry = Entry::new(client_id, user, Arc::clone(&mailbox), !clean);
        if !clean {
            entry.stand_aside();
        }
        let session = self.registry.insert(entry);
        if !clean {
            self.write_session(session);
            self.remember_line(session);
        }
        Attached { session, mailbox, resumed: None, after }
    }

    /// A mailbox for a session. That of a durable one is its queue: messages count until the client
    /// has them.
    pub(super) fn new_mailbox(&self, durable: bool) -> Mailbox<Mail> {
        let limits = &self.limits.session;
        if durable {
            let in_line = limits.queue_messages_max.saturating_add(limits.max_inflight);
            Mailbox::bounded(limits.queue_bytes_max, in_line)
        } else {
            Mailbox::new(self.limits.mailbox_bytes_max)
        }
    }

    /// The connection of a session has ended; `left` is mail it had not dealt with. A durable session
    /// is parked [MQTT-3.1.2-4], any other ends [MQTT-3.1.2-6], also one that was erased meanwhile.
    pub fn leave(
        &mut self,
        session: SessionId,
        state: Box<Session>,
        left: VecDeque<Mail>,
    ) -> Option<Detached> {
        if !self.registry.is_durable(session) {
            return self.detach(session);
        }
        let state = self.drain(session, state, left)?;
        let successor = self.registry.park(session, state, self.wall_secs);
        if let Some(successor) = successor {
            successor.push_control(Mail::Vacant);
        }
        let entry = self.registry.entries.get_mut(&session)?;
        entry.mailbox.vacate();
        let (epoch, stays) = (entry.epoch, !entry.is_erased);
        if stays {
            self.write_session(session);
            self.after_parking(session);
        } else {
            let waiting = std::mem::take(&mut entry.closing_for);
            self.discard(session);
            self.tell_closed(waiting);
        }
        self.note_sizes();
        Some(Detached { epoch, replaced: false, stays })
    }

    /// What belongs to the connection leaves the mailbox with it: orders, and QoS 0.
    pub(super) fn drain(
        &mut self,
        session: SessionId,
        mut state: Box<Session>,
        left: VecDeque<Mail>,
    ) -> Option<Box<Session>> {
        let entry = self.registry.entries.get(&session)?;
        let (mut items, mut bytes) = (0, 0);
        let mut stays = |mail: &Mail| match mail {
            Mail::Deliver(delivery) if delivery.stored.is_none() => {
                items += 1;
                bytes += delivery.cost();
                false
            }
            Mail::Deliver(_) | Mail::Routed(_) | Mail::Inherit(_) => true,
            Mail::Subscribed(_) | Mail::Vacant | Mail::Close(_) => false,
        };
        entry.mailbox.retain(&mut stays);
        state.park(left.into_iter().filter(|mail| stays(mail)));
        entry.mailbox.release(items, bytes);
        self.metrics.messages_dropped.offline.inc_by(items as u64);
        Some(state)
    }

    /// The connection of a session that is not durable has ended.
    fn detach(&mut self, session: SessionId) -> Option<Detached> {
        self.drop_filters(session);
        let entry = self.registry.remove(session)?;
        for (link, id) in entry.closing_for {
            self.links.acknowledge(link, id);
        }
        let successor = self.registry.current(&entry.client_id);
        let successor = successor.and_then(|session| self.registry.entries.get_mut(&session));
        let replaced = successor.is_some();
        if let Some(successor) = successor {
            // The claims of two logins may reach the directory in either order: the row has the
            // younger epoch of the two, and belongs to whoever is here now.
            successor.epoch = successor.epoch.max(entry.epoch);
        }
        self.note_sizes();
        let epoch = entry.epoch.filter(|_| !replaced);
        Some(Detached { epoch, replaced, stays: false })
    }

    /// Takes the place and the filters of a connection that is not durable away; it is told, and
    /// leaves when it has closed.
    pub(super) fn dismiss(&mut self, session: SessionId, reason: CloseReason) {
        self.drop_filters(session);
        if let Some(entry) = self.registry.entries.get(&session) {
            self.registry.by_client.remove(&entry.client_id);
            entry.mailbox.push_control(Mail::Close(reason));
        }
    }

    /// Forgets a parked session and all that is kept of it.
    pub(super) fn discard(&mut self, session: SessionId) -> Discarded {
        let waiting = self.end_departure(session);
        self.tell_closed(waiting.into_iter().flatten());
        self.drop_filters(session);
        let Some(mut entry) = self.registry.remove(session) else {
            return Discarded::default();
        };
        let mut batch = Batch::default();
        batch.delete(Name::Session(session).key());
        let mut messages = 0;
        entry.erase_had(session, &mut batch);
        for delivery in entry.merge.aside_stored() {
            batch.delete(Name::Queued(session, delivery.place).key());
            messages += 1;
        }
        if let Stay::Parked { session: mut state, .. } = entry.stay {
            let mut mail = VecDeque::new();
            entry.mailbox.take_all(&mut mail);
            state.park(mail);
            let places = state.deliveries().filter_map(|(delivery, _)| delivery.stored);
            for stored in places {
                batch.delete(Name::Queued(session, stored.place).key());
                messages += 1;
            }
            let released = |place: Place| Name::Released(session, place).key();
            batch.deletes.extend(state.released().map(released));
            let received = state.received().map(|id| Name::Received(session, id.get()).key());
            batch.deletes.extend(received);
        }
        let written = self.store.write(batch);
        self.note_sizes();
        Discarded { messages, written }
    }

    /// Sessions that waited for their client for too long are forgotten; their rows in the directory
    /// are to be released ([`Hub::take_expired`]).
    pub(super) fn expire_sessions(&mut self) {
        let Some(expiry_secs) = self.limits.session_expiry_secs else {
            return;
        };
        let wall_secs = self.wall_secs;
        let is_over = |entry: &Entry| match entry.stay {
            Stay::Parked { since_secs, .. } => since_secs.saturating_add(expiry_secs) <= wall_secs,
            Stay::Attached | Stay::Leaving { .. } => false,
        };
        let over = self.registry.entries.iter().filter(|(_, entry)| is_over(entry));
        let mut over: Vec<(SessionId, Option<Epoch>)> =
            over.map(|(session, entry)| (*session, entry.epoch)).collect();
        over.sort_unstable();
        for (session, epoch) in over {
            let dropped = self.discard(session).messages;
            let expired = DropReason::Expired;
            (0..dropped).for_each(|_| self.metrics.count_drop(expired));
            self.metrics.sessions_expired.inc();
            self.expired.push((session, epoch));
        }
    }

    /// Sessions that have expired since this was last asked, with their ownership.
    pub fn take_expired(&mut self) -> Vec<(SessionId, Option<Epoch>)> {
        std::mem::take(&mut self.expired)
    }

    /// Writes down who a durable session belongs to, and since when it has no client. Returns when that,
    /// and all before it, is durable.
    pub(super) fn write_session(&mut self, session: SessionId) -> Position {
        self.write_session_with(session, Batch::default())
    }

    pub(super) fn write_session_with(&mut self, session: SessionId, mut batch: Batch) -> Position {
        let Some(entry) = self.registry.entries.get(&session).filter(|entry| entry.durable) else {
            return Position::default();
        };
        let (parked_secs, doubtful) = match &entry.stay {
            Stay::Parked { since_secs, session } => (Some(*since_secs), Some(session.doubtful())),
            Stay::Attached | Stay::Leaving { .. } => (None, None),
        };
        let row = SessionRow {
            client_id: entry.client_id.clone(),
            user: entry.user.clone(),
            epoch: entry.epoch,
            parked_secs,
            doubtful,
            next_place: entry.next_place,
            lineage: entry.merge.lineage.clone(),
        };
        batch.put(Name::Session(session).key(), encode(&row));
        self.store.write(batch)
    }

    pub(super) fn drop_filters(&mut self, session: SessionId) {
        let entry = self.registry.entries.get(&session);
        let mut filters: Vec<Filter> =
            entry.into_iter().flat_map(|entry| &entry.filters).cloned().collect();
        filters.sort_unstable();
        if !filters.is_empty() {
            self.unsubscribe(session, &filters);
        }
    }
}
