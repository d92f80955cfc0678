//! A Redis for one test: a process of its own, on a port that was free, gone when dropped.
//!
//! It can be killed, started again, paused, and asked anything. What is kept in it is left to the
//! tests.

use std::{
    io,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{FromRedisValue, RedisResult};
use tempfile::TempDir;

use crate::process::free_port;

/// A `redis-server` without persistence.
#[derive(Debug)]
pub struct RedisServer {
    process: Child,
    port: u16,
    files: TempDir,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub async fn start() -> io::Result<Self> {
        loop {
            let port = free_port();
            let files = tempfile::tempdir()?;
            let process = spawn(port, &files)?;
            let mut server = Self { process, port, files };
            // Otherwise somebody else has taken the port in the meantime.
            if server.answers().await? {
                return Ok(server);
            }
        }
    }

    /// Kills the server with -9: all it held is gone.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Starts it again on the same port after [`Self::kill`], empty.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.process = spawn(self.port, &self.files)?;
        if self.answers().await? {
            return Ok(());
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Stops it in its tracks: it keeps its connections and answers nothing.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    /// Lets it go on.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("-CONT")
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it runs, and leaves what it leaves.
    pub fn folder(&self) -> &Path {
        self.files.path()
    }

    /// How clients reach it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends one command, given as its words, over a connection of its own.
    pub async fn command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query_async(&mut connection).await
    }

    /// Waits until the server answers on its port; false if it has ended instead.
    async fn answers(&mut self) -> io::Result<bool> {
        let until = Instant::now() + START_TIMEOUT;
        let own_id = format!("process_id:{}", self.process.id());
        while self.process.try_wait()?.is_none() {
            let answer = self.command::<String>(&["INFO", "server"]).await;
            if answer.is_ok_and(|info| info.lines().any(|line| line == own_id)) {
                return Ok(true);
            }
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await; // pacing: between two looks
        }
        Ok(false)
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other("the redis process is gone"))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may be dead already, and nothing more can be done about one that is not.
        let _ = self.kill();
    }
}

fn spawn(port: u16, files: &TempDir) -> io::Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .current_dir(files.path())
        .stdout(Stdio::null())
        .spawn()
}

/// For a machine on which everything else is being tested at the same time.
const START_TIMEOUT: Duration = Duration::from_secs(20);
