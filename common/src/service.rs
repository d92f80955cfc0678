//! What the mains of all services do alike: open log and directory, wait for the end, end.

use std::{fmt::Display, io, process::ExitCode, sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, warn};
use tracing_subscriber::filter::ParseError;

use crate::{
    config::{Backend, Log, Secret},
    directory::{
        Directory,
        memory::MemoryDirectory,
        redis::{InvalidUrl, RedisDirectory, RedisOptions},
    },
    telemetry,
};

/// Opens the log, and says there first of all if the links have no secret of their own.
pub fn open_log(log: &Log, secret: &Secret) -> Result<(), ParseError> {
    telemetry::init(&log.filter)?;
    if secret.is_known_to_all() {
        warn!("link.secret is the one everybody knows");
    }
    Ok(())
}

/// Opens the directory that is configured. Within a Tokio runtime; Redis may be down.
pub fn open_directory(
    backend: Backend,
    url: &str,
    prefix: &str,
    command_timeout_ms: u64,
) -> Result<Arc<dyn Directory>, InvalidUrl> {
    Ok(match backend {
        Backend::Memory => Arc::new(MemoryDirectory::new()),
        Backend::Redis => Arc::new(RedisDirectory::connect(RedisOptions {
            url: url.to_owned(),
            prefix: prefix.to_owned(),
            command_timeout: Duration::from_millis(command_timeout_ms),
        })?),
    })
}

/// Waits for SIGTERM or Ctrl-C.
pub async fn until_stopped() -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

/// How the process ends: with 1 after an error, which is logged.
pub fn exit_code(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain of causes, where the error knows it.
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
