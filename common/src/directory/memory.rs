//! The directory in the memory of one process: for the cluster that runs embedded, and for tests.
//!
//! It keeps the rules of [`Directory`] to the letter, so that what works on it works on Redis. It
//! never fails but where a claim waits in vain, and leaves persistence and sharing between processes to the Redis directory.

mod rows;
mod traces;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use self::rows::Rows;
use super::{
    CLAIM_POLL, CLAIM_WAITS, Claimed, ClientRow, Directory, DirectoryError, End, HeldWill, Joined,
    Member, NodeRow, NodeStatus, Owner, Renewal, Restored,
};
use crate::{
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, UserName},
    topic::Filter,
};

/// A directory in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryDirectory {
    rows: Arc<Mutex<Rows>>,
}

impl MemoryDirectory {
    /// An empty directory. Its clock starts at the time of day and is steady from then on.
    pub fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::starting_at(since_1970.unwrap_or_default())
    }

    /// The same, with another time of day, since 1970: a simulation begins when it likes. From then on
    /// the clock is the one of the runtime.
    pub fn starting_at(since_1970: Duration) -> Self {
        Self { rows: Arc::new(Mutex::new(Rows::new(since_1970))) }
    }

    /// Moves the directory's clock forward, so that leases end without anybody waiting.
    pub fn advance(&self, by: Duration) {
        self.rows.lock().advance(by);
    }

    /// Loses all rows, as Redis does at FLUSHALL.
    pub fn lose_all(&self) {
        self.rows.lock().lose_all();
    }
}

impl Default for MemoryDirectory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDirectory").finish_non_exhaustive()
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
        self.rows.lock().leave(member);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeStatus>, DirectoryError> {
        Ok(self.rows.lock().statuses())
    }

    async fn claim_late(
        &self,
        client: &ClientRow,
        ago: Duration,
    ) -> Result<Claimed, DirectoryError> {
        let (started, mut waited) = (Instant::now(), Duration::ZERO);
        loop {
            let claimed = self.rows.lock().claim(client, ago + waited)?;
            match claimed {
                Some(claimed) => return Ok(claimed),
                None if waited >= CLAIM_WAITS => return Err(DirectoryError::TimedOut),
                None => sleep(CLAIM_POLL).await,
            }
            waited = started.elapsed();
        }
    }

    async fn restore(&self, client: &ClientRow, epoch: Epoch) -> Result<Restored, DirectoryError> {
        Ok(self.rows.lock().restore(client, epoch))
    }

    async fn release(
        &self,
        client_id: &ClientId,
        _user: &UserName,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Result<Option<Vec<HeldWill>>, DirectoryError> {
        Ok(self.rows.lock().release(client_id, owner, epoch, end))
    }

    async fn park(
        &self,
        client_id: &ClientId,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Result<Option<Vec<HeldWill>>, DirectoryError> {
        Ok(self.rows.lock().park(client_id, owner, epoch, end))
    }

    async fn cleared(
        &self,
        client_id: &ClientId,
        node: &NodeId,
        epoch: Epoch,
    ) -> Result<(), DirectoryError> {
        self.rows.lock().cleared(client_id, node, epoch);
        Ok(())
    }

    async fn find(&self, client_id: &ClientId) -> Result<Option<Owner>, DirectoryError> {
        Ok(self.rows.lock().find(client_id))
    }

    async fn clients_of(&self, user: &UserName) -> Result<Vec<ClientId>, DirectoryError> {
        Ok(self.rows.lock().clients_where(|row| row.user.as_str() == user.as_str()))
    }

    async fn clients_on(&self, member: &Member) -> Result<Vec<ClientId>, DirectoryError> {
        Ok(self.rows.lock().clients_where(|row| row.owner == *member))
    }

    async fn sweep(&self, member: &Member, keep_row: Duration) -> Result<u64, DirectoryError> {
        Ok(self.rows.lock().sweep(member, keep_row))
    }

    async fn take_wills(&self, member: &Member) -> Result<Vec<HeldWill>, DirectoryError> {
        Ok(self.rows.lock().take_wills(member))
    }

    async fn settle_wills(
        &self,
        member: &Member,
        wills: &[HeldWill],
    ) -> Result<(), DirectoryError> {
        self.rows.lock().settle_wills(member, wills);
        Ok(())
    }

    async fn note_home(
        &self,
        node: &NodeId,
        add: &[Filter],
        remove: &[Filter],
    ) -> Result<(), DirectoryError> {
        self.rows.lock().note_home(node, add, remove);
        Ok(())
    }

    async fn replace_home(&self, node: &NodeId, filters: &[Filter]) -> Result<(), DirectoryError> {
        self.rows.lock().replace_home(node, filters);
        Ok(())
    }

    async fn home(&self, node: &NodeId) -> Result<Vec<Filter>, DirectoryError> {
        Ok(self.rows.lock().home(node))
    }

    async fn note_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<(), DirectoryError> {
        self.rows.lock().note_bridge(bridge, incarnation, lease);
        Ok(())
    }

    async fn leave_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
    ) -> Result<(), DirectoryError> {
        self.rows.lock().leave_bridge(bridge, incarnation);
        Ok(())
    }

    async fn bridges(&self) -> Result<Vec<BridgeId>, DirectoryError> {
        Ok(self.rows.lock().bridges())
    }
}
