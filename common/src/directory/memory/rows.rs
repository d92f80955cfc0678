//! The rows of the directory in memory and its clock: each call is one step, under the lock that
//! [`super::MemoryDirectory`] holds.

mod remembered;
mod wills;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use self::wills::Debt;
use super::traces::Traces;
use crate::{
    directory::{
        Before, CONTEST_WITHIN, Claimed, ClientRow, DirectoryError, End, HeldWill, Joined, Member,
        NodeRow, NodeStatus, Owner, Previous, Renewal, Restored,
    },
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId},
    topic::Filter,
};

/// Everything the directory knows.
pub(super) struct Rows {
    started: Instant,
    /// The time since 1970 that the clock shows for `started`; [`Rows::advance`] moves it.
    started_at: Duration,
    /// How often all rows were lost.
    losses: u64,
    /// The greatest epoch given or restored so far. It outlives the loss of rows, because two
    /// claims may come within one microsecond.
    epoch_last: u64,
    nodes: BTreeMap<NodeId, Node>,
    /// Boxed: a tree has room for twice as many as it holds.
    clients: BTreeMap<ClientId, Box<Client>>,
    traces: Traces,
    homes: BTreeMap<NodeId, BTreeSet<Filter>>,
    bridges: BTreeMap<BridgeId, Bridge>,
}

struct Node {
    row: NodeRow,
    lease_until: Duration,
    connections: u64,
    former: Vec<Incarnation>,
}

struct Bridge {
    incarnation: Incarnation,
    lease_until: Duration,
}

struct Client {
    row: ClientRow,
    epoch: Epoch,
    contests: u32,
    /// The last claim of another node, unless a clean login has come since.
    before: Option<Before>,
    /// The last clean login that may have erased a session elsewhere.
    erased: Option<Epoch>,
    /// Other nodes that parts of the session may be left on.
    left_on: BTreeSet<NodeId>,
    /// Wills that nobody has settled yet.
    debt: Option<Box<Debt>>,
}

impl Rows {
    pub(super) fn new(since_1970: Duration) -> Self {
        Self {
            started: Instant::now(),
            started_at: since_1970,
            losses: 0,
            epoch_last: 0,
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
            traces: Traces::default(),
            homes: BTreeMap::new(),
            bridges: BTreeMap::new(),
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.started_at += by;
    }

    pub(super) fn lose_all(&mut self) {
        self.losses += 1;
        self.nodes.clear();
        self.clients.clear();
        self.traces = Traces::default();
        self.homes.clear();
        self.bridges.clear();
    }

    fn now(&self) -> Duration {
        self.started_at + self.started.elapsed()
    }

    fn now_us(&self) -> u64 {
        micros(self.now())
    }

    fn directory_epoch(&self) -> String {
        self.losses.to_string()
    }
}

/// Nodes.
impl Rows {
    pub(super) fn join(&mut self, node: &NodeRow, lease: Duration) -> Joined {
        let now = self.now();
        let mut former = Vec::new();
        if let Some(held) = self.nodes.get_mut(&node.node) {
            let holder = held.row.incarnation;
            let is_same = held.row == *node;
            if !is_same && holder >= node.incarnation {
                return Joined::Refused { holder, live: held.lease_until > now };
            }
            former = std::mem::take(&mut held.former);
            former.extend((!is_same).then_some(holder));
        }
        former.retain(|incarnation| {
            let member = Member { node: node.node.clone(), incarnation: *incarnation };
            self.sweep_clients(&member);
            self.has_clients(&member)
        });
        let row = Node { row: node.clone(), lease_until: now + lease, connections: 0, former };
        self.nodes.insert(node.node.clone(), row);
        Joined::Accepted { directory_epoch: self.directory_epoch() }
    }

    pub(super) fn renew(&mut self, member: &Member, lease: Duration, connections: u64) -> Renewal {
        let directory_epoch = self.directory_epoch();
        let now = self.now();
        let Some(node) = self.living(member, now) else {
            return Renewal::Lost { directory_epoch };
        };
        node.lease_until = now + lease;
        node.connections = connections;
        Renewal::Renewed { directory_epoch }
    }

    pub(super) fn leave(&mut self, member: &Member) {
        let now = self.now();
        if let Some(node) = self.living(member, now) {
            node.lease_until = now;
            node.connections = 0;
        }
        self.sweep_clients(member);
    }

