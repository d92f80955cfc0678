//! The broker process: reads its configuration, starts one node, ends it at SIGTERM.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use causeway_broker::{
    config::{self, Config},
    node::Node,
};
use causeway_common::{
    config::{Args, Backend, DEVELOPMENT_SECRET},
    directory::{
        Directory,
        memory::MemoryDirectory,
        redis::{RedisDirectory, RedisOptions},
    },
    telemetry,
};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
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
    let directory = directory(&config.directory)?;
    let node = Node::start(config, directory).await?;
    announce(&node);
    wait_for_end().await?;
    node.stop().await;
    Ok(())
}

fn directory(config: &config::Directory) -> anyhow::Result<Arc<dyn Directory>> {
    Ok(match config.backend {
        Backend::Memory => Arc::new(MemoryDirectory::new()),
        Backend::Redis => Arc::new(RedisDirectory::connect(RedisOptions {
            url: config.url.expose().to_owned(),
            prefix: config.prefix.clone(),
            command_timeout: Duration::from_millis(config.command_timeout_ms),
        })?),
    })
}

#[expect(
    clippy::print_stdout,
    reason = "tells people and scripts where to connect"
)]
fn announce(node: &Node) {
    let (name, addresses) = (node.name(), node.addresses());
    println!("{name}: mqtt on {}", addresses.mqtt);
    println!("{name}: link on {}", addresses.link);
    println!("{name}: admin on http://{}", addresses.admin);
    println!("{name}: ready to serve");
}

async fn wait_for_end() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM")?;
    tokio::select! {
        _ = terminated.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("SIGINT"),
    }
}
