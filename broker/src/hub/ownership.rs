//! Who owns a client id in the whole cluster, as far as this node knows: epochs from the directory,
//! claims by other nodes, and what becomes of all when the lease is lost.

use causeway_common::{
    directory::{Claimed, Member, Owner},
    id::{ClientId, Epoch, PacketId, SessionId, Ticket, UserName},
    packet::Subscription,
};

use super::{Hub, LinkId, bridges::Bridges, moves::Claim, registry::Stay};
use crate::session::{CloseReason, Mail};

/// A session of this node with its ownership: what the directory should know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Whose it is.
    pub client_id: ClientId,
    /// Whose device that is.
    pub user: UserName,
    /// Its name here.
    pub session: SessionId,
    /// Its ownership, if the directory has given one.
    pub epoch: Option<Epoch>,
    /// Whether its client is here.
    pub connected: bool,
    /// Whether it outlives its connections.
    pub durable: bool,
}

impl Hub {
    /// The ownership of a session's client id, if the directory has given one.
    pub fn epoch_of(&self, session: SessionId) -> Option<Epoch> {
        self.registry.entries.get(&session)?.epoch
    }

    /// The directory has given the session an epoch. False if a younger one was claimed elsewhere meanwhile:
    /// the connection must go.
    pub fn set_epoch(&mut self, session: SessionId, claimed: &Claimed) -> bool {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return false;
        };
        let own = entry.epoch;
        entry.epoch = own.max(Some(claimed.epoch));
        let is_ours = entry.superseded_by.is_none_or(|younger| younger < claimed.epoch);
        self.note_claim(session, own, claimed);
        self.write_session(session);
        is_ours
    }

    /// Somebody else claims a client id: an older connection of it is closed, an older session goes
    /// there. Whoever asked by `link` is answered when that is done; at once if there is none.
    pub(super) fn give_up(
        &mut self,
        client_id: &ClientId,
        claim: Claim,
        asked_by: Option<(LinkId, PacketId)>,
    ) {
        let epoch = claim.by.epoch;
        let held = self.registry.current(client_id);
        if held.is_none() {
            self.note_cleared(client_id, epoch);
        }
        let entry =
            held.and_then(|session| Some((session, self.registry.entries.get_mut(&session)?)));
        if let Some((session, entry)) = entry {
            let known = entry.epoch;
            entry.superseded_by = entry.superseded_by.max(Some(epoch));
            if entry.is_parked() && known.is_none_or(|known| known < epoch) {
                return self.depart(session, claim, asked_by);
            }
            if !entry.is_parked() && known.is_some_and(|known| known < epoch) {
                entry.closing_for.extend(asked_by);
                self.metrics.takeovers.remote.inc();
                return self.turn_out_for(session, claim);
            }
            if known > Some(epoch) && entry.merge.waits_to_be_in() {
                // It was overtaken by the claim here, and is about to hear so.
                return self.withhold(session, asked_by);
            }
        }
        self.tell_closed(asked_by);
    }

    fn turn_out_for(&mut self, session: SessionId, claim: Claim) {
        if let Some(entry) = self.registry.entries.get_mut(&session)
            && entry.merge.claim.as_ref().is_none_or(|known| known.by.epoch <= claim.by.epoch)
        {
            entry.merge.claim = Some(Box::new(claim));
        }
        self.turn_out(session);
    }

    /// The directory says that somebody else owns this client id.
    pub fn disown(&mut self, client_id: &ClientId, session: SessionId) {
        if self.registry.current(client_id) == Some(session) {
            self.turn_out(session);
        }
    }

    /// Closes the connection of a session, for good: the client is elsewhere.
    pub(super) fn turn_out(&mut self, session: SessionId) {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        if !entry.durable {
            return self.dismiss(session, CloseReason::TakenOver);
        }
        match &mut entry.stay {
            Stay::Parked { .. } => {}
            Stay::Leaving { successor } => {
                if let Some(successor) = successor.take() {
                    successor.push_control(Mail::Close(CloseReason::TakenOver));
                }
            }
            Stay::Attached => {
                entry.mailbox.push_control(Mail::Close(CloseReason::TakenOver));
                entry.stay = Stay::Leaving { successor: None };
            }
        }
    }

    /// A session has been parked: it goes to whoever has claimed its client id meanwhile; nodes that
    /// waited for its connection to close are told, at the end of that.
    pub(super) fn after_parking(&mut self, session: SessionId) {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        let waiting = std::mem::take(&mut entry.closing_for);
        match entry.merge.claim.take() {
            Some(claim) => self.depart(session, *claim, waiting),
            None => self.tell_closed(waiting),
        }
    }

    /// The directory says that a client is owned by another node since: what is kept of its session
    /// here goes there.
    pub fn hand_over(&mut self, client_id: &ClientId, to: &Owner) {
        let Some(session) = self.registry.current(client_id) else {
            return;
        };
        let Some(entry) = self.registry.entries.get(&session).filter(|entry| entry.durable) else {
            return;
        };
        if to.member.node == self.me.node || entry.epoch >= Some(to.epoch) {
            return;
        }
        let claim = Claim { by: to.clone(), clean: false };
        if entry.is_parked() {
            self.depart(session, claim, None);
        } else {
            self.turn_out_for(session, claim);
        }
    }

    /// Every current session with its ownership, in the order of their names.
    pub fn owned(&self) -> Vec<Owned> {
        let owned = self.registry.by_client.iter().filter_map(|(client_id, session)| {
            let entry = self.registry.entries.get(session)?;
            Some(Owned {
                client_id: client_id.clone(),
                user: entry.user.clone(),
                session: *session,
                epoch: entry.epoch,
                connected: !entry.is_parked(),
                durable: entry.durable,
            })
        });
        let mut owned: Vec<Owned> = owned.collect();
        owned.sort_unstable_by_key(|owned| owned.session);
        owned
    }

    /// The lease is lost: nobody is served until [`Hub::rejoin`].
    pub fn fence(&mut self) {
        (self.fenced, self.rejoined) = (true, false);
        self.registry.close_all(CloseReason::Fenced);
        self.metrics.fenced.set(1);
        self.metrics.fences.inc();
    }

    /// The node is being stopped.
    pub fn shut_down(&mut self) {
        self.fenced = true;
        self.registry.close_all(CloseReason::Shutdown);
    }

    /// The node has a lease again, as a new life: whoever knew the old one must forget it. It lets
    /// clients in again as a node does that starts ([`Hub::open`]).
    pub fn rejoin(&mut self, me: Member) {
        self.me = me;
        self.write_life();
        self.peers_known = false;
        self.bridges = Bridges::default();
        self.rejoined = self.fenced;
        self.retained.begin(self.me.incarnation);
        self.exchange.rejoin();
        self.reset_outbound();
        self.links.sicken_all();
    }

    /// Whether it has a new life after a fence, and has not opened yet.
    pub fn is_opening(&self) -> bool {
        self.rejoined
    }

    /// Lets clients in again after a fence.
    pub fn open(&mut self) {
        if std::mem::take(&mut self.rejoined) {
            self.fenced = false;
            self.metrics.fenced.set(0);
        }
    }

    /// Whether the node has lost its lease, or has not opened again since.
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
}

/// The ticket of the inbox subscription that a login makes.
pub(crate) const INBOX_TICKET: Ticket = Ticket(u64::MAX);
