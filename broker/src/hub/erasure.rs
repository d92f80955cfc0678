//! A session that is over though this node did not hear of it: a clean login elsewhere has erased it
//! [MQTT-3.1.2-6] while the node was down, or cut off. The directory remembers the claim of the last clean
//! login and says so with every claim and restoration; what is of an older claim is forgotten here.
//!
//! A session that is in use then goes with its connection; one whose client is about to be let in is
//! replaced first ([`Hub::start_anew`]).

use std::collections::VecDeque;

use causeway_common::{
    directory::Claimed,
    id::{Epoch, SessionId},
};

use super::{
    Hub,
    attach::{Attached, Knock},
    registry::{Entry, Stay},
};
use crate::session::{Mail, Session};

impl Hub {
    /// The directory says which claim of a session's client was the last to erase what there was. To be
    /// told before a new claim of this node is noted ([`Hub::set_epoch`]).
    pub fn note_erasure(&mut self, session: SessionId, by: Epoch) {
        let entry = self.registry.entries.get_mut(&session);
        let Some(entry) = entry.filter(|entry| entry.durable) else {
            return;
        };
        entry.merge.erased = entry.merge.erased.max(Some(by));
        // What has no claim began while the directory was gone: nobody knows when.
        if entry.epoch.is_none_or(|epoch| epoch >= by) {
            return;
        }
        entry.is_erased = true;
        match &entry.stay {
            Stay::Parked { .. } => _ = self.discard(session),
            Stay::Attached if !entry.merge.let_in => {}
            Stay::Attached | Stay::Leaving { .. } => self.turn_out(session),
        }
    }

    /// Whether the session of a client that is about to be let in is over.
    pub fn is_erased(&self, session: SessionId) -> bool {
        self.registry.entries.get(&session).is_some_and(|entry| entry.is_erased)
    }

    /// Gives a client that is about to be let in a new session under the same claim, and forgets the one
    /// it was given. None if its connection has been told to close meanwhile: all stays as it is, and
    /// `state` and `early` are to be given back ([`Hub::leave`]).
    pub fn start_anew(
        &mut self,
        session: SessionId,
        (state, early): (&mut Option<Box<Session>>, &mut VecDeque<Mail>),
        claimed: &Claimed,
    ) -> Option<Attached> {
        let entry = self.registry.entries.get(&session).filter(|entry| entry.is_attached())?;
        let (client_id, user) = (entry.client_id.clone(), entry.user.clone());
        let superseded_by = entry.superseded_by;
        let state = self.drain(session, state.take()?, std::mem::take(early))?;
        self.registry.park(session, state, self.wall_secs);
        let erased = self.discard(session).written;
        let attached = self.attach_new(&Knock { client_id, user, clean: false }, erased);
        if let Some(entry) = self.registry.entries.get_mut(&attached.session) {
            entry.superseded_by = superseded_by;
            entry.merge.erased = claimed.erased;
        }
        self.set_epoch(attached.session, claimed);
        self.note_sizes();
        Some(attached)
    }
}

impl Entry {
    fn is_attached(&self) -> bool {
        match self.stay {
            Stay::Attached => true,
            Stay::Leaving { .. } | Stay::Parked { .. } => false,
        }
    }
}
