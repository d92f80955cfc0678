//! A cluster of real processes: one Redis, nodes, bridges, all on ports that the system gave.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    keeper::Keeper,
    metrics::{Metrics, get},
    process::{Process, free_port},
    redis_server::RedisServer,
    wait::eventually,
};

/// A running cluster. Dropping it ends all its processes.
#[derive(Debug)]
pub struct Cluster {
    /// The directory's server.
    pub redis: RedisServer,
    nodes: Vec<Service>,
    bridges: Vec<Service>,
    common: Vec<String>,
    node_settings: Vec<String>,
    bridge_settings: Vec<String>,
    is_durable: bool,
    folder: TempDir,
}

/// What a cluster is to be made of.
#[derive(Clone, Debug)]
pub struct Builder {
    nodes: usize,
    bridges: usize,
    common: Vec<String>,
    node_settings: Vec<String>,
    bridge_settings: Vec<String>,
    is_durable: bool,
}

/// One node or bridge.
#[derive(Debug)]
pub struct Service {
    /// The process of its present life.
    pub process: Process,
    name: String,
    program: &'static str,
    settings: Vec<String>,
    folder: PathBuf,
    ports: Ports,
}

/// Where a service listens in its present life.
#[derive(Clone, Debug)]
struct Ports {
    /// All listeners with TLS.
    mqtts: Vec<u16>,
    /// Nothing on a bridge, as the next.
    mqtt: Option<u16>,
    link: Option<u16>,
    admin: u16,
}

impl Cluster {
    /// Two nodes and a bridge, unless more is said.
    pub fn builder() -> Builder {
        Builder {
            nodes: 2,
            bridges: 1,
            common: Vec::new(),
            node_settings: Vec::new(),
            bridge_settings: Vec::new(),
            is_durable: false,
        }
    }

    /// A node, counted from 1 as in its name.
    pub fn node(&self, number: usize) -> &Service {
        &self.nodes[number - 1]
    }

    /// The same, to kill or restart it.
    pub fn node_mut(&mut self, number: usize) -> &mut Service {
        &mut self.nodes[number - 1]
    }

    /// A bridge, counted from 1 as in its name.
    pub fn bridge(&self, number: usize) -> &Service {
        &self.bridges[number - 1]
    }

    /// The same, to kill or restart it.
    pub fn bridge_mut(&mut self, number: usize) -> &mut Service {
        &mut self.bridges[number - 1]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Service] {
        &self.nodes
    }

    /// Starts one node more; returns at once when it listens, linked or not.
    pub async fn add_node(&mut self) -> &Service {
        let name = format!("node-{}", self.nodes.len() + 1);
        let mut settings = self.common.clone();
        let port = if self.is_durable { free_port() } else { 0 };
        settings.extend([
            format!("node.name={name}"),
            format!("listener.0.address=127.0.0.1:{port}"),
            "link.address=127.0.0.1:0".into(),
        ]);
        if self.is_durable {
            settings.push(format!("store.folder={}", self.store_folder(&name).display()));
        }
        settings.extend(self.node_settings.clone());
        let folder = self.folder.path().to_owned();
        let node = Service::start(name, "causeway-broker", settings, folder).await;
        self.nodes.push(node);
        self.node(self.nodes.len())
    }

    /// Where a node of a durable cluster keeps what outlives it.
    pub fn store_folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.store"))
    }

    async fn add_bridge(&mut self) {
        let name = format!("bridge-{}", self.bridges.len() + 1);
        let mut settings = self.common.clone();
        settings.push(format!("bridge.name={name}"));
        settings.extend(self.bridge_settings.clone());
        let folder = self.folder.path().to_owned();
        let bridge = Service::start(name, "causeway-bridge", settings, folder).await;
        self.bridges.push(bridge);
    }

    /// What `redis-cli` prints for a command.
    pub fn redis_cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let command = command.args(["-p", &self.redis.port().to_string()]).args(arguments);
        let output = command.output().expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Has it ended with the test program, however that ends: what a static holds is never dropped.
    #[must_use]
    pub fn until_exit(self) -> (Self, Keeper) {
        let services = self.nodes.iter().chain(&self.bridges);
        let mut processes: Vec<u32> = services.map(|service| service.process.id()).collect();
        processes.push(self.redis.id());
        let keeper = Keeper::start(&processes, &[self.folder.path(), self.redis.folder()]);
        (self, keeper)
    }

    /// Waits until every node and bridge says that it is ready.
    pub async fn is_ready(&self) {
        for service in self.nodes.iter().chain(&self.bridges) {
            service.is_ready().await;
        }
    }

    /// Waits until no message is on its way between nodes.
    pub async fn is_quiet(&self) {
        eventually("nothing is on its way between nodes", async || {
            let mut waiting = 0.0;
            for node in &self.nodes {
                waiting += node.metrics().await.sum("causeway_forwards_waiting");
            }
            waiting < 1.0
        })
        .await;
    }
}

