//! The directory in Redis, shared by all processes of a cluster.
//!
//! ```text
//! causeway:nodes                     set   names of nodes
//! causeway:node:<name>               hash  incarnation link_address client_address connections
//!                                          lease_until_us (1970, Redis's clock)
//!                                          former (older lives with client rows left)
//! causeway:client:<client id>        hash  node incarnation epoch user since (s, 1970) address
//!                                          connected durable (1, 0) contests
//!                                          will_topic will_qos will_retain (1, 0) will_payload
//!                                          owed (wills that are being published, packed),
//!                                          held_until_us (for so long by one alone), goes (what
//!                                          for the row ends with them: released, swept)
//!                                          erased (epoch of the last clean login, if it
//!                                          may have erased a durable session)
//!                                          before_on, before_epoch (the last claim of another
//!                                          node), left_on (other nodes that parts of the
//!                                          session may be left on)
//! causeway:on:<node>:<incarnation>   set   client ids that may have a row of this incarnation
//! causeway:user:<user>               set   client ids that may have a row of this user
//! causeway:home:<node>               set   durable filters of that node
//! causeway:bridges                   hash  of each bridge: incarnation, lease_until_us
//! causeway:epoch                     str   names the memory of this Redis; FLUSHALL ends it
//! ```
//!
//! The hashes are the truth, and scripts change each of them in one step; the sets only lead to
//! them (see `index.rs`). A client without a will has no `will_` fields. A client's row that is gone may
//! leave a trace: `epoch`, `was_on` (its node), `before_on`, `before_epoch`, `erased` and `left_on` alone, until it
//! expires. No command touches two keys, so that a Redis Cluster can serve. Judging how to go on when the
//! directory fails is left to the callers.

mod answers;
mod bridges;
mod claims;
mod connection;
mod home;
mod index;
mod keys;
mod scripts;
mod sweep;
mod wills;

use std::{collections::HashSet, fmt, time::Duration};

use async_trait::async_trait;
use redis::{
    Client, FromRedisValue, IntoConnectionInfo, Pipeline, ScriptInvocation, io::tcp::TcpSettings,
    pipe,
};
use thiserror::Error;

use self::{
    answers::{OwnerFields, Restoration, Status, add_will, former, owner, status},
    connection::Connection,
    keys::Keys,
    scripts::Scripts,
};
use super::{
    Claimed, ClientRow, Directory, DirectoryError, End, HeldWill, Joined, Member, NodeRow,
    NodeStatus, Owner, Renewal, Restored,
};
use crate::{
    id::{BridgeId, ClientId, Epoch, Incarnation, NodeId, UserName},
    topic::Filter,
};

/// Where the Redis is and how to use it. Not `Debug`: the URL may hold a password.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: String,
    /// What every key begins with; clusters that share a Redis differ in it.
    pub prefix: String,
    /// The longest time one call may take; those that work in pieces take so long a piece at most:
    /// [`Directory::sweep`] and [`Directory::take_wills`] a page of rows, a claim that waits each look.
    pub command_timeout: Duration,
}

/// The URL is none that can lead to a Redis.
#[derive(Debug, Error)]
#[error("not the url of a redis: {0}")]
pub struct InvalidUrl(String);

/// What a URL of a Redis looks like.
pub const URL_FORM: &str = "redis://[user:password@]host[:port][/database]";

/// Judges a URL without dialling.
pub fn check_url(url: &str) -> Result<(), InvalidUrl> {
    client(url).map(|_| ())
}

