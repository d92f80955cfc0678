//! What new access and password files change in the hub: what sessions may read, and who must go.
//!
//! It leaves to others: the rules ([`crate::acl`]), the files (`auth`), and each message's judgement
//! (`deliver.rs`, `retaining.rs`, `sys`).

use std::sync::Arc;

use causeway_common::id::SessionId;

use super::{
    Hub,
    record::Name,
    registry::{Entry, Stay},
};
use crate::{
    acl::Acl,
    session::{CloseReason, DropReason, Mail, Place, Session},
    store::Batch,
};

impl Hub {
    /// New rules, or none. Filters are kept, also those under which nothing comes any more.
    pub fn set_acl(&mut self, acl: Option<Arc<Acl>>) {
        self.registry.set_acl(acl);
    }

    /// Closes the connections of users whose password is no longer the one they came with. Their
    /// sessions stay, if they are durable. Returns how many connections that were.
    pub fn close_users(&mut self, is_meant: impl Fn(&str) -> bool) -> usize {
        let mut closed = 0;
        let meant = self.registry.entries.values();
        for entry in meant.filter(|entry| entry.user.given().is_some_and(&is_meant)) {
            match entry.stay {
                Stay::Attached => {
                    entry.mailbox.push_control(Mail::Close(CloseReason::CredentialsChanged));
                    closed += 1;
                }
                Stay::Leaving { .. } | Stay::Parked { .. } => {}
            }
        }
        closed
    }

    /// What waited for a client that may not read it any more is given up, unless it has been sent
    /// before: then the client may have it, and its identifier is in use.
    pub(super) fn give_up_unreadable(&mut self, session: SessionId) {
        let Self { registry, metrics, store, .. } = self;
        let Some(entry) = registry.entries.get_mut(&session).filter(|entry| entry.has_rules())
        else {
            return;
        };
        let _ = entry.absorb();
        let Some(state) = entry.parked() else { return };
        let unreadable = unreadable(entry, state);
        let mailbox = Arc::clone(&entry.mailbox);
        let Some(state) = entry.parked_mut() else { return };
        let mut batch = Batch::default();
        for place in unreadable {
            if let Some(cost) = state.give_away(place) {
                mailbox.release(1, cost);
            }
            batch.delete(Name::Queued(session, place).key());
            metrics.count_drop(DropReason::NotAuthorized);
        }
        if !batch.is_empty() {
            store.write(batch);
        }
    }
}

fn unreadable(entry: &Entry, state: &Session) -> Vec<Place> {
    let (doubtful, waiting) = (state.doubtful(), state.deliveries());
    let stored = waiting.filter(|(delivery, _)| !entry.may_read(delivery.message.topic.as_str()));
    let places = stored.filter_map(|(delivery, was_sent)| {
        let place = delivery.stored.map(|stored| stored.place)?;
        (!was_sent && place >= doubtful).then_some(place)
    });
    places.collect()
}
