//! The link listener: where bridges connect. A port of its own, closed to clients.
//!
//! It leaves to the hub what a frame means, and to the bridge who is linked with whom.

mod serve;

use std::{sync::Arc, time::Duration};

use causeway_common::{config::Secret, tls::TlsServer};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tracing::{Instrument, info_span, warn};

use crate::{accept::accept, hub::Hub, limits::Budget, metrics::Metrics};

/// What all links of a node share.
#[derive(Debug)]
pub struct LinkParts {
    /// Who gets a message.
    pub hub: Arc<Mutex<Hub>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How near the node is to the memory it may use.
    pub budget: Arc<Budget>,
    /// The password of the bridges.
    pub secret: Secret,
    /// Bytes of QoS 0 messages that may wait for one link.
    pub mailbox_bytes_max: usize,
    /// What links go through first.
    pub tls: Option<Arc<TlsServer>>,
    /// From the connection to a whole CONNECT, and before that for a handshake.
    pub connect_timeout: Duration,
}

/// Accepts links, until the task is aborted.
pub async fn listen(parts: Arc<LinkParts>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(LINKS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, address) = accept(&listener).await;
        let parts = Arc::clone(&parts);
        let span = info_span!("link", %address, bridge = tracing::field::Empty);
        let serving = async move {
            come_in(parts, stream).await;
            drop(place);
        };
        tokio::spawn(serving.instrument(span));
    }
}

/// One link, through TLS if there is any.
async fn come_in(parts: Arc<LinkParts>, stream: TcpStream) {
    let Some(tls) = &parts.tls else {
        return serve::serve(parts, stream).await;
    };
    match tls.accept(stream, None, parts.connect_timeout).await {
        Ok(greeted) => serve::serve(parts, greeted.stream).await,
        Err(error) => {
            parts.metrics.link_tls_handshakes_failed.at(error.failure()).inc();
            warn!(reason = %error, "link refused");
        }
    }
}

/// Bridges, and people who look on, at a time.
const LINKS_MAX: usize = 64;
