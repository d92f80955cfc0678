//! Looks into the directory, over and over: tells the core which nodes live and what those that do
//! not have left behind, and sees to it that each that lives has a task that keeps it linked. With
//! every look it prolongs the lease of its own row.
//!
//! It leaves to others: what follows from that ([`crate::core`]), and dead nodes' rows
//! ([`crate::janitor`]).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use causeway_common::{
    directory::{Directory, DirectoryError, NodeStatus},
    id::{BridgeId, Incarnation, NodeId},
};
use parking_lot::Mutex;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    core::Homes,
    link::{LinkParts, Order, keep_linked},
};

/// The tasks that keep nodes linked; dropped, they end.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) parts: Arc<LinkParts>,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    set: JoinSet<()>,
    by_node: BTreeMap<NodeId, AbortHandle>,
}

/// Watches until the task is aborted.
pub(crate) async fn watch(
    directory: Arc<dyn Directory>,
    links: Arc<Links>,
    place: Place,
    poll_interval: Duration,
) {
    let mut was_up = true;
    loop {
        let seen = look(&*directory, &links.parts, &place).await;
        let is_up = seen.is_ok();
        links.note(seen, was_up);
        was_up = is_up;
        links.keep();
        sleep(poll_interval).await;
    }
}

/// The bridge's own row in the directory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) bridge: BridgeId,
    pub(crate) incarnation: Incarnation,
    /// How long nodes count on this bridge after its last look.
    pub(crate) lease: Duration,
}

impl Place {
    /// Nodes let no session go before this bridge is linked, for as long as it may hold something: so
    /// they must know of it before it links anybody.
    async fn keep(&self, directory: &dyn Directory) -> Result<(), DirectoryError> {
        directory.note_bridge(&self.bridge, self.incarnation, self.lease).await
    }

    /// Gives the place up: a clean end.
    pub(crate) async fn leave(&self, directory: &dyn Directory) {
        if let Err(error) = directory.leave_bridge(&self.bridge, self.incarnation).await {
            warn!(%error, "directory could not be told that this bridge leaves");
        }
    }
}

/// Prolongs the bridge's own lease, then reads every node row, and with them the homes that the core has to know to judge them: without these it
/// learns of none of the rows.
async fn look(
    directory: &dyn Directory,
    parts: &LinkParts,
    place: &Place,
) -> Result<(Vec<NodeStatus>, Homes), DirectoryError> {
    place.keep(directory).await?;
    let rows = directory.nodes().await?;
    let wanted = parts.core.lock().homes_wanted(&rows);
    let mut homes = Homes::new();
    for node in wanted {
        let filters = directory.home(&node).await?;
        homes.insert(node, filters);
    }
    Ok((rows, homes))
}

impl Links {
    pub(crate) fn new(parts: Arc<LinkParts>) -> Self {
        let tasks = Mutex::default();
        Self { parts, tasks }
    }

    /// Lets every link send what there is to send, and ends it.
    pub(crate) async fn finish(&self) {
        self.parts.order.send_replace(Order::Finish);
        let mut tasks = std::mem::take(&mut self.tasks.lock().set);
        let finished = async { while tasks.join_next().await.is_some() {} };
        // What is still dialling, or stuck, is aborted when the set is dropped.
        let _ = timeout(FINISH_TIMEOUT, finished).await;
    }

    /// Tells the core what the directory said.
    fn note(&self, seen: Result<(Vec<NodeStatus>, Homes), DirectoryError>, was_up: bool) {
        let metrics = &self.parts.metrics;
        metrics.directory_up.set(i64::from(seen.is_ok()));
        let now = Instant::now().into_std();
        match seen {
            Ok((rows, homes)) => {
                if !was_up {
                    info!("directory is back");
                }
                self.parts.core.lock().nodes_seen(now, &rows, &homes);
            }
            Err(error) => {
                metrics.directory_errors.inc();
                if was_up {
                    warn!(%error, "directory is gone");
                }
                self.parts.core.lock().directory_lost(now);
            }
        }
    }

    /// Starts a task for each node that has none, and lets links end that the core has given up.
    fn keep(&self) {
        let (dials, hang_ups) = {
            let mut core = self.parts.core.lock();
            (core.dials(), core.take_hang_ups())
        };
        if !hang_ups.is_empty() {
            self.parts.order.send_replace(Order::Look);
        }
        let tasks = &mut *self.tasks.lock();
        while tasks.set.try_join_next().is_some() {}
        tasks.by_node.retain(|_, task| !task.is_finished());
        for node in dials.into_iter().map(|dial| dial.member.node) {
            if !tasks.by_node.contains_key(&node) {
                let task = keep_linked(Arc::clone(&self.parts), node.clone());
                tasks.by_node.insert(node, tasks.set.spawn(task));
            }
        }
    }
}

/// Longer than a link takes for its last words.
const FINISH_TIMEOUT: Duration = Duration::from_millis(1500);
