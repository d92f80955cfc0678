//! A node: builds all its parts and joins them.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use causeway_common::{
    admin,
    config::Invalid,
    directory::{Directory, Member, NodeRow},
    id::NodeId,
    telemetry,
    wire::Traffic,
};
use parking_lot::Mutex;
use prometheus::Registry;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::info;

use crate::{
    auth::Auth,
    config::{Config, ListenerTls},
    connection::Parts,
    hub::{Hub, HubLimits},
    link::{self, LinkParts},
    listener::{
        self,
        tls::{Identity, TlsListener},
    },
    membership::{self, Membership, Terms},
    metrics::Metrics,
    session::Limits,
};

/// A running node.
#[derive(Debug)]
pub struct Node {
    name: NodeId,
    addresses: Addresses,
    hub: Arc<Mutex<Hub>>,
    membership: Arc<Membership>,
    tasks: JoinSet<()>,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For clients.
    pub mqtt: SocketAddr,
    /// For clients with TLS.
    pub mqtts: Option<SocketAddr>,
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
        /// Which section of the configuration: `listener`, `listener_tls`, `link` or `admin`.
        what: &'static str,
        /// What it says.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file that TLS needs is missing or wrong.
    #[error("`{key}` must be {accepted}", key = .0.key, accepted = .0.accepted)]
    Tls(Invalid),
    /// A metric is registered twice.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// The sockets of a node, bound before anything runs.
struct Sockets {
    mqtt: TcpListener,
    mqtts: Option<TlsListener>,
    link: TcpListener,
    admin: TcpListener,
}

impl Node {
    /// Starts a node. When this returns it listens; clients are served once it has joined the
    /// cluster, or has waited long enough for that.
    pub async fn start(config: Config, directory: Arc<dyn Directory>) -> Result<Self, NodeError> {
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::new(&registry)?);
        let sockets = Sockets {
            mqtt: bind("listener", config.listener.address).await?,
            mqtts: bind_tls(&config.listener_tls, &metrics).await?,
            link: bind("link", config.link.address).await?,
            admin: bind("admin", config.admin.address).await?,
        };
        let addresses = sockets.addresses(&config);
        metrics.connections_max.set(gauge(config.listener.max_connections));
        let name = NodeId::from(config.node.name.as_str());
        let me = Member { node: name.clone(), incarnation: membership::first_incarnation() };
        let limits = hub_limits(&config);
        let hub = Hub::new(Instant::now().into_std(), me, limits, Arc::clone(&metrics));
        let hub = Arc::new(Mutex::new(hub));
        let membership = Arc::new(Membership::new(
            directory,
            Arc::clone(&hub),
            Arc::clone(&metrics),
            terms(&config),
        ));
        let tasks = JoinSet::new();
        let mut node = Self { name, addresses, hub, membership, tasks };
        node.spawn_all(&config, sockets, registry, &metrics);
        Ok(node)
    }

    /// Its name.
    pub fn name(&self) -> &NodeId {
        &self.name
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
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
            link_address: self.addresses.link.to_string(),
            client_address: self.addresses.mqtt.to_string(),
        };
        let membership = Arc::clone(&self.membership);
        self.tasks.spawn(async move { membership.keep(row).await });

        let hub = Arc::clone(&self.hub);
        self.tasks.spawn(tick(hub));
        let counted = Arc::clone(metrics);
        self.tasks
            .spawn(async move { telemetry::log_drops(counted.messages_dropped.iter()).await });

        let link_parts = Arc::new(link_parts(config, &self.hub, metrics));
        self.tasks.spawn(link::listen(link_parts, sockets.link));

        let parts = Arc::new(parts(config, &self.hub, &self.membership, metrics));
        let places = config.listener.max_connections + config.listener.refusals_max;
        let hub = Arc::clone(&self.hub);
        let join_timeout = Duration::from_secs(config.directory.lease_secs);
        self.tasks.spawn(async move {
            let _ = timeout(join_timeout, joined(&hub)).await;
            listener::listen(parts, sockets.mqtt, sockets.mqtts, places).await;
        });

