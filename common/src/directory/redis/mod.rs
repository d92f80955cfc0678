//! The directory in Redis, shared by all processes of a cluster.
//!
//! ```text
//! causeway:nodes                     set   names of nodes
//! causeway:node:<name>               hash  incarnation link_address client_address connections
//!                                          lease_until_us (1970, Redis's clock)
//! causeway:client:<client id>        hash  node incarnation epoch user since (s, 1970) address
//! causeway:on:<node>:<incarnation>   set   client ids that may have a row of this incarnation
//! causeway:user:<user>               set   client ids that may have a row of this user
//! causeway:epoch                     str   names the memory of this Redis; FLUSHALL ends it
//! ```
//!
//! The hashes are the truth, and scripts change each of them in one step; the sets only lead to
//! them (see `index.rs`). No command touches two keys, so that a Redis Cluster can serve. Judging
//! how to go on when the directory fails is left to the callers.

mod connection;
mod index;
mod keys;
mod scripts;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use redis::{
    Client, FromRedisValue, IntoConnectionInfo, Pipeline, ScriptInvocation, io::tcp::TcpSettings,
    pipe,
};
use thiserror::Error;

use self::{connection::Connection, keys::Keys, scripts::Scripts};
use super::{
    Claimed, ClientRow, Directory, DirectoryError, Joined, Member, NodeRow, NodeStatus, Owner,
    Renewal,
};
use crate::id::{ClientId, Epoch, Incarnation, NodeId, UserName};

/// Where the Redis is and how to use it. Not `Debug`: the URL may hold a password.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: String,
    /// What every key begins with; clusters that share a Redis differ in it.
    pub prefix: String,
    /// The longest time one call may take; [`Directory::sweep`] takes so long a page at most.
    pub command_timeout: Duration,
}

/// The URL is none that can lead to a Redis.
#[derive(Debug, Error)]
#[error("not the url of a redis: {0}")]
pub struct InvalidUrl(String);

/// The directory in Redis.
pub struct RedisDirectory {
    connection: Connection,
    scripts: Scripts,
    keys: Keys,
}

impl RedisDirectory {
    /// A directory that dials its Redis in the background, now and whenever the connection is
    /// lost; there need be no Redis yet. Must be called within a tokio runtime.
    pub fn connect(options: RedisOptions) -> Result<Self, InvalidUrl> {
        let invalid = |error: redis::RedisError| InvalidUrl(error.to_string());
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = options.url.into_connection_info().map_err(invalid)?;
        let client = Client::open(info.set_tcp_settings(tcp)).map_err(invalid)?;
        Ok(Self {
            connection: Connection::new(client, options.command_timeout),
            scripts: Scripts::new(),
            keys: Keys::new(options.prefix),
        })
    }

    async fn run<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, DirectoryError> {
        self.connection.run(pipeline, &self.scripts).await
    }

    fn directory_epoch(&self) -> ScriptInvocation<'_> {
        let key = self.keys.directory_epoch();
        self.scripts.directory_epoch.key(key)
    }
}

#[async_trait]
impl Directory for RedisDirectory {
    async fn join(&self, node: &NodeRow, lease: Duration) -> Result<Joined, DirectoryError> {
        let mut join = self.scripts.join.key(self.keys.node(&node.node));
        join.arg(node.incarnation.0);
        join.arg(&node.link_address).arg(&node.client_address);
        join.arg(micros(lease));
        // The epoch is asked for before the row is written, and in `renew` afterwards: rows lost
        // in between then show as a changed epoch, and not as a lease that has ended.
        let mut pipeline = pipe();
        pipeline
            .invoke_script(&self.directory_epoch())
            .sadd(self.keys.nodes(), node.node.as_str())
            .ignore()
            .invoke_script(&join);
        loop {
            let (directory_epoch, (verdict, holder)): (_, (String, Option<u64>)) =
                self.run(&pipeline).await?;
            let Some(holder) = holder.map(Incarnation) else {
                return Ok(Joined::Accepted { directory_epoch });
            };
            if verdict == "refused" {
                return Ok(Joined::Refused { holder });
            }
            self.sweep(&Member { node: node.node.clone(), incarnation: holder }).await?;
        }
    }

    async fn renew(
        &self,
        member: &Member,
        lease: Duration,
        connections: u64,
    ) -> Result<Renewal, DirectoryError> {
        let mut renew = self.scripts.renew.key(self.keys.node(&member.node));
        renew.arg(member.incarnation.0).arg(micros(lease)).arg(connections);
        let mut pipeline = pipe();
        // Who swept the predecessor may just have taken the name out.
        pipeline
            .invoke_script(&renew)
            .sadd(self.keys.nodes(), member.node.as_str())
            .ignore()
            .invoke_script(&self.directory_epoch());
        let (renewed, directory_epoch): (bool, String) = self.run(&pipeline).await?;
        Ok(if renewed {
            Renewal::Renewed { directory_epoch }
        } else {
            Renewal::Lost { directory_epoch }
        })
    }

