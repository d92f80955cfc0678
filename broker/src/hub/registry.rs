//! Who this node knows: client ids, their sessions with a client or without, the filters they hold,
//! the cap.
//!
//! It is what the other files of the hub work on; the rules are theirs: `attach.rs` (connections come
//! and go), `ownership.rs` (who owns a client id in the cluster), `deliver.rs`.

use std::{collections::VecDeque, sync::Arc};

use ahash::AHashMap;
use causeway_common::{
    id::{ClientId, Epoch, PacketId, SessionId, UserName},
    keyed::KeyedSet,
    mailbox::Mailbox,
    qos::QoS,
    topic::Filter,
};

use super::{Knock, LinkId, moves::Merge};
use crate::{
    acl::{Acl, Rights},
    session::{CloseReason, Mail, Place, Session},
};

#[derive(Debug)]
pub(super) struct Registry {
    pub(super) entries: AHashMap<SessionId, Box<Entry>>,
    pub(super) by_client: AHashMap<ClientId, SessionId>,
    connections_max: usize,
    /// Who may read what; none: everybody everything.
    acl: Option<Arc<Acl>>,
    pub(super) last_id: SessionId,
    /// How many sessions have no client.
    pub(super) parked: usize,
    /// Number of the match being made, so that each session is found once.
    matching: u64,
    matches: Vec<Match>,
}

/// A session, as the hub sees it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) client_id: ClientId,
    pub(super) user: UserName,
    pub(super) mailbox: Arc<Mailbox<Mail>>,
    pub(super) filters: KeyedSet<Filter>,
    /// What its client may read; none: everything. They travel with user and client id, not by themselves.
    rights: Option<Box<Rights>>,
    /// Whether it outlives its connections.
    pub(super) durable: bool,
    pub(super) stay: Stay,
    /// The place of the next message in its line, if it is durable.
    pub(super) next_place: Place,
    pub(super) epoch: Option<Epoch>,
    /// An epoch that was claimed elsewhere: if ours turns out older, the connection must go.
    pub(super) superseded_by: Option<Epoch>,
    /// Whether a clean login elsewhere has erased it: nothing of it stays.
    pub(super) is_erased: bool,
    /// Nodes that wait for this connection to be closed.
    pub(super) closing_for: Vec<(LinkId, PacketId)>,
    /// What it takes to become one with what another node has of it.
    pub(super) merge: Merge,
    matched_in: u64,
    matched_at: usize,
}

/// Where the client of a session is.
#[derive(Debug)]
pub(super) enum Stay {
    /// Here: the session itself is with the connection's task.
    Attached,
    /// Its connection was told to close; the task will park the session.
    Leaving {
        /// Who waits for that: a newer connection of the same client id.
        successor: Option<Arc<Mailbox<Mail>>>,
    },
    /// Nowhere: the session waits.
    Parked {
        session: Box<Session>,
        /// Since then, in seconds since 1970.
        since_secs: u64,
    },
}

/// A session that gets the message at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    pub(super) session: SessionId,
    /// The greatest QoS of its matching subscriptions.
    pub(super) granted: QoS,
    /// Whether it takes whatever comes: it is not durable, and may read everything.
    pub(super) is_open: bool,
    /// Where the message is to be written down, if the session is durable.
    pub(super) place: Option<Place>,
}

