//! The doors for clients: one loop each accepts connections, as many as may be there at a time.
//!
//! A place is taken before a connection is served, and given back when the client is in or has been
//! seen off: `max_connections` and `refusals_max` may stand at all doors together, so that a full
//! node still says so [CONNACK 3]. One deadline holds from there to the CONNECT, whatever comes before
//! it. If there is no place, the connection that has been silent for longest is closed; whoever has said
//! a word keeps its place, and then newcomers wait, one at each door and the rest in the kernel's
//! queue; so do all while they come too fast. Who has too many connections from one
//! address is closed before a byte of theirs is read: waiting for a CONNECT, to answer it, would give
//! them the place. Which client gets a place in the node is the hub's to say.

mod gate;
pub mod tls;

use std::{net::SocketAddr, sync::Arc};

use causeway_common::{id::UserName, proxy::read_header, tls::Greeted};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};
use tracing::{Instrument, field::Empty, info, info_span, warn};

use crate::{
    accept::accept,
    auth::{Auth, is_local},
    connection::{self, Entrance, Parts, Stay},
};

pub use gate::Gate;

use tls::TlsDoor;

/// A socket where clients come in.
#[derive(Debug)]
pub struct Door {
    /// Where they connect.
    pub socket: TcpListener,
    /// Its address.
    pub address: SocketAddr,
    /// Whether a proxy says first who they are.
    pub proxied: bool,
    /// What they go through first.
    pub tls: Option<TlsDoor>,
    /// What is known of all of them.
    pub entrance: Entrance,
}

/// A client that has come: its socket, and its place, which it may keep until it has said its CONNECT.
struct Arrival {
    stream: TcpStream,
    stay: Stay,
}

impl Door {
    /// Accepts clients, until the task is aborted. All doors share the places.
    pub async fn listen(self, parts: Arc<Parts>, gate: Arc<Gate>) {
        self.warn_if_shut(&parts.auth);
        let door = Arc::new(self);
        loop {
            gate.opens(&parts.metrics).await;
            // Before the place: a door where nobody comes would keep that to itself.
            let (stream, address) = accept(&door.socket).await;
            let until = Instant::now() + parts.connect_timeout;
            let Some(place) = gate.place(&parts.metrics).await else {
                return;
            };
            parts.metrics.connections_accepted.inc();
            let arrival = Arrival { stream, stay: Stay { place, until } };
            let (door, parts, gate) = (Arc::clone(&door), Arc::clone(&parts), Arc::clone(&gate));
            if door.proxied {
                tokio::spawn(door.serve_proxied(parts, gate, arrival, address));
            } else if let Ok(seat) = gate.admit(address.ip(), &parts.metrics) {
                let span = info_span!("connection", %address, client_id = Empty);
                let entrance = Entrance { seat, ..door.entrance_of(address) };
                tokio::spawn(door.serve_direct(parts, gate, arrival, entrance).instrument(span));
            }
        }
    }

    fn warn_if_shut(&self, auth: &Auth) {
        let (listener, entrance) = (self.address, &self.entrance);
        let by_certificate = self.tls.as_ref().is_some_and(TlsDoor::names_users);
        let open = || auth.allows_somebody(entrance.is_local, entrance.allow_anonymous);
        if !by_certificate && !open() {
            warn!(%listener, "nobody may connect: auth has no password_file and no allow_anonymous = true");
        }
    }

    async fn serve_direct(
        self: Arc<Self>,
        parts: Arc<Parts>,
        gate: Arc<Gate>,
        arrival: Arrival,
        entrance: Entrance,
    ) {
        if Box::pin(gate.first_word(&arrival.stream, arrival.stay.until)).await {
            Box::pin(self.serve(parts, arrival, entrance)).await;
        }
    }

    /// One client behind a proxy, which says first who that is.
    async fn serve_proxied(
        self: Arc<Self>,
        parts: Arc<Parts>,
        gate: Arc<Gate>,
        mut arrival: Arrival,
        proxy: SocketAddr,
    ) {
        let span = info_span!("connection", address = Empty, %proxy, client_id = Empty);
        let Arrival { stream, stay } = &mut arrival;
        if !gate.first_word(stream, stay.until).instrument(span.clone()).await {
            return;
        }
        let header = timeout_at(stay.until, read_header(stream)).await;
        let reason = match header {
            Ok(Ok(said)) => {
                let address = said.unwrap_or(proxy);
                span.record("address", tracing::field::display(address));
                let Ok(seat) = gate.admit(address.ip(), &parts.metrics) else {
                    return;
                };
                let entrance = self.entrance_of(address);
                let is_local = entrance.is_local && said.is_some_and(is_local);
                let entrance = Entrance { is_local, seat, ..entrance };
                return self.serve(parts, arrival, entrance).instrument(span).await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no PROXY header in time".to_owned(),
        };
        parts.metrics.connections_closed.proxy_header.inc();
        span.in_scope(|| info!(reason = "proxy_header", detail = reason, "connection closed"));
    }

    fn entrance_of(&self, address: SocketAddr) -> Entrance {
        Entrance { address: address.to_string(), ..self.entrance.clone() }
    }

    /// One client, through whatever stands before MQTT at this door. Each way is boxed: a task that has
    /// room for all of them is larger than what a connection keeps, and the hole it leaves is not filled.
    async fn serve(self: Arc<Self>, parts: Arc<Parts>, arrival: Arrival, entrance: Entrance) {
        let Arrival { stream, stay } = arrival;
        match &self.tls {
            None => Box::pin(connection::serve(parts, (stream, entrance), stay)).await,
            Some(_) => Box::pin(self.serve_tls(parts, (stream, entrance), stay)).await,
        }
    }

    async fn serve_tls(
        self: Arc<Self>,
        parts: Arc<Parts>,
        (stream, mut entrance): (TcpStream, Entrance),
        stay: Stay,
    ) {
        let Some(tls) = &self.tls else {
            return;
        };
        let shaking = Box::pin(tls.shake_hands(stream, stay.until, &parts.metrics));
        if let Some(Greeted { stream, name, .. }) = shaking.await {
            entrance.user = name.as_deref().map(UserName::from);
            Box::pin(connection::serve(parts, (stream, entrance), stay)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<A, B, C, D, E, F>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// The future of a login is in a task of its own, and each task takes the room of its largest way.
    #[test]
    fn the_task_of_a_login_has_no_room_for_ways_it_does_not_go() {
        let bytes = future_bytes(Door::serve_direct);
        assert!(bytes <= 512, "{bytes}");
    }
}
