//! The directory: which nodes live, and which client is logged in where (DESIGN words: node,
//! incarnation, lease, epoch, owner).
//!
//! Rules that every implementation keeps, and `tests/contract` holds them to:
//!
//! * A row is written or deleted only by the incarnation that owns it, or by [`Directory::sweep`]
//!   once that incarnation's lease has ended.
//! * Epochs of one client id grow for ever, also over the loss of all rows: a claim takes the
//!   greatest of (old epoch + 1, the directory's clock in microseconds).
//! * Whether a lease has ended is judged by the directory's clock alone.
//! * Every call ends within a bounded time; a call that failed may nevertheless have been done,
//!   and may be repeated.
//!
//! It is never asked on the path of a PUBLISH. [`memory`] serves one process, [`redis`] a cluster.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::{ClientId, Epoch, Incarnation, NodeId, UserName};

pub mod memory;
pub mod redis;

/// Who is where.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Writes this node's row with a fresh lease. Refused only while a younger incarnation of the
    /// same name holds a lease. An older one is replaced, live or not, and its client rows are
    /// swept: its process is gone, or its next renewal tells it to fence itself.
    async fn join(&self, node: &NodeRow, lease: Duration) -> Result<Joined, DirectoryError>;

    /// Prolongs the lease of this incarnation and updates its load. [`Renewal::Lost`] if the row
    /// is gone, belongs to another incarnation, or its lease has ended: the node must fence itself
    /// or, if only the directory lost its rows, join again.
    async fn renew(
        &self,
        member: &Member,
        lease: Duration,
        connections: u64,
    ) -> Result<Renewal, DirectoryError>;

    /// Takes this incarnation's node row away (a clean end), and what client rows it has not
    /// released.
    async fn leave(&self, member: &Member) -> Result<(), DirectoryError>;

    /// Every node row, live or not.
    async fn nodes(&self) -> Result<Vec<NodeStatus>, DirectoryError>;

    /// Makes this incarnation the owner of a client id, under a new epoch, whoever owned it.
    async fn claim(&self, client: &ClientRow) -> Result<Claimed, DirectoryError>;

    /// Writes a row again that the directory may have lost: done only if there is none, or one of
    /// a smaller epoch. Returns whether this owner holds the client id now, under whatever epoch.
    async fn restore(&self, client: &ClientRow, epoch: Epoch) -> Result<bool, DirectoryError>;

    /// Deletes a client's row if it still belongs to this incarnation and epoch; returns whether it
    /// did. Whoever lost the row to another owner may call it too: what led to it is tidied up.
    async fn release(
        &self,
        client_id: &ClientId,
        user: &UserName,
        owner: &Member,
        epoch: Epoch,
    ) -> Result<bool, DirectoryError>;

    /// Who owns a client id.
    async fn find(&self, client_id: &ClientId) -> Result<Option<Owner>, DirectoryError>;

    /// The client ids a user is logged in with.
    async fn clients_of(&self, user: &UserName) -> Result<Vec<ClientId>, DirectoryError>;

    /// The client ids that this incarnation may own rows of (a superset: some may have moved on).
    async fn clients_on(&self, member: &Member) -> Result<Vec<ClientId>, DirectoryError>;

    /// Deletes all rows of an incarnation whose lease has ended, its node row last. Does nothing,
    /// and returns 0, while the lease runs. Returns how many client rows were deleted. May be
    /// called by several at once and repeated after a failure.
    async fn sweep(&self, member: &Member) -> Result<u64, DirectoryError>;
}

/// One life of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its name.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Where bridges reach it: `host:port`.
    pub link_address: String,
    /// Where clients reach it: `host:port`.
    pub client_address: String,
}

/// A node row as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// What the node said of itself.
    pub row: NodeRow,
    /// Whether its lease runs, by the directory's clock.
    pub live: bool,
    /// Its connections at the last renewal.
    pub connections: u64,
}

/// A login, as the directory keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRow {
    /// Who.
    pub client_id: ClientId,
    /// Whose device it is.
    pub user: UserName,
    /// Where.
    pub owner: Member,
    /// The client's network address, for people who read rows.
    pub address: String,
}

/// Who owns a client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// On which node, in which life of it.
    pub member: Member,
    /// Since which claim.
    pub epoch: Epoch,
}

/// What a join found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The row is written; others may see it from now on.
    Accepted {
        /// Identifies the directory's memory: changes when it has lost its rows.
        directory_epoch: String,
    },
    /// The name is held by a younger incarnation whose lease runs.
    Refused {
        /// That incarnation.
        holder: Incarnation,
    },
}

/// What a renewal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease runs on.
    Renewed {
        /// If it is not the one known from the join, the directory has lost rows.
        directory_epoch: String,
    },
    /// This incarnation has no lease any more.
    Lost {
        /// As above: tells a flushed directory from one that let the lease end.
        directory_epoch: String,
    },
}

/// What a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The new ownership.
    pub epoch: Epoch,
    /// Who owned it before, if anybody did.
    pub previous: Option<Owner>,
}

/// Why the directory gave no answer. Every one of them may be tried again.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Not connected, or the connection broke.
    #[error("directory is unreachable: {0}")]
    Unreachable(String),
    /// No answer within the time a command may take.
    #[error("directory did not answer in time")]
    TimedOut,
    /// It answered, and not as it should (a read-only replica, a foreign key, a script error).
    #[error("directory answered: {0}")]
    Refused(String),
}
