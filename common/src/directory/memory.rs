//! The directory in the memory of one process: for the cluster that runs embedded, and for tests.
//!
//! It keeps the rules of [`Directory`] to the letter, so that what works on it works on Redis. It
//! never fails, and leaves persistence and sharing between processes to the Redis directory.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{
    Claimed, ClientRow, Directory, DirectoryError, Joined, Member, NodeRow, NodeStatus, Owner,
    Renewal,
};
use crate::id::{ClientId, Epoch, Incarnation, NodeId, UserName};

/// A directory in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryDirectory {
    rows: Arc<Mutex<Rows>>,
}

impl MemoryDirectory {
    /// An empty directory. Its clock starts at the time of day and is steady from then on.
    pub fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let rows = Rows {
            started: Instant::now(),
            started_at: since_1970.unwrap_or_default(),
            losses: 0,
            epoch_last: 0,
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
        };
        Self { rows: Arc::new(Mutex::new(rows)) }
    }

    /// Moves the directory's clock forward, so that leases end without anybody waiting.
    pub fn advance(&self, by: Duration) {
        self.rows.lock().started_at += by;
    }

    /// Loses all rows, as Redis does at FLUSHALL.
    pub fn lose_all(&self) {
        let mut rows = self.rows.lock();
        rows.losses += 1;
        rows.nodes.clear();
        rows.clients.clear();
    }
}

