//! What the directory's rows say, and what its calls answer.
//!
//! It leaves to others: when a row may be written, and by whom ([`super::Directory`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::{ClientId, Epoch, Incarnation, NodeId, UserName},
    message::Message,
};

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
    /// For how long its lease has been over, by the directory's clock; zero while it runs.
    pub ended_for: Duration,
    /// Older lives of this name, of which client rows with wills may be left.
    pub former: Vec<Incarnation>,
}

impl NodeStatus {
    /// The lives of this name that have ended and of which rows may be left.
    pub fn ended_lives(&self) -> Vec<Member> {
        let last = (!self.live).then_some(self.row.incarnation);
        let lives = self.former.iter().copied().chain(last);
        lives.map(|incarnation| Member { node: self.row.node.clone(), incarnation }).collect()
    }
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
    /// Whether the client is connected there; if not, a durable session of it is kept there.
    pub connected: bool,
    /// Whether its session outlives its connection: if not, the client has forgotten all that any
    /// session before was about.
    pub durable: bool,
    /// What is to be published if the client ends abnormally.
    pub will: Option<Message>,
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
    /// The name is held by a younger incarnation, or by another process under the same number.
    Refused {
        /// That incarnation.
        holder: Incarnation,
        /// Whether its lease runs. If not, the caller may join as a life above it.
        live: bool,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The new ownership.
    pub epoch: Epoch,
    /// The last claim of another node before this one, if it is remembered: also if its row is gone.
    pub before: Option<Before>,
    /// What stood there before, if anything did.
    pub previous: Option<Previous>,
    /// Wills that nobody has settled: of the connection before, and those that a former owner did not live to
    /// settle. The caller publishes them and settles them.
    pub wills: Vec<HeldWill>,
    /// How many claims in a row, this one included, came within [`super::CONTEST_WITHIN`] after the one
    /// before while its client was still connected, on whatever node; 0 if this one did not.
    pub contests: u32,
    /// The last clean login before this claim, if it is remembered: what any node keeps of an older
    /// claim was erased by it.
    pub erased: Option<Epoch>,
    /// Other nodes that may keep a part of a durable session: its former owners, but those that have said
    /// that nothing is left there ([`super::Directory::cleared`]).
    pub left_on: Vec<NodeId>,
}

/// A claim of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// By which node.
    pub node: NodeId,
    /// Its ownership then.
    pub epoch: Epoch,
}

/// What a restoration found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Who else holds the client id now; nobody if this owner does, under whatever epoch.
    pub holder: Option<Owner>,
    /// As in [`Claimed::erased`]. If it is younger than the claim of a durable session whose row was to
    /// be written again, that session is over.
    pub erased: Option<Epoch>,
}

/// The row that a claim replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Who owned the client id.
    pub owner: Owner,
    /// The client's network address then.
    pub address: String,
    /// Whether the client was connected there, as far as the directory knew.
    pub connected: bool,
    /// Whether its session there outlives its connection.
    pub durable: bool,
}

/// How a connection has ended, as far as its will is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By DISCONNECT, or before it was let in: its will is void.
    Farewell,
    /// Otherwise: its will is to be published.
    Abnormal,
}

/// The will of a connection that has ended, in somebody's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldWill {
    /// Whose it is.
    pub client_id: ClientId,
    /// The claim whose row it stands in.
    pub epoch: Epoch,
    /// The claim that it came with: names it.
    pub of: Epoch,
    /// What is to be published.
    pub will: Message,
}