    pub(super) fn statuses(&self) -> Vec<NodeStatus> {
        let now = self.now();
        let status = |node: &Node| NodeStatus {
            row: node.row.clone(),
            live: node.lease_until > now,
            connections: node.connections,
            ended_for: now.saturating_sub(node.lease_until),
            former: node.former.clone(),
        };
        self.nodes.values().map(status).collect()
    }

    pub(super) fn sweep(&mut self, member: &Member, keep_row: Duration) -> u64 {
        let now = self.now();
        if self.living(member, now).is_some() {
            return 0;
        }
        let deleted = self.sweep_clients(member);
        let is_home = self.homes.get(&member.node).is_some_and(|home| !home.is_empty());
        let keep_row = if is_home { keep_row } else { Duration::ZERO };
        if self.has_clients(member) {
            return deleted;
        }
        if let Some(node) = self.nodes.get_mut(&member.node) {
            node.former.retain(|former| *former != member.incarnation);
        }
        let due = |node: &Node| {
            let is_over = node.lease_until + keep_row <= now;
            node.row.incarnation == member.incarnation && is_over && node.former.is_empty()
        };
        if self.nodes.get(&member.node).is_some_and(due) {
            self.nodes.remove(&member.node);
        }
        deleted
    }

    /// The row of this incarnation while its lease runs.
    fn living(&mut self, member: &Member, now: Duration) -> Option<&mut Node> {
        let node = self.nodes.get_mut(&member.node)?;
        let lives = node.row.incarnation == member.incarnation && node.lease_until > now;
        lives.then_some(node)
    }

    /// Deletes the client rows of this incarnation that hold no will, and returns how many.
    fn sweep_clients(&mut self, member: &Member) -> u64 {
        let of_member = self.clients.iter().filter(|(_, client)| client.row.owner == *member);
        let goes =
            of_member.filter(|(_, client)| client.row.will.is_none() && client.debt.is_none());
        let gone: Vec<ClientId> = goes.map(|(client_id, _)| client_id.clone()).collect();
        for client_id in &gone {
            self.let_go(client_id, false);
        }
        gone.len() as u64
    }

    fn has_clients(&self, member: &Member) -> bool {
        self.clients.values().any(|client| client.row.owner == *member)
    }
}

/// Clients.
impl Rows {
    /// For a login so long ago. Nothing while somebody holds a will of the row that stands there.
    pub(super) fn claim(
        &mut self,
        client: &ClientRow,
        ago: Duration,
    ) -> Result<Option<Claimed>, DirectoryError> {
        let now_us = self.now_us();
        let epoch = Epoch(now_us.max(self.epoch_last + 1));
        let old = self.clients.get(&client.client_id).map(|old| &**old);
        let is_younger = |old: &&Client| {
            old.row.owner.node != client.owner.node
                && old.epoch.0 > now_us.saturating_sub(micros(ago))
        };
        if let Some(younger) = old.filter(|_| !ago.is_zero()).filter(is_younger) {
            return Err(DirectoryError::Overtaken(younger.owner()));
        }
        if old.is_some_and(|old| old.is_held(now_us)) {
            return Ok(None);
        }
        let contests = old.map_or(0, |old| old.contests_after(now_us));
        let erased = self.erased(&client.client_id);
        let is_erasure = !client.durable && self.was_durable(&client.client_id);
        let known = if client.durable { erased } else { is_erasure.then_some(epoch) };
        let ((before, stays), left_on) = (self.claim_elsewhere(client), self.left_on_but(client));
        let debt = self.clients.get(&client.client_id).and_then(|old| old.debt_when_over(now_us));
        let (row, told) = (client.clone(), left_on.iter().cloned().collect());
        let kept = before.clone().filter(|_| stays);
        let row = Client { row, epoch, contests, before: kept, erased: known, left_on, debt };
        let wills = row.held();
        let previous = self.write(row).map(Client::into_previous);
        Ok(Some(Claimed { epoch, before, previous, wills, contests, erased, left_on: told }))
    }

    pub(super) fn restore(&mut self, client: &ClientRow, epoch: Epoch) -> Restored {
        let erased = self.erased(&client.client_id);
        let held = self.clients.get(&client.client_id);
        // An epoch never goes back, not even by the owner's own repetition.
        if let Some(held) = held.filter(|held| held.epoch >= epoch) {
            let holder = (held.row.owner != client.owner).then(|| held.owner());
            return Restored { holder, erased };
        }
        if !client.durable || erased.is_none_or(|erased| erased < epoch) {
            let ((before, stays), left_on) =
                (self.claim_elsewhere(client), self.left_on_but(client));
            let (row, before) = (client.clone(), before.filter(|_| stays));
            self.write(Client { row, epoch, contests: 0, before, erased, left_on, debt: None });
        }
        Restored { holder: None, erased }
    }

