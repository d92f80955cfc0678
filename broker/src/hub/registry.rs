//! Who is connected to this node: client ids, their mailboxes, the filters they hold, the cap.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use causeway_common::{
    directory::Member,
    id::{ClientId, Epoch, PacketId, Ticket},
    mailbox::Mailbox,
    packet::Subscription,
    qos::QoS,
    topic::Filter,
};
use thiserror::Error;

use super::{Hub, LinkId};
use crate::session::{CloseReason, Mail};

/// One attached session; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

/// A client that has been given a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its session from now on.
    pub session: SessionId,
    /// Whether an older connection of the same client id had to go.
    pub took_over: bool,
}

/// A session that has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// Its ownership in the directory, if it had got one.
    pub epoch: Option<Epoch>,
    /// Whether its client id is connected to this node by a newer session.
    pub replaced: bool,
}

/// Why a client got no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HubError {
    /// `max_connections` are connected.
    #[error("node is full")]
    Full,
    /// The node has lost its lease.
    #[error("node is fenced")]
    Fenced,
}

#[derive(Debug)]
pub(super) struct Registry {
    entries: AHashMap<SessionId, Entry>,
    by_client: AHashMap<ClientId, SessionId>,
    connections_max: usize,
    last_id: u64,
    /// Number of the match being made, so that each session is found once.
    matching: u64,
    matches: Vec<(SessionId, QoS)>,
}

#[derive(Debug)]
struct Entry {
    client_id: ClientId,
    mailbox: Arc<Mailbox<Mail>>,
    filters: AHashSet<Filter>,
    epoch: Option<Epoch>,
    /// An epoch that was claimed elsewhere: if ours turns out older, the connection must go.
    superseded_by: Option<Epoch>,
    /// Nodes that wait for this connection to be closed.
    closing_for: Vec<(LinkId, PacketId)>,
    matched_in: u64,
    matched_at: usize,
}

impl Registry {
    pub(super) fn new(connections_max: usize) -> Self {
        Self {
            entries: AHashMap::new(),
            by_client: AHashMap::new(),
            connections_max,
            last_id: 0,
            matching: 0,
            matches: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_client.len() >= self.connections_max
    }

    pub(super) fn connection_count(&self) -> usize {
        self.by_client.len()
    }

    pub(super) fn mailbox(&self, session: SessionId) -> Option<Arc<Mailbox<Mail>>> {
        self.entries.get(&session).map(|entry| Arc::clone(&entry.mailbox))
    }

    /// Notes that a session holds a filter; false if the session is not (or no longer) attached.
    pub(super) fn hold(&mut self, session: SessionId, filter: &Filter) -> bool {
        let Some(entry) = self.attached_mut(session) else {
            return false;
        };
        entry.filters.insert(filter.clone());
        true
    }

    pub(super) fn let_go(&mut self, session: SessionId, filter: &Filter) -> bool {
        self.entries.get_mut(&session).is_some_and(|entry| entry.filters.remove(filter))
    }

    /// Every filter anybody holds, once per holder.
    pub(super) fn held_filters(&self) -> impl Iterator<Item = &Filter> {
        self.entries.values().flat_map(|entry| &entry.filters)
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
            self.matches.push((session, qos));
        } else if let Some((_, granted)) = self.matches.get_mut(entry.matched_at) {
            *granted = qos.max(*granted);
        }
    }

    pub(super) fn matched(&self) -> impl Iterator<Item = (&Arc<Mailbox<Mail>>, QoS)> {
        let entry = |session| self.entries.get(session).map(|entry: &Entry| &entry.mailbox);
        self.matches.iter().filter_map(move |(session, qos)| Some((entry(session)?, *qos)))
    }

    /// The entry of a session that is the current one of its client id.
    fn attached_mut(&mut self, session: SessionId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&session)?;
        (self.by_client.get(&entry.client_id) == Some(&session)).then_some(entry)
    }

    fn insert(&mut self, client_id: ClientId, mailbox: Arc<Mailbox<Mail>>) -> SessionId {
        self.last_id += 1;
        let session = SessionId(self.last_id);
        self.by_client.insert(client_id.clone(), session);
        self.entries.insert(
            session,
            Entry {
                client_id,
                mailbox,
                filters: AHashSet::new(),
                epoch: None,
                superseded_by: None,
                closing_for: Vec::new(),
                matched_in: 0,
                matched_at: 0,
            },
        );
        session
    }

    fn close_all(&self, reason: CloseReason) {
        for entry in self.entries.values() {
            entry.mailbox.push_control(Mail::Close(reason));
        }
    }
}

impl Hub {
    /// Gives a client a place. An older connection of the same client id loses its own, at once:
    /// it gets nothing any more, and is told to close [MQTT-3.1.4-2].
    pub fn attach(
        &mut self,
        client_id: &ClientId,
        mailbox: &Arc<Mailbox<Mail>>,
    ) -> Result<Attached, HubError> {
        if self.fenced {
            return Err(HubError::Fenced);
        }
        let older = self.registry.by_client.get(client_id).copied();
        if older.is_none() && self.registry.is_full() {
            return Err(HubError::Full);
        }
        if let Some(older) = older {
            self.metrics.takeovers.local.inc();
            self.dismiss(older, CloseReason::TakenOver);
        }
        let session = self.registry.insert(client_id.clone(), Arc::clone(mailbox));
        self.note_sizes();
        Ok(Attached { session, took_over: older.is_some() })
    }

