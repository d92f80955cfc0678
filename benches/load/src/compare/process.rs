//! Processes that a comparison starts, and ends by their numbers.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// One running process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    is_measured: bool,
}

impl Process {
    /// Starts a command; what it says goes to `<folder>/<name>.log`.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> anyhow::Result<Self> {
        let log = File::create(folder.join(format!("{name}.log")))?;
        command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| name.to_owned())?;
        Ok(Self { name: name.to_owned(), child, is_measured: true })
    }

    /// One whose cost does not count: it is needed, and not what is compared.
    pub(crate) fn aside(mut self) -> Self {
        self.is_measured = false;
        self
    }

    /// As the generator is told.
    pub(crate) fn measured(&self) -> Option<String> {
        self.is_measured.then(|| format!("{}={}", self.name, self.child.id()))
    }

    /// Waits until it takes connections at an address.
    pub(crate) fn listens(mut self, at: SocketAddr, folder: &Path) -> anyhow::Result<Self> {
        let begun = Instant::now();
        while TcpStream::connect(at).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}): {}", self.name, last_words(folder, &self.name));
            }
            if begun.elapsed() > START_MAX {
                bail!("{} does not listen: {}", self.name, last_words(folder, &self.name));
            }
            pause();
        }
        Ok(self)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself. A broker that is asked nicely would only take longer.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_words(folder: &Path, name: &str) -> String {
    let log = std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(3).collect();
    lines.join(" | ")
}

/// An address that was free a moment ago, for programs that must be told one.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Waits until `GET /readyz` is answered with 200.
pub(crate) fn is_ready(admin: SocketAddr) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !asked(admin).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        if begun.elapsed() > START_MAX {
            bail!("{admin} does not get ready");
        }
        pause();
    }
    Ok(())
}

fn asked(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[expect(clippy::disallowed_methods, reason = "a condition with a deadline is asked again")]
fn pause() {
    thread::sleep(Duration::from_millis(20)); // pacing: asks again
}

/// No broker needs longer, also on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);