impl Registry {
    pub(super) fn new(connections_max: usize) -> Self {
        Self {
            entries: AHashMap::new(),
            by_client: AHashMap::new(),
            connections_max,
            acl: None,
            last_id: SessionId(0),
            parked: 0,
            matching: 0,
            matches: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.connection_count() >= self.connections_max
    }

    pub(super) fn connection_count(&self) -> usize {
        self.by_client.len() - self.parked
    }

    /// Whether a user has the `most` connections it may have; 0: any number. One that is taken over does
    /// not count: a device must be able to come back before its loss was noticed.
    pub(super) fn is_crowded(&self, knock: &Knock, most: usize) -> bool {
        let counts = |entry: &Entry| {
            entry.user == knock.user && entry.client_id != knock.client_id && !entry.is_parked()
        };
        most > 0 && self.entries.values().filter(|entry| counts(entry)).count() >= most
    }

    pub(super) fn mailbox(&self, session: SessionId) -> Option<Arc<Mailbox<Mail>>> {
        self.entries.get(&session).map(|entry| Arc::clone(&entry.mailbox))
    }

    pub(super) fn is_durable(&self, session: SessionId) -> bool {
        self.entries.get(&session).is_some_and(|entry| entry.durable)
    }

    /// Messages that wait for clients that are not there, and their bytes.
    pub(super) fn queued_for_parked(&self) -> (usize, usize) {
        let parked = self.entries.values().filter(|entry| entry.is_parked());
        let sizes = parked.map(|entry| (entry.mailbox.item_count(), entry.mailbox.bytes()));
        sizes.fold((0, 0), |(items, bytes), more| (items + more.0, bytes + more.1))
    }

    /// The current session of a client id.
    pub(super) fn current(&self, client_id: &ClientId) -> Option<SessionId> {
        self.by_client.get(client_id).copied()
    }

    /// Notes that a session holds a filter; false if the session is not (or no longer) attached.
    pub(super) fn hold(&mut self, session: SessionId, filter: &Filter) -> bool {
        let Some(entry) = self.current_mut(session) else {
            return false;
        };
        entry.filters.insert(filter.clone());
        true
    }

    pub(super) fn let_go(&mut self, session: SessionId, filter: &Filter) -> bool {
        self.entries.get_mut(&session).is_some_and(|entry| entry.filters.remove(filter))
    }

    /// Every filter anybody holds, once per holder, and whether that one is durable.
    pub(super) fn held_filters(&self) -> impl Iterator<Item = (&Filter, bool)> {
        let held = |entry: &'_ Entry| entry.durable;
        self.entries
            .values()
            .flat_map(move |entry| entry.filters.iter().map(move |filter| (filter, held(entry))))
    }

    pub(super) fn begin_match(&mut self) {
        self.matching += 1;
        self.matches.clear();
    }

    pub(super) fn note_match(&mut self, session: SessionId, qos: QoS) {
        let Some(entry) = self.entries.get_mut(&session) else {
            return;
        };
        if entry.matched_in != self.matching {
            entry.matched_in = self.matching;
            entry.matched_at = self.matches.len();
            let is_open = !entry.durable && entry.reads_all();
            self.matches.push(Match { session, granted: qos, is_open, place: None });
        } else if let Some(found) = self.matches.get_mut(entry.matched_at) {
            found.granted = qos.max(found.granted);
        }
    }

    /// What was found, to be judged; to be given back by [`Registry::end_match`].
    pub(super) fn take_matches(&mut self) -> Vec<Match> {
        std::mem::take(&mut self.matches)
    }

    /// Keeps the list for the next match: no allocation a message.
    pub(super) fn end_match(&mut self, matches: Vec<Match>) {
        self.matches = matches;
    }

    /// The entry of a session that is the current one of its client id.
    pub(super) fn current_mut(&mut self, session: SessionId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&session)?;
        (self.by_client.get(&entry.client_id) == Some(&session)).then_some(entry)
    }

    pub(super) fn insert(&mut self, entry: Entry) -> SessionId {
        self.last_id = SessionId(self.last_id.0 + 1);
        self.insert_as(self.last_id, entry);
        self.last_id
    }

    pub(super) fn insert_as(&mut self, session: SessionId, mut entry: Entry) {
        entry.look_up_rights(self.acl.as_deref());
        self.last_id = self.last_id.max(session);
        self.parked += usize::from(entry.is_parked());
        self.by_client.insert(entry.client_id.clone(), session);
        self.entries.insert(session, Box::new(entry));
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, session: SessionId) -> Option<Entry> {
        let entry = self.entries.remove(&session)?;
        if self.current(&entry.client_id) == Some(session) {
            self.by_client.remove(&entry.client_id);
        }
        self.parked -= usize::from(entry.is_parked());
        Some(*entry)
    }