impl Default for MemoryDirectory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows.lock();
        f.debug_struct("MemoryDirectory")
            .field("nodes", &rows.nodes.len())
            .field("clients", &rows.clients.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn join(&self, node: &NodeRow, lease: Duration) -> Result<Joined, DirectoryError> {
        Ok(self.rows.lock().join(node, lease))
    }

    async fn renew(
        &self,
        member: &Member,
        lease: Duration,
        connections: u64,
    ) -> Result<Renewal, DirectoryError> {
        Ok(self.rows.lock().renew(member, lease, connections))
    }

    async fn leave(&self, member: &Member) -> Result<(), DirectoryError> {
        self.rows.lock().forget(member);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeStatus>, DirectoryError> {
        let rows = self.rows.lock();
        let now = rows.now();
        let status = |node: &Node| NodeStatus {
            row: node.row.clone(),
            live: node.lease_until > now,
            connections: node.connections,
        };
        Ok(rows.nodes.values().map(status).collect())
    }

    async fn claim(&self, client: &ClientRow) -> Result<Claimed, DirectoryError> {
        Ok(self.rows.lock().claim(client))
    }

    async fn restore(&self, client: &ClientRow, epoch: Epoch) -> Result<bool, DirectoryError> {
        Ok(self.rows.lock().restore(client, epoch))
    }

    async fn release(
        &self,
        client_id: &ClientId,
        _user: &UserName,
        owner: &Member,
        epoch: Epoch,
    ) -> Result<bool, DirectoryError> {
        let mut rows = self.rows.lock();
        let same = |client: &Client| client.row.owner == *owner && client.epoch == epoch;
        let found = rows.clients.get(client_id).is_some_and(same);
        if found {
            rows.clients.remove(client_id);
        }
        Ok(found)
    }

    async fn find(&self, client_id: &ClientId) -> Result<Option<Owner>, DirectoryError> {
        Ok(self.rows.lock().clients.get(client_id).map(Client::owner))
    }

    async fn clients_of(&self, user: &UserName) -> Result<Vec<ClientId>, DirectoryError> {
        Ok(self.rows.lock().clients_where(|row| row.user == *user))
    }

    async fn clients_on(&self, member: &Member) -> Result<Vec<ClientId>, DirectoryError> {
        Ok(self.rows.lock().clients_where(|row| row.owner == *member))
    }

    async fn sweep(&self, member: &Member) -> Result<u64, DirectoryError> {
        let mut rows = self.rows.lock();
        if rows.is_live(member) {
            return Ok(0);
        }
        Ok(rows.forget(member))
    }
}

struct Rows {
    started: Instant,
    /// The time since 1970 that the clock shows for `started`; [`MemoryDirectory::advance`] moves it.
    started_at: Duration,
    /// How often all rows were lost.
    losses: u64,
    /// The greatest epoch given or restored so far. It outlives the loss of rows, because two
    /// claims may come within one microsecond.
    epoch_last: u64,
    nodes: BTreeMap<NodeId, Node>,
    clients: BTreeMap<ClientId, Client>,
}

struct Node {
    row: NodeRow,
    lease_until: Duration,
    connections: u64,
}

struct Client {
    row: ClientRow,
    epoch: Epoch,
}

impl Client {
    fn owner(&self) -> Owner {
        Owner { member: self.row.owner.clone(), epoch: self.epoch }
    }
}

impl Rows {
    fn now(&self) -> Duration {
        self.started_at + self.started.elapsed()
    }

    fn directory_epoch(&self) -> String {
        self.losses.to_string()
    }

    fn incarnation(&self, node: &NodeId) -> Option<Incarnation> {
        self.nodes.get(node).map(|node| node.row.incarnation)
    }

    fn is_live(&self, member: &Member) -> bool {
        let now = self.now();
        self.nodes.get(&member.node).is_some_and(|node| {
            node.row.incarnation == member.incarnation && node.lease_until > now
        })
    }

    fn join(&mut self, node: &NodeRow, lease: Duration) -> Joined {
        let mut member = Member { node: node.node.clone(), incarnation: node.incarnation };
        if let Some(holder) = self.incarnation(&node.node) {
            member.incarnation = holder;
            let live = self.is_live(&member);
            if live && holder > node.incarnation {
                return Joined::Refused { holder };
            }
            if !live || holder < node.incarnation {
                self.forget(&member);
            }
        }
        let row = Node { row: node.clone(), lease_until: self.now() + lease, connections: 0 };
        self.nodes.insert(node.node.clone(), row);
        Joined::Accepted { directory_epoch: self.directory_epoch() }
    }

    fn renew(&mut self, member: &Member, lease: Duration, connections: u64) -> Renewal {
        let directory_epoch = self.directory_epoch();
        let lease_until = self.now() + lease;
        if !self.is_live(member) {
            return Renewal::Lost { directory_epoch };
        }
        if let Some(node) = self.nodes.get_mut(&member.node) {
            node.lease_until = lease_until;
            node.connections = connections;
        }
        Renewal::Renewed { directory_epoch }
    }

    fn claim(&mut self, client: &ClientRow) -> Claimed {
        let now = u64::try_from(self.now().as_micros()).unwrap_or(u64::MAX);
        let epoch = Epoch(now.max(self.epoch_last + 1));
        let previous = self.write(client, epoch);
        Claimed { epoch, previous }
    }

    fn restore(&mut self, client: &ClientRow, epoch: Epoch) -> bool {
        match self.clients.get(&client.client_id) {
            // An epoch never goes back, not even by the owner's own repetition.
            Some(held) if held.epoch >= epoch => held.row.owner == client.owner,
            Some(_) | None => {
                self.write(client, epoch);
                true
            }
        }
    }

    fn write(&mut self, client: &ClientRow, epoch: Epoch) -> Option<Owner> {
        self.epoch_last = self.epoch_last.max(epoch.0);
        let row = Client { row: client.clone(), epoch };
        let old = self.clients.insert(client.client_id.clone(), row)?;
        Some(old.owner())
    }

    /// Deletes every row of this incarnation and returns how many of them were clients'.
    fn forget(&mut self, member: &Member) -> u64 {
        if self.incarnation(&member.node) == Some(member.incarnation) {
            self.nodes.remove(&member.node);
        }
        let before = self.clients.len();
        self.clients.retain(|_, client| client.row.owner != *member);
        (before - self.clients.len()) as u64
    }

    fn clients_where(&self, matches: impl Fn(&ClientRow) -> bool) -> Vec<ClientId> {
        let rows = self.clients.values().map(|client| &client.row);
        rows.filter(|row| matches(row)).map(|row| row.client_id.clone()).collect()
    }
}
