//! The client listener: accepts connections, as many as may be there at a time.
//!
//! A place is taken before a connection is accepted: `max_connections`, and some more whose CONNECT
//! is read only to be answered with CONNACK 3. Whoever finds not even such a place waits in the
//! kernel's queue. Which client gets a place in the node is the hub's to say.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tracing::{Instrument, info_span, warn};

use crate::connection::{self, Parts};

/// Accepts clients, until the task is aborted.
pub async fn listen(parts: Arc<Parts>, listener: TcpListener, places: usize) {
    let places = Arc::new(Semaphore::new(places));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, address) = accept(&listener).await;
        let parts = Arc::clone(&parts);
        let span = info_span!("connection", %address, client_id = tracing::field::Empty);
        let serving = async move {
            let (reader, writer) = stream.into_split();
            connection::serve(parts, reader, writer, address.to_string()).await;
            drop(place);
        };
        tokio::spawn(serving.instrument(span));
    }
}

/// The next connection. Errors of a single connection, or a lack of file descriptors, are waited
/// out: they are no reason to stop listening, and none to spin.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Small packets must not wait for the acknowledgement of earlier ones.
                let _ = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(error) => {
                warn!(%error, "connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