    pub(super) fn release(
        &mut self,
        client_id: &ClientId,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Option<Vec<HeldWill>> {
        let now_us = self.now_us();
        let client = self.owned(client_id, owner, epoch)?;
        let wills = client.end(end, now_us);
        match &mut client.debt {
            Some(debt) => debt.goes_when_settled(true),
            None => drop(self.let_go(client_id, true)),
        }
        Some(wills)
    }

    pub(super) fn park(
        &mut self,
        client_id: &ClientId,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Option<Vec<HeldWill>> {
        let now_us = self.now_us();
        Some(self.owned(client_id, owner, epoch)?.end(end, now_us))
    }

    pub(super) fn find(&self, client_id: &ClientId) -> Option<Owner> {
        self.clients.get(client_id).map(|client| client.owner())
    }

    pub(super) fn clients_where(&self, matches: impl Fn(&ClientRow) -> bool) -> Vec<ClientId> {
        let rows = self.clients.values().map(|client| &client.row);
        rows.filter(|row| matches(row)).map(|row| row.client_id.clone()).collect()
    }

    /// The row of this owner and epoch.
    fn owned(&mut self, client_id: &ClientId, owner: &Member, epoch: Epoch) -> Option<&mut Client> {
        let client = self.clients.get_mut(client_id)?;
        (client.row.owner == *owner && client.epoch == epoch).then_some(&mut **client)
    }

    fn write(&mut self, client: Client) -> Option<Client> {
        self.epoch_last = self.epoch_last.max(client.epoch.0);
        let client_id = client.row.client_id.clone();
        self.traces.remove(&client_id);
        self.clients.insert(client_id, Box::new(client)).map(|before| *before)
    }
}

/// Homes.
impl Rows {
    pub(super) fn note_home(&mut self, node: &NodeId, add: &[Filter], remove: &[Filter]) {
        let home = self.homes.entry(node.clone()).or_default();
        for filter in remove {
            home.remove(filter);
        }
        home.extend(add.iter().cloned());
    }

    pub(super) fn replace_home(&mut self, node: &NodeId, filters: &[Filter]) {
        self.homes.insert(node.clone(), filters.iter().cloned().collect());
    }

    pub(super) fn home(&self, node: &NodeId) -> Vec<Filter> {
        self.homes.get(node).into_iter().flatten().cloned().collect()
    }
}

/// Bridges.
impl Rows {
    pub(super) fn note_bridge(
        &mut self,
        bridge: &BridgeId,
        incarnation: Incarnation,
        lease: Duration,
    ) {
        let now = self.now();
        let younger = |held: &Bridge| held.incarnation > incarnation && held.lease_until > now;
        if !self.bridges.get(bridge).is_some_and(younger) {
            let row = Bridge { incarnation, lease_until: now + lease };
            self.bridges.insert(bridge.clone(), row);
        }
    }

    pub(super) fn leave_bridge(&mut self, bridge: &BridgeId, incarnation: Incarnation) {
        if self.bridges.get(bridge).is_some_and(|held| held.incarnation == incarnation) {
            self.bridges.remove(bridge);
        }
    }

    pub(super) fn bridges(&mut self) -> Vec<BridgeId> {
        let now = self.now();
        self.bridges.retain(|_, bridge| bridge.lease_until > now);
        self.bridges.keys().cloned().collect()
    }
}

impl Client {
    fn owner(&self) -> Owner {
        Owner { member: self.row.owner.clone(), epoch: self.epoch }
    }

    /// How many contests there are if another claim comes now. An epoch is the time of its claim,
    /// or a little ahead of it.
    fn contests_after(&self, now_us: u64) -> u32 {
        let age = Duration::from_micros(now_us.abs_diff(self.epoch.0));
        let contested = self.row.connected && age < CONTEST_WITHIN;
        if contested { self.contests.saturating_add(1) } else { 0 }
    }

    fn into_previous(self) -> Previous {
        Previous {
            owner: self.owner(),
            address: self.row.address,
            connected: self.row.connected,
            durable: self.row.durable,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
