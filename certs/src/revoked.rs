//! Revocation lists: read, added to, signed anew.
//!
//! It leaves to others: which certificates, and who signs.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use x509_parser::{parse_x509_certificate, parse_x509_crl, pem::parse_x509_pem};

use super::{AUTHORITY_DAYS, read, replace};

/// The number of a certificate.
pub(super) fn serial(pem: &str) -> Result<SerialNumber> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|error| anyhow!("{error}"))?;
    let (_, certificate) =
        parse_x509_certificate(&pem.contents).map_err(|error| anyhow!("{error}"))?;
    Ok(SerialNumber::from_slice(certificate.raw_serial()))
}

/// Writes a list anew: what stands there, and what is added.
pub(super) fn write(
    list: &Path,
    authority: &Issuer<'_, KeyPair>,
    added: &[SerialNumber],
) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let today = date_time_ymd(1970, 1, 1) + now;
    let mut revoked_certs = match read(list)? {
        Some(pem) => entries(&pem).with_context(|| format!("can't read {}", list.display()))?,
        None => Vec::new(),
    };
    revoked_certs.extend(added.iter().map(|serial| RevokedCertParams {
        serial_number: serial.clone(),
        revocation_time: today,
        reason_code: None,
        invalidity_date: None,
    }));
    let params = CertificateRevocationListParams {
        // An hour ago, as clocks differ.
        this_update: today - Duration::from_hours(1),
        next_update: today + Duration::from_hours(24) * AUTHORITY_DAYS,
        crl_number: SerialNumber::from(now.as_secs()),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let pem = params.signed_by(authority)?.pem()?;
    replace(list, 0o644, &pem).with_context(|| format!("can't write {}", list.display()))
}

fn entries(pem: &str) -> Result<Vec<RevokedCertParams>> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|error| anyhow!("{error}"))?;
    let (_, list) = parse_x509_crl(&pem.contents).map_err(|error| anyhow!("{error}"))?;
    let entry = |entry: &x509_parser::revocation_list::RevokedCertificate<'_>| RevokedCertParams {
        serial_number: SerialNumber::from_slice(entry.raw_serial()),
        revocation_time: entry.revocation_date.to_datetime(),
        reason_code: None,
        invalidity_date: None,
    };
    Ok(list.iter_revoked_certificates().map(entry).collect())
}
