//! What the mains of all services do alike: open the directory, wait for the end.

use std::{io, sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::Backend,
    directory::{
        Directory,
        memory::MemoryDirectory,
        redis::{InvalidUrl, RedisDirectory, RedisOptions},
    },
};

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
