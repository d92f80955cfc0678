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

use std::{fmt::Write as _, net::SocketAddr, pin::Pin, sync::Arc};

use causeway_common::{id::UserName, proxy::read_header, tls::Greeted};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::server::TlsStream;
use tracing::{Instrument, field::Empty, info, info_span, warn};

use crate::{
    accept::accept,
    auth::{Auth, is_local},
    connection::{self, Entrance, Parts, Serving, Stay},
    places::peek,
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

/// A client that is in, by what is below its packets.
enum Inside {
    Plain(Box<Serving<TcpStream>>),
    Tls(Box<Serving<TlsStream<TcpStream>>>),
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
                tokio::spawn(serve(Box::pin(door.proxied(parts, gate, arrival, address))));
            } else if let Ok(seat) = gate.admit(address.ip(), &parts.metrics) {
                let span = info_span!("connection", %address, client_id = Empty);
                let entrance = Entrance { seat, ..door.entrance_of(address) };
                let coming = door.direct(parts, gate, arrival, entrance).instrument(span);
                tokio::spawn(serve(Box::pin(coming)));
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

    /// One client. Without TLS its first word is read at once. No async function: see [`Serving::run`].
    #[expect(clippy::manual_async_fn, reason = "its future is smaller")]
    fn direct(
        self: Arc<Self>,
        parts: Arc<Parts>,
        gate: Arc<Gate>,
        Arrival { stream, stay }: Arrival,
        entrance: Entrance,
    ) -> impl Future<Output = Option<Inside>> + Send {
        async move {
            if self.tls.is_some() {
                Box::pin(gate.first_word(peek(&stream), stay.until)).await.ok()?;
                return Box::pin(self.come_in(parts, Arrival { stream, stay }, entrance)).await;
            }
            let mut wire = parts.wire(stream);
            // Boxed, for it is no longer needed when the rest is.
            let said = Box::pin(gate.first_word(wire.turn(true), stay.until)).await.ok()?;
            let heard = (wire, said.unwrap_or(Ok(())));
            Box::pin(connection::come_in(parts, heard, entrance, stay)).await.map(Inside::Plain)
        }
    }

    /// One client behind a proxy, which says first who that is.
    async fn proxied(
        self: Arc<Self>,
        parts: Arc<Parts>,
        gate: Arc<Gate>,
        mut arrival: Arrival,
        proxy: SocketAddr,
    ) -> Option<Inside> {
        let span = info_span!("connection", address = Empty, %proxy, client_id = Empty);
        let Arrival { stream, stay } = &mut arrival;
        gate.first_word(peek(stream), stay.until).instrument(span.clone()).await.ok()?;
        let header = timeout_at(stay.until, read_header(stream)).await;
        let reason = match header {
            Ok(Ok(said)) => {
                let address = said.unwrap_or(proxy);
                span.record("address", tracing::field::display(address));
                let seat = gate.admit(address.ip(), &parts.metrics).ok()?;
                let entrance = self.entrance_of(address);
                let is_local = entrance.is_local && said.is_some_and(is_local);
                let entrance = Entrance { is_local, seat, ..entrance };
                return Box::pin(self.come_in(parts, arrival, entrance)).instrument(span).await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no PROXY header in time".to_owned(),
        };
        parts.metrics.connections_closed.proxy_header.inc();
        span.in_scope(|| info!(reason = "proxy_header", detail = reason, "connection closed"));
        None
    }

    fn entrance_of(&self, address: SocketAddr) -> Entrance {
        let mut text = String::with_capacity(ADDRESS_BYTES);
        // Writing to a string does not fail.
        let _ = write!(text, "{address}");
        Entrance { address: text, ..self.entrance.clone() }
    }

    /// One client, through whatever stands before MQTT at this door. Each way is boxed: a task that has
    /// room for all of them is larger than what a connection keeps, and the hole it leaves is not filled.
    async fn come_in(
        self: Arc<Self>,
        parts: Arc<Parts>,
        Arrival { stream, stay }: Arrival,
        mut entrance: Entrance,
    ) -> Option<Inside> {
        let Some(tls) = &self.tls else {
            let heard = (parts.wire(stream), Ok(()));
            let coming = connection::come_in(parts, heard, entrance, stay);
            return Box::pin(coming).await.map(Inside::Plain);
        };
        let shaking = Box::pin(tls.shake_hands(stream, stay.until, &parts.metrics));
        let Greeted { stream, name, .. } = shaking.await?;
        entrance.user = name.as_deref().map(UserName::from);
        let heard = (parts.wire(stream), Ok(()));
        Box::pin(connection::come_in(parts, heard, entrance, stay)).await.map(Inside::Tls)
    }
}

/// A client that has come in, from its login to its end. One task for both: what a login needs is in a box,
/// which goes when it is over, and so does its span, which would be entered at every turn.
#[expect(clippy::manual_async_fn, reason = "its future is smaller")]
fn serve<F>(coming: Pin<Box<F>>) -> impl Future<Output = ()> + Send
where
    F: Future<Output = Option<Inside>> + Send,
{
    async move {
        let inside = coming.await;
        match inside {
            Some(Inside::Plain(client)) => client.run().await,
            Some(Inside::Tls(client)) => client.run().await,
            None => {}
        }
    }
}

/// Most addresses are shorter: written bit by bit, they find room at once.
const ADDRESS_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<A, B, C, D, E, F>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// Tokio lays tasks out in steps of 128 bytes, and has 104 in each for itself.
    #[test]
    fn the_task_of_a_connection_that_waits_takes_three_steps() {
        fn task_bytes<A, F>(_: impl FnOnce(A) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = task_bytes(serve::<std::future::Ready<Option<Inside>>>);
        assert!(bytes <= 3 * 128 - 104, "{bytes}");
    }

    /// The future of a login is in a task of its own, and each task takes the room of its largest way.
    #[test]
    fn the_task_of_a_login_has_no_room_for_ways_it_does_not_go() {
        let bytes = future_bytes(Door::direct);
        assert!(bytes <= 512, "{bytes}");
    }
}
