//! What the tests of this program stand on: files, a mosquitto that reads them too, clients with names.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use causeway_common::{
    packet::{Connect, ConnectCode, Login, Packet},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, connect},
    process::{Process, free_port},
    wait::eventually,
};
use tempfile::TempDir;

/// A password file, an access file, and whoever reads them.
#[derive(Debug)]
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn passwords(&self) -> PathBuf {
        self.folder.path().join("passwords")
    }

    pub(crate) fn acl(&self) -> PathBuf {
        self.folder.path().join("acl")
    }

    /// Adds a user by mosquitto's own tool.
    pub(crate) fn add(&self, user: &str, password: &str, hash: &str) {
        let mut command = Command::new("mosquitto_passwd");
        command.args(["-H", hash, "-b"]);
        if !self.passwords().exists() {
            command.arg("-c");
        }
        let output = command.arg(self.passwords()).args([user, password]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Puts an access file in the place of another.
    pub(crate) fn write_acl(&self, text: &str) {
        replace(&self.acl(), text);
    }

    /// As a setting of a node.
    pub(crate) fn password_setting(&self) -> String {
        format!("auth.password_file={}", self.passwords().display())
    }

    pub(crate) fn acl_setting(&self) -> String {
        format!("auth.acl_file={}", self.acl().display())
    }
}

pub(crate) fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

/// A running mosquitto.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    _process: Process,
}

impl Mosquitto {
    /// On these files; those that are not there are not used.
    pub(crate) async fn start(files: &Files, allow_anonymous: bool) -> Self {
        let port = free_port();
        let mut config = format!(
            "listener {port} 127.0.0.1\nuser root\nset_tcp_nodelay true\npersistence false\nallow_anonymous {allow_anonymous}\n"
        );
        for (key, file) in [("password_file", files.passwords()), ("acl_file", files.acl())] {
            if file.exists() {
                config = config + key + " " + &file.to_string_lossy() + "\n";
            }
        }
        let path = files.folder.path().join(format!("mosquitto-{port}.conf"));
        fs::write(&path, config).unwrap();
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(path);
        let process = Process::start("mosquitto", &mut command, files.folder.path());
        eventually("mosquitto listens", async || RawClient::open(port).await.is_ok()).await;
        Self { port, _process: process }
    }
}

/// A CONNECT with a user name.
pub(crate) fn named(client_id: &str, user: &str, password: Option<&str>) -> Connect {
    let password = password.map(|password| password.as_bytes().to_vec().into());
    Connect { login: Some(Login { user: user.to_owned(), password }), ..connect(client_id) }
}

/// The code of the CONNACK to a CONNECT.
pub(crate) async fn code(port: u16, connect: Connect) -> ConnectCode {
    RawClient::connect(port, connect).await.unwrap().1
}

/// A client that is let in.
pub(crate) async fn enter(port: u16, connect: Connect) -> RawClient {
    let who = format!("{connect:?}");
    let (client, code) = RawClient::connect(port, connect).await.unwrap();
    assert_eq!(code, ConnectCode::Accepted, "{who}");
    client
}

/// The topics of what has been sent to a client by now, in order. What came before the first answer had
/// been put into its mailbox before that was asked for, and comes before the second.
pub(crate) async fn heard(client: &mut RawClient) -> Vec<String> {
    let mut topics = Vec::new();
    for _ in 0..2 {
        client.send(&Packet::PingReq).await.unwrap();
        loop {
            match client.packet().await.unwrap() {
                Packet::PingResp => break,
                Packet::Publish(publish) => {
                    if let (Some(id), QoS::AtLeastOnce) = (publish.id, publish.message.qos) {
                        client.send(&Packet::PubAck(id)).await.unwrap();
                    }
                    topics.push(publish.message.topic.to_string());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    topics
}
