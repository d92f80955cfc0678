//! Authorities of our own with what they sign and revoke, and clients that speak TLS.

use std::{
    fs, io,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use causeway_common::packet::ConnectCode;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, HandshakeKind, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

use crate::{
    client::{RawClient, connect},
    cluster::program,
    wait::PATIENCE,
};

/// A folder with authorities and certificates, as `causeway-certs` makes them.
#[derive(Debug)]
pub struct Certificates(TempDir);

/// A client over TLS.
pub type TlsClient = RawClient<TlsStream<TcpStream>>;

/// What dials: it remembers sessions, and resumes them.
#[derive(Clone)]
pub struct Dialer(TlsConnector);

impl Default for Certificates {
    fn default() -> Self {
        Self::with(&[])
    }
}

impl Certificates {
    /// New authorities, and what they sign.
    pub fn with(arguments: &[&str]) -> Self {
        let made = Self(TempDir::new().expect("a temporary folder"));
        made.again(arguments);
        made
    }

    /// Has `causeway-certs` do something more in the folder.
    pub fn again(&self, arguments: &[&str]) {
        let mut command = Command::new(program("causeway-certs"));
        let output = command.arg("--out").arg(self.folder()).args(arguments).output();
        succeeded(output);
    }

    /// A certificate of the authority for clients, as OpenSSL signs it.
    pub fn sign(&self, file: &str, subject: &str, extensions: &str) {
        let path = |ending: &str| self.path(&format!("{file}.{ending}"));
        let (key, request, settings) = (path("key"), path("csr"), path("ext"));
        fs::write(&settings, extensions).expect("a file in a folder of our own");
        let mut command = Command::new("openssl");
        command.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-subj", subject, "-keyout", &key, "-out", &request]);
        succeeded(command.output());
        let (authority, authority_key) = (self.path("authority.pem"), self.path("authority.key"));
        let mut command = Command::new("openssl");
        command.args([
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &authority,
            "-CAkey",
            &authority_key,
        ]);
        command.args([
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &settings,
            "-out",
            &path("pem"),
        ]);
        succeeded(command.output());
    }

    /// Whether OpenSSL's client gets through a handshake in one version, such as `-tls1_2`.
    pub fn shakes_hands(&self, port: u16, version: &str) -> bool {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-brief", "-verify_return_error", version]);
        command.args(["-connect", &format!("127.0.0.1:{port}")]);
        command.args(["-CAfile", &self.path("authority.pem")]).stdin(Stdio::null());
        command.output().expect("openssl is installed").status.success()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The path of one of its files.
    pub fn path(&self, file: &str) -> String {
        self.folder().join(file).to_string_lossy().into_owned()
    }

    /// Settings of a listener that shows the folder's certificate for servers.
    pub fn door(&self, number: usize) -> Vec<String> {
        vec![
            format!("listener.{number}.address=127.0.0.1:0"),
            format!("listener.{number}.certificate={}", self.path("server.pem")),
            format!("listener.{number}.key={}", self.path("server.key")),
        ]
    }

    /// Settings of such a listener that asks for certificates.
    pub fn door_with_clients(&self, number: usize, asks: &str, user_from: &str) -> Vec<String> {
        let mut settings = self.door(number);
        settings.extend([
            format!("listener.{number}.client_authority={}", self.path("authority.pem")),
            format!("listener.{number}.client_certificates={asks}"),
            format!("listener.{number}.revocation_lists=[\"{}\"]", self.path("revoked.pem")),
            format!("listener.{number}.user_from={user_from}"),
        ]);
        settings
    }

    /// Settings of links over TLS, for nodes and bridges alike.
    pub fn links(&self) -> Vec<String> {
        vec![
            format!("link.certificate={}", self.path("link.pem")),
            format!("link.key={}", self.path("link.key")),
            format!("link.authority={}", self.path("link-authority.pem")),
            format!("link.revocation_lists=[\"{}\"]", self.path("link-revoked.pem")),
        ]
    }

    /// A client that trusts `authority` and shows the certificate `own`, if any.
    pub fn dialer(&self, authority: &str, own: Option<&str>) -> Dialer {
        let mut roots = RootCertStore::empty();
        for authority in chain(&self.path(authority)) {
            roots.add(authority).expect("an authority");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider knows")
            .with_root_certificates(roots);
        let config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{own}.key")));
                let own = chain(&self.path(&format!("{own}.pem")));
                config.with_client_auth_cert(own, key.expect("a key")).expect("a pair")
            }
        };
        Dialer(TlsConnector::from(Arc::new(config)))
    }
}

impl Dialer {
    /// A connection on which the handshake is done, for the client at least.
    pub async fn dial(&self, port: u16) -> io::Result<TlsClient> {
        self.dial_behind(b"", port).await
    }

    /// The same with something in front of the handshake.
    async fn dial_behind(&self, header: &[u8], port: u16) -> io::Result<TlsClient> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        stream.write_all(header).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = timeout(PATIENCE, self.0.connect(name, stream)).await??;
        Ok(RawClient::over(stream))
    }

    /// The same, logged in.
    pub async fn login(&self, port: u16, client_id: &str) -> io::Result<TlsClient> {
        self.login_behind(b"", port, client_id).await
    }

    /// The same behind a proxy that puts a header in front.
    pub async fn login_behind(
        &self,
        header: &[u8],
        port: u16,
        client_id: &str,
    ) -> io::Result<TlsClient> {
        let mut client = self.dial_behind(header, port).await?;
        match client.log_in(connect(client_id)).await? {
            ConnectCode::Accepted => Ok(client),
            code => Err(io::Error::other(format!("refused: {code:?}"))),
        }
    }
}

/// Whether a connection goes on with an earlier session.
pub fn is_resumed(client: &TlsClient) -> bool {
    client.stream().get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// The certificate that the server has shown.
pub fn shown(client: &TlsClient) -> CertificateDer<'static> {
    let (_, connection) = client.stream().get_ref();
    connection.peer_certificates().expect("a server shows one")[0].clone()
}

/// The certificates in a file.
pub fn chain(file: &str) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(file).expect("a file");
    found.map(|one| one.expect("a certificate")).collect()
}

fn succeeded(output: io::Result<Output>) {
    let output = output.expect("the program is there");
    assert!(output.status.success(), "{output:?}");
}
