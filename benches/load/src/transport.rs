//! A non-blocking socket, plain or with TLS.
//!
//! It leaves to others: waiting until it is ready, and what the bytes mean ([`crate::client`]).

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use mio::net::TcpStream;
use rustix::net::sockopt::set_socket_linger;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

/// What connections are made of.
#[derive(Clone, Debug, Default)]
pub struct Dialer(Option<Arc<ClientConfig>>);

impl Dialer {
    /// One for TLS that trusts the authorities of a PEM file.
    pub fn tls(authorities: &Path) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authorities).map_err(io::Error::other)? {
            let certificate = certificate.map_err(io::Error::other)?;
            roots.add(certificate).map_err(io::Error::other)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Some(Arc::new(config))))
    }

    /// Begins to connect.
    pub fn dial(&self, address: SocketAddr) -> io::Result<Transport> {
        let stream = TcpStream::connect(address)?;
        let Some(config) = &self.0 else {
            return Ok(Transport::Plain(stream));
        };
        let name = ServerName::from(address.ip());
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Transport::Tls(Box::new(StreamOwned::new(session, stream))))
    }
}

/// An open or opening connection.
#[derive(Debug)]
pub enum Transport {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS on it.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// The socket below.
    pub fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    /// Has its end told by a reset, after which neither side keeps anything of it: for connections that the
    /// peer has closed.
    pub fn end_by_reset(&mut self) {
        // Without it the end is an ordinary one.
        let _ = set_socket_linger(self.socket(), Some(Duration::ZERO));
    }

    /// Whether a read that did not fill its buffer has emptied the socket.
    pub fn short_read_is_last(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(_) => false,
        }
    }

    /// Reads what is there.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }

    /// Writes what it takes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// Writes what TLS holds back, as far as the socket takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
