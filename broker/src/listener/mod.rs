//! The client listener: accepts connections, as many as may be there at a time.
//!
//! A place is taken before a connection is accepted: `max_connections`, and some more whose CONNECT
//! is read only to be answered with CONNACK 3. Whoever finds not even such a place waits in the
//! kernel's queue. Which client gets a place in the node is the hub's to say.

use std::sync::Arc;

use tokio::{net::TcpListener, sync::Semaphore};
use tracing::{Instrument, info_span};

use crate::{
    connection::{self, Parts},
    wire::accept,
};

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
