//! The doors for clients: one loop each accepts connections, as many as may be there at a time.
//!
//! A place is taken before a connection is served, and given back when the client is in or has been
//! seen off: `max_connections` and `refusals_max` may stand at all doors together, so that a full
//! node still says so [CONNACK 3]. Whoever finds no place there waits, one at each door and the rest
//! in the kernel's queue; so do all while they come too fast. Who has too many connections from one
//! address is closed before a byte of theirs is read: waiting for a CONNECT, to answer it, would give
//! them the place. Which client gets a place in the node is the hub's to say.

mod gate;
pub mod tls;

use std::{net::SocketAddr, sync::Arc};

use causeway_common::{id::UserName, proxy::read_header, tls::Greeted};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tracing::{Instrument, field::Empty, info, info_span, warn};

use crate::{
    accept::accept,
    auth::{Auth, is_local},
    connection::{self, Entrance, Parts},
    limits::Seat,
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

impl Door {
    /// Accepts clients, until the task is aborted. All doors share the places.
    pub async fn listen(self, parts: Arc<Parts>, gate: Arc<Gate>) {
        self.warn_if_shut(&parts.auth);
        let door = Arc::new(self);
        loop {
            let turn = match &door.tls {
                Some(tls) => Some(tls.turn().await),
                None => None,
            };
            gate.opens(&parts.metrics).await;
            // Before the place: a door where nobody comes would keep that to itself.
            let (stream, address) = accept(&door.socket).await;
            let Some(place) = gate.place().await else {
                return;
            };
            parts.metrics.connections_accepted.inc();
            let (door, parts) = (Arc::clone(&door), Arc::clone(&parts));
            if door.proxied {
                let gate = Arc::clone(&gate);
                tokio::spawn(door.serve_proxied(parts, gate, (stream, address), turn, place));
            } else if let Ok(seat) = gate.admit(address.ip(), &parts.metrics) {
                let span = info_span!("connection", %address, client_id = Empty);
                let entrance = door.entrance_of(address, seat);
                let serving = door.serve(parts, (stream, entrance), turn, place);
                tokio::spawn(serving.instrument(span));
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

    /// One client behind a proxy, which says first who that is.
    async fn serve_proxied(
        self: Arc<Self>,
        parts: Arc<Parts>,
        gate: Arc<Gate>,
        (mut stream, proxy): (TcpStream, SocketAddr),
        turn: Option<OwnedSemaphorePermit>,
        place: OwnedSemaphorePermit,
    ) {
        let span = info_span!("connection", address = Empty, %proxy, client_id = Empty);
        let header = timeout(parts.connect_timeout, read_header(&mut stream)).await;
        let reason = match header {
            Ok(Ok(said)) => {
                let address = said.unwrap_or(proxy);
                span.record("address", tracing::field::display(address));
                let Ok(seat) = gate.admit(address.ip(), &parts.metrics) else {
                    return;
                };
                let mut entrance = self.entrance_of(address, seat);
                entrance.is_local = entrance.is_local && said.is_some_and(is_local);
                let serving = self.serve(parts, (stream, entrance), turn, place);
                return serving.instrument(span).await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no PROXY header in time".to_owned(),
        };
        parts.metrics.connections_closed.proxy_header.inc();
        span.in_scope(|| info!(reason = "proxy_header", detail = reason, "connection closed"));
    }

    fn entrance_of(&self, address: SocketAddr, seat: Option<Arc<Seat>>) -> Entrance {
        Entrance { address: address.to_string(), seat, ..self.entrance.clone() }
    }

    /// One client, through whatever stands before MQTT at this door.
    async fn serve(
        self: Arc<Self>,
        parts: Arc<Parts>,
        (stream, mut entrance): (TcpStream, Entrance),
        turn: Option<OwnedSemaphorePermit>,
        place: OwnedSemaphorePermit,
    ) {
        let (Some(tls), Some(turn)) = (&self.tls, turn) else {
            return connection::serve(parts, stream, entrance, place).await;
        };
        if let Some(Greeted { stream, name, .. }) =
            tls.shake_hands(stream, turn, &parts.metrics).await
        {
            entrance.user = name.as_deref().map(UserName::from);
            connection::serve(parts, stream, entrance, place).await;
        }
    }
}
