//! The command-line options that all services have alike, and what those among them do that run no service.
//!
//! It leaves to others: what a configuration may say ([`super::load`]), and the service.

use std::{path::PathBuf, process::ExitCode};

use super::{Config, Source, lay, layers::read, load};
use crate::admin::health;

/// The command-line options that every service has.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML); without it every key has its default
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one key, over file and environment; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// Checks the configuration and ends
    #[arg(long)]
    pub check_config: bool,
    /// Asks the service that runs with this configuration whether it is healthy, and ends with 0 or 1
    #[arg(long)]
    pub check_health: bool,
}

impl Args {
    /// The configuration, or the code with which the process must end at once: 2 after an error,
    /// which has been printed, and 0 after a successful `--check-config`; 0 or 1 after `--check-health`.
    #[expect(clippy::print_stdout, clippy::print_stderr, reason = "logging is not set up yet")]
    pub fn load<T: Config>(&self) -> Result<T, ExitCode> {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let source = Source {
            file: self.config.clone(),
            env: std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect(),
            sets: self.sets.clone(),
        };
        if self.check_health {
            return Err(told_health::<T>(&source));
        }
        match load(&source) {
            Ok(_) if self.check_config => {
                println!("configuration is valid");
                Err(ExitCode::SUCCESS)
            }
            Ok(config) => Ok(config),
            Err(error) => {
                eprintln!("configuration is refused: {error}");
                Err(ExitCode::from(2))
            }
        }
    }
}

/// Prints how the service is, and returns 0 if it is healthy, otherwise 1. The values are not judged: a
/// service lives on with the certificate it has while the file of the next one is half written.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer to a question")]
fn told_health<T: Config>(source: &Source) -> ExitCode {
    let config = lay::<T>(source).and_then(|layers| read::<T>(&layers.merged, "defaults"));
    let answer = match config {
        Ok(config) => health::ask(config.admin_address()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match answer {
        Ok(()) => {
            println!("healthy");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("not healthy: {error}");
            ExitCode::FAILURE
        }
    }
}
