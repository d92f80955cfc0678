//! The node's place in the directory: its lease, its clients' rows, and when to fence itself.
//!
//! ```text
//!   join ──► renew every quarter of a lease ──► …
//!              │ no answer: does a bridge reach the directory?
//!              │    no, it is gone for all       → go on serving, try again
//!              │    yes, or nobody to ask        → fence before the lease can have ended
//!              │ "lost": the rows were flushed   → join again, write every client's row again
//!              └ "lost": the lease had ended     → fence, join as a new life
//! ```
//!
//! A node that is fenced serves nobody: others may have taken it for dead, and what they acknowledged
//! since did not reach its clients. Nothing here is on the path of a PUBLISH.

mod cleared;
mod fights;
mod home;
mod late;
mod logins;
mod others;
mod wills;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ahash::AHashMap;
use causeway_common::{
    directory::{Directory, DirectoryError, Joined, Member, NodeRow, Renewal},
    id::{BridgeId, Incarnation, NodeId},
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use crate::{config::WhenLost, hub::Hub, metrics::Metrics};

pub use fights::Hold;
pub use logins::Ownership;
pub use wills::Told;

use logins::Logins;
use wills::Wills;

/// How a node keeps its place.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long others count on this node after its last renewal.
    pub lease: Duration,
    /// What becomes of new logins while the directory is gone.
    pub when_lost: WhenLost,
    /// How long a CONNACK waits for another node to close the old connection.
    pub takeover_timeout: Duration,
    /// How long what is said to durable sessions of a node that is gone waits for it.
    pub home_grace: Duration,
}

/// The node's place in the directory.
pub struct Membership {
    directory: Arc<dyn Directory>,
    hub: Arc<Mutex<Hub>>,
    metrics: Arc<Metrics>,
    terms: Terms,
    logins: Logins,
    /// Durable filters have changed, and the directory may not know.
    home_is_behind: AtomicBool,
    /// Two who write the home at once could undo each other's changes.
    home_turn: tokio::sync::Mutex<()>,
    wills: Arc<Wills>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// What the keeper of the lease knows.
struct Keeper {
    row: NodeRow,
    /// The directory's memory when we joined; none before.
    directory_epoch: Option<String>,
    /// When the lease last certainly ran: the start of the last successful renewal.
    renewed: Option<Instant>,
    /// When the bridges last said, since the last renewal, that the directory is gone for them too.
    gone_for_all: Option<Instant>,
    /// When every client's row was last written again.
    audited: Instant,
    /// An earlier life of this process, whose rows may still be there.
    former: Option<Member>,
    /// A younger life under our name, another process, that has held it since we did.
    outlived_by: Option<Incarnation>,
    /// Since when every round has reached the directory.
    reached_since: Option<Instant>,
    /// When each other node was last seen with a running lease.
    peers: AHashMap<NodeId, Instant>,
    /// The bridges that live.
    bridges: Vec<BridgeId>,
    /// When the directory was last found to have lost its rows.
    rows_lost: Option<Instant>,
}

impl Membership {
    /// A place that has yet to be taken.
    pub fn new(
        directory: Arc<dyn Directory>,
        hub: Arc<Mutex<Hub>>,
        metrics: Arc<Metrics>,
        terms: Terms,
    ) -> Self {
        let wills = Arc::new(Wills::new(&directory, &hub, &metrics));
        Self {
            directory,
            hub,
            metrics,
            terms,
            wills,
            logins: Logins::default(),
            home_is_behind: AtomicBool::new(false),
            home_turn: tokio::sync::Mutex::new(()),
        }
    }

    /// How long a CONNACK waits for another node to close the old connection.
    pub fn takeover_timeout(&self) -> Duration {
        self.terms.takeover_timeout
    }

    /// Until when another node is asked to close an old connection: long after the login has gone
    /// on without its answer, so that a bridge that comes back carries it.
    pub fn takeover_deadline(&self) -> std::time::Instant {
        (Instant::now() + TAKEOVER_ASKED_FOR).into_std()
    }

