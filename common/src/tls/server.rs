//! The side that accepts: its files, read anew without ending a connection, and its handshakes.
//!
//! Sessions can be resumed by tickets, which cost no memory here. Tickets outlive a new certificate and
//! new revocation lists, so after a resumed handshake the client's certificate is judged again, as strictly
//! as in full; they do not outlive a change of authority.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tokio_rustls::{
    LazyConfigAcceptor, StartHandshake,
    rustls::{
        HandshakeKind, ServerConfig, SupportedProtocolVersion,
        crypto::aws_lc_rs::Ticketer,
        pki_types::{CertificateDer, UnixTime},
        server::{
            Acceptor, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
            WebPkiClientVerifier, danger::ClientCertVerifier,
        },
        version::{TLS12, TLS13},
    },
    server::TlsStream,
};
use x509_parser::certificate::Validity;

use super::{
    BadFile, ClientCertificates, NameFrom, Piece, TlsError, TlsVersion, files, lists,
    peer::{self, Revoked},
    provider,
    witness::Witness,
};

/// What a server is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFiles {
    /// PEM: our certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub key: PathBuf,
    /// PEM: who may sign the certificates of clients; not read if none are asked for.
    pub authority: PathBuf,
    /// What is asked of clients.
    pub clients: ClientCertificates,
    /// PEM: what the authority has revoked.
    pub revocation_lists: Vec<PathBuf>,
    /// The lowest version that is spoken.
    pub version_min: TlsVersion,
}

/// A server whose files can be read anew.
#[derive(Debug)]
pub struct TlsServer {
    files: ServerFiles,
    loaded: RwLock<Arc<Loaded>>,
}

/// One reading of the files.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    judge: Judge,
    validity: Validity,
    sessions: Sessions,
}

/// Who decides about the certificates of clients.
#[derive(Debug, Default)]
struct Judge {
    /// None if they are asked for none.
    by_library: Option<Arc<dyn ClientCertVerifier>>,
    authorities: Vec<CertificateDer<'static>>,
    revoked: Revoked,
}

/// What lets clients resume.
#[derive(Clone, Debug)]
struct Sessions {
    tickets: Arc<dyn ProducesTickets>,
    /// For clients of TLS 1.2 that know no tickets.
    stored: Arc<dyn StoresServerSessions>,
}

/// A client that has begun its handshake.
#[derive(Debug)]
pub struct Hello<S>(StartHandshake<S>);

/// A client behind its handshake.
#[derive(Debug)]
pub struct Greeted<S> {
    /// What is said inside.
    pub stream: TlsStream<S>,
    /// The name in its certificate, if it was asked for and showed one.
    pub name: Option<String>,
    /// Whether it has resumed an earlier session.
    pub is_resumed: bool,
}

impl TlsServer {
    /// Reads the files.
    pub fn load(files: ServerFiles) -> Result<Self, BadFile> {
        let loaded = RwLock::new(Arc::new(load(&files, None)?));
        Ok(Self { files, loaded })
    }

    /// Reads the files anew, for handshakes from now on. After an error all stays as it was.
    pub fn reload(&self) -> Result<(), BadFile> {
        let before = Arc::clone(&self.loaded.read());
        *self.loaded.write() = Arc::new(load(&self.files, Some(&before))?);
        Ok(())
    }

    /// All files that it reads.
    pub fn files(&self) -> Vec<PathBuf> {
        let ServerFiles { certificate, key, authority, clients, revocation_lists, .. } =
            &self.files;
        let mut files = vec![certificate.clone(), key.clone()];
        match clients {
            ClientCertificates::None => {}
            ClientCertificates::Optional | ClientCertificates::Required => {
                files.push(authority.clone());
                files.extend(revocation_lists.iter().cloned());
            }
        }
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

    /// Waits until a client has said the first message of a handshake, which costs next to nothing.
    pub async fn hear<S>(&self, stream: S) -> Result<Hello<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        Ok(Hello(LazyConfigAcceptor::new(Acceptor::default(), stream).await?))
    }

