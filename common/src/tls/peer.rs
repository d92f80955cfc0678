//! The other side's certificate: whom it names, whether it is revoked, and the user it belongs to.
//!
//! It leaves to the library: whether an authority that we trust has signed it.

use std::{
    collections::HashSet,
    fmt::{self, Display},
};

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate,
    revocation_list::CertificateRevocationList, time::ASN1Time,
};

use super::{Failure, TlsError};

/// Whom a certificate names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    subject: String,
    serial: String,
}

/// Where a user's name stands in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameFrom {
    /// Its one common name.
    CommonName,
    /// The first DNS name, e-mail address or URI among its alternative names.
    AlternativeName,
}

/// Serial numbers that are revoked, by their authority.
#[derive(Debug, Default)]
pub(super) struct Revoked(HashSet<(Vec<u8>, Vec<u8>)>);

impl Who {
    /// Whom the certificate at the front of a chain names.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        parse_x509_certificate(certificate)
            .map(|(_, found)| Self::named(&found))
            .unwrap_or_default()
    }

    fn named(certificate: &X509Certificate<'_>) -> Self {
        // Whoever signs certificates must not write lines of our log.
        let subject = certificate.subject().to_string().escape_debug().to_string();
        Self { subject, serial: certificate.raw_serial_as_string() }
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subject {}, serial {}", self.subject, self.serial)
    }
}

impl Revoked {
    pub(super) fn add(&mut self, list: &CertificateRevocationList<'_>) {
        let issuer = list.issuer().as_raw();
        for entry in list.iter_revoked_certificates() {
            self.0.insert((issuer.to_owned(), significant(entry.raw_serial()).to_owned()));
        }
    }

    fn holds(&self, certificate: &X509Certificate<'_>) -> bool {
        let issuer = certificate.issuer().as_raw().to_owned();
        self.0.contains(&(issuer, significant(certificate.raw_serial()).to_owned()))
    }
}

/// A number without the zeros in front that tell its sign.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|digit| **digit == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Judges what a resumed handshake does not: a session may be older than the revocation of its
/// certificate, or than the certificate's end.
pub(super) fn judge(chain: &[CertificateDer<'_>], revoked: &Revoked) -> Result<(), TlsError> {
    let refused = |what, certificate| TlsError::Certificate { what, who: Who::of(certificate) };
    for certificate in chain {
        let parsed = parse_x509_certificate(certificate);
        let (_, parsed) = parsed.map_err(|_| refused(Failure::BadCertificate, certificate))?;
        if revoked.holds(&parsed) {
            return Err(refused(Failure::Revoked, certificate));
        }
        if !parsed.validity().is_valid_at(ASN1Time::now()) {
            return Err(refused(Failure::Expired, certificate));
        }
    }
    Ok(())
}

/// The user's name in a certificate.
pub(super) fn name(certificate: &CertificateDer<'_>, from: NameFrom) -> Result<String, TlsError> {
    let parsed = parse_x509_certificate(certificate).ok();
    let found = parsed.as_ref().and_then(|(_, parsed)| match from {
        NameFrom::CommonName => common_name(parsed),
        NameFrom::AlternativeName => alternative_name(parsed),
    });
    // As a client could write it in CONNECT [MQTT-1.5.3-1] [MQTT-1.5.3-2].
    let fits = |name: &&str| (1..=65_535).contains(&name.len()) && !name.contains(char::is_control);
    let name = found.filter(fits).map(str::to_owned);
    let no_name = || TlsError::Certificate { what: Failure::NoName, who: Who::of(certificate) };
    name.ok_or_else(no_name)
}

/// The common name, if it is the only one: of two nobody could say which is meant.
fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok();
    name.filter(|_| names.next().is_none())
}

fn alternative_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some(*name)
        }
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    })
}
