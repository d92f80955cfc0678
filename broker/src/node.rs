//! A node: builds all its parts and joins them.

mod access;
mod settings;
mod sockets;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use causeway_common::{
    admin,
    config::Invalid,
    directory::{Directory, Member, NodeRow},
    id::NodeId,
    stint::Turns,
    telemetry::log_counts,
    tls::keep_fresh,
    wire::Traffic,
};
use parking_lot::Mutex;
use prometheus::Registry;
use thiserror::Error;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::info;

use crate::{
    auth::Auth,
    config::Config,
    connection::Parts,
    hub::{Hub, Restored},
    limits::{Budget, Strain},
    link,
    membership::{self, Membership},
    memory,
    metrics::Metrics,
    store::{Store, StoreError},
    sys,
};

use settings::{gate, hub_limits, link_parts, open_store, session_limits, terms};
use sockets::Sockets;

/// A running node.
#[derive(Debug)]
pub struct Node {
    name: NodeId,
    addresses: Addresses,
    hub: Arc<Mutex<Hub>>,
    membership: Arc<Membership>,
    store: Arc<dyn Store>,
    auth: Arc<Auth>,
    budget: Arc<Budget>,
    tasks: JoinSet<()>,
}

/// Where a node listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// For clients: each listener, and whether they speak TLS there.
    pub clients: Vec<(SocketAddr, bool)>,
    /// For bridges.
    pub link: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
}

