//! The brokers that are compared: which there are, what they can do, how Causeway is started.
//!
//! It leaves to others: how the rest is started ([`crate::peers`]).

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::{
    peers,
    process::{Process, free_address, is_ready},
    scene::{Needs, Scene},
};

/// Where programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The project's own.
    pub(crate) own: PathBuf,
    /// Peers that were built for this.
    pub(crate) peers: PathBuf,
}

/// One that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Broker {
    Causeway,
    Mosquitto,
    Nats,
    Rumqttd,
    Rmqttd,
}

/// Brokers under load.
#[derive(Debug)]
pub(crate) struct Running {
    processes: Vec<Process>,
    /// Where publishers connect.
    pub(crate) publish_at: SocketAddr,
    /// Where subscribers do.
    pub(crate) subscribe_at: SocketAddr,
}

impl Running {
    /// One process behind one address.
    pub(crate) fn alone(process: Process, at: SocketAddr) -> Self {
        Self { processes: vec![process], publish_at: at, subscribe_at: at }
    }

    /// Several, of which some may not count.
    pub(crate) fn joined(
        processes: Vec<Process>,
        publish_at: SocketAddr,
        subscribe_at: SocketAddr,
    ) -> Self {
        Self { processes, publish_at, subscribe_at }
    }

    /// The processes whose cost counts, as the generator is told.
    pub(crate) fn measured(&self) -> impl Iterator<Item = String> {
        self.processes.iter().filter_map(Process::measured)
    }
}

impl Broker {
    /// Every one.
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Causeway => "causeway",
            Self::Mosquitto => "mosquitto",
            Self::Nats => "nats-server",
            Self::Rumqttd => "rumqttd",
            Self::Rmqttd => "rmqttd",
        }
    }

    /// Whether it can do what a scene needs.
    pub(crate) fn plays(self, scene: &Scene) -> bool {
        match scene.needs {
            Needs::Nothing => true,
            // NATS has QoS 2 from 2.10 on; Debian's is older.
            Needs::ExactlyOnce => self != Self::Nats,
            // Mosquitto writes everything now and then, rumqttd and rmqttd nothing.
            Needs::Disk => matches!(self, Self::Causeway | Self::Nats),
            Needs::Nodes(2) => matches!(self, Self::Causeway | Self::Mosquitto),
            Needs::Nodes(_) => self == Self::Causeway,
        }
    }

    fn program(self, programs: &Programs) -> PathBuf {
        match self {
            Self::Causeway => programs.own.join("causeway-broker"),
            Self::Mosquitto => peers::debian("mosquitto"),
            Self::Nats => peers::debian("nats-server"),
            Self::Rumqttd => programs.peers.join("rumqttd"),
            Self::Rmqttd => programs.peers.join("rmqttd"),
        }
    }

    /// What it says of itself, or why it can't be started.
    pub(crate) fn version(self, programs: &Programs) -> anyhow::Result<String> {
        let program = self.program(programs);
        let flag = if self == Self::Mosquitto { "-h" } else { "--version" };
        let output = Command::new(&program).arg(flag).output();
        let output = output.with_context(|| program.display().to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        match text.lines().next() {
            Some(line) => Ok(line.to_owned()),
            None => bail!("{} says nothing", program.display()),
        }
    }

    /// Starts it for a scene, with its files in a folder of its own.
    pub(crate) fn start(
        self,
        programs: &Programs,
        scene: &Scene,
        folder: &Path,
    ) -> anyhow::Result<Running> {
        let program = std::path::absolute(self.program(programs)).context("a program's path")?;
        match (self, scene.needs) {
            (Self::Causeway, Needs::Nodes(count)) => cluster(programs, count, folder),
            (Self::Causeway, Needs::Nothing | Needs::ExactlyOnce) => alone(&program, "", folder),
            (Self::Causeway, Needs::Disk) => {
                alone(&program, &folder.join("store").to_string_lossy(), folder)
            }
            (Self::Mosquitto, Needs::Nodes(_)) => peers::mosquittos(&program, folder),
            (Self::Mosquitto, Needs::Nothing | Needs::ExactlyOnce | Needs::Disk) => {
                peers::mosquitto(&program, "mosquitto", "", folder)
                    .map(|(process, at)| Running::alone(process, at))
            }
            (Self::Nats, _) => peers::nats(&program, folder),
            (Self::Rumqttd, _) => peers::rumqttd(&program, folder),
            (Self::Rmqttd, _) => peers::rmqttd(&program, folder),
        }
    }
}

/// One node, with its store in this folder, or in memory.
fn alone(program: &Path, store: &str, folder: &Path) -> anyhow::Result<Running> {
    let settings = ["directory.backend=memory", &*format!("store.folder={store}")];
    let (node, at, _) = node(program, "node-1", &settings, folder)?;
    Ok(Running::alone(node, at))
}

/// A node, where clients find it, and where it tells how it is.
fn node(
    program: &Path,
    name: &str,
    settings: &[&str],
    folder: &Path,
) -> anyhow::Result<(Process, SocketAddr, SocketAddr)> {
    let (at, admin) = (free_address()?, free_address()?);
    let mut command = Command::new(program);
    set(&mut command, settings);
    set(&mut command, NODE_SETTINGS);
    set(&mut command, &[&*format!("node.name={name}"), &*format!("listener.0.address={at}")]);
    set(&mut command, &[&*format!("admin.address={admin}"), "log.filter=warn"]);
    let process = Process::start(name, &mut command, folder)?.listens(at, folder)?;
    Ok((process, at, admin))
}

fn set(command: &mut Command, settings: &[&str]) {
    for setting in settings {
        command.args(["--set", setting]);
    }
}

/// As wide as those of the peers.
const NODE_SETTINGS: &[&str] = &[
    "link.address=127.0.0.1:0",
    "connections.max_connections=20000",
    "session.max_inflight=65535",
    "session.queue_messages_max=1000000",
];

/// So many nodes, a bridge and their Redis, which is on no message's way and does not count. Clients
/// connect to the first two.
fn cluster(programs: &Programs, count: usize, folder: &Path) -> anyhow::Result<Running> {
    let redis_at = free_address()?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &redis_at.port().to_string(), "--save", ""]);
    let redis = Process::start("redis", &mut command, folder)?.listens(redis_at, folder)?.aside();
    let directory = format!("directory.url=redis://{redis_at}");
    let own = std::path::absolute(&programs.own)?;
    let broker = own.join("causeway-broker");
    let start = |number| node(&broker, &format!("node-{number}"), &[&*directory], folder);
    let nodes: Vec<_> = (1..=count).map(start).collect::<anyhow::Result<_>>()?;
    let [(_, publish_at, _), (_, subscribe_at, _), ..] = *nodes else {
        bail!("fewer than two nodes");
    };
    let admin = free_address()?;
    let mut command = Command::new(own.join("causeway-bridge"));
    set(&mut command, &[&*directory, &*format!("admin.address={admin}"), "log.filter=warn"]);
    let bridge = Process::start("bridge", &mut command, folder)?.listens(admin, folder)?;
    is_ready(admin)?;
    let mut processes = vec![bridge, redis];
    for (node, _, admin) in nodes {
        is_ready(admin)?;
        processes.push(node);
    }
    Ok(Running::joined(processes, publish_at, subscribe_at))
}
