//! The contract of `common::directory::Directory`.
//!
//! [`nodes`], [`clients`], [`sessions`], [`erasures`], [`parts`], [`wills`], [`homes`] and [`bridges`] are run on both implementations; [`redis`] is about what only that
//! one can suffer, and [`memory`] about its clock.

mod bridges;
mod clients;
mod erasures;
mod homes;
mod memory;
mod nodes;
mod parts;
mod redis;
mod sessions;
mod wills;

use std::{sync::Arc, time::Duration};

use causeway_common::{
    directory::{
        Before, CONTEST_WITHIN, Claimed, ClientRow, Directory, DirectoryError, End, HeldWill,
        Joined, Member, NodeRow, NodeStatus, Owner, Renewal, Restored, TRACE_KEPT, WILL_HELD,
        WILLS_MAX,
        memory::MemoryDirectory,
        redis::{RedisDirectory, RedisOptions},
    },
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, UserName},
    message::Message,
    qos::QoS,
    topic::{Filter, Topic},
};
use causeway_tests::redis_server::RedisServer;

use crate::eventually;

/// A directory of one kind, and what stands behind it.
enum Ground {
    Memory(MemoryDirectory),
    Redis(RedisServer),
}

impl Ground {
    fn memory() -> Self {
        Self::Memory(MemoryDirectory::new())
    }

    async fn redis() -> Self {
        Self::Redis(RedisServer::start().await.unwrap())
    }

    /// The directory as one process sees it.
    fn directory(&self) -> Arc<dyn Directory> {
        match self {
            Self::Memory(directory) => Arc::new(directory.clone()),
            Self::Redis(server) => Arc::new(open(server)),
        }
    }

    async fn lose_all(&self) {
        match self {
            Self::Memory(directory) => directory.lose_all(),
            Self::Redis(server) => server.command(&["FLUSHALL"]).await.unwrap(),
        }
    }
}

/// Runs each check on each implementation.
macro_rules! contract {
    ($($check:ident,)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(&crate::directory::Ground::memory()).await;
            })*
        }
        mod in_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(&crate::directory::Ground::redis().await).await;
            })*
        }
    };
}
use contract;

/// A lease that outlasts every test.
const LONG: Duration = Duration::from_mins(10);
/// A lease whose end can be waited for.
const SHORT: Duration = Duration::from_millis(50);

fn open(server: &RedisServer) -> RedisDirectory {
    RedisDirectory::connect(options(server, Duration::from_secs(20))).unwrap()
}

fn options(server: &RedisServer, command_timeout: Duration) -> RedisOptions {
    RedisOptions { url: server.url(), prefix: "causeway".to_owned(), command_timeout }
}

fn member(node: &str, incarnation: u64) -> Member {
    Member { node: NodeId::from(node), incarnation: Incarnation(incarnation) }
}

fn node_row(member: &Member) -> NodeRow {
    NodeRow {
        node: member.node.clone(),
        incarnation: member.incarnation,
        link_address: format!("10.0.0.{}:2883", member.incarnation),
        client_address: format!("10.0.0.{}:1883", member.incarnation),
    }
}

fn client_row(client_id: &str, user: &str, owner: &Member) -> ClientRow {
    ClientRow {
        client_id: ClientId::from(client_id),
        user: UserName::from(user),
        owner: owner.clone(),
        address: "127.0.0.1:5555".to_owned(),
        connected: true,
        durable: true,
        will: None,
    }
}

fn owner(member: &Member, epoch: Epoch) -> Owner {
    Owner { member: member.clone(), epoch }
}

/// Joins and returns the directory's epoch.
async fn join(directory: &dyn Directory, member: &Member, lease: Duration) -> String {
    match directory.join(&node_row(member), lease).await.unwrap() {
        Joined::Accepted { directory_epoch } => directory_epoch,
        refused @ Joined::Refused { .. } => panic!("{member:?}: {refused:?}"),
    }
}

/// Claims for a user of the same name as the client.
async fn claim(directory: &dyn Directory, client_id: &str, member: &Member) -> Epoch {
    let row = client_row(client_id, client_id, member);
    directory.claim(&row).await.unwrap().epoch
}

async fn status(directory: &dyn Directory, member: &Member) -> Option<NodeStatus> {
    let nodes = directory.nodes().await.unwrap();
    nodes.into_iter().find(|node| node.row == node_row(member))
}

async fn is_live(directory: &dyn Directory, member: &Member) -> bool {
    status(directory, member).await.is_some_and(|node| node.live)
}

async fn find(directory: &dyn Directory, client_id: &str) -> Option<Owner> {
    directory.find(&ClientId::from(client_id)).await.unwrap()
}

async fn is_lost(directory: &dyn Directory, member: &Member) -> bool {
    let renewal = directory.renew(member, LONG, 0).await.unwrap();
    matches!(renewal, Renewal::Lost { .. })
}

/// Lets a lease end.
async fn end_lease(directory: &dyn Directory, member: &Member) {
    directory.renew(member, Duration::from_millis(1), 0).await.unwrap();
    eventually("the lease ends", || async { !is_live(directory, member).await }).await;
}

/// The client ids a user is logged in with, in order.
async fn clients_of(directory: &dyn Directory, user: &str) -> Vec<String> {
    let found = directory.clients_of(&UserName::from(user)).await.unwrap();
    let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
    found.sort();
    found
}

/// The client ids of an incarnation, in order.
async fn clients_on(directory: &dyn Directory, member: &Member) -> Vec<String> {
    let found = directory.clients_on(member).await.unwrap();
    let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
    found.sort();
    found
}

/// Whose row a claim replaced.
fn owner_before(claimed: &Claimed) -> Option<Owner> {
    claimed.previous.as_ref().map(|previous| previous.owner.clone())
}
