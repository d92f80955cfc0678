//! What the scripts return, and what it means.

use std::time::Duration;

use redis::ScriptInvocation;
use tracing::warn;

use crate::{
    directory::{Before, ClientRow, HeldWill, Member, NodeRow, NodeStatus, Owner, Previous},
    id::{ClientId, Epoch, Incarnation, NodeId},
    message::Message,
    qos::QoS,
    topic::Topic,
};

/// The new epoch, the contests, what the old row said, wills that are owed, the last erasure, nodes that parts
/// of the session may be left on, and the last claim of another node: of `claim.lua`.
pub(super) type Claim = (u64, u32, OldRow, Vec<Owed>, Option<u64>, String, Elsewhere);

/// Node and epoch of a claim, if there was one.
pub(super) type Elsewhere = Vec<String>;

/// Node, incarnation, epoch, user, address, whether the client is connected and its session durable;
/// of a row that may not be there.
pub(super) type OldRow = (
    Option<String>,
    Option<u64>,
    Option<u64>,
    Option<String>,
    Option<String>,
    Option<bool>,
    Option<bool>,
);

/// Node, incarnation and epoch, of a row that may not be there.
pub(super) type OwnerFields = (Option<String>, Option<u64>, Option<u64>);

/// The owner of a row, and the last erasure: of `restore.lua`.
pub(super) type Restoration = (OwnerFields, Option<u64>);

/// The claim that a will came with, its topic, QoS, retain and payload.
pub(super) type Owed = (u64, String, u8, bool, Vec<u8>);

/// The will of a connection that has ended, and whether its row is gone: of `park.lua` and `release.lua`.
pub(super) type Parted = Option<(Vec<Owed>, bool)>;

/// What `status.lua` returns.
pub(super) type Status = (u64, String, String, u64, bool, u64, String);

/// What `take.lua` returns: epoch, wills.
pub(super) type Taken = Option<(u64, Vec<Owed>)>;

pub(super) fn status(
    node: NodeId,
    (incarnation, link_address, client_address, connections, live, ended_us, lives): Status,
) -> NodeStatus {
    let row = NodeRow { node, incarnation: Incarnation(incarnation), link_address, client_address };
    let ended_for = Duration::from_micros(ended_us);
    NodeStatus { row, live, connections, ended_for, former: former(&lives) }
}

/// The last claim of another node.
pub(super) fn before(elsewhere: &Elsewhere) -> Option<Before> {
    let [node, epoch] = elsewhere.as_slice() else {
        return None;
    };
    Some(Before { node: NodeId::from(node.as_str()), epoch: Epoch(epoch.parse().ok()?) })
}

/// The nodes that a client's row names.
pub(super) fn left_on(names: &str) -> Vec<NodeId> {
    names.split_whitespace().map(NodeId::from).collect()
}

/// The lives that a node's row names.
pub(super) fn former(lives: &str) -> Vec<Incarnation> {
    lives.split_whitespace().filter_map(|life| life.parse().ok().map(Incarnation)).collect()
}

/// Wills that stand in the row of a claim.
pub(super) fn held_wills(client_id: &ClientId, epoch: Epoch, owed: Vec<Owed>) -> Vec<HeldWill> {
    let held = owed.into_iter().filter_map(|owed| {
        let of = Epoch(owed.0);
        Some(HeldWill { client_id: client_id.clone(), epoch, of, will: will(owed)? })
    });
    held.collect()
}

pub(super) fn owner((node, incarnation, epoch): OwnerFields) -> Option<Owner> {
    let member = Member { node: NodeId::from(node?), incarnation: Incarnation(incarnation?) };
    Some(Owner { member, epoch: Epoch(epoch?) })
}

pub(super) fn previous(
    (node, incarnation, epoch, _user, address, connected, durable): OldRow,
) -> Option<Previous> {
    Some(Previous {
        owner: owner((node, incarnation, epoch))?,
        address: address.unwrap_or_default(),
        connected: connected.unwrap_or_default(),
        durable: durable.unwrap_or_default(),
    })
}

fn will((_, topic, qos, retain, payload): Owed) -> Option<Message> {
    let read = || {
        let (topic, qos) = (Topic::new(topic.as_str()).ok()?, QoS::from_bits(qos)?);
        Some(Message { topic, payload: payload.into(), qos, retain })
    };
    let will = read();
    if will.is_none() {
        warn!(%topic, "the directory holds a will that is none");
    }
    will
}

/// Adds a will to what a script is told; nothing if there is none.
pub(super) fn add_will(call: &mut ScriptInvocation<'_>, client: &ClientRow) {
    if let Some(will) = &client.will {
        call.arg(will.topic.as_str()).arg(will.qos.bits());
        call.arg(u8::from(will.retain)).arg(&will.payload[..]);
    }
}