    /// Carries a handshake through. A client that has shown a certificate is named by it, where
    /// `name_from` says how.
    pub async fn greet<S>(
        &self,
        hello: Hello<S>,
        name_from: Option<NameFrom>,
    ) -> Result<Greeted<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let first = Arc::clone(&self.loaded.read());
        let stream = hello.0.into_stream(Arc::clone(&first.config)).await?;
        let (_, connection) = stream.get_ref();
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let mut name = None;
        if let Some(chain) = connection.peer_certificates() {
            // What is in force now, which may be younger than the handshake.
            let now = Arc::clone(&self.loaded.read());
            let is_judged = !is_resumed && Arc::ptr_eq(&first, &now);
            now.judge.judge(chain, is_judged)?;
            if let (Some(from), Some(leaf)) = (name_from, chain.first()) {
                name = Some(peer::name(leaf, from)?);
            }
        }
        Ok(Greeted { stream, name, is_resumed })
    }

    /// Both, until a moment at the latest.
    pub async fn accept<S>(&self, stream: S, until: Instant) -> Result<Greeted<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shaking = async { self.greet(self.hear(stream).await?, None).await };
        timeout_at(until, shaking).await.unwrap_or(Err(TlsError::Timeout))
    }
}

impl Judge {
    /// Judges a client whose handshake went well: `by_library`, unless it has just done so by these files,
    /// and by what it does not look at.
    fn judge(&self, chain: &[CertificateDer<'_>], is_judged: bool) -> Result<(), TlsError> {
        peer::judge(chain, &self.revoked)?;
        let (Some(library), Some((leaf, between))) = (&self.by_library, chain.split_first()) else {
            return Ok(());
        };
        if is_judged {
            return Ok(());
        }
        let judged = library.verify_client_cert(leaf, between, UnixTime::now());
        judged.map(drop).map_err(|error| TlsError::of_certificate(leaf, &error))
    }
}

fn load(files: &ServerFiles, before: Option<&Loaded>) -> Result<Loaded, BadFile> {
    let own = files::own(&files.certificate, &files.key)?;
    own.replaces(before.map(|before| &before.validity), &files.certificate)?;
    let bad_key = |error| Piece::Key.bad(&files.key, error);
    let judge = judge_of_clients(files)?;
    let versions: &[&SupportedProtocolVersion] = match files.version_min {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(bad_key)?;
    let mut config = match &judge.by_library {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        None => builder.with_no_client_auth(),
    }
    .with_single_cert(own.chain, own.key)
    .map_err(bad_key)?;
    let sessions = match before {
        Some(before) if before.judge.authorities == judge.authorities => before.sessions.clone(),
        Some(_) | None => Sessions {
            tickets: Ticketer::new().map_err(bad_key)?,
            stored: ServerSessionMemoryCache::new(SESSIONS_MAX),
        },
    };
    config.ticketer = Arc::clone(&sessions.tickets);
    config.session_storage = Arc::clone(&sessions.stored);
    Ok(Loaded { config: Arc::new(config), judge, validity: own.validity, sessions })
}

/// Who decides about the certificates of clients, if they are asked for any.
fn judge_of_clients(files: &ServerFiles) -> Result<Judge, BadFile> {
    let may_come_without = match files.clients {
        ClientCertificates::None => return Ok(Judge::default()),
        ClientCertificates::Optional => true,
        ClientCertificates::Required => false,
    };
    let trusted = files::roots(&files.authority)?;
    let (lists, revoked) = lists::read(&files.revocation_lists, &trusted)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(trusted.roots, provider());
    if !lists.is_empty() {
        // As OpenSSL does: authorities in between seldom have lists of their own.
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
    }
    if may_come_without {
        builder = builder.allow_unauthenticated();
    }
    let judge = builder.build().map_err(|error| Piece::Authority.bad(&files.authority, error))?;
    let by_library: Arc<dyn ClientCertVerifier> = Arc::new(Witness(judge));
    Ok(Judge { by_library: Some(by_library), authorities: trusted.authorities, revoked })
}

/// Sessions of TLS 1.2 that are kept for clients without tickets.
const SESSIONS_MAX: usize = 1024;
