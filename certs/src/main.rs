//! Makes what TLS between development machines needs: an authority that signs certificates for servers and
//! clients, one of its own for links, and what each has revoked.
//!
//! It leaves to others: real certificates. The authority's key lies unprotected on the disk.

mod revoked;

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth},
    IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Makes two authorities once, and certificates signed by them anew at each call; or revokes one.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// Folder for the files; made if it is missing
    #[arg(long, value_name = "FOLDER", default_value = "certs/dev")]
    out: PathBuf,
    /// Host name or IP address of the servers; may be repeated
    #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    names: Vec<String>,
    /// Common name of a client (a-z A-Z 0-9 . _ -), which becomes its user name; may be repeated
    #[arg(long = "client", value_name = "NAME", default_values = ["alice", "bob"])]
    clients: Vec<String>,
    /// Days until the certificates end; with 0 they have ended already, to try that
    #[arg(long, value_name = "DAYS", default_value_t = LEAF_DAYS)]
    days: u32,
    /// Revokes a certificate of the folder and makes none: `client-alice`, `server`, `link`; may be
    /// repeated
    #[arg(long = "revoke", value_name = "FILE")]
    revoke: Vec<String>,
}

/// An authority's name for its files, and what people read in its certificate.
const CLIENTS: (&str, &str) = ("authority", "Causeway development authority");
const LINKS: (&str, &str) = ("link-authority", "Causeway development authority for links");

#[expect(clippy::print_stdout, reason = "says what it did")]
fn main() -> Result<()> {
    let cli = Cli::parse();
    let written = if cli.revoke.is_empty() { make(&cli)? } else { revoke_in(&cli)? };
    for path in written {
        println!("wrote {}", path.display());
    }
    let [authority, server] = ["authority.pem", "server.pem"].map(|file| cli.out.join(file));
    let (authority, server) = (authority.display(), server.display());
    println!("\nClients trust the servers by {authority}. To look at one, and to check one:");
    println!("  openssl x509 -noout -text -in {server}");
    println!("  openssl verify -CAfile {authority} {server}");
    Ok(())
}

/// Writes everything and returns the paths of what was written.
fn make(cli: &Cli) -> Result<Vec<PathBuf>> {
    for name in &cli.clients {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        ensure!(!name.is_empty() && name.chars().all(plain), "client name {name:?} is not allowed");
    }
    fs::create_dir_all(&cli.out).with_context(|| format!("can't make {}", cli.out.display()))?;
    let mut written = Vec::new();
    let clients = authority(&cli.out, CLIENTS, &mut written)?;
    let links = authority(&cli.out, LINKS, &mut written)?;
    let mut sign = |(file, name): (&str, &str), authority, hosts: &[String], uses: &[_]| {
        let key = KeyPair::generate()?;
        let mut params = params(name, hosts, cli.days)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = uses.to_vec();
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, authority)?;
        write_pair(&cli.out, file, &certificate, &key, &mut written)
    };
    sign(("server", "server"), &clients, &cli.names, &[ServerAuth])?;
    // A link has a certificate at both ends, and the same will do for both.
    sign(("link", "link"), &links, &cli.names, &[ServerAuth, ClientAuth])?;
    for name in &cli.clients {
        sign((&format!("client-{name}"), name), &clients, &[], &[ClientAuth])?;
    }
    for (authority, list) in [(&clients, REVOKED), (&links, LINKS_REVOKED)] {
        let list = cli.out.join(list);
        revoked::write(&list, authority, &[])?;
        written.push(list);
    }
    Ok(written)
}

/// Adds certificates to the lists of their authorities.
fn revoke_in(cli: &Cli) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for file in &cli.revoke {
        let certificate = cli.out.join(format!("{file}.pem"));
        let pem = read(&certificate)?;
        let pem = pem.with_context(|| format!("there is no {}", certificate.display()))?;
        let (authority_of, list) =
            if file == "link" { (LINKS, LINKS_REVOKED) } else { (CLIENTS, REVOKED) };
        let authority = authority(&cli.out, authority_of, &mut written)?;
        let list = cli.out.join(list);
        revoked::write(&list, &authority, &[revoked::serial(&pem)?])?;
        written.push(list);
    }
    Ok(written)
}

