//! What a bridge says of itself: to operators, to tests, in its metrics.

use causeway_common::id::NodeId;
use prometheus::IntGauge;

use super::{
    Core, View,
    node::{Node, Readiness, Step},
};

impl Core {
    /// Why the bridge is not ready for the nodes; empty if it is.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.directory {
            View::Reachable { .. } => {}
            View::Unseen | View::Lost => reasons.push("directory is gone".to_owned()),
        }
        let out_of_step = self.names_where(|node| matches!(node.step, Step::Out { .. }));
        let cut_off = self.names_where(|node| matches!(node.step, Step::Out { cut_off: true, .. }));
        if !self.armed && self.live_nodes().next().is_none() {
            reasons.push("not armed: no node is known".to_owned());
        } else if !self.armed && !out_of_step.is_empty() {
            reasons.push(format!("not armed: waiting for {out_of_step}"));
        } else if !cut_off.is_empty() {
            reasons.push(format!("cut off from {cut_off}"));
        }
        if self.closing {
            reasons.push("shutting down".to_owned());
        }
        reasons
    }

    /// Whether the routes of all live nodes have been learnt since the start.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Whether a node has been told to give its messages.
    pub fn is_ready_for(&self, node: &NodeId) -> bool {
        let node = self.names.get(node).and_then(|at| self.nodes.get(at));
        let link = node.and_then(|node| node.link.as_ref());
        link.is_some_and(|link| link.readiness == Readiness::Given)
    }

    /// How many messages, notes and changes of routes are not answered yet.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    fn names_where(&self, pick: impl Fn(&Node) -> bool) -> String {
        let picked = self.nodes.values().filter(|node| pick(node));
        let mut names: Vec<&str> = picked.map(|node| node.member.node.as_str()).collect();
        names.sort_unstable();
        names.join(", ")
    }

    pub(super) fn note_flow(&self) {
        set(&self.metrics.transits, self.owed.len());
        set(&self.metrics.routes, self.routes.len());
    }

    pub(super) fn note_sizes(&self) {
        self.note_flow();
        let links = || self.nodes.values().filter_map(|node| node.link.as_ref());
        let ready = links().filter(|link| link.readiness == Readiness::Given);
        let held = |len: fn(&Node) -> usize| self.nodes.values().map(len).sum();
        set(&self.metrics.links, links().count());
        set(&self.metrics.links_ready, ready.count());
        let live = self.live_nodes().count();
        set(&self.metrics.nodes_live, live);
        set(&self.metrics.nodes_away, self.nodes.len() - live);
        set(&self.metrics.armed, usize::from(self.armed));
        set(&self.metrics.held_messages, held(|node| node.lane.held_len()));
        set(&self.metrics.held_bytes, held(|node| node.lane.held_bytes()));
        set(&self.metrics.interest_merged_groups, self.interest.merged_groups());
        for (at, node) in self.live_nodes() {
            let name = [node.member.node.as_str()];
            let filters = self.metrics.interest_filters.with_label_values(&name);
            set(&filters, self.interest.len(*at));
        }
    }
}

fn set(gauge: &IntGauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