    /// Takes the place and keeps it, until the task is aborted.
    pub async fn keep(&self, row: NodeRow) {
        let mut keeper = Keeper::new(row);
        loop {
            let reached = self.keep_once(&mut keeper).await;
            let quarter = self.terms.lease / 4;
            sleep(if reached { quarter } else { quarter.min(RETRY_INTERVAL) }).await;
        }
    }

    /// Gives the place up: a clean end.
    pub async fn leave(&self) {
        let me = self.hub.lock().me().clone();
        if let Err(error) = self.directory.leave(&me).await {
            warn!(%error, "directory could not be told that this node leaves");
        }
    }

    /// One round: renews or joins, and learns who else lives. False if the directory is gone.
    async fn keep_once(&self, keeper: &mut Keeper) -> bool {
        let started = Instant::now();
        let done = match keeper.directory_epoch {
            None => self.join(keeper, started).await,
            Some(_) => self.renew(keeper, started).await,
        };
        let done = match done {
            Ok(()) => self.learn_others(keeper).await,
            Err(error) => Err(error),
        };
        let was_out = self.logins.is_unreachable();
        self.note_reached(done.is_ok());
        match &done {
            // It is tried again several times a second.
            Err(error) if was_out => debug!(%error, "directory cannot be reached yet"),
            Err(error) => warn!(%error, "directory cannot be reached"),
            Ok(()) if was_out => info!("directory is reached again"),
            Ok(()) => {}
        }
        if done.is_err() {
            keeper.reached_since = None;
            self.metrics.directory_errors.inc();
            self.fence_in_time(keeper);
        }
        done.is_ok()
    }

    async fn join(&self, keeper: &mut Keeper, started: Instant) -> Result<(), DirectoryError> {
        match self.directory.join(&keeper.row, self.terms.lease).await? {
            Joined::Accepted { .. } if keeper.outlived_by.is_some() => {
                // Other nodes have heard the younger life: what an older one says is no news.
                let younger = keeper.outlived_by.take();
                keeper.former = Some(keeper.member());
                let last = keeper.row.incarnation.max(younger.unwrap_or_default());
                keeper.row.incarnation = next_incarnation(last);
                Box::pin(self.join(keeper, started)).await
            }
            Joined::Accepted { directory_epoch } => {
                info!(incarnation = %keeper.row.incarnation, "joined the cluster");
                keeper.directory_epoch = Some(directory_epoch);
                keeper.renewed = Some(started);
                keeper.gone_for_all = None;
                // Before anything that may fail: this life has begun, and nobody says so again.
                if self.hub.lock().is_fenced() {
                    self.hub.lock().rejoin(keeper.member());
                }
                self.write_home_again().await?;
                self.sweep_former(keeper).await?;
                self.write_rows_again().await
            }
            Joined::Refused { holder, live: true } => {
                error!(%holder, "another process of this name is in the cluster");
                self.fence();
                keeper.outlived_by = Some(holder);
                Ok(())
            }
            Joined::Refused { holder, live: false } => {
                // Another process has come and gone, or the clock was set back.
                warn!(%holder, "a younger life has ended");
                self.end_life(keeper);
                keeper.outlived_by = None;
                keeper.row.incarnation = keeper.row.incarnation.max(next_incarnation(holder));
                Box::pin(self.join(keeper, started)).await
            }
        }
    }

    /// Sweeps the rows of this process's earlier life: what it was about to claim at its end may have come
    /// into the directory after its name was taken. Rows with wills are left to [`Membership::keep_wills`].
    async fn sweep_former(&self, keeper: &mut Keeper) -> Result<(), DirectoryError> {
        if let Some(former) = &keeper.former {
            self.directory.sweep(former, Duration::ZERO).await?;
            if self.directory.clients_on(former).await?.is_empty() {
                keeper.former = None;
            }
        }
        Ok(())
    }