fn client(url: &str) -> Result<Client, InvalidUrl> {
    let invalid = |error: redis::RedisError| InvalidUrl(error.to_string());
    let tcp = TcpSettings::default().set_nodelay(true);
    let info = url.into_connection_info().map_err(invalid)?;
    Client::open(info.set_tcp_settings(tcp)).map_err(invalid)
}

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
        Ok(Self {
            connection: Connection::new(client(&options.url)?, options.command_timeout),
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
        let (directory_epoch, (holder, live, lives)): (_, (Option<u64>, bool, String)) =
            self.run(&pipeline).await?;
        if let Some(holder) = holder.map(Incarnation) {
            return Ok(Joined::Refused { holder, live });
        }
        for incarnation in former(&lives) {
            let member = Member { node: node.node.clone(), incarnation };
            if self.sweep_clients(&member).await?.kept == 0 {
                self.forget(&member, Duration::ZERO).await?;
            }
        }
        Ok(Joined::Accepted { directory_epoch })
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
        self.sweep_clients(member).await?;
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

    async fn claim_late(
        &self,
        client: &ClientRow,
        ago: Duration,
    ) -> Result<Claimed, DirectoryError> {
        let claim = self.claim_when_free(client, ago).await?;
        self.claimed(client, claim).await
    }

    async fn restore(&self, client: &ClientRow, epoch: Epoch) -> Result<Restored, DirectoryError> {
        let mut restore = self.scripts.restore.key(self.keys.client(&client.client_id));
        restore.arg(client.owner.node.as_str()).arg(client.owner.incarnation.0);
        restore.arg(epoch.0).arg(client.user.as_str()).arg(&client.address);
        restore.arg(u8::from(client.connected)).arg(u8::from(client.durable));
        add_will(&mut restore, client);
        let mut pipeline = self.enter(client);
        pipeline
            .invoke_script(&restore)
            .sadd(self.keys.user(&client.user), client.client_id.as_str())
            .ignore();
        let ((holder, erased),): (Restoration,) = self.run(&pipeline).await?;
        let (holder, erased) = (owner(holder), erased.map(Epoch));
        let is_over = client.durable && erased >= Some(epoch);
        if holder.is_some() || is_over {
            let entry = (client.client_id.clone(), Some(client.user.clone()));
            self.take_out(&client.owner, &[entry]).await?;
        }
        Ok(Restored { holder, erased })
    }

    async fn release(
        &self,
        client_id: &ClientId,
        user: &UserName,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Result<Option<Vec<HeldWill>>, DirectoryError> {
        let parted = self.part(&self.scripts.release, (client_id, owner, epoch), end).await?;
        // Also when the row has gone to another owner: this one's entries are left. Those of a row that stays
        // for the sake of its wills are needed.
        if parted.as_ref().is_none_or(|(_, is_gone)| *is_gone) {
            self.take_out(owner, &[(client_id.clone(), Some(user.clone()))]).await?;
        }
        Ok(parted.map(|(wills, _)| wills))
    }

    async fn park(
        &self,
        client_id: &ClientId,
        owner: &Member,
        epoch: Epoch,
        end: End,
    ) -> Result<Option<Vec<HeldWill>>, DirectoryError> {
        let parted = self.part(&self.scripts.park, (client_id, owner, epoch), end).await?;
        Ok(parted.map(|(wills, _)| wills))
    }

    async fn cleared(
        &self,
        client_id: &ClientId,
        node: &NodeId,
        epoch: Epoch,
    ) -> Result<(), DirectoryError> {
        let mut call = self.scripts.cleared.key(self.keys.client(client_id));
        let mut pipeline = pipe();
        pipeline.invoke_script(call.arg(node.as_str()).arg(epoch.0)).ignore();
        self.run(&pipeline).await
    }

    async fn find(&self, client_id: &ClientId) -> Result<Option<Owner>, DirectoryError> {
        let mut pipeline = pipe();
        let fields = ["node", "incarnation", "epoch"];
        pipeline.hmget(self.keys.client(client_id), &fields);
        let (fields,): (OwnerFields,) = self.run(&pipeline).await?;
        Ok(owner(fields))
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

    async fn sweep(&self, member: &Member, keep_row: Duration) -> Result<u64, DirectoryError> {
        if !self.has_ended(member).await? {
            return Ok(0);
        }
        let swept = self.sweep_clients(member).await?;
        if swept.kept == 0 {
            // A life that has ended writes no home any more: what is read here stays true.
            let is_home = self.has_home(&member.node).await?;
            self.forget(member, if is_home { keep_row } else { Duration::ZERO }).await?;
        }
        Ok(swept.deleted)
    }

    async fn take_wills(&self, member: &Member) -> Result<Vec<HeldWill>, DirectoryError> {
        if !self.has_ended(member).await? {
            return Ok(Vec::new());
        }
        self.take_some_wills(member).await
    }

    async fn settle_wills(
        &self,
        member: &Member,
        wills: &[HeldWill],
    ) -> Result<(), DirectoryError> {
        self.settle(member, wills).await
    }

    async fn note_home(
        &self,
        node: &NodeId,
        add: &[Filter],
        remove: &[Filter],
    ) -> Result<(), DirectoryError> {
        self.remove_from_home(node, remove).await?;
        self.add_to_home(node, add).await
    }

    async fn replace_home(&self, node: &NodeId, filters: &[Filter]) -> Result<(), DirectoryError> {
        self.add_to_home(node, filters).await?;
        let stay: HashSet<&Filter> = filters.iter().collect();
        let mut gone = self.read_home(node).await?;
        gone.retain(|filter| !stay.contains(filter));
        self.remove_from_home(node, &gone).await
    }

    async fn home(&self, node: &NodeId) -> Result<Vec<Filter>, DirectoryError> {
        self.read_home(node).await
    }

    async fn note_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<(), DirectoryError> {
        self.write_bridge(bridge, incarnation, lease).await
    }

    async fn leave_bridge(
        &self,
        bridge: &BridgeId,
        incarnation: Incarnation,
    ) -> Result<(), DirectoryError> {
        self.delete_bridge(bridge, incarnation).await
    }

    async fn bridges(&self) -> Result<Vec<BridgeId>, DirectoryError> {
        self.read_bridges().await
    }
}

impl fmt::Debug for RedisDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("RedisDirectory").finish_non_exhaustive()
    }
}

fn micros(lease: Duration) -> u64 {
    u64::try_from(lease.as_micros()).unwrap_or(u64::MAX)
}
