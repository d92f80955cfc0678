//! Why a handshake came to nothing, in words for the log and in one word for a counter.
//!
//! It leaves to others: to log and to count.

use std::io::{self, ErrorKind};

use prometheus::IntCounter;
use thiserror::Error;
use tokio_rustls::rustls::{CertificateError, Error as Rustls, pki_types::CertificateDer};

use super::Who;
use crate::metrics::labels;

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The other side took too long.
    #[error("handshake timed out")]
    Timeout,
    /// The other side broke off, or said what it may not say.
    #[error(transparent)]
    Handshake(#[from] io::Error),
    /// The handshake went well, and its certificate is not accepted.
    #[error("{what}: {who}")]
    Certificate {
        /// What is wrong with it.
        what: Failure,
        /// Whom it names.
        who: Who,
    },
}

/// The same in one word of a bounded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// It took too long.
    #[error("timed out")]
    Timeout,
    /// The other side closed the connection, or the network did.
    #[error("closed")]
    Closed,
    /// The other side gave up: it does not trust us, or speaks no version that we do.
    #[error("other side gave up")]
    PeerGaveUp,
    /// What came is no TLS.
    #[error("no TLS")]
    Protocol,
    /// No version or cipher in common.
    #[error("no version in common")]
    Incompatible,
    /// A certificate is required, and none was shown.
    #[error("no certificate")]
    NoCertificate,
    /// Nobody we trust has signed it.
    #[error("unknown authority")]
    UnknownAuthority,
    /// Not valid any more, or not yet.
    #[error("certificate is expired")]
    Expired,
    /// Its authority has revoked it.
    #[error("certificate is revoked")]
    Revoked,
    /// No revocation list speaks for its authority.
    #[error("no revocation list of its authority")]
    RevocationUnknown,
    /// It serves another purpose, names another host, or is damaged.
    #[error("certificate does not serve")]
    BadCertificate,
    /// It has no name that could be a user's.
    #[error("certificate has no user name")]
    NoName,
}

impl TlsError {
    /// What the library says of a certificate.
    pub(super) fn of_certificate(certificate: &CertificateDer<'_>, error: &Rustls) -> Self {
        Self::Certificate { what: of_rustls(error), who: Who::of(certificate) }
    }

    /// In one word.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Timeout => Failure::Timeout,
            Self::Certificate { what, .. } => *what,
            Self::Handshake(error) => {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Rustls>());
                match inner {
                    Some(inner) => of_rustls(inner),
                    None if error.kind() == ErrorKind::TimedOut => Failure::Timeout,
                    None => Failure::Closed,
                }
            }
        }
    }
}

/// What the library says; its lists of errors may grow.
fn of_rustls(error: &Rustls) -> Failure {
    match error {
        Rustls::InvalidCertificate(error) => of_certificate(error),
        Rustls::NoCertificatesPresented => Failure::NoCertificate,
        Rustls::AlertReceived(_) => Failure::PeerGaveUp,
        Rustls::PeerIncompatible(_) => Failure::Incompatible,
        _ => Failure::Protocol,
    }
}

pub(super) fn of_certificate(error: &CertificateError) -> Failure {
    use CertificateError as Bad;
    match error {
        // By somebody who has the name of one that we trust, and another key.
        Bad::UnknownIssuer | Bad::BadSignature => Failure::UnknownAuthority,
        Bad::Expired
        | Bad::ExpiredContext { .. }
        | Bad::NotValidYet
        | Bad::NotValidYetContext { .. } => Failure::Expired,
        Bad::Revoked => Failure::Revoked,
        Bad::UnknownRevocationStatus => Failure::RevocationUnknown,
        _ => Failure::BadCertificate,
    }
}

labels! {
    /// Why handshakes came to nothing.
    pub struct TlsFailures {
        /// The other side took too long.
        timeout,
        /// The other side closed the connection, or the network did.
        closed,
        /// The other side gave up, for instance as it does not trust us.
        peer_gave_up,
        /// What came is no TLS.
        protocol,
        /// No version or cipher in common.
        incompatible,
        /// No certificate was shown where one is required.
        no_certificate,
        /// Nobody we trust has signed the certificate.
        unknown_authority,
        /// The certificate is not valid any more, or not yet.
        expired,
        /// The certificate is revoked.
        revoked,
        /// No revocation list speaks for the certificate's authority.
        revocation_unknown,
        /// The certificate serves another purpose, or is damaged.
        bad_certificate,
        /// The certificate has no name that could be a user's.
        no_name,
    }
}

impl TlsFailures {
    /// The counter of one failure.
    pub fn at(&self, failure: Failure) -> &IntCounter {
        match failure {
            Failure::Timeout => &self.timeout,
            Failure::Closed => &self.closed,
            Failure::PeerGaveUp => &self.peer_gave_up,
            Failure::Protocol => &self.protocol,
            Failure::Incompatible => &self.incompatible,
            Failure::NoCertificate => &self.no_certificate,
            Failure::UnknownAuthority => &self.unknown_authority,
            Failure::Expired => &self.expired,
            Failure::Revoked => &self.revoked,
            Failure::RevocationUnknown => &self.revocation_unknown,
            Failure::BadCertificate => &self.bad_certificate,
            Failure::NoName => &self.no_name,
        }
    }
}
