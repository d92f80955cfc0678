//! The bridges that the directory shows, and which of them this life of the node has met: one that it
//! has not may hold messages from the time when the node was away.
//!
//! It leaves to others: links (`links.rs`), and what waits for bridges (`moves/flush.rs`).

use std::collections::BTreeSet;

use causeway_common::id::{BridgeId, Incarnation};

use super::Hub;

/// What is known of the bridges of the cluster.
#[derive(Debug, Default)]
pub(super) struct Bridges {
    /// Those with a lease; nothing before the directory has said so in this life.
    listed: Option<Vec<BridgeId>>,
    /// Those that have linked in this life.
    met: BTreeSet<BridgeId>,
}

impl Bridges {
    pub(super) fn meet(&mut self, bridge: BridgeId) {
        self.met.insert(bridge);
    }

    /// Whether every bridge that the directory shows has linked in this life.
    pub(super) fn are_met(&self) -> bool {
        self.are_all(|bridge| self.met.contains(bridge))
    }

    /// Whether this is true of every bridge; false as long as they are not known.
    pub(super) fn are_all(&self, is_so: impl Fn(&BridgeId) -> bool) -> bool {
        self.listed.as_ref().is_some_and(|listed| listed.iter().all(is_so))
    }
}

impl Hub {
    /// The bridges that are linked, and their lives.
    pub fn linked_bridges(&self) -> Vec<(BridgeId, Incarnation)> {
        let statuses = self.links.statuses();
        statuses.map(|status| (status.bridge.clone(), status.incarnation)).collect()
    }

    /// Tells the hub which bridges live, linked or not.
    pub fn set_bridges(&mut self, listed: Vec<BridgeId>) {
        self.bridges.listed = Some(listed);
        self.step_all();
    }
}
