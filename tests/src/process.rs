//! One real process: started, listened to, and ended in every way the world knows.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use parking_lot::Mutex;

use crate::wait::eventually;

/// A running process. Dropping it kills it; if the test has failed, its last words are printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    log_path: PathBuf,
}

impl Process {
    /// Starts a command. Its standard error is appended to `<folder>/<name>.log`, so that all
    /// lives of one name stand in one file.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let log_path = folder.join(format!("{name}.log"));
        let log = File::options().append(true).create(true).open(&log_path);
        let ours = std::env::vars_os().filter(|(key, _)| is_setting(key));
        for (key, _) in ours {
            command.env_remove(key);
        }
        let program = command.get_program().to_owned();
        let spawned = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("a log file in a folder of our own"))
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!(
                "{} does not start: {error}; tests/run builds and installs all that is needed",
                program.display()
            )
        });
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("stdout is piped");
        let sink = Arc::clone(&lines);
        thread::spawn(move || collect(stdout, &sink));
        let name = name.to_owned();
        Self { name, child, lines, log_path }
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on standard output so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// Waits until some line of its standard output is the wanted one, and returns what it says.
    pub async fn line<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let mut found = None;
        let what = format!("{} says {what}", self.name);
        eventually(&what, async || {
            found = self.lines.lock().iter().find_map(|line| wanted(line));
            let ended = self.ended();
            let (told, log) = (self.lines(), self.log());
            assert!(
                found.is_some() || ended.is_none(),
                "{what}: it ended with {ended:?} after {told:?}\n{log}"
            );
            found.is_some()
        })
        .await;
        found.expect("just found")
    }

    /// What all lives of this name have written to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_path).unwrap_or_default()
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    /// Sends a signal by its name: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is installed").success(), "{signal}");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be asked")
    }

    /// Its resident memory in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a size in KiB");
        kib * 1024
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        entries.expect("the process lives").count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
            eprintln!("--- last words of {}:\n{}", self.name, last.join("\n"));
        }
    }
}

/// How many lines of a log are printed when a test fails.
const LAST_WORDS: usize = 60;

/// A port below those the system gives out by itself, for programs that must be told one: nobody
/// takes it before its owner listens, or while the owner is dead.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run side by side have numbers side by side, and need some hundred ports.
    let first = u16::try_from(std::process::id().wrapping_mul(211) % 10_000).unwrap_or(0);
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Raises how many files and sockets this process, and those it starts from now on, may have open, as far
/// as the system lets it. Panics if that is fewer than `needed`.
pub fn raise_open_files(needed: usize) {
    let process = std::process::id().to_string();
    let mut command = Command::new("prlimit");
    let output =
        command.args(["--pid", &process, "--nofile", "--raw", "--noheadings", "-o", "HARD"]);
    let output = output.output().expect("prlimit is installed");
    let hard = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let enough = hard.parse().map_or(hard == "unlimited", |limit: usize| limit > needed);
    assert!(enough, "{needed} open files are more than {hard}");
    let both = format!("--nofile={hard}:{hard}");
    let status = Command::new("prlimit").args(["--pid", &process, &both]).status();
    assert!(status.expect("prlimit is installed").success(), "prlimit {both}");
}

/// Settings of the tester's own must not reach the processes under test.
fn is_setting(key: &std::ffi::OsStr) -> bool {
    key.to_string_lossy().starts_with("CAUSEWAY_")
}

fn collect(stdout: ChildStdout, sink: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    // Payloads may be any bytes; a line that is not UTF-8 is shown as well as it can be.
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        sink.lock().push(text.trim_end_matches('\n').to_owned());
        line.clear();
    }
}
