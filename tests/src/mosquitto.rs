//! Mosquitto's command line clients: strangers who know nothing of Causeway.

use std::{
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::{
    process::Process,
    wait::{PATIENCE, within},
};

/// A running `mosquitto_sub`.
#[derive(Debug)]
pub struct Subscriber {
    process: Process,
    _folder: TempDir,
}

impl Subscriber {
    /// Starts `mosquitto_sub -p <port> <arguments>` and waits for the SUBACK of its filters.
    pub async fn start(port: u16, arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        // Its standard output is a pipe here, which would hold lines back until it ends.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d", "-p", &port.to_string()]);
        let mut process = Process::start("mosquitto_sub", command.args(arguments), folder.path());
        process
            .line("it is subscribed", |line| line.starts_with("Subscribed (mid").then_some(()))
            .await;
        Self { process, _folder: folder }
    }

    /// The messages so far, as it prints them.
    pub fn messages(&self) -> Vec<String> {
        let mut lines = self.process.lines();
        lines.retain(|line| !is_chatter(line));
        lines
    }

    /// How many times it has logged in, or tried to.
    pub fn login_count(&self) -> usize {
        let lines = self.process.lines();
        lines.iter().filter(|line| line.ends_with(" sending CONNECT")).count()
    }

    /// Waits until it has printed exactly these messages, in this order.
    pub async fn has(&self, expected: &[&str]) {
        let all = || self.messages().len() >= expected.len();
        let what = format!("mosquitto_sub prints {expected:?}");
        within(PATIENCE, &what, async || all()).await;
        assert_eq!(self.messages(), expected);
    }
}

/// Runs `mosquitto_pub -p <port> <arguments>` to its end, which with QoS 1 and 2 is the last
/// answer of the broker.
pub async fn publish(port: u16, arguments: &[&str]) {
    let output = try_publish(port, arguments).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mosquitto_pub {arguments:?}: {error}");
}

/// The same, where the end may be another.
pub async fn try_publish(port: u16, arguments: &[&str]) -> Output {
    run("mosquitto_pub", port, arguments).await
}

/// Runs one of mosquitto's programs to its end.
pub async fn run(program: &str, port: u16, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(program);
    let command = command.args(["-p", &port.to_string()]).args(arguments);
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.unwrap_or_else(|_| panic!("{program} {arguments:?} does not end"));
    output.expect("mosquitto's programs are installed")
}

/// The same, for what it prints; it must end well.
pub async fn told(program: &str, port: u16, arguments: &[&str]) -> String {
    let output = run(program, port, arguments).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Writes a payload to a file for `mosquitto_pub -f`.
pub fn payload_file(folder: &Path, payload: &[u8]) -> String {
    let path = folder.join("payload");
    std::fs::write(&path, payload).expect("a file in a folder of our own");
    path.to_string_lossy().into_owned()
}

/// What `-d` adds to the messages.
fn is_chatter(line: &str) -> bool {
    line.starts_with("Client ") || line.starts_with("Subscribed (mid")
}

#[cfg(test)]
mod tests {
    //! Mosquitto's own broker judges our client, so that a fault of ours is not taken for one of
    //! the broker under test.

    use causeway_common::qos::QoS;

    use super::*;
    use crate::{client::RawClient, process::free_port, wait::eventually};

    #[tokio::test]
    async fn our_client_and_mosquittos_read_each_other_at_every_qos() {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.args(["-p", &port.to_string()]);
        let _broker = Process::start("mosquitto", &mut command, folder.path());
        let up = async || RawClient::open(port).await.is_ok();
        eventually("mosquitto listens", up).await;

        let filters = ["-t", "to/them/#", "-q", "2", "-F", "%q %t %p"];
        let theirs = Subscriber::start(port, &filters).await;
        let mut ours = RawClient::login(port, "ours").await;
        ours.subscribe("to/us", QoS::ExactlyOnce).await.unwrap();
        for (digit, qos) in
            [("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)]
        {
            publish(port, &["-t", "to/us", "-q", digit, "-m", digit]).await;
            ours.publish("to/them/a", digit, qos).await.unwrap();
            let message = ours.message().await.unwrap().message;
            assert_eq!((&*message.payload, message.qos), (digit.as_bytes(), qos));
        }
        theirs.has(&["0 to/them/a 0", "1 to/them/a 1", "2 to/them/a 2"]).await;
        ours.ping().await.unwrap();
        ours.disconnect().await.unwrap();
    }
}
