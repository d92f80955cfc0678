//! Who else is there, as the directory says: nodes and bridges. It is asked with every renewal of the lease.
//!
//! It leaves to others: what follows from that (`hub`).

use causeway_common::{
    directory::{DirectoryError, Member, NodeStatus},
    id::NodeId,
};
use tokio::time::Instant;

use super::{Keeper, Membership};

impl Membership {
    pub(super) async fn learn_others(&self, keeper: &mut Keeper) -> Result<(), DirectoryError> {
        self.learn_peers(keeper).await?;
        self.learn_bridges(keeper).await
    }

    /// Learns which other nodes live. One that is no longer listed counts for one lease more: the
    /// directory may have lost its row, and it will write it again.
    async fn learn_peers(&self, keeper: &mut Keeper) -> Result<(), DirectoryError> {
        let now = Instant::now();
        let reached_since = *keeper.reached_since.get_or_insert(now);
        // If it was gone for all, a lease may have ended whose node lives: that has a lease to renew it.
        let trusts = reached_since + self.terms.lease <= now;
        let (mut away, mut ended) = (Vec::new(), Vec::from_iter(keeper.former.clone()));
        for status in self.directory.nodes().await? {
            ended.extend(settleable(&status, keeper, trusts));
            let NodeStatus { row, live, ended_for, .. } = status;
            if row.node == keeper.row.node {
                continue;
            }
            if live {
                keeper.peers.insert(row.node, now);
                continue;
            }
            keeper.peers.remove(&row.node);
            if ended_for < self.terms.home_grace
                && !self.directory.home(&row.node).await?.is_empty()
            {
                away.push(row.node);
            }
        }
        self.wills.have_ended(ended);
        keeper.peers.retain(|_, seen| now < *seen + self.terms.lease);
        let mut peers: Vec<NodeId> = keeper.peers.keys().cloned().collect();
        peers.sort_unstable();
        self.hub.lock().set_peers(peers, away);
        Ok(())
    }

    /// Learns which bridges live. Those that are linked here do: one that cannot reach the directory
    /// would lose its row otherwise, and may hold messages that this node has from its clients. One that
    /// is no longer listed counts on for a lease after the directory has lost rows: it will write its
    /// row again.
    async fn learn_bridges(&self, keeper: &mut Keeper) -> Result<(), DirectoryError> {
        let linked = self.hub.lock().linked_bridges();
        for (bridge, incarnation) in linked {
            self.directory.note_bridge(&bridge, incarnation, self.terms.lease).await?;
        }
        let mut listed = self.directory.bridges().await?;
        if keeper.rows_lost.is_some_and(|lost| lost.elapsed() < self.terms.lease) {
            listed.append(&mut keeper.bridges);
            listed.sort_unstable();
            listed.dedup();
        }
        keeper.bridges.clone_from(&listed);
        self.hub.lock().set_bridges(listed);
        Ok(())
    }
}

/// The lives of a name whose wills may be published. One that a younger life has replaced is over in any
/// case; of the last one the lease must have ended while others could renew theirs.
fn settleable(status: &NodeStatus, keeper: &Keeper, trusts: bool) -> Vec<Member> {
    let mut lives = status.ended_lives();
    let is_last = |life: &Member| life.incarnation == status.row.incarnation;
    let may_live = !trusts || status.row.node == keeper.row.node;
    lives.retain(|life| !(is_last(life) && may_live) && Some(life) != keeper.former.as_ref());
    lives
}
