//! The whole cluster in one process: two nodes, a bridge, their metrics, no Redis. What
//! `cargo run --release` starts. It leaves everything to the services' own crates; the one thing
//! it adds is a directory in memory that all three share.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context;
use causeway_bridge::{bridge::Bridge, config::Config as BridgeConfig};
use causeway_broker::{config::Config as NodeConfig, node::Node};
use causeway_common::{
    directory::{Directory, memory::MemoryDirectory},
    service, telemetry,
};
use clap::Parser;

/// A whole Causeway cluster in one process: two nodes, the bridge, metrics
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// IP address to listen on
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
    /// What is logged: levels by module, such as `info` or `warn,causeway_broker=debug`
    #[arg(long, default_value = "warn")]
    log: String,
}

fn main() -> ExitCode {
    service::exit_code(run(&Cli::parse()))
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
        config.listener.address = self.address(self.mqtt_port, number);
        config.link.address = self.address(self.link_port, number);
        config.admin.address = self.address(self.admin_port, number);
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
        println!("{name}: mqtt on {}", addresses.mqtt);
        println!("{name}: link on {}", addresses.link);
        println!("{name}: admin on http://{}", addresses.admin);
        println!("{name}: ready to serve");
    }
    println!("{}: admin on http://{}", bridge.name(), bridge.admin_address());
    println!("{}: ready to serve", bridge.name());
    let [first, second, ..] = nodes else { return };
    println!("\nNow, in two other terminals (Debian: apt install mosquitto-clients):\n");
    let (first, second) = (first.addresses().mqtt.port(), second.addresses().mqtt.port());
    println!("  mosquitto_sub -p {second} -i bob -t 'user/bob/#' -v");
    println!("  mosquitto_pub -p {first} -i alice -t user/bob/alice -m hi\n");
    println!("Ctrl-C ends the cluster.");
}

const NODES: u16 = 2;

/// Nodes up to this number keep their ports clear of the bridge's.
const BRIDGE_PORT_OFFSET: u16 = 10;