    /// Gives a session's state away: it has a client from now on. None if it is not parked.
    pub(super) fn unpark(&mut self, session: SessionId) -> Option<Box<Session>> {
        let entry = self.entries.get_mut(&session)?;
        match std::mem::replace(&mut entry.stay, Stay::Attached) {
            Stay::Parked { session, .. } => {
                self.parked -= 1;
                Some(session)
            }
            stay @ (Stay::Attached | Stay::Leaving { .. }) => {
                entry.stay = stay;
                None
            }
        }
    }

    /// A session's client has gone. Returns who waits for that.
    pub(super) fn park(
        &mut self,
        session: SessionId,
        state: Box<Session>,
        since_secs: u64,
    ) -> Option<Arc<Mailbox<Mail>>> {
        let entry = self.entries.get_mut(&session)?;
        let parked = Stay::Parked { session: state, since_secs };
        self.parked += 1;
        match std::mem::replace(&mut entry.stay, parked) {
            Stay::Leaving { successor } => successor,
            Stay::Attached => None,
            Stay::Parked { .. } => {
                self.parked -= 1;
                None
            }
        }
    }

    /// New rules: what every session may read is another from now on.
    pub(super) fn set_acl(&mut self, acl: Option<Arc<Acl>>) {
        self.acl = acl;
        for entry in self.entries.values_mut() {
            entry.look_up_rights(self.acl.as_deref());
        }
    }

    pub(super) fn close_all(&self, reason: CloseReason) {
        for entry in self.entries.values() {
            match &entry.stay {
                Stay::Attached => entry.mailbox.push_control(Mail::Close(reason)),
                Stay::Leaving { successor } => {
                    if let Some(successor) = successor {
                        successor.push_control(Mail::Close(reason));
                    }
                }
                Stay::Parked { .. } => {}
            }
        }
    }
}

impl Entry {
    pub(super) fn new(
        client_id: ClientId,
        user: UserName,
        mailbox: Arc<Mailbox<Mail>>,
        durable: bool,
    ) -> Self {
        Self {
            client_id,
            user,
            mailbox,
            filters: KeyedSet::default(),
            rights: None,
            durable,
            stay: Stay::Attached,
            next_place: Place(0),
            epoch: None,
            superseded_by: None,
            is_erased: false,
            closing_for: Vec::new(),
            merge: Merge::default(),
            matched_in: 0,
            matched_at: 0,
        }
    }

    fn look_up_rights(&mut self, acl: Option<&Acl>) {
        self.rights = acl.map(|acl| Box::new(acl.rights_of(&self.user, &self.client_id)));
    }

    /// Whether there are rules at all.
    pub(super) fn has_rules(&self) -> bool {
        self.rights.is_some()
    }

    /// Whether its client may be sent messages of a topic.
    pub(super) fn may_read(&self, topic: &str) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.may_read(topic))
    }

    /// Whether its client may be sent messages of every topic.
    pub(super) fn reads_all(&self) -> bool {
        self.rights.is_none()
    }

    pub(super) fn is_parked(&self) -> bool {
        match self.stay {
            Stay::Parked { .. } => true,
            Stay::Attached | Stay::Leaving { .. } => false,
        }
    }

    /// Its state, if it has no client.
    pub(super) fn parked(&self) -> Option<&Session> {
        match &self.stay {
            Stay::Parked { session, .. } => Some(session),
            Stay::Attached | Stay::Leaving { .. } => None,
        }
    }

    pub(super) fn parked_mut(&mut self) -> Option<&mut Session> {
        match &mut self.stay {
            Stay::Parked { session, .. } => Some(session),
            Stay::Attached | Stay::Leaving { .. } => None,
        }
    }

    /// Lets a parked session take its mail; what that counts for stays counted.
    pub(super) fn absorb(&mut self) -> Option<&mut Session> {
        let mailbox = Arc::clone(&self.mailbox);
        let session = self.parked_mut()?;
        let mut mail = VecDeque::new();
        mailbox.take_counted(&mut mail);
        session.park(mail);
        Some(session)
    }
}
