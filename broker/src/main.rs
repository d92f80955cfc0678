//! The broker process: reads its configuration, starts one node, ends it at SIGTERM. Or changes a
//! password file, and ends at once.

use std::process::ExitCode;

use causeway_broker::{config::Config, node::Node, passwd::Passwd};
use causeway_common::{config::Args, service};
use clap::{Parser, Subcommand};

/// A node of a Causeway cluster: an MQTT 3.1.1 broker
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    args: Args,
    #[command(subcommand)]
    tool: Option<Tool>,
}

#[derive(Debug, Subcommand)]
enum Tool {
    Passwd(Passwd),
}

fn main() -> ExitCode {
    let Cli { args, tool } = Cli::parse();
    if let Some(Tool::Passwd(passwd)) = tool {
        return passwd.run();
    }
    match args.load() {
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
    let node = Node::start(config, directory).await?;
    announce(&node);
    service::until_stopped().await?;
    node.stop().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "tells people and scripts where to connect")]
fn announce(node: &Node) {
    let (name, addresses) = (node.name(), node.addresses());
    for (address, is_tls) in &addresses.clients {
        println!("{name}: mqtt {}on {address}", if *is_tls { "over tls " } else { "" });
    }
    println!("{name}: link on {}", addresses.link);
    println!("{name}: admin on http://{}", addresses.admin);
    println!("{name}: ready to serve");
}
