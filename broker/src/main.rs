//! The broker process: reads its configuration, starts one node, ends it at SIGTERM.

use std::process::ExitCode;

use causeway_broker::{config::Config, node::Node};
use causeway_common::{config::Args, service};
use clap::Parser;

/// A node of a Causeway cluster: an MQTT 3.1.1 broker
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    match Cli::parse().args.load() {
        Ok(config) => service::exit_code(run(config)),
        Err(code) => code,
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    service::open_log(&config.log, &config.link.secret)?;
    let at = &config.directory;
    let timeout_ms = at.command_timeout_ms;
    let directory = service::open_directory(at.backend, at.url.expose(), &at.prefix, timeout_ms)?;
    let node = Node::start(config, directory).await?;
    announce(&node);
    service::until_stopped().await?;
    node.stop().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "tells people and scripts where to connect")]
fn announce(node: &Node) {
    let (name, addresses) = (node.name(), node.addresses());
    println!("{name}: mqtt on {}", addresses.mqtt);
    if let Some(address) = addresses.mqtts {
        println!("{name}: mqtt over tls on {address}");
    }
    println!("{name}: link on {}", addresses.link);
    println!("{name}: admin on http://{}", addresses.admin);
    println!("{name}: ready to serve");
}
