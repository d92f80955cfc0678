//! The load generator as a program: one run, a line for people, a line of JSON.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use causeway_load::{outcome::Outcome, plan::Plan};
use clap::Parser;

fn main() -> anyhow::Result<ExitCode> {
    let plan = Plan::parse();
    let outcome = causeway_load::run(&plan).with_context(|| format!("{:?}", plan.scenario))?;
    tell(&outcome)?;
    Ok(if outcome.breaks_promises() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tell(outcome: &Outcome) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{outcome}")?;
    writeln!(out, "{}", serde_json::to_string(outcome)?)?;
    Ok(())
}
