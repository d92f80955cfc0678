//! The link listener: where bridges connect. A port of its own, closed to clients.
//!
//! It leaves to the hub what a frame means, and to the bridge who is linked with whom.

mod serve;

use std::{fmt::Display, sync::Arc, time::Duration};

use causeway_common::{config::Secret, telemetry::Seldom, tls::TlsServer};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tracing::{Instrument, debug, info_span, warn};

use crate::{
    accept::accept,
    hub::Hub,
    limits::Budget,
    metrics::Metrics,
    places::{Places, peek},
};

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
    /// From the connection to a whole CONNECT, with the handshake before that.
    pub connect_timeout: Duration,
    /// How often it is said that somebody was refused.
    pub refusals: Seldom,
}

/// Accepts links, until the task is aborted.
pub async fn listen(parts: Arc<LinkParts>, listener: TcpListener) {
    let places = Arc::new(Places::new(LINKS_MAX));
    loop {
        let (stream, address) = accept(&listener).await;
        let until = Instant::now() + parts.connect_timeout;
        let Some(place) = places.take(|| {}).await else {
            return;
        };
        let (parts, places) = (Arc::clone(&parts), Arc::clone(&places));
        let span = info_span!("link", %address, bridge = tracing::field::Empty);
        let serving = async move {
            if places.first_word(peek(&stream), until).await.is_ok() {
                come_in(parts, stream, until).await;
            }
            drop(place);
        };
        tokio::spawn(serving.instrument(span));
    }
}

/// One link, through TLS if there is any.
async fn come_in(parts: Arc<LinkParts>, stream: TcpStream, until: Instant) {
    let Some(tls) = &parts.tls else {
        return serve::serve(parts, stream, until).await;
    };
    match tls.accept(stream, until).await {
        Ok(greeted) => serve::serve(parts, greeted.stream, until).await,
        Err(error) => {
            parts.metrics.link_tls_handshakes_failed.at(error.failure()).inc();
            parts.note_refusal(&error);
        }
    }
}

impl LinkParts {
    /// All of them are counted; a flood must not fill the log.
    fn note_refusal(&self, reason: &dyn Display) {
        if self.refusals.is_due() {
            warn!(%reason, "link refused");
        } else {
            debug!(%reason, "link refused");
        }
    }
}

/// Bridges, people who look on, and whoever is not in yet, at a time. Of the last, those that are silent
/// give way.
const LINKS_MAX: usize = 256;
