//! The bridge process: reads its configuration, starts one bridge, ends it at SIGTERM.

use std::process::ExitCode;

use causeway_bridge::{bridge::Bridge, config::Config};
use causeway_common::{config::Args, service};
use clap::Parser;

/// The bridge of a Causeway cluster: links its nodes
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

fn run(config: Config) -> anyhow::Result<()> {
    service::start_runtime(&config.runtime)?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    service::outlive_hangups()?;
    service::open_log(&config.log, &config.link.secret)?;
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
