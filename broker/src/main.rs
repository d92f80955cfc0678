//! The broker process: reads its configuration, starts one node, ends it at SIGTERM.

use std::process::ExitCode;

use causeway_broker::{config::Config, node::Node};
use causeway_common::{
    config::{Args, DEVELOPMENT_SECRET},
    service, telemetry,
};
use clap::Parser;
use tracing::warn;

/// A node of a Causeway cluster: an MQTT 3.1.1 broker
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    let config: Config = match Cli::parse().args.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    telemetry::init(&config.log.filter)?;
    if config.link.secret.expose() == DEVELOPMENT_SECRET {
        warn!("link.secret is the one everybody knows");
    }
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
