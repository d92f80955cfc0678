//! TLS in front of MQTT: TLS 1.2 and 1.3, one certificate, a bounded number of handshakes at a time
//! and a bounded time for each.
//!
//! It leaves to others: what is said inside (`connection`), who finds a place (`listener`).

use std::{fmt::Display, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use causeway_common::config::Invalid;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{Error::NoItemsFound, PemObject},
        },
    },
    server::TlsStream,
};
use tracing::info;
use x509_parser::parse_x509_certificate;

use crate::{accept::accept, config::ListenerTls, metrics::Metrics};

/// A certificate chain and a key that belong together.
#[derive(Debug)]
pub struct Identity {
    config: Arc<ServerConfig>,
    /// When the certificate ends, in seconds since 1970.
    pub expiry_secs: i64,
}

/// A socket on which clients speak TLS.
pub struct TlsListener {
    socket: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: Arc<Semaphore>,
    handshake_timeout: Duration,
}

/// A connection whose client has still to show that it speaks TLS.
pub(super) struct Handshake {
    stream: TcpStream,
    acceptor: TlsAcceptor,
    time_limit: Duration,
    _turn: OwnedSemaphorePermit,
}

impl Identity {
    /// Reads two PEM files. The error names the key of the configuration that is at fault.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Invalid> {
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| no_certificate(certificate, error))?;
        let leaf = chain.first().ok_or_else(|| no_certificate(certificate, NoItemsFound))?;
        let (_, leaf) =
            parse_x509_certificate(leaf).map_err(|error| no_certificate(certificate, error))?;
        let expiry_secs = leaf.validity().not_after.timestamp();

        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| no_key(key, error))?;
        // Named, as a process default would panic once any crate brings a second provider.
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der))
            .map_err(|error| no_key(key, error))?;
        Ok(Self { config: Arc::new(config), expiry_secs })
    }
}

impl TlsListener {
    /// Clients on `socket` are shown `identity`.
    pub fn new(socket: TcpListener, identity: Identity, config: &ListenerTls) -> Self {
        let handshakes_max = config.handshakes_max.min(Semaphore::MAX_PERMITS);
        Self {
            socket,
            acceptor: identity.config.into(),
            handshakes: Arc::new(Semaphore::new(handshakes_max)),
            handshake_timeout: Duration::from_secs(config.handshake_timeout_secs),
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection, once one more may shake hands; until then it waits in the kernel's
    /// queue. Cancelling it loses nothing.
    pub(super) async fn accept(&self) -> (Handshake, SocketAddr) {
        let Ok(turn) = Arc::clone(&self.handshakes).acquire_owned().await else {
            return std::future::pending().await;
        };
        let (stream, address) = accept(&self.socket).await;
        let handshake = Handshake {
            stream,
            acceptor: self.acceptor.clone(),
            time_limit: self.handshake_timeout,
            _turn: turn,
        };
        (handshake, address)
    }
}

impl Handshake {
    /// Carries it through; nothing if it fails.
    pub(super) async fn finish(self, metrics: &Metrics) -> Option<TlsStream<TcpStream>> {
        let finished = timeout(self.time_limit, self.acceptor.accept(self.stream)).await;
        match finished.unwrap_or_else(|late| Err(late.into())) {
            Ok(stream) => {
                metrics.tls_handshakes.inc();
                Some(stream)
            }
            Err(error) => {
                metrics.tls_handshakes_failed.inc();
                info!(reason = %error, "tls handshake failed");
                None
            }
        }
    }
}

fn no_certificate(file: &Path, error: impl Display) -> Invalid {
    let file = file.display();
    Invalid {
        key: "listener_tls.certificate",
        accepted: format!("a PEM file with a certificate chain, which `{file}` is not: {error}"),
    }
}

fn no_key(file: &Path, error: impl Display) -> Invalid {
    let file = file.display();
    Invalid {
        key: "listener_tls.key",
        accepted: format!("a PEM file with the certificate's key, which `{file}` is not: {error}"),
    }
}
