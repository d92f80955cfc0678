//! The units of systemd, judged by its own program.

use std::{fs, process::Command};

use causeway_tests::cluster::program;
use tempfile::TempDir;

use crate::{root, skip};

/// Each file, and the name under which it is started.
const UNITS: [(&str, &str); 3] = [
    ("causeway-broker.service", "causeway-broker.service"),
    ("causeway-broker@.service", "causeway-broker@node-1.service"),
    ("causeway-bridge.service", "causeway-bridge.service"),
];

fn unit(file: &str) -> String {
    fs::read_to_string(root().join("deploy/systemd").join(file)).unwrap()
}

/// What systemd-analyze says against a unit; nothing if it accepts it.
fn verdict(name: &str, text: &str) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let mut command = Command::new("systemd-analyze");
    let output = command.args(["verify", "--recursive-errors=no"]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { said } else { format!("{}\n{said}", output.status) }
}

#[test]
fn systemd_accepts_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("the units of systemd", "there is no systemd-analyze");
    }
    let programs = program("causeway-broker");
    let installed = format!("{}/", programs.parent().unwrap().display());
    for (file, name) in UNITS {
        let text = unit(file);
        let here = text.replace("/usr/bin/causeway", &format!("{installed}causeway"));
        assert_ne!(here, text, "{file} starts nothing of ours");
        assert_eq!(verdict(name, &here), "", "{file}");
        let broken = here.replace("NoNewPrivileges=", "NoNewPrivilege=");
        assert_ne!(verdict(name, &broken), "", "{file}: a wrong key is not found");
    }
}

#[test]
fn the_units_differ_in_what_they_start_and_nothing_else() {
    let same = |file: &str, state: &str| {
        let text = unit(file);
        let (_, text) = text.split_once("[Service]").unwrap();
        let differs = ["ExecStart=", "Environment=", "StateDirectory", "# Over the file"];
        let lines = text.lines().filter(|line| !differs.iter().any(|own| line.starts_with(own)));
        assert_eq!(text.contains(state), file.contains("broker"), "{file}");
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let broker = same("causeway-broker.service", "StateDirectory=causeway\n");
    assert_eq!(same("causeway-broker@.service", "StateDirectory=causeway-%i\n"), broker);
    assert_eq!(same("causeway-bridge.service", "StateDirectory="), broker);
}