impl Builder {
    /// How many nodes.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = count;
        self
    }

    /// How many bridges.
    #[must_use]
    pub fn bridges(mut self, count: usize) -> Self {
        self.bridges = count;
        self
    }

    /// A setting of every node and bridge, such as `directory.lease_secs=2`.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Self {
        self.common.push(setting.to_owned());
        self
    }

    /// A setting of every node, such as `connections.max_connections=7`.
    #[must_use]
    pub fn set_nodes(mut self, setting: &str) -> Self {
        self.node_settings.push(setting.to_owned());
        self
    }

    /// A setting of every bridge, such as `bridge.home_grace_secs=2`.
    #[must_use]
    pub fn set_bridges(mut self, setting: &str) -> Self {
        self.bridge_settings.push(setting.to_owned());
        self
    }

    /// Several settings of every node.
    #[must_use]
    pub fn set_all_nodes(mut self, settings: Vec<String>) -> Self {
        self.node_settings.extend(settings);
        self
    }

    /// Every node keeps its store on disk and comes back to its port when it is started anew.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.is_durable = true;
        self
    }

    /// Starts all and waits until all are ready.
    pub async fn start(self) -> Cluster {
        let redis = RedisServer::start().await.expect("redis-server starts");
        let mut common =
            vec![format!("directory.url={}", redis.url()), "admin.address=127.0.0.1:0".to_owned()];
        common.extend(self.common);
        let mut cluster = Cluster {
            redis,
            nodes: Vec::new(),
            bridges: Vec::new(),
            common,
            node_settings: self.node_settings,
            bridge_settings: self.bridge_settings,
            is_durable: self.is_durable,
            folder: TempDir::new().expect("a temporary folder"),
        };
        for _ in 0..self.nodes {
            cluster.add_node().await;
        }
        for _ in 0..self.bridges {
            cluster.add_bridge().await;
        }
        cluster.is_ready().await;
        cluster
    }
}

impl Service {
    async fn start(
        name: String,
        program: &'static str,
        settings: Vec<String>,
        folder: PathBuf,
    ) -> Self {
        let (process, ports) = launch(&name, program, &settings, &folder).await;
        Self { process, name, program, settings, folder, ports }
    }

    /// Starts it anew under its name, on new ports; a node of a durable cluster keeps that of its
    /// clients, and its store.
    pub async fn restart(&mut self) {
        let (process, ports) = launch(&self.name, self.program, &self.settings, &self.folder).await;
        (self.process, self.ports) = (process, ports);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a node's clients connect.
    pub fn mqtt_port(&self) -> u16 {
        self.ports.mqtt.expect("a node, not a bridge")
    }

    /// Where a node's bridges connect, and nobody else should.
    pub fn link_port(&self) -> u16 {
        self.ports.link.expect("a node, not a bridge")
    }

    /// Where a node's clients connect with TLS, on the first listener that speaks it.
    pub fn mqtts_port(&self) -> u16 {
        self.tls_port(0)
    }

    /// The same, on one of several, counted from 0.
    pub fn tls_port(&self, number: usize) -> u16 {
        self.ports.mqtts[number]
    }

    /// Where its page for operators is.
    pub fn admin_port(&self) -> u16 {
        self.ports.admin
    }

    /// What it measures.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.exposition().await)
    }

    /// The same as text.
    pub async fn exposition(&self) -> String {
        let answer = get(self.ports.admin, "/metrics").await;
        answer.unwrap_or_else(|| panic!("{} has no metrics", self.name)).1
    }

    /// Status and body of `/readyz`; nothing while it does not answer.
    pub async fn readiness(&self) -> Option<(u16, String)> {
        get(self.ports.admin, "/readyz").await
    }

    /// Waits until it says that it is ready.
    pub async fn is_ready(&self) {
        let what = format!("{} is ready", self.name);
        let ready = async || self.readiness().await.is_some_and(|(status, _)| status == 200);
        eventually(&what, ready).await;
    }
}

/// The path of one of the workspace's programs: beside the test's own, in the same profile.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let path = profile.join(name);
    assert!(path.exists(), "{} is missing; tests/run builds it", path.display());
    path
}

async fn launch(
    name: &str,
    executable: &str,
    settings: &[String],
    folder: &Path,
) -> (Process, Ports) {
    let mut command = Command::new(program(executable));
    for setting in settings {
        command.args(["--set", setting]);
    }
    let mut process = Process::start(name, &mut command, folder);
    let ready = format!("{name}: ready to serve");
    let is_ready = |line: &str| (line == ready).then_some(());
    process.line("that it is ready to serve", is_ready).await;
    let ports = Ports {
        mqtt: port(&process, &format!("{name}: mqtt on ")),
        link: port(&process, &format!("{name}: link on ")),
        mqtts: ports(&process, &format!("{name}: mqtt over tls on ")),
        admin: port(&process, &format!("{name}: admin on http://")).expect("an admin port"),
    };
    (process, ports)
}

/// The port of a line such as `node-1: mqtt on 127.0.0.1:1883`.
pub fn port(process: &Process, prefix: &str) -> Option<u16> {
    ports(process, prefix).first().copied()
}

fn ports(process: &Process, prefix: &str) -> Vec<u16> {
    let lines = process.lines();
    let addresses = lines.iter().filter_map(|line| line.strip_prefix(prefix));
    addresses.filter_map(|address| address.rsplit_once(':')?.1.parse().ok()).collect()
}