/// Why a node could not be started.
#[derive(Debug, Error)]
pub enum NodeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}: {error}")]
    Listen {
        /// Which section of the configuration: `listener`, `link` or `admin`.
        what: &'static str,
        /// What it says.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file that the configuration names is missing or wrong.
    #[error("`{key}` must be {accepted}", key = .0.key, accepted = .0.accepted)]
    File(Invalid),
    /// What outlives the process cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A metric is registered twice.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

impl Node {
    /// Starts a node. When this returns it listens; clients are served once it has joined the
    /// cluster, or has waited long enough for that.
    #[expect(clippy::unused_async, reason = "its sockets and tasks need a runtime")]
    pub async fn start(config: Config, directory: Arc<dyn Directory>) -> Result<Self, NodeError> {
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::new(&registry)?);
        let access = access::watch_files(&config.auth);
        let budget = Arc::new(Budget::new(config.limits.memory_bytes_max));
        let auth = Auth::load(&config.auth, &budget, Some(&metrics)).map_err(NodeError::File)?;
        let mut sockets = Sockets::open(&config)?;
        // Before the store is read, which may take long: no change of a file is to be missed.
        let mut tasks = JoinSet::new();
        let (reloads, expiry) = (&metrics.tls_reloads, &metrics.tls_certificate_expiry);
        let fresh = std::mem::take(&mut sockets.fresh);
        tasks.spawn(keep_fresh(fresh, reloads.clone(), expiry.clone()));
        let addresses = sockets.addresses(&config);
        metrics.connections_max.set(gauge(config.connections.max_connections));
        let name = NodeId::from(config.node.name.as_str());
        let me = Member { node: name.clone(), incarnation: membership::first_incarnation() };
        let limits = hub_limits(&config);
        let (store, kept) = open_store(&config, &metrics)?;
        let now = Instant::now().into_std();
        let mut hub = Hub::new(now, me, limits, (Arc::clone(&metrics), Arc::clone(&store)));
        hub.tick(now, wall_secs());
        let restored = hub.restore(now, kept);
        hub.begin_life(restored.life);
        hub.set_acl(auth.acl());
        if restored != Restored::default() {
            let Restored { sessions, messages, outbound, retained, unreadable, .. } = restored;
            info!(sessions, messages, outbound, retained, unreadable, "store was read");
        }
        let hub = Arc::new(Mutex::new(hub));
        let membership = Arc::new(Membership::new(
            directory,
            Arc::clone(&hub),
            Arc::clone(&metrics),
            terms(&config),
        ));
        let auth = Arc::new(auth);
        for file in access {
            let (auth, hub) = (Arc::clone(&auth), Arc::clone(&hub));
            tasks.spawn(file.keep(auth, hub, Arc::clone(&metrics)));
        }
        let mut node = Self { name, addresses, hub, membership, store, auth, budget, tasks };
        node.spawn_all(&config, sockets, registry, &metrics);
        Ok(node)
    }

    /// Its name.
    pub fn name(&self) -> &NodeId {
        &self.name
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Ends it cleanly: clients are disconnected, and the directory is told.
    pub async fn stop(mut self) {
        self.hub.lock().shut_down();
        let hub = Arc::clone(&self.hub);
        let gone = async {
            while hub.lock().connection_count() > 0 {
                sleep(STOP_POLL).await;
            }
        };
        let _ = timeout(STOP_TIMEOUT, gone).await;
        self.tasks.abort_all();
        let _ = timeout(STOP_TIMEOUT, self.membership.leave()).await;
        info!(node = %self.name, "stopped");
    }

    fn spawn_all(
        &mut self,
        config: &Config,
        sockets: Sockets,
        registry: Registry,
        metrics: &Arc<Metrics>,
    ) {
        let row = NodeRow {
            node: self.name.clone(),
            incarnation: self.hub.lock().me().incarnation,
            link_address: config.node.advertise(self.addresses.link),
            client_address: self.addresses.advertised(config),
        };
        let membership = Arc::clone(&self.membership);
        self.tasks.spawn(async move { membership.keep(row).await });
        let membership = Arc::clone(&self.membership);
        self.tasks.spawn(async move { membership.keep_home().await });
        let membership = Arc::clone(&self.membership);
        self.tasks.spawn(async move { membership.keep_wills().await });
        let membership = Arc::clone(&self.membership);
        self.tasks.spawn(async move { membership.report_cleared().await });

        let hub = Arc::clone(&self.hub);
        self.tasks.spawn(tick(Arc::clone(&hub)));
        self.tasks.spawn(commit(hub, Arc::clone(&self.store)));
        self.tasks.spawn(sys::say(Arc::clone(&self.hub), config.sys.sys_interval_secs));
        let counted = Arc::clone(metrics);
        self.tasks.spawn(async move {
            log_counts("messages dropped", counted.messages_dropped.iter()).await;
        });
        let counted = Arc::clone(metrics);
        self.tasks.spawn(async move {
            log_counts("limit reached", counted.limited.iter()).await;
        });

        let parts = Arc::new(self.parts(config, metrics));
        let link_parts = Arc::new(link_parts(config, &parts, sockets.link_tls));
        self.tasks.spawn(link::listen(link_parts, sockets.link));

        let gate = Arc::new(gate(config));
        let budget = Arc::clone(&parts.budget);
        let (hub, counted) = (Arc::clone(&self.hub), Arc::clone(metrics));
        self.tasks.spawn(memory::watch(Arc::clone(&budget), hub, counted));
        let hub = Arc::clone(&self.hub);
        let join_timeout = Duration::from_secs(config.directory.lease_secs);
        self.tasks.spawn(async move {
            let _ = timeout(join_timeout, joined(&hub)).await;
            // Dropped, they end.
            let mut doors = JoinSet::new();
            for door in sockets.doors {
                doors.spawn(door.listen(Arc::clone(&parts), Arc::clone(&gate)));
            }
            keep_open(&hub, join_timeout).await;
        });

        let (hub, up) = (Arc::clone(&self.hub), metrics.directory_up.clone());
        let store = Arc::clone(&self.store);
        let readiness = Arc::new(move || {
            let mut reasons = hub.lock().unready_reasons();
            if up.get() == 0 {
                reasons.push("directory is gone".to_owned());
            }
            reasons.extend(store.trouble());
            if budget.strain() > Strain::None {
                reasons.push("memory is short".to_owned());
            }
            reasons
        });
        self.tasks.spawn(async move {
            if let Err(error) = admin::serve(sockets.admin, registry, readiness).await {
                tracing::error!(%error, "admin page ended");
            }
        });
    }
}

impl Node {
    fn parts(&self, config: &Config, metrics: &Arc<Metrics>) -> Parts {
        Parts {
            hub: Arc::clone(&self.hub),
            store: Arc::clone(&self.store),
            membership: Arc::clone(&self.membership),
            auth: Arc::clone(&self.auth),
            traffic: Traffic {
                packets_received: metrics.packets_received.clone(),
                packets_sent: metrics.packets_sent.clone(),
                bytes_received: metrics.bytes_received.clone(),
                bytes_sent: metrics.bytes_sent.clone(),
            },
            metrics: Arc::clone(metrics),
            limits: Arc::new(session_limits(config)),
            budget: Arc::clone(&self.budget),
            pace: config.limits.pace(),
            turns: Turns::new(config.runtime.threads),
            packet_bytes_max: config.session.packet_bytes_max,
            keep_alive_secs_max: config.session.keep_alive_secs_max,
            connect_timeout: Duration::from_secs(config.connections.connect_timeout_secs),
            inbox: config.inbox.auto_subscribe,
            assigned_ids: AtomicU64::new(1),
        }
    }
}

impl Addresses {
    /// Where others are told that clients connect: the first listener.
    fn advertised(&self, config: &Config) -> String {
        let (first, _) = self.clients.first().copied().unwrap_or((self.link, false));
        config.node.advertise(first)
    }
}

/// Waits until the node knows who else lives, and has a ready bridge if anybody does: before that,
/// a client could not be reached from other nodes. Then it gives every other bridge the time to
/// find this node in the directory: one that has not would forward past the first clients. What was
/// retained meanwhile may have gone past this node too, so the others are asked once more.
async fn joined(hub: &Mutex<Hub>) {
    while !hub.lock().is_joined() {
        sleep(JOIN_POLL).await;
    }
    if hub.lock().has_peers() {
        sleep(SETTLE_TIME).await;
        hub.lock().ask_again_for_retained();
    }
    while !hub.lock().is_joined() {
        sleep(JOIN_POLL).await;
    }
}

/// Tells the hub the time.
async fn tick(hub: Arc<Mutex<Hub>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hub.lock().tick(Instant::now().into_std(), wall_secs());
    }
}

/// Tells the hub whenever the store has come further.
async fn commit(hub: Arc<Mutex<Hub>>, store: Arc<dyn Store>) {
    let mut known = store.durable();
    hub.lock().committed();
    loop {
        known = store.wait(known).await;
        hub.lock().committed();
    }
}

/// Lets clients in again after a fence, when they can be reached from all other nodes.
async fn keep_open(hub: &Mutex<Hub>, join_timeout: Duration) {
    loop {
        let opening = Some(hub.lock()).filter(|hub| hub.is_opening()).map(|hub| hub.me().clone());
        if let Some(life) = opening {
            let _ = timeout(join_timeout, joined(hub)).await;
            let mut hub = hub.lock();
            // A life that came meanwhile waits for itself.
            if *hub.me() == life {
                hub.open();
            }
        }
        sleep(JOIN_POLL).await;
    }
}

fn wall_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const TICK: Duration = Duration::from_millis(100);
const JOIN_POLL: Duration = Duration::from_millis(10);
/// Twice as long as a bridge takes between two looks into the directory, by default.
const SETTLE_TIME: Duration = Duration::from_secs(1);
const STOP_POLL: Duration = Duration::from_millis(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
