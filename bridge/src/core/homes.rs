//! Nodes whose lease has ended. Most are forgotten; one that durable sessions may wait at is *away*:
//!
//! ```text
//!   lives ── lease ended ─▶ away: durable filters stay as routes, ── a new life ─▶ lives again: what
//!                           copies for them are held                 is held goes when it is in step
//!                              └── grace time over ─▶ forgotten: they are dropped, `home_gone`
//! ```
//!
//! * Which filters are durable the bridge has from the node. The directory keeps the same as the
//!   node's *home*, for a bridge that was not linked to it: one that has started since, above all. It
//!   is asked for before a row is believed whose lease has ended. What either names counts: too much
//!   keeps acknowledgements waiting, too little would lose messages.
//! * While the directory is gone nobody can come back, so nobody is forgotten; after it is back there
//!   is one lease to come in.
//!
//! It leaves to others: when a lease has ended (`members.rs`), reading homes.

use std::{collections::BTreeMap, time::Instant};

use causeway_common::{directory::NodeStatus, id::NodeId, topic::Filter};
use prometheus::IntCounter;

use super::{
    Core, View,
    node::{Node, Step},
};
use crate::{
    relay::{Load, Parcel},
    routes::NodeIndex,
};

/// Durable filters by the name of their node, as the directory keeps them.
pub type Homes = BTreeMap<NodeId, Vec<Filter>>;

impl Core {
    /// The nodes whose homes are to be read before these rows are given to [`Self::nodes_seen`].
    pub fn homes_wanted(&self, rows: &[NodeStatus]) -> Vec<NodeId> {
        let ended = |status: &&NodeStatus| {
            !status.live && status.ended_for < self.options.home_grace && !self.knows_home(status)
        };
        rows.iter().filter(ended).map(|status| status.row.node.clone()).collect()
    }

    fn knows_home(&self, status: &NodeStatus) -> bool {
        let at = self.names.get(&status.row.node);
        let node = at.and_then(|at| self.nodes.get(at)).filter(|node| node.is_away());
        node.is_some_and(|node| status.row.incarnation <= node.member.incarnation)
    }

    /// The nodes that are not away.
    pub(super) fn live_nodes(&self) -> impl Iterator<Item = (&NodeIndex, &Node)> {
        self.nodes.iter().filter(|(_, node)| !node.is_away())
    }

    /// The node of a name, unless it is away.
    pub(super) fn live(&self, node: &NodeId) -> Option<NodeIndex> {
        let at = *self.names.get(node)?;
        self.nodes.get(&at).filter(|node| !node.is_away()).map(|_| at)
    }

    /// The directory shows an ended lease of the youngest known life, or of one still younger, which
    /// may or may not prove anything: what it says of the home is learnt.
    pub(super) fn lease_ended(
        &mut self,
        now: Instant,
        at: NodeIndex,
        status: &NodeStatus,
        home: &[Filter],
    ) {
        if let Some(node) = self.nodes.get_mut(&at) {
            if node.is_away() {
                node.member.incarnation = status.row.incarnation; // a life that came and went
            }
            let left = self.options.home_grace.saturating_sub(status.ended_for);
            node.home_until = Some(now + left);
        }
        self.add_routes(at, home);
        for filter in home {
            self.routes.set_durable(at, filter, true);
        }
        if !home.is_empty() {
            self.stale.extend(self.nodes.keys());
        }
    }

    /// A node's lease has ended: nobody waits for it any more, and nothing goes to it, but what its
    /// durable sessions may wait for.
    pub(super) fn gone(&mut self, now: Instant, at: NodeIndex) {
        self.give_up(now, at);
        let Some(node) = self.nodes.get_mut(&at).filter(|node| !node.is_away()) else {
            return;
        };
        node.step = Step::Away;
        node.home_until.get_or_insert(now + self.options.home_grace);
        let waiters = std::mem::take(&mut node.waiters);
        self.sweeps.insert(node.member.clone());
        // The label was never used if no sizes were noted meanwhile.
        let name = [node.member.node.as_str()];
        let _ = self.metrics.interest_filters.remove_label_values(&name);
        self.release(at, waiters);
        self.settle_unwanted(at);
        for filter in &self.routes.keep_durable(at) {
            self.interest.remove(filter, at);
        }
        self.stale.extend(self.nodes.keys());
        let node_gone = self.metrics.messages_dropped.node_gone.clone();
        self.drop_held(at, &node_gone, |core, parcel| match &parcel.load {
            Load::Forward(envelope) => {
                envelope.qos.is_answered() && core.routes.wants(at, envelope.topic())
            }
            Load::Direct(_) => false,
        });
        if !self.routes.has_durable(at) {
            self.forget(at);
        }
    }

    /// Forgets the nodes that have been away for too long.
    pub(super) fn expire_homes(&mut self, now: Instant) {
        let is_over = |node: &Node| self.expires_at(node).is_some_and(|at| at <= now);
        let over = self.nodes.iter().filter(|(_, node)| node.is_away() && is_over(node));
        let over: Vec<NodeIndex> = over.map(|(at, _)| *at).collect();
        let home_gone = self.metrics.messages_dropped.home_gone.clone();
        for at in over {
            self.drop_held(at, &home_gone, |_, _| false);
            self.forget(at);
        }
    }

    /// When a node that is away is to be forgotten; nothing while the directory is gone.
    pub(super) fn expires_at(&self, node: &Node) -> Option<Instant> {
        match self.directory {
            View::Reachable { trusted_from } => Some(node.home_until?.max(trusted_from)),
            View::Unseen | View::Lost => None,
        }
    }

    /// What is retained and wanted by nobody there gets there, if the node comes back, without this
    /// bridge: it is not lost.
    fn settle_unwanted(&mut self, at: NodeIndex) {
        let Some(node) = self.nodes.get_mut(&at) else {
            return;
        };
        let routes = &self.routes;
        let unwanted = node.lane.sort_out(|parcel| match &parcel.load {
            Load::Forward(envelope) => {
                envelope.retained.is_none() || routes.wants(at, envelope.topic())
            }
            Load::Direct(_) => true,
        });
        for parcel in unwanted {
            self.settle(parcel.ticket);
        }
    }

    fn drop_held(
        &mut self,
        at: NodeIndex,
        counted: &IntCounter,
        keep: impl Fn(&Self, &Parcel) -> bool,
    ) {
        let lane = self.nodes.get_mut(&at).map(|node| std::mem::take(&mut node.lane));
        let Some(mut lane) = lane else { return };
        let dropped = lane.sort_out(|parcel| keep(self, parcel));
        if let Some(node) = self.nodes.get_mut(&at) {
            node.lane = lane;
        }
        for parcel in dropped {
            self.undelivered(&parcel, counted);
        }
    }

    /// Forgets a node for which nothing is held, with all it wanted.
    fn forget(&mut self, at: NodeIndex) {
        let Some(node) = self.nodes.remove(&at) else {
            return;
        };
        self.names.remove(&node.member.node);
        for filter in &self.routes.forget(at) {
            self.interest.remove(filter, at);
        }
        self.stale.extend(self.nodes.keys());
    }
}
