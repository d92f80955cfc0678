//! What the mains of all services do alike: open log and directory, tell the supervisor, wait for the end,
//! end.

use std::{
    fmt::Display,
    io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tracing::{error, warn};
use tracing_subscriber::filter::ParseError;

use crate::{
    config::{Backend, Log, Runtime, Secret},
    directory::{
        Directory,
        memory::MemoryDirectory,
        redis::{InvalidUrl, RedisDirectory, RedisOptions},
    },
    telemetry,
};

/// Starts a Tokio runtime. One of a single thread does without what it costs to share tasks.
pub fn start_runtime(runtime: &Runtime) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = match runtime.threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(runtime.threads).enable_all().build()
}

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

/// From now on SIGHUP does not end the process; whoever reads files anew hears it for himself
/// ([`mod@crate::watch`]). Within a Tokio runtime.
pub fn outlive_hangups() -> io::Result<()> {
    // What has once been asked for is never left to the system again.
    signal(SignalKind::hangup()).map(drop)
}

/// Says that the service is ready, and waits for SIGTERM or Ctrl-C.
pub async fn until_stopped() -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    IS_READY.store(true, Ordering::Relaxed);
    tell_supervisor(&[NotifyState::Ready]);
    let stopped = tokio::select! {
        _ = terminated.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    };
    IS_READY.store(false, Ordering::Relaxed);
    tell_supervisor(&[NotifyState::Stopping]);
    stopped
}

/// Does what SIGHUP asks for, and tells systemd when it begins and when it is done. One that comes before the
/// service is ready must not make it ready: it is done without a word.
pub(crate) fn reload(changed: &dyn Fn()) {
    if !IS_READY.load(Ordering::Relaxed) {
        return changed();
    }
    // With the time, systemd knows that it is this signal that has been heard.
    let began = [Ok(NotifyState::Reloading), NotifyState::monotonic_usec_now()];
    tell_supervisor(&began.into_iter().flatten().collect::<Vec<_>>());
    changed();
    tell_supervisor(&[NotifyState::Ready]);
}

/// Tells systemd how the service is, if that has started it and wants to know (`NOTIFY_SOCKET`).
fn tell_supervisor(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "the supervisor can't be told");
    }
}

/// Of this process, as `NOTIFY_SOCKET` is.
static IS_READY: AtomicBool = AtomicBool::new(false);

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