    async fn renew(&self, keeper: &mut Keeper, started: Instant) -> Result<(), DirectoryError> {
        let connections = self.hub.lock().connection_count() as u64;
        let me = keeper.member();
        match self.directory.renew(&me, self.terms.lease, connections).await? {
            Renewal::Renewed { directory_epoch } => {
                keeper.renewed = Some(started);
                keeper.gone_for_all = None;
                if self.home_is_behind.swap(false, Ordering::Relaxed) {
                    self.write_home_again().await?;
                }
                let known = keeper.directory_epoch.replace(directory_epoch.clone());
                let lost_rows = known != Some(directory_epoch);
                if lost_rows {
                    keeper.rows_lost = Some(started);
                }
                if lost_rows || keeper.audited + self.terms.lease * AUDIT_LEASES < started {
                    // Also now and then: a claim elsewhere may have been made without anybody
                    // hearing the answer, and only this tells us that a client is no longer ours.
                    self.write_rows_again().await?;
                    keeper.audited = started;
                }
                self.sweep_former(keeper).await?;
                self.release_late().await;
                self.claim_late().await
            }
            Renewal::Lost { .. } => {
                keeper.rows_lost = Some(started);
                if !self.was_certain(keeper, started) {
                    warn!("lease had ended");
                    self.end_life(keeper);
                }
                keeper.directory_epoch = None;
                self.join(keeper, started).await
            }
        }
    }

    /// Whether nobody can have taken this node for dead, though its row is gone: either the lease
    /// still ran, or nobody could look at the directory for long enough.
    fn was_certain(&self, keeper: &Keeper, now: Instant) -> bool {
        let running = keeper.counted_on().is_some_and(|since| now < since + self.terms.lease);
        !self.hub.lock().is_fenced() && running
    }

    /// Without the directory the lease will end. Unless it is gone for the bridges too, the node
    /// stops serving before that.
    fn fence_in_time(&self, keeper: &mut Keeper) {
        let witness = self.hub.lock().directory_witness();
        match witness.filter(|_| keeper.renewed.is_some()) {
            Some(false) => keeper.gone_for_all = Some(Instant::now()),
            // Back a moment ago, perhaps: there is time to find it.
            Some(true) => {}
            None => keeper.gone_for_all = None,
        }
        let is_over = |since: Instant| since.elapsed() >= self.terms.lease * 2 / 3;
        if keeper.counted_on().is_some_and(is_over) {
            warn!(?witness, "lease cannot be renewed");
            self.end_life(keeper);
        }
    }

    /// Fences the node; it joins again as a new life.
    fn end_life(&self, keeper: &mut Keeper) {
        self.fence();
        keeper.former = Some(keeper.member());
        keeper.row.incarnation = next_incarnation(keeper.row.incarnation);
        keeper.directory_epoch = None;
        (keeper.renewed, keeper.gone_for_all) = (None, None);
    }

    fn fence(&self) {
        let mut hub = self.hub.lock();
        // Also one that was about to open again: its new life has ended before that.
        if !hub.is_fenced() || hub.is_opening() {
            error!("fenced: disconnecting all clients");
            hub.fence();
        }
        drop(hub);
        self.logins.forget_all();
    }

    fn note_reached(&self, reached: bool) {
        self.metrics.directory_up.set(i64::from(reached));
        self.logins.set_reachable(reached);
    }
}

impl Keeper {
    fn new(row: NodeRow) -> Self {
        Self {
            row,
            directory_epoch: None,
            renewed: None,
            gone_for_all: None,
            audited: Instant::now(),
            former: None,
            outlived_by: None,
            reached_since: None,
            peers: AHashMap::new(),
            bridges: Vec::new(),
            rows_lost: None,
        }
    }

    fn member(&self) -> Member {
        Member { node: self.row.node.clone(), incarnation: self.row.incarnation }
    }

    /// Since when a lease is counted on: bridges that find the directory again judge nobody for one lease.
    fn counted_on(&self) -> Option<Instant> {
        self.renewed.max(self.gone_for_all)
    }
}

/// A life for a process that starts now.
pub fn first_incarnation() -> Incarnation {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Incarnation(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

fn next_incarnation(last: Incarnation) -> Incarnation {
    first_incarnation().max(Incarnation(last.0 + 1))
}

/// How often, in leases, every client's row is written again.
const AUDIT_LEASES: u32 = 10;

/// By then the other node has written its rows again, and knows itself that the client has moved.
const TAKEOVER_ASKED_FOR: Duration = Duration::from_mins(10);

const RETRY_INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
