//! The keys of the doors for clients: `[[listener]]`, and `[connections]` for what all share.
//!
//! It leaves to others: what stands in the files ([`causeway_common::tls`]), and ranges ([`super`]).

use std::{net::SocketAddr, path::PathBuf};

use causeway_common::{
    config::{Invalid, ensure, word},
    tls::{ClientCertificates, NameFrom, ServerFiles, TlsVersion},
};
use serde::{Deserialize, Serialize};

use super::local;

/// One address where clients connect, with or without TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// IP address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether a proxy stands in front, and says in a PROXY header (version 1 or 2) who is behind it.
    pub proxy_protocol: bool,
    /// Whether clients without user name and password may connect here.
    #[serde(deserialize_with = "word")]
    pub allow_anonymous: AllowAnonymous,
    /// PEM file with the node's certificate, followed by those between it and the authority. With it
    /// clients speak TLS here; without it, an empty text, they do not.
    pub certificate: PathBuf,
    /// PEM file with the private key of the certificate.
    pub key: PathBuf,
    /// The lowest version of TLS that is spoken.
    #[serde(deserialize_with = "word")]
    pub tls_version_min: TlsVersion,
    /// Whether clients show a certificate.
    #[serde(deserialize_with = "word")]
    pub client_certificates: ClientCertificates,
    /// PEM file with the authorities that may have signed those.
    pub client_authority: PathBuf,
    /// PEM files with what these authorities have revoked, signed by them. If there are any, an authority
    /// without a list is not trusted.
    pub revocation_lists: Vec<PathBuf>,
    /// Whether a client's certificate says who its user is. Then no password is asked for, and the user
    /// name in CONNECT does not count.
    #[serde(deserialize_with = "word")]
    pub user_from: UserFrom,
}

/// What of a client's certificate is its user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserFrom {
    /// Nothing.
    #[default]
    None,
    /// Its common name, of which there must be one.
    Cn,
    /// The first DNS name, e-mail address or URI among its alternative names.
    San,
}

/// Whether one listener lets in clients without user name and password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllowAnonymous {
    /// As `auth.allow_anonymous` says.
    #[default]
    Inherit,
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// How many clients may connect, and how long they may take, on all listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connections {
    /// Connections at a time, 1 to 1,000,000. Further ones are answered with CONNACK 3.
    pub max_connections: usize,
    /// Time from the connection to a whole CONNECT, with PROXY header and TLS handshake, at least 1.
    pub connect_timeout_secs: u64,
    /// Connections over `max_connections` whose CONNECT is read and answered at a time, 1 to 1,000,000;
    /// further ones wait. Of those that are not in yet, the one that has said nothing for longest gives
    /// way to a newcomer.
    pub refusals_max: usize,
    /// Time for a TLS handshake from the client's first message on, at least 1.
    pub handshake_timeout_secs: u64,
    /// TLS handshakes that are answered before those who are in are served again, 1 to 1,000,000 on each listener;
    /// further ones wait for their turn.
    pub handshakes_max: usize,
}

impl Listener {
    /// Whether clients speak TLS here.
    pub fn is_tls(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }
}

impl Listener {
    /// The files of TLS, and what is asked of clients.
    pub fn tls_files(&self) -> ServerFiles {
        ServerFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authority: self.client_authority.clone(),
            clients: self.client_certificates,
            revocation_lists: self.revocation_lists.clone(),
            version_min: self.tls_version_min,
        }
    }

    /// Keys that say nothing without others: what must hold of this one, number `number`.
    pub(super) fn ensure_whole(&self, number: usize) -> Result<(), Invalid> {
        let is_given = |path: &PathBuf| !path.as_os_str().is_empty();
        let asks = self.client_certificates != ClientCertificates::None;
        let reads_clients = is_given(&self.client_authority)
            || !self.revocation_lists.is_empty()
            || self.user_from != UserFrom::None;
        let key = format!("listener.{number}.client_certificates");
        let accepted = "\"optional\" or \"required\", as other keys of the listener need it";
        ensure(asks || !reads_clients, key, accepted)?;
        let key = format!("listener.{number}.certificate");
        let accepted =
            "a PEM file with the node's certificate, as other keys of the listener need it";
        ensure(self.is_tls() || !(asks || is_given(&self.key)), key, accepted)
    }
}

impl UserFrom {
    /// Where the name stands; nothing if the certificate does not say.
    pub fn place(self) -> Option<NameFrom> {
        match self {
            Self::None => None,
            Self::Cn => Some(NameFrom::CommonName),
            Self::San => Some(NameFrom::AlternativeName),
        }
    }
}

impl AllowAnonymous {
    /// What it says; nothing if that is left to `auth.allow_anonymous`.
    pub fn said(self) -> Option<bool> {
        match self {
            Self::Inherit => None,
            Self::Yes => Some(true),
            Self::No => Some(false),
        }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: local(1883),
            proxy_protocol: false,
            allow_anonymous: AllowAnonymous::default(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            tls_version_min: TlsVersion::default(),
            client_certificates: ClientCertificates::default(),
            client_authority: PathBuf::new(),
            revocation_lists: Vec::new(),
            user_from: UserFrom::default(),
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max_connections: 500,
            connect_timeout_secs: 10,
            refusals_max: 64,
            handshake_timeout_secs: 10,
            handshakes_max: 64,
        }
    }
}
