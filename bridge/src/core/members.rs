//! Which nodes there are, by the directory: who shall be dialled, whose lease has ended, whose rows
//! shall be swept.
//!
//! It leaves to others: reading the directory, dialling, sweeping; what becomes of a node whose lease
//! has ended (`homes.rs`).

use std::{cmp::Ordering, collections::BTreeSet, time::Instant};

use causeway_common::{
    directory::{Member, NodeRow, NodeStatus},
    id::NodeId,
    topic::Filter,
};

use super::{
    Core, Homes, View,
    node::{Node, Step},
};
use crate::routes::NodeIndex;

/// A node that shall have a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Its youngest known life.
    pub member: Member,
    /// Where its link listener is: `host:port`.
    pub address: String,
}

impl Core {
    /// The directory has answered, with every node row, and with the homes that were wanted of them
    /// ([`Self::homes_wanted`]).
    pub fn nodes_seen(&mut self, now: Instant, rows: &[NodeStatus], homes: &Homes) {
        let trusted_from = match self.directory {
            View::Unseen => {
                self.ends_doubted_until = Some(now + self.options.lease);
                now
            }
            View::Reachable { trusted_from } => trusted_from,
            View::Lost => now + self.options.lease,
        };
        self.directory = View::Reachable { trusted_from };
        let trusted = now >= trusted_from;
        let mut present = BTreeSet::new();
        for status in rows {
            let home = homes.get(&status.row.node).map_or(&[][..], Vec::as_slice);
            let at = self.names.get(&status.row.node).copied();
            present.extend(match at {
                Some(at) => self.seen_again(now, at, (status, home), trusted),
                None => self.seen_first(now, (status, home), trusted),
            });
        }
        self.swept.retain(|life| rows.iter().any(|status| member_of(&status.row) == *life));
        if trusted {
            self.judge_missing(now, &present);
        }
        self.say_changes();
        self.tick(now);
    }

    /// The directory does not answer. The nodes known last stay, and nobody is gone meanwhile.
    pub fn directory_lost(&mut self, now: Instant) {
        if matches!(self.directory, View::Reachable { .. }) {
            self.directory = View::Lost;
        }
        self.tick(now);
    }

    /// The nodes that have no link and shall have one.
    pub fn dials(&self) -> Vec<Dial> {
        let unlinked = self.live_nodes().filter(|(_, node)| node.link.is_none());
        unlinked.map(|(_, node)| dial(node)).collect()
    }

    /// How to dial a node now; nothing if it is gone.
    pub fn dial(&self, node: &NodeId) -> Option<Dial> {
        let at = self.live(node)?;
        self.nodes.get(&at).map(dial)
    }

    /// Lives of nodes whose lease has ended and whose rows are to be swept.
    pub fn sweeps(&self) -> Vec<Member> {
        self.sweeps.iter().cloned().collect()
    }

    /// The rows of a life have been swept. Its node row may stay for a while, and then it is swept
    /// again and again; returns whether this was the first time.
    pub fn swept(&mut self, member: &Member) -> bool {
        self.sweeps.shift_remove(member);
        self.swept.insert(member.clone())
    }

    fn seen_first(
        &mut self,
        now: Instant,
        (status, home): (&NodeStatus, &[Filter]),
        trusted: bool,
    ) -> Option<NodeIndex> {
        let member = member_of(&status.row);
        // One that was judged before stays for a while, only to be swept.
        let judged = self.sweeps.contains(&member) || self.swept.contains(&member);
        let doubted = self.ends_doubted_until.is_some_and(|until| now < until);
        let ended = !status.live && (judged || (trusted && !doubted));
        if ended && home.is_empty() {
            self.sweeps.insert(member);
            return None;
        }
        self.last_node += 1;
        let at = NodeIndex(self.last_node);
        self.names.insert(member.node.clone(), at);
        let mut node = Node::new(member, status.row.link_address.clone(), now);
        node.was_live = status.live;
        self.nodes.insert(at, node);
        if !status.live {
            self.lease_ended(now, at, status, home);
        }
        if ended {
            self.gone(now, at);
        }
        (!ended).then_some(at)
    }

    /// Returns the node if its row is there and does not speak against it.
    fn seen_again(
        &mut self,
        now: Instant,
        at: NodeIndex,
        (status, home): (&NodeStatus, &[Filter]),
        trusted: bool,
    ) -> Option<NodeIndex> {
        let node = self.nodes.get_mut(&at)?;
        let row = &status.row;
        let age = row.incarnation.cmp(&node.member.incarnation);
        if !status.live {
            let doubted = self.ends_doubted_until.is_some_and(|until| now < until);
            let trusted = trusted && (node.was_live || !doubted);
            let speaks = node.step == Step::In;
            self.sweep_if(trusted, member_of(row));
            if age == Ordering::Less {
                return None; // the row of an earlier life says nothing of this one
            }
            // While it speaks for itself and may well live, the directory knows nothing better.
            let home = if speaks && !trusted { &[] } else { home };
            self.lease_ended(now, at, status, home);
            if trusted {
                self.gone(now, at);
            }
            return (!trusted).then_some(at);
        }
        if row.incarnation > node.shown {
            let former = Member {
                node: row.node.clone(),
                incarnation: std::mem::replace(&mut node.shown, row.incarnation),
            };
            self.sweeps.insert(former);
        }
        if age == Ordering::Less {
            return None;
        }
        (node.was_live, node.home_until) = (true, None);
        node.address.clone_from(&row.link_address);
        if age == Ordering::Greater || node.is_away() {
            node.member.incarnation = row.incarnation;
            // Its old life is over, and with it the link to that.
            self.give_up(now, at);
            self.begin_step(now, at);
        }
        Some(at)
    }

    /// A node without a row has left, or was swept, unless the directory has lost rows: that is to
    /// be feared for a lease after a node was without one that certainly lives. Whoever was not
    /// heard for a lease is gone in any case.
    fn judge_missing(&mut self, now: Instant, present: &BTreeSet<NodeIndex>) {
        let lease = self.options.lease;
        let silent = |node: &Node| node.heard.is_none_or(|heard| now >= heard + lease);
        let missing = || self.nodes.iter().filter(|(at, _)| !present.contains(at));
        if missing().any(|(_, node)| node.link.is_some() && !silent(node)) {
            self.rows_doubted_until = Some(now + lease);
        }
        let doubted = self.rows_doubted_until.is_some_and(|until| now < until);
        let gone = missing().filter(|(_, node)| silent(node) || (node.link.is_none() && !doubted));
        let gone: Vec<NodeIndex> = gone.map(|(at, _)| *at).collect();
        for at in gone {
            self.gone(now, at);
        }
    }

    /// A new life is to be linked: the time for that begins now.
    fn begin_step(&mut self, now: Instant, at: NodeIndex) {
        if let Some(node) = self.nodes.get_mut(&at) {
            node.step = Step::Out { since: now, cut_off: false };
            node.is_absent = false;
        }
    }

    fn sweep_if(&mut self, trusted: bool, member: Member) {
        if trusted {
            self.sweeps.insert(member);
        }
    }
}

fn dial(node: &Node) -> Dial {
    Dial { member: node.member.clone(), address: node.address.clone() }
}

fn member_of(row: &NodeRow) -> Member {
    Member { node: row.node.clone(), incarnation: row.incarnation }
}
