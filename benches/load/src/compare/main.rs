//! Causeway beside other brokers: the same load on each in turn, in rounds, and a table of medians.
//!
//! Only ratios within one run mean anything: a machine has other figures every hour. So every
//! round has all brokers, each fresh, one after the other, and ratios are taken within a round.

mod broker;
mod peers;
mod process;
mod scene;
mod table;

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use broker::{Broker, Programs};
use causeway_load::outcome::Outcome;
use clap::Parser;
use scene::{Needs, SCENES, Scene};
use table::Run;

/// Runs the same load on Causeway and its peers, and prints a table of medians
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// How often every scenario runs on every broker
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// A scenario, as often as wanted; all without it
    #[arg(long, value_parser = scene::parse)]
    only: Vec<&'static Scene>,
    /// A broker, as often as wanted; all without it
    #[arg(long, value_enum)]
    broker: Vec<Broker>,
    /// Seconds of each run that are measured
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Seconds under load before
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// Where the raw outcomes go, a JSON object a line
    #[arg(long, default_value = "target/compare.jsonl")]
    raw: PathBuf,
    /// Folder on the disk that stores are measured on
    #[arg(long, default_value = "target")]
    disk: PathBuf,
    /// Folder of the project's own programs
    #[arg(long, default_value = "target/release")]
    own: PathBuf,
    /// Folder of peers that were installed for this alone
    #[arg(long, default_value = "target/peers/bin")]
    peers: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let programs = Programs { own: cli.own.clone(), peers: cli.peers.clone() };
    let mut raw = File::create(&cli.raw).with_context(|| cli.raw.display().to_string())?;
    let brokers = there(&cli.broker, &programs)?;
    let scenes: Vec<_> =
        if cli.only.is_empty() { SCENES.iter().collect() } else { cli.only.clone() };
    if scenes.iter().any(|scene| scene.needs == Needs::Disk) {
        say(&format!("disk: {:.0} times a second 128 bytes and fsync", fsyncs(&cli.disk)?))?;
    }
    let mut runs = Vec::new();
    for round in 0..cli.rounds {
        for scene in &scenes {
            for broker in turn(&brokers, round).filter(|broker| broker.plays(scene)) {
                let outcome = one(&cli, &programs, scene, broker);
                write_raw(&mut raw, round, scene, broker, &outcome)?;
                runs.push(Run { round, scene, broker, outcome });
            }
        }
    }
    say(&table::table(&scenes, &brokers, &runs))
}

/// The brokers that can be started, with a line about each.
fn there(wanted: &[Broker], programs: &Programs) -> anyhow::Result<Vec<Broker>> {
    let wanted = if wanted.is_empty() { Broker::all() } else { wanted };
    let mut brokers = Vec::new();
    for &broker in wanted {
        match broker.version(programs) {
            Ok(version) => {
                say(&format!("{}: {version}", broker.name()))?;
                brokers.push(broker);
            }
            Err(error) => say(&format!("{}: left out: {error:#}", broker.name()))?,
        }
    }
    if brokers.is_empty() {
        bail!("no broker to compare");
    }
    Ok(brokers)
}

/// Every round begins with another broker.
fn turn(brokers: &[Broker], round: u32) -> impl Iterator<Item = Broker> {
    let first = usize::try_from(round).unwrap_or(0) % brokers.len().max(1);
    brokers.iter().cycle().skip(first).take(brokers.len()).copied()
}

fn one(cli: &Cli, programs: &Programs, scene: &Scene, broker: Broker) -> Result<Outcome, String> {
    let outcome = attempt(cli, programs, scene, broker).map_err(|error| format!("{error:#}"));
    let line = match &outcome {
        Ok(outcome) => outcome.to_string(),
        Err(error) => format!("{} {}: FAILED: {error}", broker.name(), scene.name),
    };
    // A terminal that is gone does not change what was measured.
    let _ = say(&line);
    outcome
}

fn attempt(
    cli: &Cli,
    programs: &Programs,
    scene: &Scene,
    broker: Broker,
) -> anyhow::Result<Outcome> {
    let place = if scene.needs == Needs::Disk { cli.disk.clone() } else { scratch() };
    let folder = tempfile::Builder::new().prefix("compare-").tempdir_in(place)?;
    let running = broker.start(programs, scene, folder.path())?;
    let mut load = Command::new(programs.own.join("causeway-load"));
    load.args(scene.arguments)
        .args(["--at", &running.publish_at.to_string()])
        .args(["--subscribe-at", &running.subscribe_at.to_string()])
        .args(["--label", &format!("{} {}", broker.name(), scene.name)])
        .args(["--warm-up", &cli.warm_up.to_string(), "--seconds", &cli.seconds.to_string()]);
    for process in running.measured() {
        load.args(["--pid", &process]);
    }
    let output = load.output().context("causeway-load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last() {
        Some(json) => Ok(serde_json::from_str(json)?),
        None => bail!("{}", String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ")),
    }
}

/// How often a second a message can be written and fsynced alone.
fn fsyncs(disk: &Path) -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile_in(disk).with_context(|| disk.display().to_string())?;
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < FSYNC_TIME {
        file.write_all(&[b'x'; 128])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

const FSYNC_TIME: Duration = Duration::from_secs(2);

/// Where brokers may write that should not: in memory if the system has such a folder.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn write_raw(
    raw: &mut File,
    round: u32,
    scene: &Scene,
    broker: Broker,
    outcome: &Result<Outcome, String>,
) -> anyhow::Result<()> {
    let (broker, scene) = (broker.name(), scene.name);
    let line = match outcome {
        Ok(outcome) => serde_json::json!({
            "round": round, "scene": scene, "broker": broker, "outcome": outcome
        }),
        Err(error) => serde_json::json!({
            "round": round, "scene": scene, "broker": broker, "failure": error
        }),
    };
    writeln!(raw, "{line}")?;
    Ok(())
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}
