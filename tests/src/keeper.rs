//! Ends processes that the test program leaves behind: those that all its tests share stand in a
//! static, and no static is ever dropped.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// A small process that waits for the end of this one, by whatever way it comes: its standard
/// input is a pipe that this program holds open and never writes to.
#[derive(Debug)]
pub struct Keeper {
    shell: Child,
}

impl Keeper {
    /// From now on these processes die (SIGKILL) and these folders vanish with this program.
    pub fn start(processes: &[u32], folders: &[&Path]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "keeper"]);
        let processes: Vec<String> = processes.iter().map(ToString::to_string).collect();
        command.arg(processes.join(" ")).args(folders);
        // Standard output stays with the tests; whoever reads that waits for its end.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { shell: command.spawn().expect("a shell") }
    }

    /// Does it now, and waits until it is done.
    pub fn finish(mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().expect("our own child can be waited for");
    }
}

const SCRIPT: &str = r#"cat; kill -9 $1; shift; rm -rf -- "$@""#;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{process::Process, wait::eventually};

    #[tokio::test]
    async fn what_is_kept_dies_and_vanishes_when_the_pipe_closes() {
        let (folder, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut command = Command::new("tail");
        let mut process = Process::start("tail", command.args(["-f", "/dev/null"]), folder.path());
        let keeper = Keeper::start(&[process.id()], &[kept.path()]);
        assert!(process.ended().is_none());
        keeper.finish();
        eventually("the process has died", async || process.ended().is_some()).await;
        assert!(!kept.path().exists(), "its folder is left");
    }
}
