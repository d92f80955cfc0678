//! `--check-health`, by which supervisors ask in an image without an HTTP client.

use std::process::{Command, Output};

use causeway_tests::{
    cluster::{port, program},
    process::{Process, free_port},
};
use tempfile::TempDir;

fn asked(port: u16, sets: &[&str]) -> Output {
    let mut command = Command::new(program("causeway-bridge"));
    command.arg("--check-health").args(["--set", &format!("admin.address=0.0.0.0:{port}")]);
    for set in sets {
        command.args(["--set", set]);
    }
    command.output().unwrap()
}

#[tokio::test]
async fn a_service_that_runs_is_healthy_and_one_that_does_not_is_not() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(program("causeway-bridge"));
    command.args(["--set", "admin.address=127.0.0.1:0", "--set", "directory.backend=memory"]);
    let mut process = Process::start("bridge-1", &mut command, folder.path());
    let ready = |line: &str| line.ends_with("ready to serve").then_some(());
    process.line("that it is ready", ready).await;
    let port = port(&process, "bridge-1: admin on http://").unwrap();

    let answer = asked(port, &[]);
    assert!(answer.status.success() && answer.stdout == b"healthy\n", "{answer:?}");
    // A certificate that is just being renewed makes nobody ill.
    let answer = asked(port, &["link.certificate=/nowhere/link.pem"]);
    assert!(answer.status.success(), "{answer:?}");

    process.kill();
    for (port, why) in [(port, "no answer from"), (free_port(), "no answer from")] {
        let answer = asked(port, &[]);
        assert_eq!(answer.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&answer.stderr).contains(why), "{answer:?}");
    }
    let answer = asked(port, &["admin.colour=blue"]);
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("colour"), "{answer:?}");
}
