//! TLS in front of MQTT: a bounded number of handshakes is answered at a time, and there is a bounded time for
//! each, from the client's first message on.
//!
//! It leaves to others: what a handshake is, and the files ([`causeway_common::tls`]), what is said inside
//! (`connection`), who finds a place (`listener`).

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use causeway_common::tls::{Greeted, NameFrom, TlsError, TlsServer};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    task::yield_now,
    time::{Instant, timeout, timeout_at},
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
    handshakes: Semaphore,
    handshake_timeout: Duration,
}

impl TlsDoor {
    /// A door of one listener, whose files `server` has read.
    pub fn new(server: Arc<TlsServer>, listener: &Listener, limits: &Connections) -> Self {
        let handshakes_max = limits.handshakes_max.min(Semaphore::MAX_PERMITS);
        Self {
            server,
            name_from: listener.user_from.place(),
            handshakes: Semaphore::new(handshakes_max),
            handshake_timeout: Duration::from_secs(limits.handshake_timeout_secs),
        }
    }

    /// Whether certificates say who clients are.
    pub(super) fn names_users(&self) -> bool {
        self.name_from.is_some()
    }

    /// Carries a handshake through, until a moment at the latest; nothing if it fails.
    pub(super) async fn shake_hands(
        &self,
        stream: TcpStream,
        until: Instant,
        metrics: &Metrics,
    ) -> Option<Greeted<TcpStream>> {
        let finished = timeout_at(until, self.take_turn(stream)).await;
        let finished = finished.unwrap_or(Err(TlsError::Timeout));
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

    /// The turn is for our first answer, which is most of the work. Who does not begin a handshake has none, nor
    /// who does not go on with it: silence keeps nobody else out.
    async fn take_turn(&self, stream: TcpStream) -> Result<Greeted<TcpStream>, TlsError> {
        let hello = self.server.hear(stream).await?;
        let turn = self.handshakes.acquire().await;
        let mut shaking = pin!(self.server.greet(hello, self.name_from));
        let answered = poll_fn(|context| Poll::Ready(shaking.as_mut().poll(context))).await;
        // Those who are in are served before the next ones have their turn.
        yield_now().await;
        drop(turn);
        if let Poll::Ready(greeted) = answered {
            return greeted;
        }
        timeout(self.handshake_timeout, shaking).await.unwrap_or(Err(TlsError::Timeout))
    }
}
