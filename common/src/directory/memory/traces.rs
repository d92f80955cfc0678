//! What the directory in memory remembers of rows that are gone: where a durable session was, and which
//! clean login was the last to erase it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    directory::{Before, TRACE_KEPT},
    id::{ClientId, Epoch, NodeId},
};

/// Traces by client id.
#[derive(Default)]
pub(super) struct Traces {
    by_client: BTreeMap<ClientId, Trace>,
    /// When each ends, in order: all are kept for the same time.
    ends: VecDeque<(Duration, ClientId)>,
}

/// What is left of a row.
pub(super) struct Trace {
    /// The last claim.
    pub(super) last: Before,
    /// The last one of another node before that.
    pub(super) before: Option<Before>,
    /// The last clean login that is remembered.
    pub(super) erased: Option<Epoch>,
    /// Nodes that parts of the session may be left on.
    pub(super) left_on: BTreeSet<NodeId>,
    until: Duration,
}

impl Traces {
    pub(super) fn leave(
        &mut self,
        now: Duration,
        client_id: &ClientId,
        (last, before): (Before, Option<Before>),
        (erased, left_on): (Option<Epoch>, BTreeSet<NodeId>),
    ) {
        self.forget_old(now);
        let until = now + TRACE_KEPT;
        self.by_client.insert(client_id.clone(), Trace { last, before, erased, left_on, until });
        self.ends.push_back((until, client_id.clone()));
    }

    pub(super) fn find(&self, now: Duration, client_id: &ClientId) -> Option<&Trace> {
        self.by_client.get(client_id).filter(|trace| trace.until > now)
    }

    pub(super) fn find_mut(&mut self, client_id: &ClientId) -> Option<&mut Trace> {
        self.by_client.get_mut(client_id)
    }

    /// A row stands there again, and says as much.
    pub(super) fn remove(&mut self, client_id: &ClientId) {
        self.by_client.remove(client_id);
    }

    fn forget_old(&mut self, now: Duration) {
        while let Some((_, client_id)) = self.ends.pop_front_if(|(until, _)| *until <= now) {
            if self.by_client.get(&client_id).is_some_and(|trace| trace.until <= now) {
                self.by_client.remove(&client_id);
            }
        }
    }
}
