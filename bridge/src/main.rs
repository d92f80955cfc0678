//! The bridge process: reads its configuration, starts one bridge, ends it at SIGTERM.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use causeway_bridge::{
    bridge::Bridge,
    config::{self, Config},
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

/// The bridge of a Causeway cluster: links its nodes
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
    let bridge = Bridge::start(config, directory).await?;
    announce(&bridge);
    wait_for_end().await?;
    bridge.stop().await;
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
fn announce(bridge: &Bridge) {
    let (name, address) = (bridge.name(), bridge.admin_address());
    println!("{name}: admin on http://{address}");
    println!("{name}: ready to serve");
}

async fn wait_for_end() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM")?;
    tokio::select! {
        _ = terminated.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("SIGINT"),
    }
}
