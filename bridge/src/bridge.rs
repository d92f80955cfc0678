//! A bridge: builds all its parts and joins them.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use causeway_common::{
    admin,
    config::Invalid,
    directory::Directory,
    id::{BridgeId, Incarnation},
    telemetry::log_counts,
    tls::{Fresh, TlsClient, keep_fresh},
};
use parking_lot::Mutex;
use prometheus::Registry;
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tracing::info;

use crate::{
    config::Config,
    core::{Core, Options},
    janitor,
    link::{LinkParts, Order},
    metrics::Metrics,
    watch::{self as watching, Links, Place},
};

/// A running bridge; dropped, it ends without a word.
pub struct Bridge {
    admin_address: SocketAddr,
    links: Arc<Links>,
    directory: Arc<dyn Directory>,
    place: Place,
    tasks: JoinSet<()>,
}

/// Why a bridge could not be started.
#[derive(Debug, Error)]
pub enum BridgeError {
    /// The address of the admin page cannot be listened on.
    #[error("cannot listen on {address} for admin: {error}")]
    Listen {
        /// What the configuration says.
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

impl Bridge {
    /// Starts a bridge. When this returns its admin page listens, and nodes are being linked.
    pub async fn start(config: Config, directory: Arc<dyn Directory>) -> Result<Self, BridgeError> {
        let address = config.admin.address;
        let listen_error = |error| BridgeError::Listen { address, error };
        let listener = TcpListener::bind(address).await.map_err(listen_error)?;
        let admin_address = listener.local_addr().map_err(listen_error)?;
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::new(&registry)?);
        let place = place(&config);
        let tls = config.link.tls_files().map(TlsClient::load).transpose();
        let tls = tls.map_err(|bad| BridgeError::Tls(bad.in_config("link", "authority")))?;
        let parts = link_parts(&config, place.incarnation, (metrics, tls.map(Arc::new)));
        let parts = Arc::new(parts);
        let mut bridge = Self {
            admin_address,
            links: Arc::new(Links::new(parts)),
            directory,
            place,
            tasks: JoinSet::new(),
        };
        let poll_interval = Duration::from_millis(config.directory.poll_interval_ms);
        let home_grace = Duration::from_secs(config.bridge.home_grace_secs);
        bridge.spawn_all(home_grace, poll_interval);
        bridge.spawn_admin(listener, registry);
        Ok(bridge)
    }

    /// Its name.
    pub fn name(&self) -> &BridgeId {
        &self.place.bridge
    }

    /// Where its admin page listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Ends it cleanly: the nodes are told to give it nothing more.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.links.parts.core.lock().close();
        self.links.finish().await;
        self.place.leave(&*self.directory).await;
        info!(bridge = %self.place.bridge, "stopped");
    }

    fn spawn_all(&mut self, home_grace: Duration, poll_interval: Duration) {
        let directory = Arc::clone(&self.directory);
        let parts = Arc::clone(&self.links.parts);
        let sweeping = janitor::sweep(Arc::clone(&directory), parts, home_grace, poll_interval);
        self.tasks.spawn(sweeping);
        let metrics = Arc::clone(&self.links.parts.metrics);
        self.tasks.spawn(async move {
            log_counts("messages dropped", metrics.messages_dropped.iter()).await;
        });
        let parts = &self.links.parts;
        let fresh = parts.tls.iter().cloned().map(Fresh::Client).collect();
        let (reloads, expiry) = (&parts.metrics.tls_reloads, &parts.metrics.tls_certificate_expiry);
        self.tasks.spawn(keep_fresh(fresh, reloads.clone(), expiry.clone()));
        let (links, place) = (Arc::clone(&self.links), self.place.clone());
        self.tasks.spawn(watching::watch(directory, links, place, poll_interval));
    }

    fn spawn_admin(&mut self, listener: TcpListener, registry: Registry) {
        let parts = Arc::clone(&self.links.parts);
        let readiness = Arc::new(move || parts.core.lock().reasons());
        self.tasks.spawn(async move {
            if let Err(error) = admin::serve(listener, registry, readiness).await {
                tracing::error!(%error, "admin page ended");
            }
        });
    }
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge").field("place", &self.place).finish_non_exhaustive()
    }
}

fn place(config: &Config) -> Place {
    let lease = Duration::from_secs(config.directory.lease_secs);
    let poll_interval = Duration::from_millis(config.directory.poll_interval_ms);
    Place {
        bridge: BridgeId::from(config.bridge.name.as_str()),
        incarnation: incarnation(),
        lease: lease.max(poll_interval * 3),
    }
}

fn link_parts(
    config: &Config,
    incarnation: Incarnation,
    (metrics, tls): (Arc<Metrics>, Option<Arc<TlsClient>>),
) -> LinkParts {
    let bridge = BridgeId::from(config.bridge.name.as_str());
    let lease = Duration::from_secs(config.directory.lease_secs);
    let keep_alive = Duration::from_secs(u64::from(config.bridge.keep_alive_secs));
    let options = Options {
        bridge: bridge.clone(),
        incarnation,
        lease,
        home_grace: Duration::from_secs(config.bridge.home_grace_secs),
        interest_filters_max: config.bridge.interest_filters_max,
    };
    LinkParts {
        core: Mutex::new(Core::new(options, Arc::clone(&metrics))),
        traffic: metrics.traffic(),
        metrics,
        bridge,
        secret: config.link.secret.clone(),
        tls,
        keep_alive_secs: config.bridge.keep_alive_secs,
        ping_interval: (keep_alive / 2).min(lease / 3),
        mailbox_bytes_max: config.bridge.mailbox_bytes_max,
        order: watch::Sender::new(Order::Look),
    }
}

/// A life for a process that starts now.
fn incarnation() -> Incarnation {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since_1970.unwrap_or_default().as_millis();
    Incarnation(u64::try_from(millis).unwrap_or(u64::MAX))
}