/// The authority of the folder; a new one only where there is none, as everybody trusts the old.
fn authority(
    folder: &Path,
    (file, name): (&str, &str),
    written: &mut Vec<PathBuf>,
) -> Result<Issuer<'static, KeyPair>> {
    let [pem, key] = ["pem", "key"].map(|ending| folder.join(format!("{file}.{ending}")));
    match (read(&pem)?, read(&key)?) {
        (Some(pem), Some(key)) => {
            let issuer = Issuer::from_ca_cert_pem(&pem, KeyPair::from_pem(&key)?);
            issuer.context("the authority can't be read")
        }
        (None, None) => new_authority(folder, (file, name), written),
        (Some(_), None) => bail!("{} is missing; remove {} too", key.display(), pem.display()),
        (None, Some(_)) => bail!("{} is missing; remove {} too", pem.display(), key.display()),
    }
}

fn new_authority(
    folder: &Path,
    (file, name): (&str, &str),
    written: &mut Vec<PathBuf>,
) -> Result<Issuer<'static, KeyPair>> {
    let mut params = params(name, &[], AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_pair(folder, file, &certificate, &key, written)?;
    Ok(Issuer::new(params, key))
}

fn params(name: &str, hosts: &[String], days: u32) -> Result<CertificateParams> {
    let hour = Duration::from_hours(1);
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // An hour ago, as clocks differ.
    let start = (SystemTime::now() - hour).duration_since(UNIX_EPOCH)?;
    params.not_before = date_time_ymd(1970, 1, 1) + start;
    params.not_after = params.not_before + hour * 24 * days;
    Ok(params)
}

fn write_pair(
    folder: &Path,
    file: &str,
    certificate: &Certificate,
    key: &KeyPair,
    written: &mut Vec<PathBuf>,
) -> Result<()> {
    for (ending, mode, text) in
        [("pem", 0o644, certificate.pem()), ("key", 0o600, key.serialize_pem())]
    {
        let path = folder.join(format!("{file}.{ending}"));
        replace(&path, mode, &text).with_context(|| format!("can't write {}", path.display()))?;
        written.push(path);
    }
    Ok(())
}

/// Writes a file that nobody ever sees half, or with more rights than `mode`.
fn replace(path: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&part, path)
}

/// The text of a file, or nothing if there is none.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// What each authority has revoked.
const REVOKED: &str = "revoked.pem";
const LINKS_REVOKED: &str = "link-revoked.pem";

/// Ten years: a new one has to be carried to every machine.
const AUTHORITY_DAYS: u32 = 3650;