    async fn leave(&self, member: &Member) -> Result<(), DirectoryError> {
        let mut end = self.scripts.renew.key(self.keys.node(&member.node));
        end.arg(member.incarnation.0).arg(0).arg(0);
        let mut pipeline = pipe();
        pipeline.invoke_script(&end).ignore();
        self.run::<()>(&pipeline).await?;
        self.sweep(member).await?;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeStatus>, DirectoryError> {
        let mut pipeline = pipe();
        pipeline.smembers(self.keys.nodes());
        let (names,): (Vec<String>,) = self.run(&pipeline).await?;
        let names: Vec<NodeId> = names.into_iter().map(NodeId::from).collect();
        let mut pipeline = pipe();
        for name in &names {
            pipeline.invoke_script(&self.scripts.status.key(self.keys.node(name)));
        }
        let rows: Vec<Option<Status>> = self.run(&pipeline).await?;
        let rows = names.into_iter().zip(rows);
        Ok(rows.filter_map(|(name, row)| Some(status(name, row?))).collect())
    }

    async fn claim(&self, client: &ClientRow) -> Result<Claimed, DirectoryError> {
        let mut claim = self.scripts.claim.key(self.keys.client(&client.client_id));
        claim.arg(client.owner.node.as_str()).arg(client.owner.incarnation.0);
        claim.arg(client.user.as_str()).arg(&client.address);
        let mut pipeline = self.enter(client);
        pipeline
            .invoke_script(&claim)
            .sadd(self.keys.user(&client.user), client.client_id.as_str())
            .ignore();
        let ((epoch, node, incarnation, epoch_before, user_before),): (Taken,) =
            self.run(&pipeline).await?;
        if let Some(user) = user_before
            && user != client.user.as_str()
        {
            let entry = (client.client_id.clone(), Some(UserName::from(user)));
            // The claim is done, whatever becomes of an entry that leads nowhere.
            let _ = self.take_out(&client.owner, &[entry]).await;
        }
        Ok(Claimed { epoch: Epoch(epoch), previous: owner(node, incarnation, epoch_before) })
    }

    async fn restore(&self, client: &ClientRow, epoch: Epoch) -> Result<bool, DirectoryError> {
        let mut restore = self.scripts.restore.key(self.keys.client(&client.client_id));
        restore.arg(client.owner.node.as_str()).arg(client.owner.incarnation.0);
        restore.arg(epoch.0).arg(client.user.as_str()).arg(&client.address);
        let mut pipeline = self.enter(client);
        pipeline
            .invoke_script(&restore)
            .sadd(self.keys.user(&client.user), client.client_id.as_str())
            .ignore();
        let (held,): (bool,) = self.run(&pipeline).await?;
        if !held {
            let entry = (client.client_id.clone(), Some(client.user.clone()));
            self.take_out(&client.owner, &[entry]).await?;
        }
        Ok(held)
    }

    async fn release(
        &self,
        client_id: &ClientId,
        user: &UserName,
        owner: &Member,
        epoch: Epoch,
    ) -> Result<bool, DirectoryError> {
        let mut pipeline = pipe();
        self.delete(&mut pipeline, client_id, owner, Some(epoch));
        let (deleted,): (Option<String>,) = self.run(&pipeline).await?;
        // Also when the row has gone to another owner: this one's entries are left.
        let entry = (client_id.clone(), Some(user.clone()));
        self.take_out(owner, &[entry]).await?;
        Ok(deleted.is_some())
    }

    async fn find(&self, client_id: &ClientId) -> Result<Option<Owner>, DirectoryError> {
        let mut pipeline = pipe();
        let fields = ["node", "incarnation", "epoch"];
        pipeline.hmget(self.keys.client(client_id), &fields);
        let ((node, incarnation, epoch),): ((Option<String>, Option<u64>, Option<u64>),) =
            self.run(&pipeline).await?;
        Ok(owner(node, incarnation, epoch))
    }

    async fn clients_of(&self, user: &UserName) -> Result<Vec<ClientId>, DirectoryError> {
        let mut client_ids = self.members(self.keys.user(user)).await?;
        let mut pipeline = pipe();
        for client_id in &client_ids {
            pipeline.hget(self.keys.client(client_id), "user");
        }
        let users: Vec<Option<String>> = self.run(&pipeline).await?;
        let mut users = users.into_iter();
        client_ids.retain(|_| users.next().flatten().as_deref() == Some(user.as_str()));
        Ok(client_ids)
    }

    async fn clients_on(&self, member: &Member) -> Result<Vec<ClientId>, DirectoryError> {
        self.members(self.keys.on(member)).await
    }

    async fn sweep(&self, member: &Member) -> Result<u64, DirectoryError> {
        let key = self.keys.node(&member.node);
        let mut pipeline = pipe();
        pipeline.invoke_script(self.scripts.ended.key(&key).arg(member.incarnation.0));
        let (ended,): (bool,) = self.run(&pipeline).await?;
        if !ended {
            return Ok(0);
        }
        let deleted = self.delete_rows(member).await?;
        let mut pipeline = pipe();
        pipeline.invoke_script(self.scripts.forget.key(&key).arg(member.incarnation.0));
        let (forgotten,): (bool,) = self.run(&pipeline).await?;
        if forgotten {
            let mut pipeline = pipe();
            pipeline.srem(self.keys.nodes(), member.node.as_str()).ignore();
            self.run::<()>(&pipeline).await?;
        }
        Ok(deleted)
    }
}

impl fmt::Debug for RedisDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("RedisDirectory").finish_non_exhaustive()
    }
}

/// What `claim.lua` returns: the new epoch, then what the old row said.
type Taken = (u64, Option<String>, Option<u64>, Option<u64>, Option<String>);

/// What `status.lua` returns.
type Status = (u64, String, String, u64, bool);

fn status(
    node: NodeId,
    (incarnation, link_address, client_address, connections, live): Status,
) -> NodeStatus {
    let row = NodeRow { node, incarnation: Incarnation(incarnation), link_address, client_address };
    NodeStatus { row, live, connections }
}

fn owner(node: Option<String>, incarnation: Option<u64>, epoch: Option<u64>) -> Option<Owner> {
    let member = Member { node: NodeId::from(node?), incarnation: Incarnation(incarnation?) };
    Some(Owner { member, epoch: Epoch(epoch?) })
}

fn micros(lease: Duration) -> u64 {
    u64::try_from(lease.as_micros()).unwrap_or(u64::MAX)
}
