//! The client listener: accepts connections, as many as may be there at a time.
//!
//! A place at the door is taken before a connection is accepted, and given back when the client is
//! in or has been seen off: `max_connections` and `refusals_max` may stand there together, so that
//! a full node still says so [CONNACK 3]. Whoever finds no place there waits in the
//! kernel's queue. Plain connections and TLS share the places. Which client gets a place in the node
//! is the hub's to say.

pub mod tls;

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::Semaphore};
use tracing::{Instrument, info_span};

use crate::{
    accept::accept,
    connection::{self, Parts},
};

use tls::{Handshake, TlsListener};

/// Accepts clients, until the task is aborted.
pub async fn listen(
    parts: Arc<Parts>,
    plain: TcpListener,
    tls: Option<TlsListener>,
    places: usize,
) {
    let places = Arc::new(Semaphore::new(places));
    // One loop for both: of two, each would keep a place to itself while nobody comes.
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let parts = Arc::clone(&parts);
        tokio::select! {
            (stream, address) = accept(&plain) => spawn(address, async move {
                parts.metrics.connections_accepted.inc();
                let (reader, writer) = stream.into_split();
                connection::serve(parts, (reader, writer), address.to_string(), place).await;
            }),
            (handshake, address) = next(tls.as_ref()) => spawn(address, async move {
                parts.metrics.connections_accepted.inc();
                if let Some(stream) = handshake.finish(&parts.metrics).await {
                    let (reader, writer) = tokio::io::split(stream);
                    connection::serve(parts, (reader, writer), address.to_string(), place).await;
                }
            }),
        }
    }
}

async fn next(tls: Option<&TlsListener>) -> (Handshake, SocketAddr) {
    match tls {
        Some(tls) => tls.accept().await,
        None => std::future::pending().await,
    }
}

fn spawn(address: SocketAddr, serving: impl Future<Output = ()> + Send + 'static) {
    let span = info_span!("connection", %address, client_id = tracing::field::Empty);
    tokio::spawn(serving.instrument(span));
}
