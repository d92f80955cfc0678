//! Revocation lists: read, and each held to be one of the authorities that are trusted.
//!
//! The library looks for the signature of a list only when it judges a certificate, and then a wrong list
//! refuses every client of that name; and it looks at the first list of a name alone. So a list that
//! would do that is not taken in the first place.
//!
//! It leaves to others: which certificates the lists concern ([`super::peer`], and the library).

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    client::WebPkiServerVerifier,
    pki_types::{
        CertificateRevocationListDer,
        pem::{Error::NoItemsFound, PemObject},
    },
};
use tracing::warn;
use x509_parser::{
    certificate::X509Certificate, parse_x509_certificate, parse_x509_crl,
    revocation_list::CertificateRevocationList, time::ASN1Time,
};

use super::{BadFile, Piece, files::Trusted, peer::Revoked, provider};

type Lists = Vec<CertificateRevocationListDer<'static>>;

/// What the lists of all files revoke, in both forms in which it is asked for.
pub(super) fn read(files: &[PathBuf], trusted: &Trusted) -> Result<(Lists, Revoked), BadFile> {
    let parsed = trusted.authorities.iter().map(|authority| parse_x509_certificate(authority));
    let authorities: Vec<_> = parsed.flatten().map(|(_, authority)| authority).collect();
    let (mut lists, mut revoked) = (Lists::new(), Revoked::default());
    let mut signers: Vec<&X509Certificate<'_>> = Vec::new();
    for file in files {
        let bad = |error: &dyn Display| Piece::RevocationList.bad(file, error);
        for list in in_file(file)? {
            let (_, parsed) = parse_x509_crl(&list).map_err(|error| bad(&error))?;
            let signer = signer(&parsed, &authorities).map_err(|error| bad(&error))?;
            if signers.iter().any(|other| is_namesake(other, signer)) {
                return Err(bad(&format!("another authority is named {} too", named(&parsed))));
            }
            // What the library cannot read, it would blame on the authority.
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&trusted.roots), provider())
                .with_crls([list.clone()])
                .build()
                .map_err(|error| bad(&error))?;
            if parsed.next_update().is_some_and(|end| end < ASN1Time::now()) {
                // To refuse everybody would cost more than what it does not know yet.
                warn!(file = %file.display(), "revocation list has run out and stays in force");
            }
            revoked.add(&parsed);
            signers.push(signer);
            lists.push(list);
        }
    }
    Ok((lists, revoked))
}

fn in_file(file: &Path) -> Result<Lists, BadFile> {
    let found = CertificateRevocationListDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Lists, _>>)
        .map_err(|error| Piece::RevocationList.bad(file, error))?;
    if found.is_empty() {
        return Err(Piece::RevocationList.bad(file, NoItemsFound));
    }
    Ok(found)
}

/// The authority that has signed a list.
fn signer<'a, 'b>(
    list: &CertificateRevocationList<'_>,
    authorities: &'a [X509Certificate<'b>],
) -> Result<&'a X509Certificate<'b>, String> {
    let is_named = |one: &&X509Certificate<'_>| one.subject().as_raw() == list.issuer().as_raw();
    let mut candidates = authorities.iter().filter(is_named).peekable();
    if candidates.peek().is_none() {
        return Err(format!("its authority is another, {}", named(list)));
    }
    let signer = candidates.find(|authority| has_signed(authority, list));
    signer.ok_or_else(|| format!("its signature is not by the key of {}", named(list)))
}

/// By any algorithm that the library would accept.
fn has_signed(authority: &X509Certificate<'_>, list: &CertificateRevocationList<'_>) -> bool {
    let key = &authority.public_key().subject_public_key.data;
    let (said, signature) = (list.tbs_cert_list.as_ref(), &list.signature_value.data);
    let algorithms = provider().signature_verification_algorithms.all;
    algorithms.iter().any(|one| one.verify_signature(key, said, signature).is_ok())
}

/// Whether two authorities have one name and not one key.
fn is_namesake(one: &X509Certificate<'_>, other: &X509Certificate<'_>) -> bool {
    let is_same_name = one.subject().as_raw() == other.subject().as_raw();
    is_same_name && one.public_key().raw != other.public_key().raw
}

/// Whoever makes lists must not write lines of our log.
fn named(list: &CertificateRevocationList<'_>) -> String {
    list.issuer().to_string().escape_debug().to_string()
}
