//! The Docker engine of this machine, if one answers: stand-ins for base images, a composition under a name of
//! its own, and nothing left of it at the end.

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use causeway_tests::{
    cluster::program,
    process::free_port,
    wait::{PATIENCE, within},
};
use tempfile::TempDir;

use crate::root;

/// A composition that runs; dropped, it is removed with all its images.
pub(crate) struct Composition {
    name: String,
    /// Where clients reach the two nodes.
    pub(crate) nodes: [u16; 2],
    /// Prometheus' page.
    pub(crate) prometheus: u16,
    compose: &'static [&'static str],
    folder: TempDir,
    cleaner: Child,
}

/// How compose is called here; an error says what is missing.
pub(crate) fn find() -> Result<&'static [&'static str], String> {
    let answers = |words: &[&str]| {
        let output = Command::new(words[0]).args(&words[1..]).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !answers(&["docker", "version"]) {
        return Err("no Docker engine answers".to_owned());
    }
    let kinds: [&'static [&'static str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    let kind = kinds.into_iter().find(|kind| answers(&[kind, ["version"].as_slice()].concat()));
    kind.ok_or_else(|| "there is neither `docker compose` nor `docker-compose`".to_owned())
}

impl Composition {
    /// Makes the stand-ins, builds the image and starts everything.
    pub(crate) fn start(compose: &'static [&'static str]) -> Self {
        let name = format!("causeway-test-{}", std::process::id());
        let mut cleaner = Command::new("sh");
        cleaner.arg(script("cleanup.sh")).arg(&name).stdin(Stdio::piped());
        cleaner.stdout(Stdio::null()).stderr(Stdio::null());
        let composition = Self {
            nodes: [free_port(), free_port()],
            prometheus: free_port(),
            compose,
            folder: TempDir::new().unwrap(),
            cleaner: cleaner.spawn().expect("a shell"),
            name,
        };
        let built = program("causeway-broker");
        let built = built.parent().unwrap();
        let mut command = Command::new("sh");
        done(command.arg(script("standins.sh")).arg(&composition.name).arg(built));
        composition.compose(&["build", "keys"]);
        composition.compose(&["up", "-d"]);
        composition
    }

    /// Runs compose to its end, which must be a good one; returns what it prints.
    pub(crate) fn compose(&self, arguments: &[&str]) -> String {
        done(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.compose[0]);
        command.args(&self.compose[1..]).arg("-f").arg(root().join("deploy/compose/compose.yml"));
        command.args(["-p", &self.name]).args(arguments);
        let image = |of: &str| format!("{}/{of}", self.name);
        command.envs([
            ("CAUSEWAY_IMAGE", image("causeway")),
            ("RUST_IMAGE", image("rust")),
            ("DEBIAN_IMAGE", image("debian")),
            ("REDIS_IMAGE", image("redis")),
            ("PROMETHEUS_IMAGE", image("prometheus")),
            ("NODE_1_PORT", self.nodes[0].to_string()),
            ("NODE_2_PORT", self.nodes[1].to_string()),
            ("PROMETHEUS_PORT", self.prometheus.to_string()),
        ]);
        command
    }

    /// The container of a service.
    pub(crate) fn container(&self, service: &str) -> String {
        self.compose(&["ps", "-q", service])
    }

    /// What Docker knows of a service, by a template.
    pub(crate) fn inspect(&self, service: &str, template: &str) -> String {
        docker(&["inspect", "-f", template, &self.container(service)])
    }

    /// Waits until the health checks of services succeed.
    pub(crate) async fn is_healthy(&self, services: &[&str]) {
        for service in services {
            let what = format!("{service} is healthy");
            let healthy = || self.inspect(service, "{{.State.Health.Status}}") == "healthy";
            within(PATIENCE, &what, async || healthy()).await;
        }
    }

    /// The authority by which clients know the nodes, copied out of a container as anybody would.
    pub(crate) fn authority(&self) -> String {
        let path = self.folder.path().join("authority.pem").to_string_lossy().into_owned();
        docker(&["cp", &format!("{}:/keys/authority.pem", self.container("node-1")), &path]);
        path
    }
}

impl Drop for Composition {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.command(&["logs", "--no-color", "--tail=40"]).output();
            println!("{}", logs.map_or_else(|error| error.to_string(), |logs| text(&logs.stdout)));
        }
        drop(self.cleaner.stdin.take());
        // Whether it could remove all is for it to know, and for nobody to act on.
        let _ = self.cleaner.wait();
    }
}

/// Runs `docker`, and returns what it prints.
pub(crate) fn docker(arguments: &[&str]) -> String {
    done(Command::new("docker").args(arguments))
}

fn script(name: &str) -> PathBuf {
    root().join("tests/deploy").join(name)
}

fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{}\n{}", text(&stdout), text(&stderr));
    text(&stdout).trim().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
