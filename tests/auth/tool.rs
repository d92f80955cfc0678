//! `causeway-broker passwd`: what it writes is a node's and mosquitto's, and it spoils nothing.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use causeway_broker::auth::{
    entry::{Entry, Kind},
    passwords::Passwords,
};
use causeway_common::packet::ConnectCode;
use causeway_tests::cluster::program;

use crate::stage::{Files, Mosquitto, code, named};

fn passwd(file: &Path, arguments: &[&str]) -> Output {
    passwd_of("causeway-broker", file, arguments, "")
}

/// Runs it with `arguments`, where `FILE` stands for the file, and something on standard input.
fn passwd_of(binary: &str, file: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program(binary));
    command.arg("passwd");
    for argument in arguments {
        let is_file = *argument == "FILE";
        command.arg(if is_file { file.as_os_str() } else { argument.as_ref() });
    }
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn is_password(file: &Path, user: &str, password: &str) -> bool {
    let passwords = Passwords::parse(&fs::read(file).unwrap()).unwrap();
    passwords.get(user).is_some_and(|entry| entry.is_password(password.as_bytes()))
}

#[test]
fn users_are_made_changed_and_removed() {
    let files = Files::new();
    let file = &files.passwords();
    let done = |arguments: &[&str]| {
        let output = passwd(file, arguments);
        assert!(output.status.success() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    };
    done(&["-c", "-b", "FILE", "alice", "one"]);
    assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    done(&["-b", "FILE", "bob", "two"]);
    assert!(is_password(file, "alice", "one") && is_password(file, "bob", "two"));
    done(&["-b", "-H", "sha512-pbkdf2", "FILE", "alice", "three"]);
    assert!(is_password(file, "alice", "three") && !is_password(file, "alice", "one"));
    done(&["-D", "FILE", "bob"]);
    assert!(!is_password(file, "bob", "two") && is_password(file, "alice", "three"));
    for binary in ["causeway-broker", "causeway"] {
        let output = passwd_of(binary, file, &["FILE", "carol"], "typed in\n");
        assert!(output.status.success(), "{binary}: {output:?}");
        assert!(is_password(file, "carol", "typed in"));
        done(&["-D", "FILE", "carol"]);
    }
    fs::write(file, "dave:plain\nerin:also plain\n").unwrap();
    done(&["-U", "FILE"]);
    assert!(is_password(file, "dave", "plain") && is_password(file, "erin", "also plain"));
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let files = Files::new();
    let file = &files.passwords();
    let missing = passwd(file, &["-b", "FILE", "alice", "one"]);
    assert!(!missing.status.success() && !file.exists(), "{missing:?}");
    let before = format!("alice:{}\n", Entry::new(Kind::Sha512, b"one").unwrap());
    fs::write(file, &before).unwrap();
    for (arguments, said) in [
        (&["-D", "FILE", "bob"][..], "there is no user `bob`"),
        (&["-b", "FILE", "b:b", "two"], "a user name has no colon"),
        (&["-b", "FILE", "", "two"], "a user name has no colon"),
        (&["-b", "FILE", "#b", "two"], "a user name has no colon"),
        (&["-b", "FILE", "bob"], "<PASSWORD>"),
        (&["-b", "FILE", "bob", ""], "must not be empty"),
        (&["FILE", "bob", "two"], "-b"),
        (&["FILE"], "USER"),
        (&["-c", "-D", "FILE", "bob"], "cannot be used with"),
        (&["-b", "-H", "md5", "FILE", "bob", "two"], "argon2id, sha512-pbkdf2"),
    ] {
        let output = passwd(file, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{arguments:?}: {error}");
        assert_eq!(fs::read_to_string(file).unwrap(), before, "{arguments:?}");
    }
    for input in ["", "\n"] {
        let output = passwd_of("causeway-broker", file, &["FILE", "bob"], input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("must not be empty"), "{error}");
        assert_eq!(fs::read_to_string(file).unwrap(), before);
    }
    fs::write(file, "nonsense\n").unwrap();
    let output = passwd(file, &["-b", "FILE", "bob", "two"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("line 1: not of the form user:hash"), "{error}");
    assert_eq!(fs::read_to_string(file).unwrap(), "nonsense\n");
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let files = Files::new();
    let file = &files.passwords();
    assert!(passwd(file, &["-c", "-b", "FILE", "u0", "pw"]).status.success());
    let users: Vec<String> = (1..=8).map(|number| format!("u{number}")).collect();
    std::thread::scope(|scope| {
        for user in &users {
            scope.spawn(move || {
                assert!(passwd(file, &["-b", "FILE", user, "pw"]).status.success(), "{user}");
            });
        }
    });
    let kept = Passwords::parse(&fs::read(file).unwrap()).unwrap();
    for user in &users {
        assert!(kept.get(user).is_some(), "{user} is lost");
    }
}

#[tokio::test]
async fn mosquitto_reads_what_the_tool_wrote() {
    let files = Files::new();
    files.add("theirs", "one", "sha512");
    let file = &files.passwords();
    for (user, password) in [("ours", "two"), ("Zoë", "motörhead")] {
        let output = passwd(file, &["-b", "-H", "sha512-pbkdf2", "FILE", user, password]);
        assert!(output.status.success(), "{output:?}");
    }
    let mosquitto = Mosquitto::start(&files, false).await;
    for (user, password, expected) in [
        ("theirs", "one", ConnectCode::Accepted),
        ("ours", "two", ConnectCode::Accepted),
        ("Zoë", "motörhead", ConnectCode::Accepted),
        ("ours", "one", ConnectCode::NotAuthorized),
    ] {
        let found = code(mosquitto.port, named("c", user, Some(password))).await;
        assert_eq!(found, expected, "{user}");
    }
}
