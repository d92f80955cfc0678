//! A node's way to the directory in memory: it takes a while, breaks, and ends with the node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use causeway_common::{
    directory::{
        Claimed, ClientRow, Directory, DirectoryError, Joined, Member, NodeRow, NodeStatus, Owner,
        Released, Renewal, Restored, memory::MemoryDirectory,
    },
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, UserName},
    message::Message,
    topic::Filter,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::net::Chance;

/// The way of one process.
pub(crate) struct Reach {
    directory: MemoryDirectory,
    chance: Mutex<Chance>,
    blind_until: Mutex<Instant>,
    is_dead: AtomicBool,
}

impl Reach {
    pub(crate) fn new(directory: &MemoryDirectory, chance: Chance) -> Arc<Self> {
        Arc::new(Self {
            directory: directory.clone(),
            chance: Mutex::new(chance),
            blind_until: Mutex::new(Instant::now()),
            is_dead: AtomicBool::new(false),
        })
    }

    pub(crate) fn blind_for(&self, time: Duration) {
        *self.blind_until.lock() = Instant::now() + time;
    }

    /// The process is gone, and with it whatever was under way.
    pub(crate) fn die(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// One half of the way. What fails on the way back has been done nevertheless.
    async fn go(&self) -> Result<(), DirectoryError> {
        let late = self.chance.lock().one_in(20);
        let delay_ms = self.chance.lock().below(if late { 200 } else { 4 });
        sleep(Duration::from_millis(delay_ms)).await; // pacing: by the simulated clock
        if self.is_dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if Instant::now() < *self.blind_until.lock() {
            return Err(DirectoryError::Unreachable("it is out".to_owned()));
        }
        Ok(())
    }
}

/// There, what is to be done, and back.
macro_rules! far {
    ($self:ident . $call:ident ( $($argument:expr),* )) => {{
        $self.go().await?;
        let answer = $self.directory.$call($($argument),*).await;
        $self.go().await?;
        answer
    }};
}

#[async_trait]
impl Directory for Reach {
    async fn join(&self, node: &NodeRow, lease: Duration) -> Result<Joined, DirectoryError> {
        far!(self.join(node, lease))
    }

    async fn renew(
        &self,
        member: &Member,
        lease: Duration,
        connections: u64,
    ) -> Result<Renewal, DirectoryError> {
        far!(self.renew(member, lease, connections))
    }

    async fn leave(&self, member: &Member) -> Result<(), DirectoryError> {
        far!(self.leave(member))
    }

    async fn nodes(&self) -> Result<Vec<NodeStatus>, DirectoryError> {
        far!(self.nodes())
    }

    async fn claim(&self, client: &ClientRow) -> Result<Claimed, DirectoryError> {
        far!(self.claim(client))
    }

    async fn restore(&self, client: &ClientRow, epoch: Epoch) -> Result<Restored, DirectoryError> {
        far!(self.restore(client, epoch))
    }

    async fn release(
        &self,
        client_id: &ClientId,
        user: &UserName,
        owner: &Member,
        epoch: Epoch,
    ) -> Result<Option<Released>, DirectoryError> {
        far!(self.release(client_id, user, owner, epoch))
    }

    async fn park(
        &self,
        client_id: &ClientId,
        owner: &Member,
        epoch: Epoch,
    ) -> Result<Option<Released>, DirectoryError> {
        far!(self.park(client_id, owner, epoch))
    }

    async fn find(&self, client_id: &ClientId) -> Result<Option<Owner>, DirectoryError> {
        far!(self.find(client_id))
    }

    async fn clients_of(&self, user: &UserName) -> Result<Vec<ClientId>, DirectoryError> {
        far!(self.clients_of(user))
    }

    async fn clients_on(&self, member: &Member) -> Result<Vec<ClientId>, DirectoryError> {
        far!(self.clients_on(member))
    }

    async fn sweep(&self, member: &Member, keep_row: Duration) -> Result<u64, DirectoryError> {
        far!(self.sweep(member, keep_row))
    }

    async fn take_wills(
        &self,
        member: &Member,
    ) -> Result<Vec<(ClientId, Message)>, DirectoryError> {
        far!(self.take_wills(member))
    }

    async fn note_home(
        &self,
        node: &NodeId,
        add: &[Filter],
        remove: &[Filter],
    ) -> Result<(), DirectoryError> {
        far!(self.note_home(node, add, remove))
    }

    async fn replace_home(&self, node: &NodeId, filters: &[Filter]) -> Result<(), DirectoryError> {
        far!(self.replace_home(node, filters))
    }

    async fn home(&self, node: &NodeId) -> Result<Vec<Filter>, DirectoryError> {
        far!(self.home(node))
    }

    async fn note_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<(), DirectoryError> {
        far!(self.note_bridge(bridge, incarnation, lease))
    }

    async fn leave_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
    ) -> Result<(), DirectoryError> {
        far!(self.leave_bridge(bridge, incarnation))
    }

    async fn bridges(&self) -> Result<Vec<BridgeId>, DirectoryError> {
        far!(self.bridges())
    }
}