    /// The connection of a session has ended.
    pub fn detach(&mut self, session: SessionId) -> Option<Detached> {
        self.drop_filters(session);
        let entry = self.registry.entries.remove(&session)?;
        let current = self.registry.by_client.get(&entry.client_id) == Some(&session);
        if current {
            self.registry.by_client.remove(&entry.client_id);
        }
        for (link, id) in entry.closing_for {
            self.links.acknowledge(link, id);
        }
        let successor = self.registry.by_client.get(&entry.client_id).copied();
        let successor = successor.and_then(|session| self.registry.entries.get_mut(&session));
        if let Some(successor) = successor {
            // The claims of two logins may reach the directory in either order: the row has the
            // younger epoch of the two, and belongs to whoever is here now.
            successor.epoch = successor.epoch.max(entry.epoch);
            self.note_sizes();
            return Some(Detached { epoch: None, replaced: true });
        }
        self.note_sizes();
        Some(Detached { epoch: entry.epoch, replaced: false })
    }

    /// The directory has given the session an epoch. False if a younger one was claimed elsewhere
    /// meanwhile: the connection must go.
    pub fn set_epoch(&mut self, session: SessionId, epoch: Epoch) -> bool {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return false;
        };
        entry.epoch = entry.epoch.max(Some(epoch));
        entry.superseded_by.is_none_or(|younger| younger < epoch)
    }

    /// Somebody else owns a client id since `epoch`: closes an older connection of it. Whoever
    /// asked by `link` is answered when it is closed; at once if there is none.
    pub(super) fn give_up(
        &mut self,
        client_id: &ClientId,
        epoch: Epoch,
        asked_by: Option<(LinkId, PacketId)>,
    ) {
        let held = self.registry.by_client.get(client_id).copied();
        let entry =
            held.and_then(|session| Some((session, self.registry.entries.get_mut(&session)?)));
        if let Some((session, entry)) = entry {
            let known = entry.epoch;
            entry.superseded_by = entry.superseded_by.max(Some(epoch));
            if known.is_some_and(|known| known < epoch) {
                entry.closing_for.extend(asked_by);
                self.metrics.takeovers.remote.inc();
                return self.dismiss(session, CloseReason::TakenOver);
            }
        }
        if let Some((link, id)) = asked_by {
            self.links.acknowledge(link, id);
        }
    }

    /// The directory says that somebody else owns this client id.
    pub fn disown(&mut self, client_id: &ClientId, session: SessionId) {
        if self.registry.by_client.get(client_id) == Some(&session) {
            self.dismiss(session, CloseReason::TakenOver);
        }
    }

    /// Every attached session with its ownership: what the directory should know of this node.
    pub fn owned(&self) -> Vec<(ClientId, SessionId, Option<Epoch>)> {
        let owned = self.registry.by_client.iter().filter_map(|(client_id, session)| {
            let entry = self.registry.entries.get(session)?;
            Some((client_id.clone(), *session, entry.epoch))
        });
        owned.collect()
    }

    /// The lease is lost: nobody is served until [`Hub::rejoin`].
    pub fn fence(&mut self) {
        self.fenced = true;
        self.registry.close_all(CloseReason::Fenced);
        self.metrics.fenced.set(1);
        self.metrics.fences.inc();
    }

    /// The node is being stopped.
    pub fn shut_down(&mut self) {
        self.fenced = true;
        self.registry.close_all(CloseReason::Shutdown);
    }

    /// The node has a lease again, as a new life: whoever knew the old one must forget it.
    pub fn rejoin(&mut self, me: Member) {
        self.me = me;
        self.fenced = false;
        self.reset_outbound();
        self.links.sicken_all();
        self.metrics.fenced.set(0);
    }

    /// Whether the node has lost its lease.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// How many clients are connected.
    pub fn connection_count(&self) -> usize {
        self.registry.connection_count()
    }

    /// Lets the session of a login hold its inbox; [`Mail::Subscribed`] comes when it is routable.
    pub fn subscribe_inbox(
        &mut self,
        now: std::time::Instant,
        session: SessionId,
        inbox: &Subscription,
    ) {
        self.subscribe(now, session, INBOX_TICKET, std::slice::from_ref(inbox));
    }

    /// Takes a connection's place and filters away; it is told, and detaches when it has closed.
    fn dismiss(&mut self, session: SessionId, reason: CloseReason) {
        self.drop_filters(session);
        if let Some(entry) = self.registry.entries.get(&session) {
            self.registry.by_client.remove(&entry.client_id);
            entry.mailbox.push_control(Mail::Close(reason));
        }
    }

    fn drop_filters(&mut self, session: SessionId) {
        let entry = self.registry.entries.get(&session);
        let mut filters: Vec<Filter> =
            entry.into_iter().flat_map(|entry| &entry.filters).cloned().collect();
        filters.sort_unstable();
        if !filters.is_empty() {
            self.unsubscribe(session, &filters);
        }
    }
}

/// The ticket of the inbox subscription that a login makes.
const INBOX_TICKET: Ticket = Ticket(u64::MAX);