/// The most that common clients accept.
const LEAF_DAYS: u32 = 397;

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    fn made(folder: &Path) -> Result<Vec<PathBuf>> {
        let clients = ["alice", "bob"].map(str::to_owned).to_vec();
        let names = ["localhost", "127.0.0.1", "::1", "*.example.org"].map(str::to_owned).to_vec();
        make(&Cli { out: folder.to_owned(), names, clients, days: LEAF_DAYS, revoke: Vec::new() })
    }

    fn revoked(folder: &Path, file: &str) -> Result<Vec<PathBuf>> {
        let (out, revoke) = (folder.to_owned(), vec![file.to_owned()]);
        revoke_in(&Cli { out, names: Vec::new(), clients: Vec::new(), days: 0, revoke })
    }

    /// What a second implementation says: whether the certificate serves the purpose.
    fn verified(folder: &Path, certificate: &str, options: &[&str]) -> bool {
        let authority =
            if certificate == "link.pem" { "link-authority.pem" } else { "authority.pem" };
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-CAfile"])
            .arg(folder.join(authority))
            .args(options)
            .arg(folder.join(certificate))
            .output()
            .expect("openssl is installed");
        output.status.success()
    }

    #[test]
    fn each_certificate_serves_its_purpose_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        made(folder.path()).unwrap();
        let server = ["-purpose", "sslserver"];
        let client = ["-purpose", "sslclient"];
        for (certificate, serves, connects) in [
            ("server.pem", true, false),
            ("link.pem", true, true),
            ("client-alice.pem", false, true),
            ("client-bob.pem", false, true),
        ] {
            assert_eq!(verified(folder.path(), certificate, &server), serves, "{certificate}");
            assert_eq!(verified(folder.path(), certificate, &client), connects, "{certificate}");
        }
        for (options, valid) in [
            (["-verify_hostname", "localhost"], true),
            (["-verify_hostname", "node-1.example.org"], true),
            (["-verify_hostname", "elsewhere.net"], false),
            (["-verify_ip", "127.0.0.1"], true),
            (["-verify_ip", "::1"], true),
            (["-verify_ip", "10.0.0.1"], false),
        ] {
            assert_eq!(verified(folder.path(), "server.pem", &options), valid, "{options:?}");
        }
    }

    #[test]
    fn a_second_call_keeps_the_authority_and_renews_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let text = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
        let files = || ["authority.pem", "authority.key", "server.pem", "server.key"].map(text);
        assert_eq!(made(folder.path()).unwrap().len(), 14);
        let before = files();
        assert_eq!(made(folder.path()).unwrap().len(), 10);
        let same: Vec<_> = before.iter().zip(&files()).map(|(a, b)| a == b).collect();
        assert_eq!(same, [true, true, false, false]);
        assert!(verified(folder.path(), "server.pem", &["-purpose", "sslserver"]));
    }

    #[test]
    fn what_is_revoked_stays_revoked_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        made(folder.path()).unwrap();
        let list = |file: &str| folder.path().join(file).to_string_lossy().into_owned();
        let (clients, links) = (list("revoked.pem"), list("link-revoked.pem"));
        let clients = ["-crl_check", "-CRLfile", &clients];
        let links = ["-crl_check", "-CRLfile", &links];
        let valid = |file, list: &[&str]| verified(folder.path(), file, list);
        assert!(valid("client-alice.pem", &clients) && valid("link.pem", &links));
        revoked(folder.path(), "client-alice").unwrap();
        revoked(folder.path(), "server").unwrap();
        assert!(!valid("client-alice.pem", &clients) && !valid("server.pem", &clients));
        assert!(valid("client-bob.pem", &clients) && valid("link.pem", &links));
        revoked(folder.path(), "link").unwrap();
        assert!(!valid("link.pem", &links));
        let old = fs::read_to_string(folder.path().join("client-alice.pem")).unwrap();
        made(folder.path()).unwrap();
        assert!(valid("client-alice.pem", &clients), "she has a new one");
        fs::write(folder.path().join("old.pem"), old).unwrap();
        assert!(!valid("old.pem", &clients), "the old one is still revoked");
        assert!(revoked(folder.path(), "client-nobody").is_err());
    }

    #[test]
    fn keys_can_be_read_by_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        for path in made(folder.path()).unwrap() {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let is_key = path.extension().is_some_and(|ending| ending == "key");
            assert!(!is_key || mode == 0o600, "{}: {mode:o}", path.display());
        }
    }

    #[test]
    fn half_an_authority_is_not_overwritten() {
        for file in ["authority.pem", "authority.key", "link-authority.key"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(file), "mine").unwrap();
            assert!(made(folder.path()).is_err());
            assert_eq!(fs::read_to_string(folder.path().join(file)).unwrap(), "mine");
        }
    }

    #[test]
    fn a_client_name_cannot_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../eve", "", "a/b"] {
            let out = folder.path().join("dev");
            let clients = vec![name.to_owned()];
            assert!(
                make(&Cli { out, names: Vec::new(), clients, days: LEAF_DAYS, revoke: Vec::new() })
                    .is_err()
            );
        }
    }
}
