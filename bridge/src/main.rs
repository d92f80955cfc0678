//! The bridge process: reads its configuration, starts one bridge, ends it at SIGTERM.

use std::process::ExitCode;

use causeway_bridge::{bridge::Bridge, config::Config};
use causeway_common::{
    config::{Args, DEVELOPMENT_SECRET},
    service, telemetry,
};
use clap::Parser;
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
    let at = &config.directory;
    let timeout_ms = at.command_timeout_ms;
    let directory = service::open_directory(at.backend, at.url.expose(), &at.prefix, timeout_ms)?;
    let bridge = Bridge::start(config, directory).await?;
    announce(&bridge);
    service::until_stopped().await?;
    bridge.stop().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "tells people and scripts where to connect")]
fn announce(bridge: &Bridge) {
    let (name, address) = (bridge.name(), bridge.admin_address());
    println!("{name}: admin on http://{address}");
    println!("{name}: ready to serve");
}
