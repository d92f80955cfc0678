//! What the directory in memory remembers of a session beyond the row of its owner: the last claim, the last
//! erasure, and the nodes that parts of it may be left on; also once the row is gone, by its trace.

use std::collections::BTreeSet;

use super::{Client, Rows};
use crate::{
    directory::{Before, ClientRow},
    id::{ClientId, Epoch, NodeId},
};

impl Rows {
    /// The last clean login of a client that is remembered.
    pub(super) fn erased(&self, client_id: &ClientId) -> Option<Epoch> {
        match self.clients.get(client_id) {
            Some(held) if !held.row.durable => Some(held.epoch),
            Some(held) => held.erased,
            None => self.traces.find(self.now(), client_id)?.erased,
        }
    }

    /// Whether any node may keep a durable session of a client.
    pub(super) fn was_durable(&self, client_id: &ClientId) -> bool {
        match self.clients.get(client_id) {
            Some(held) => held.leaves_trace(),
            None => self.traces.find(self.now(), client_id).is_some(),
        }
    }

    /// The last claim of a client id, also if its row is gone; and the last one of another node before that.
    fn last_claims(&self, client_id: &ClientId) -> Option<(Before, Option<Before>)> {
        let held = self.clients.get(client_id);
        let held = held.map(|client| (client.claim(), client.before.clone()));
        let trace = || self.traces.find(self.now(), client_id);
        held.or_else(|| trace().map(|trace| (trace.last.clone(), trace.before.clone())))
    }

    /// The last claim of another node than this client's; and whether its next one is to be told too: not of
    /// what a clean login has erased.
    pub(super) fn claim_elsewhere(&self, client: &ClientRow) -> (Option<Before>, bool) {
        let Some((last, before)) = self.last_claims(&client.client_id) else {
            return (None, false);
        };
        let stays = self.erased(&client.client_id) != Some(last.epoch);
        let is_own = last.node == client.owner.node;
        (if is_own { before } else { Some(last) }, stays)
    }

    /// The nodes that parts of a session may be left on when this owner has it.
    pub(super) fn left_on_but(&self, client: &ClientRow) -> BTreeSet<NodeId> {
        let held = self.clients.get(&client.client_id);
        let of_trace = || Some(self.traces.find(self.now(), &client.client_id)?.left_on.clone());
        let left_on = held.map(|held| held.left_on_when_gone(false)).or_else(of_trace);
        let mut left_on = left_on.unwrap_or_default();
        left_on.remove(&client.owner.node);
        left_on
    }

    pub(in crate::directory::memory) fn cleared(
        &mut self,
        client_id: &ClientId,
        node: &NodeId,
        epoch: Epoch,
    ) {
        if self.last_claims(client_id).is_none_or(|(last, _)| last.epoch != epoch) {
            return;
        }
        if let Some(held) = self.clients.get_mut(client_id) {
            held.left_on.remove(node);
        } else if let Some(trace) = self.traces.find_mut(client_id) {
            trace.left_on.remove(node);
        }
    }

    /// Takes a row away; its trace stays. Whether its owner says that its session has ended.
    pub(super) fn let_go(&mut self, client_id: &ClientId, has_ended: bool) -> Option<Client> {
        let client = *self.clients.remove(client_id)?;
        let left_on = client.left_on_when_gone(has_ended);
        if client.leaves_trace() || !left_on.is_empty() {
            let claims = (client.claim(), client.before.clone());
            self.traces.leave(self.now(), client_id, claims, (client.erased, left_on));
        }
        Some(client)
    }
}

impl Client {
    fn claim(&self) -> Before {
        Before { node: self.row.owner.node.clone(), epoch: self.epoch }
    }

    /// Whether a node that is down may keep a durable session of this client.
    pub(super) fn leaves_trace(&self) -> bool {
        self.row.durable || self.erased.is_some()
    }

    /// The nodes that parts of the session may be left on once another has it, or nobody.
    pub(super) fn left_on_when_gone(&self, has_ended: bool) -> BTreeSet<NodeId> {
        let owner = Some(&self.row.owner.node).filter(|_| self.row.durable && !has_ended);
        self.left_on.iter().chain(owner).cloned().collect()
    }
}