        let (hub, up) = (Arc::clone(&self.hub), metrics.directory_up.clone());
        let readiness = Arc::new(move || {
            let mut reasons = hub.lock().unready_reasons();
            if up.get() == 0 {
                reasons.push("directory is gone".to_owned());
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

impl Sockets {
    /// The real addresses: a port 0 has become one.
    fn addresses(&self, config: &Config) -> Addresses {
        let real = |socket: &TcpListener, wanted| socket.local_addr().unwrap_or(wanted);
        Addresses {
            mqtt: real(&self.mqtt, config.listener.address),
            mqtts: self.mqtts.as_ref().and_then(|tls| tls.local_addr().ok()),
            link: real(&self.link, config.link.address),
            admin: real(&self.admin, config.admin.address),
        }
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, NodeError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| NodeError::Listen { what, address, error })
}

/// The TLS listener, if one is configured.
async fn bind_tls(
    config: &ListenerTls,
    metrics: &Metrics,
) -> Result<Option<TlsListener>, NodeError> {
    let Some(address) = config.address else {
        return Ok(None);
    };
    let identity = Identity::load(&config.certificate, &config.key).map_err(NodeError::Tls)?;
    let file = config.certificate.to_string_lossy();
    let expiry = metrics.tls_certificate_expiry.with_label_values(&[&*file]);
    expiry.set(identity.expiry_secs);
    let socket = bind("listener_tls", address).await?;
    Ok(Some(TlsListener::new(socket, identity, config)))
}

/// Waits until the node knows who else lives, and has a ready bridge if anybody does: before that,
/// a client could not be reached from other nodes. Then it gives every other bridge the time to
/// find this node in the directory: one that has not would forward past the first clients.
async fn joined(hub: &Mutex<Hub>) {
    while !hub.lock().is_joined() {
        sleep(JOIN_POLL).await;
    }
    if hub.lock().has_peers() {
        sleep(SETTLE_TIME).await;
    }
}

/// Tells the hub the time.
async fn tick(hub: Arc<Mutex<Hub>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hub.lock().tick(Instant::now().into_std());
    }
}

fn hub_limits(config: &Config) -> HubLimits {
    HubLimits {
        connections_max: config.listener.max_connections,
        backlog_bytes_max: config.link.backlog_bytes_max,
        route_timeout: Duration::from_secs(config.link.route_timeout_secs),
        // A bridge that lost a node says that it is not ready after one lease.
        lost_bridge_grace: Duration::from_secs(2 * config.directory.lease_secs),
        probe_interval: Duration::from_secs(config.link.probe_interval_secs),
    }
}

fn terms(config: &Config) -> Terms {
    Terms {
        lease: Duration::from_secs(config.directory.lease_secs),
        when_lost: config.directory.when_lost,
        takeover_timeout: Duration::from_secs(config.link.takeover_timeout_secs),
    }
}

fn session_limits(config: &Config) -> Limits {
    let session = &config.session;
    Limits {
        max_inflight: usize::from(session.max_inflight),
        queue_messages_max: session.queue_messages_max,
        queue_bytes_max: session.queue_bytes_max,
        topic_levels_max: session.topic_levels_max,
        filters_max: session.filters_max,
        owed_messages_max: session.owed_messages_max,
        owed_bytes_max: session.owed_bytes_max,
    }
}

fn parts(
    config: &Config,
    hub: &Arc<Mutex<Hub>>,
    membership: &Arc<Membership>,
    metrics: &Arc<Metrics>,
) -> Parts {
    Parts {
        hub: Arc::clone(hub),
        membership: Arc::clone(membership),
        auth: Auth::new(&config.auth),
        traffic: Traffic {
            packets_received: metrics.packets_received.clone(),
            packets_sent: metrics.packets_sent.clone(),
            bytes_received: metrics.bytes_received.clone(),
            bytes_sent: metrics.bytes_sent.clone(),
        },
        metrics: Arc::clone(metrics),
        limits: Arc::new(session_limits(config)),
        mailbox_bytes_max: config.session.mailbox_bytes_max,
        packet_bytes_max: config.session.packet_bytes_max,
        keep_alive_secs_max: config.session.keep_alive_secs_max,
        connect_timeout: Duration::from_secs(config.listener.connect_timeout_secs),
        inbox: config.inbox.auto_subscribe,
        assigned_ids: AtomicU64::new(1),
    }
}

fn link_parts(config: &Config, hub: &Arc<Mutex<Hub>>, metrics: &Arc<Metrics>) -> LinkParts {
    LinkParts {
        hub: Arc::clone(hub),
        metrics: Arc::clone(metrics),
        secret: config.link.secret.clone(),
        mailbox_bytes_max: config.link.mailbox_bytes_max,
        connect_timeout: Duration::from_secs(config.listener.connect_timeout_secs),
    }
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
