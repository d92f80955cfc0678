//! The sockets of a node, bound before anything runs, and what is read from files for them. It leaves to
//! `node.rs` what happens behind them.

use std::{net::SocketAddr, sync::Arc};

use causeway_common::tls::{BadFile, Fresh, TlsServer};
use tokio::net::TcpListener;

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
    pub(super) async fn open(config: &Config) -> Result<Self, NodeError> {
        let (mut doors, mut fresh) = (Vec::new(), Vec::new());
        for (number, listener) in config.listener.iter().enumerate() {
            let server = listener.is_tls().then(|| TlsServer::load(listener.tls_files()));
            let blame =
                |bad: BadFile| bad.in_config(&format!("listener.{number}"), "client_authority");
            let server = server.transpose().map_err(blame).map_err(NodeError::File)?.map(Arc::new);
            fresh.extend(server.iter().cloned().map(Fresh::Server));
            let tls = server.map(|server| TlsDoor::new(server, listener, &config.connections));
            doors.push(door(listener, tls).await?);
        }
        let link_tls = config.link.tls_files().map(TlsServer::load).transpose();
        let blame = |bad: BadFile| NodeError::File(bad.in_config("link", "authority"));
        let link_tls = link_tls.map_err(blame)?.map(Arc::new);
        fresh.extend(link_tls.iter().cloned().map(Fresh::Server));
        Ok(Self {
            doors,
            link: bind("link", config.link.address).await?,
            link_tls,
            admin: bind("admin", config.admin.address).await?,
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

async fn door(listener: &Listener, tls: Option<TlsDoor>) -> Result<Door, NodeError> {
    let socket = bind("listener", listener.address).await?;
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

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, NodeError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| NodeError::Listen { what, address, error })
}
