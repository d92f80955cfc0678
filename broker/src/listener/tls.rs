//! TLS in front of MQTT: a bounded number of handshakes at a time and a bounded time for each.
//!
//! It leaves to others: what a handshake is, and the files ([`causeway_common::tls`]), what is said inside
//! (`connection`), who finds a place (`listener`).

use std::{sync::Arc, time::Duration};

use causeway_common::tls::{Greeted, NameFrom, TlsServer};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tracing::info;

use crate::{
    config::{Connections, Listener},
    metrics::Metrics,
};

/// Turns bytes into TLS, for the clients of one listener.
#[derive(Debug)]
pub struct TlsDoor {
    server: Arc<TlsServer>,
    name_from: Option<NameFrom>,
    handshakes: Arc<Semaphore>,
    handshake_timeout: Duration,
}

impl TlsDoor {
    /// A door of one listener, whose files `server` has read.
    pub fn new(server: Arc<TlsServer>, listener: &Listener, limits: &Connections) -> Self {
        let handshakes_max = limits.handshakes_max.min(Semaphore::MAX_PERMITS);
        Self {
            server,
            name_from: listener.user_from.place(),
            handshakes: Arc::new(Semaphore::new(handshakes_max)),
            handshake_timeout: Duration::from_secs(limits.handshake_timeout_secs),
        }
    }

    /// Whether certificates say who clients are.
    pub(super) fn names_users(&self) -> bool {
        self.name_from.is_some()
    }

    /// Waits until one more may shake hands. Cancelling it loses nothing.
    pub(super) async fn turn(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.handshakes).acquire_owned().await {
            Ok(turn) => turn,
            Err(_closed) => std::future::pending().await,
        }
    }

    /// Carries a handshake through; nothing if it fails.
    pub(super) async fn shake_hands(
        &self,
        stream: TcpStream,
        turn: OwnedSemaphorePermit,
        metrics: &Metrics,
    ) -> Option<Greeted<TcpStream>> {
        let finished = self.server.accept(stream, self.name_from, self.handshake_timeout).await;
        drop(turn);
        match finished {
            Ok(greeted) => {
                metrics.tls_handshakes.inc();
                if greeted.is_resumed {
                    metrics.tls_handshakes_resumed.inc();
                }
                Some(greeted)
            }
            Err(error) => {
                metrics.tls_handshakes_failed.at(error.failure()).inc();
                info!(reason = %error, "tls handshake failed");
                None
            }
        }
    }
}
