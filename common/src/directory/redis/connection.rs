//! One connection to Redis that all callers share, made anew for as long as it takes.
//!
//! ```text
//!             ┌────────── lost ──────────┐
//!             ▼                          │
//!  start ─▶ Dialling ── connected ────▶ Up ◀── connected ─┐
//!             └── failed ─▶ Down (dials again, pausing) ──┘
//! ```
//!
//! Callers wait for the first dial after a loss, and fail at once while it is known to be in vain.
//! The library's own `ConnectionManager` does not do: it stays with a server that has become a
//! read-only replica, or that takes commands and never answers, and it makes callers wait through
//! its pauses.
//!
//! Where a server is found belongs into [`dial`]. What is asked is decided in [`super`].

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
    ServerErrorKind, Value, aio::MultiplexedConnection, from_redis_value,
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout_at},
};

use super::scripts::Scripts;
use crate::directory::DirectoryError;

/// The shared connection.
pub(super) struct Connection {
    state: watch::Sender<State>,
    command_timeout: Duration,
    keeper: AbortHandle,
}

#[derive(Clone)]
enum State {
    Dialling,
    Up(Up),
    /// The last dial failed; why.
    Down(String),
}

#[derive(Clone)]
struct Up {
    /// Tells this connection from later ones, so that a late failure ends no other than its own.
    id: u64,
    connection: MultiplexedConnection,
}

impl Connection {
    /// Starts dialling. Needs a tokio runtime, and no server yet.
    pub(super) fn new(client: Client, command_timeout: Duration) -> Self {
        let state = watch::Sender::new(State::Dialling);
        let keeper = tokio::spawn(keep(client, command_timeout, state.clone()));
        Self { state, command_timeout, keeper: keeper.abort_handle() }
    }

    /// Sends the commands in one go and returns their answers, within the command timeout.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
        scripts: &Scripts,
    ) -> Result<T, DirectoryError> {
        let deadline = Instant::now() + self.command_timeout;
        let up = timeout_at(deadline, self.up());
        let mut up = up.await.map_err(|_| DirectoryError::TimedOut)??;
        let answer = timeout_at(deadline, ask(&mut up.connection, pipeline, scripts)).await;
        let Ok(answer) = answer else {
            // A server that is silent may be gone without a word.
            self.lost(up.id);
            return Err(DirectoryError::TimedOut);
        };
        if answer.as_ref().is_err_and(ends_connection) {
            self.lost(up.id);
        }
        answer.map_err(Into::into)
    }

    async fn up(&self) -> Result<Up, DirectoryError> {
        let mut states = self.state.subscribe();
        let settled = states.wait_for(|state| !matches!(state, State::Dialling));
        let state = settled.await.map(|state| state.clone());
        match state.unwrap_or(State::Dialling) {
            State::Up(up) => Ok(up),
            State::Down(reason) => Err(DirectoryError::Unreachable(reason)),
            State::Dialling => Err(DirectoryError::Unreachable("not connected".to_owned())),
        }
    }

    fn lost(&self, id: u64) {
        self.state.send_if_modified(|state| {
            let current = matches!(state, State::Up(up) if up.id == id);
            if current {
                *state = State::Dialling;
            }
            current
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl From<RedisError> for DirectoryError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            Self::TimedOut
        } else if error.is_io_error() {
            Self::Unreachable(error.to_string())
        } else {
            // A page of commands that all failed says the same over and over.
            Self::Refused(error.to_string().chars().take(REASON_CHARS_MAX).collect())
        }
    }
}

/// Sees to it for ever that there is a connection.
async fn keep(client: Client, timeout: Duration, state: watch::Sender<State>) {
    // The callers' deadlines bound the answers.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(None);
    let mut states = state.subscribe();
    for id in 0.. {
        let lost = states.wait_for(|state| matches!(state, State::Dialling));
        if lost.await.is_err() {
            return;
        }
        let connection = dial(&client, &config, &state).await;
        tracing::info!("connected to redis");
        state.send_replace(State::Up(Up { id, connection }));
    }
}

async fn dial(
    client: &Client,
    config: &AsyncConnectionConfig,
    state: &watch::Sender<State>,
) -> MultiplexedConnection {
    let mut pause = PAUSE_MIN;
    loop {
        let dialled = client.get_multiplexed_async_connection_with_config(config);
        let error = match dialled.await {
            Ok(connection) => return connection,
            Err(error) => error,
        };
        let before = state.send_replace(State::Down(error.to_string()));
        if matches!(before, State::Dialling) {
            tracing::warn!(%error, "redis is unreachable, dialling on");
        }
        sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}

/// A server that does not know a script has not executed it, and the commands that go with it may
/// be repeated.
async fn ask<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
    scripts: &Scripts,
) -> RedisResult<T> {
    if pipeline.is_empty() {
        return Ok(from_redis_value(Value::Array(Vec::new()))?);
    }
    let answer = pipeline.query_async(connection).await;
    let no_script = ErrorKind::Server(ServerErrorKind::NoScript);
    if answer.as_ref().is_err_and(|error: &RedisError| error.kind() == no_script) {
        scripts.load().exec_async(connection).await?;
        return pipeline.query_async(connection).await;
    }
    answer
}

/// Whether only another connection can help. After a failover the old one may lead to a server
/// that has become a replica.
fn ends_connection(error: &RedisError) -> bool {
    let read_only = ErrorKind::Server(ServerErrorKind::ReadOnly);
    error.is_io_error() || error.is_unrecoverable_error() || error.kind() == read_only
}

/// What is kept of a server's refusal.
const REASON_CHARS_MAX: usize = 200;

/// Between two dials in vain: doubled from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);
