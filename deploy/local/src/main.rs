//! The whole cluster in one process: two nodes, a bridge, their metrics, no Redis. What
//! `cargo run --release` starts. It leaves everything to the services' own crates; the one thing
//! it adds is a directory in memory that all three share.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use causeway_bridge::{bridge::Bridge, config::Config as BridgeConfig};
use causeway_broker::{
    config::{Config as NodeConfig, Listener},
    node::Node,
    passwd::Passwd,
};
use causeway_common::{
    directory::{Directory, memory::MemoryDirectory},
    service, telemetry,
};
use clap::{Parser, Subcommand};

/// A whole Causeway cluster in one process: two nodes, the bridge, metrics
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    /// IP address to listen on, but for links, which stay on this machine
    #[arg(long, default_value = "127.0.0.1")]
    bind: std::net::IpAddr,
    /// MQTT port of node-1; node-2 has the next one. 0 takes free ones
    #[arg(long, default_value_t = 1883)]
    mqtt_port: u16,
    /// Link port of node-1; node-2 has the next one. 0 takes free ones
    #[arg(long, default_value_t = 2883)]
    link_port: u16,
    /// Admin port of node-1; node-2 has the next one, the bridge the tenth. 0 takes free ones
    #[arg(long, default_value_t = 9883)]
    admin_port: u16,
    /// Lets clients without a user name in, also where --bind says more than this machine
    #[arg(long)]
    allow_anonymous: bool,
    /// Users and their passwords: a file of mosquitto, or made with `causeway passwd`
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// What users may read and write, as in deploy/acl
    #[arg(long, value_name = "FILE")]
    acl_file: Option<PathBuf>,
    /// What is logged: levels by module, such as `info` or `warn,causeway_broker=debug`
    #[arg(long, default_value = "warn")]
    log: String,
    #[command(subcommand)]
    tool: Option<Tool>,
}

#[derive(Debug, Subcommand)]
enum Tool {
    Passwd(Passwd),
}

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    match cli.tool.take() {
        Some(Tool::Passwd(passwd)) => passwd.run(),
        None => service::exit_code(run(&cli)),
    }
}

#[tokio::main]
async fn run(cli: &Cli) -> anyhow::Result<()> {
    telemetry::init(&cli.log).context("--log")?;
    let directory: Arc<dyn Directory> = Arc::new(MemoryDirectory::new());
    let mut nodes = Vec::new();
    for number in 0..NODES {
        nodes.push(Node::start(cli.node_config(number), Arc::clone(&directory)).await?);
    }
    let bridge = Bridge::start(cli.bridge_config(), directory).await?;
    announce(&nodes, &bridge);
    service::until_stopped().await?;
    bridge.stop().await;
    for node in nodes {
        node.stop().await;
    }
    Ok(())
}

impl Cli {
    fn node_config(&self, number: u16) -> NodeConfig {
        let mut config = NodeConfig::default();
        config.node.name = format!("node-{}", number + 1);
        let address = self.address(self.mqtt_port, number);
        config.listener = vec![Listener { address, ..Listener::default() }];
        // Its own bridge alone connects there, with the secret that everybody knows.
        let link = self.address(self.link_port, number);
        config.link.address = (Ipv4Addr::LOCALHOST, link.port()).into();
        config.admin.address = self.address(self.admin_port, number);
        config.auth.allow_anonymous = self.allow_anonymous.then_some(true);
        config.auth.password_file = self.password_file.clone().unwrap_or_default();
        config.auth.acl_file = self.acl_file.clone().unwrap_or_default();
        config
    }

    fn bridge_config(&self) -> BridgeConfig {
        let mut config = BridgeConfig::default();
        config.admin.address = self.address(self.admin_port, BRIDGE_PORT_OFFSET);
        config
    }

    fn address(&self, first_port: u16, number: u16) -> SocketAddr {
        let port = if first_port == 0 { 0 } else { first_port.saturating_add(number) };
        SocketAddr::new(self.bind, port)
    }
}

#[expect(clippy::print_stdout, reason = "tells people and scripts what to type next")]
fn announce(nodes: &[Node], bridge: &Bridge) {
    for node in nodes {
        let (name, addresses) = (node.name(), node.addresses());
        for (address, _) in &addresses.clients {
            println!("{name}: mqtt on {address}");
        }
        println!("{name}: link on {}", addresses.link);
        println!("{name}: admin on http://{}", addresses.admin);
        println!("{name}: ready to serve");
    }
    println!("{}: admin on http://{}", bridge.name(), bridge.admin_address());
    println!("{}: ready to serve", bridge.name());
    let [first, second, ..] = nodes else { return };
    println!("\nNow, in two other terminals (Debian: apt install mosquitto-clients):\n");
    let port = |node: &Node| node.addresses().clients.first().map(|(address, _)| address.port());
    let (Some(first), Some(second)) = (port(first), port(second)) else { return };
    println!("  mosquitto_sub -p {second} -i bob -t 'user/bob/#' -v");
    println!("  mosquitto_pub -p {first} -i alice -t user/bob/alice -m hi\n");
    println!("Ctrl-C ends the cluster.");
}

const NODES: u16 = 2;

/// Nodes up to this number keep their ports clear of the bridge's.
const BRIDGE_PORT_OFFSET: u16 = 10;
