//! The sockets of a node, bound before anything runs, and what is read from files for them. It leaves to
//! `node.rs` what happens behind them.

use std::{io, net::SocketAddr, sync::Arc};

use causeway_common::tls::{BadFile, Fresh, TlsServer};
use tokio::net::{TcpListener, TcpSocket};

use super::{Addresses, NodeError};
use crate::{
    auth::is_local,
    config::{Config, Listener},
    connection::Entrance,
    listener::{Door, tls::TlsDoor},
};

/// The sockets of a node.
pub(super) struct Sockets {
    pub(super) doors: Vec<Door>,
    pub(super) link: TcpListener,
    pub(super) link_tls: Option<Arc<TlsServer>>,
    pub(super) admin: TcpListener,
    /// What was read from files for all of them.
    pub(super) fresh: Vec<Fresh>,
}

impl Sockets {
    /// Opens all that a node listens on.
    pub(super) fn open(config: &Config) -> Result<Self, NodeError> {
        let (mut doors, mut fresh) = (Vec::new(), Vec::new());
        for (number, listener) in config.listener.iter().enumerate() {
            let server = listener.is_tls().then(|| TlsServer::load(listener.tls_files()));
            let blame =
                |bad: BadFile| bad.in_config(&format!("listener.{number}"), "client_authority");
            let server = server.transpose().map_err(blame).map_err(NodeError::File)?.map(Arc::new);
            fresh.extend(server.iter().cloned().map(Fresh::Server));
            let tls = server.map(|server| TlsDoor::new(server, listener, &config.connections));
            doors.push(door(listener, tls)?);
        }
        let link_tls = config.link.tls_files().map(TlsServer::load).transpose();
        let blame = |bad: BadFile| NodeError::File(bad.in_config("link", "authority"));
        let link_tls = link_tls.map_err(blame)?.map(Arc::new);
        fresh.extend(link_tls.iter().cloned().map(Fresh::Server));
        Ok(Self {
            doors,
            link: bind("link", config.link.address)?,
            link_tls,
            admin: bind("admin", config.admin.address)?,
            fresh,
        })
    }

    /// The real addresses: a port 0 has become one.
    pub(super) fn addresses(&self, config: &Config) -> Addresses {
        let real = |socket: &TcpListener, wanted| socket.local_addr().unwrap_or(wanted);
        let client = |door: &Door| (door.address, door.tls.is_some());
        Addresses {
            clients: self.doors.iter().map(client).collect(),
            link: real(&self.link, config.link.address),
            admin: real(&self.admin, config.admin.address),
        }
    }
}

fn door(listener: &Listener, tls: Option<TlsDoor>) -> Result<Door, NodeError> {
    let socket = bind("listener", listener.address)?;
    let address = socket.local_addr().unwrap_or(listener.address);
    let entrance = Entrance {
        address: String::new(),
        is_local: is_local(address),
        allow_anonymous: listener.allow_anonymous.said(),
        user: None,
        seat: None,
    };
    Ok(Door { socket, address, proxied: listener.proxy_protocol, tls, entrance })
}

fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, NodeError> {
    listen(address).map_err(|error| NodeError::Listen { what, address, error })
}

/// A socket whose connections inherit that small packets do not wait for the acknowledgement of earlier ones:
/// so nobody has to ask for it once a connection.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A node that is started anew finds connections of its last life on its port.
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How many connections wait in the system's queue, as far as the system lets them.
const BACKLOG: u32 = 1024;

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn whoever_is_accepted_has_small_packets_sent_at_once() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = listen(address.parse().unwrap()).unwrap();
            let _client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
            let (accepted, _) = socket.accept().await.unwrap();
            assert!(accepted.nodelay().unwrap(), "{address}");
        }
    }
}
