//! PEM files: certificates, keys, authorities. An error names the file.
//!
//! It leaves to others: which files, what becomes of their content, and revocation lists (`lists.rs`).

use std::{
    fmt::{self, Display},
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error::NoItemsFound, PemObject},
    },
};
use tracing::warn;
use x509_parser::{certificate::Validity, parse_x509_certificate, time::ASN1Time};

use crate::config::Invalid;

/// A file that is missing, or not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{piece}, which `{file}` is not: {error}", file = file.display())]
pub struct BadFile {
    /// What it should be.
    pub piece: Piece,
    /// Its path.
    pub file: PathBuf,
    /// What is wrong with it.
    pub error: String,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Our certificate, and those between it and its authority.
    Certificate,
    /// The same, in force at this time.
    ValidCertificate,
    /// Its private key.
    Key,
    /// Whom we trust.
    Authority,
    /// What they have revoked.
    RevocationList,
}

impl Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a PEM file with a certificate chain",
            Self::ValidCertificate => "a certificate that is valid now",
            Self::Key => "a PEM file with the certificate's key",
            Self::Authority => "a PEM file with the certificates of authorities",
            Self::RevocationList => "a PEM file with revocation lists of the authority",
        })
    }
}

impl BadFile {
    /// The same as an error of the configuration, of whose `section` a key names the file. That of the
    /// authority has a name of its own.
    pub fn in_config(&self, section: &str, authority: &str) -> Invalid {
        let key = match self.piece {
            Piece::Certificate | Piece::ValidCertificate => "certificate",
            Piece::Key => "key",
            Piece::Authority => authority,
            Piece::RevocationList => "revocation_lists",
        };
        Invalid { key: format!("{section}.{key}").into(), accepted: self.to_string() }
    }
}

impl Piece {
    pub(super) fn bad(self, file: &Path, error: impl Display) -> BadFile {
        BadFile { piece: self, file: file.to_owned(), error: error.to_string() }
    }
}

/// What one side shows the other.
pub(super) struct Own {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) validity: Validity,
}

impl Own {
    /// A certificate that nobody will accept does not replace one that is accepted (`before`, if one is in
    /// force); otherwise it is used all the same, as no other is there, and the log says so.
    pub(super) fn replaces(&self, before: Option<&Validity>, file: &Path) -> Result<(), BadFile> {
        let now = ASN1Time::now();
        if self.validity.is_valid_at(now) {
            return Ok(());
        }
        let Validity { not_before, not_after } = &self.validity;
        let wrong = if *not_after < now {
            format!("it has expired, on {not_after}")
        } else {
            format!("it begins on {not_before}")
        };
        if before.is_some_and(|before| before.is_valid_at(now)) {
            return Err(Piece::ValidCertificate.bad(file, wrong));
        }
        warn!(file = %file.display(), "certificate is not valid now, others will refuse it: {wrong}");
        Ok(())
    }
}

/// A certificate chain and its key; whether they belong together is seen later.
pub(super) fn own(certificate: &Path, key: &Path) -> Result<Own, BadFile> {
    let chain = certificates(certificate, Piece::Certificate)?;
    let bad = |error: &dyn Display| Piece::Certificate.bad(certificate, error);
    let leaf = chain.first().ok_or_else(|| bad(&NoItemsFound))?;
    let (_, leaf) = parse_x509_certificate(leaf).map_err(|error| bad(&error))?;
    let validity = leaf.validity().clone();
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| Piece::Key.bad(key, error))?;
    Ok(Own { chain, key, validity })
}

/// Whom to trust.
pub(super) struct Trusted {
    pub(super) roots: Arc<RootCertStore>,
    /// The same as they stand in the file.
    pub(super) authorities: Vec<CertificateDer<'static>>,
}

/// Whom to trust.
pub(super) fn roots(file: &Path) -> Result<Trusted, BadFile> {
    let authorities = certificates(file, Piece::Authority)?;
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        roots.add(authority.clone()).map_err(|error| Piece::Authority.bad(file, error))?;
    }
    Ok(Trusted { roots: Arc::new(roots), authorities })
}

/// Whether two files trust one and the same authority.
pub fn share_an_authority(one: &Path, other: &Path) -> Result<bool, BadFile> {
    let (one, other) = (roots(one)?.authorities, roots(other)?.authorities);
    Ok(one.iter().any(|authority| other.contains(authority)))
}

fn certificates(file: &Path, piece: Piece) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| piece.bad(file, error))?;
    if found.is_empty() {
        return Err(piece.bad(file, NoItemsFound));
    }
    Ok(found)
}
