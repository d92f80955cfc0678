//! The side that connects: a bridge, which shows a certificate and asks for one.
//!
//! Sessions are not resumed: links are few and live long, and so each handshake is judged in full.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig,
        client::{Resumption, WebPkiServerVerifier},
        pki_types::ServerName,
    },
};
use x509_parser::certificate::Validity;

use super::{BadFile, Piece, files, lists, provider};

/// What a client is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM: our certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub key: PathBuf,
    /// PEM: who may sign the certificates of servers.
    pub authority: PathBuf,
    /// PEM: what the authority has revoked.
    pub revocation_lists: Vec<PathBuf>,
}

/// A client whose files can be read anew.
#[derive(Debug)]
pub struct TlsClient {
    files: ClientFiles,
    loaded: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ClientConfig>,
    validity: Validity,
}

impl TlsClient {
    /// Reads the files.
    pub fn load(files: ClientFiles) -> Result<Self, BadFile> {
        let loaded = RwLock::new(load(&files, None)?);
        Ok(Self { files, loaded })
    }

    /// Reads the files anew, for handshakes from now on. After an error all stays as it was.
    pub fn reload(&self) -> Result<(), BadFile> {
        let before = self.loaded.read().validity.clone();
        let loaded = load(&self.files, Some(&before))?;
        *self.loaded.write() = loaded;
        Ok(())
    }

    /// All files that it reads.
    pub fn files(&self) -> Vec<PathBuf> {
        let ClientFiles { certificate, key, authority, revocation_lists } = &self.files;
        let mut files = vec![certificate.clone(), key.clone(), authority.clone()];
        files.extend(revocation_lists.iter().cloned());
        files
    }

    /// The file of its certificate.
    pub fn certificate(&self) -> &Path {
        &self.files.certificate
    }

    /// When its certificate ends, in seconds since 1970.
    pub fn expiry_secs(&self) -> i64 {
        self.loaded.read().validity.not_after.timestamp()
    }

    /// Carries a handshake through with the server at `address`, which is `host:port`: its certificate
    /// must name that host.
    pub async fn connect<S>(&self, address: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let config = Arc::clone(&self.loaded.read().config);
        TlsConnector::from(config).connect(name, stream).await
    }
}

fn load(files: &ClientFiles, before: Option<&Validity>) -> Result<Loaded, BadFile> {
    let own = files::own(&files.certificate, &files.key)?;
    own.replaces(before, &files.certificate)?;
    let trusted = files::roots(&files.authority)?;
    let (lists, _) = lists::read(&files.revocation_lists, &trusted)?;
    let mut judge = WebPkiServerVerifier::builder_with_provider(trusted.roots, provider());
    if !lists.is_empty() {
        judge = judge.with_crls(lists).only_check_end_entity_revocation();
    }
    let judge = judge.build().map_err(|error| Piece::Authority.bad(&files.authority, error))?;
    let bad_key = |error| Piece::Key.bad(&files.key, error);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(bad_key)?
        .with_webpki_verifier(judge)
        .with_client_auth_cert(own.chain, own.key)
        .map_err(bad_key)?;
    config.resumption = Resumption::disabled();
    Ok(Loaded { config: Arc::new(config), validity: own.validity })
}
