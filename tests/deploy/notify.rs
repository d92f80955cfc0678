//! What the services tell systemd, by a socket such as it gives them.

use std::process::Command;

use causeway_tests::{
    cluster::program,
    process::Process,
    wait::{PATIENCE, eventually},
};
use tempfile::TempDir;
use tokio::{net::UnixDatagram, time::timeout};

/// The end of systemd.
struct Supervisor(UnixDatagram);

impl Supervisor {
    /// The next thing it is told.
    async fn told(&self) -> String {
        let mut message = [0; 1024];
        let received = timeout(PATIENCE, self.0.recv(&mut message)).await;
        let length = received.expect("the service says something").unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    }
}

#[tokio::test]
async fn a_node_says_when_it_is_ready_reloads_and_stops() {
    let sets = ["listener.0.address=127.0.0.1:0", "link.address=127.0.0.1:0"];
    says_how_it_is("causeway-broker", &sets).await;
}

#[tokio::test]
async fn a_bridge_says_when_it_is_ready_reloads_and_stops() {
    says_how_it_is("causeway-bridge", &[]).await;
}

async fn says_how_it_is(name: &str, sets: &[&str]) {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&socket).unwrap());
    let mut command = Command::new(program(name));
    command.env("NOTIFY_SOCKET", &socket);
    for set in [&["admin.address=127.0.0.1:0", "directory.backend=memory"], sets].concat() {
        command.args(["--set", set]);
    }
    let mut process = Process::start(name, &mut command, folder.path());
    assert_eq!(supervisor.told().await, "READY=1\n");

    process.signal("HUP");
    let told = supervisor.told().await;
    let since = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&told);
    assert!(since.trim_end().parse::<u64>().is_ok_and(|since| since > 0), "{told}");
    while supervisor.told().await != "READY=1\n" {}
    assert!(process.ended().is_none());

    process.signal("TERM");
    // What else is read anew at SIGHUP may still be at it.
    while supervisor.told().await != "STOPPING=1\n" {}
    eventually("it ends", async || process.ended().is_some()).await;
    assert!(process.ended().unwrap().success());
}
