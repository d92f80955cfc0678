//! Sessions that have left nothing here: the directory is told, so that later logins elsewhere need not ask
//! this node.
//!
//! It leaves to others: telling it (`membership/cleared.rs`).

use std::sync::Arc;

use causeway_common::{
    id::{ClientId, Epoch, SessionId},
    mailbox::Mailbox,
};

use crate::hub::Hub;

/// Nothing of a client's session is left here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// Whose session it was.
    pub client_id: ClientId,
    /// The last claim that is known: by which it has gone, or was asked for.
    pub epoch: Epoch,
}

impl Hub {
    /// Nothing of the session is left to do here.
    pub(super) fn is_gone(&mut self, session: SessionId) {
        let Some(departure) = self.moves.departures.remove(&session) else {
            return;
        };
        if let Some(entry) = self.registry.entries.get(&session) {
            if self.moves.moved_on.len() >= MOVED_ON_MAX {
                self.moves.moved_on.clear();
            }
            self.note_cleared(&entry.client_id, departure.to.epoch);
            self.moves.moved_on.insert(entry.client_id.clone(), departure.to);
        }
        self.discard(session);
        self.metrics.sessions_moved.out.inc();
        self.tell_closed(departure.waiting);
    }

    /// Where they appear.
    pub fn cleared(&self) -> Arc<Mailbox<Cleared>> {
        Arc::clone(&self.moves.cleared)
    }

    pub(in crate::hub) fn note_cleared(&self, client_id: &ClientId, epoch: Epoch) {
        self.moves.cleared.push_control(Cleared { client_id: client_id.clone(), epoch });
    }
}

const MOVED_ON_MAX: usize = 10_000;
