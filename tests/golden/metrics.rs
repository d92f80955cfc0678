//! The names, help texts, kinds and labels of all metrics.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use causeway_bridge::metrics::Metrics as BridgeMetrics;
use causeway_broker::metrics::Metrics as BrokerMetrics;
use prometheus::{Registry, TextEncoder};

fn exposed(registry: &Registry) -> String {
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

/// A node that has a certificate and a password file and has probed one peer: files and peers can't be known
/// before.
fn broker() -> String {
    let registry = Registry::new();
    let metrics = BrokerMetrics::new(&registry).unwrap();
    metrics.peer(&"node-2".into()).round_trip.observe(0.001);
    let expiry = &metrics.tls_certificate_expiry;
    expiry.with_label_values(&["server.pem"]).set(1);
    metrics.reload_failures.with_label_values(&["passwords"]).inc();
    metrics.reload_success.with_label_values(&["passwords"]).set(1);
    exposed(&registry)
}

fn bridge() -> String {
    let registry = Registry::new();
    let metrics = BridgeMetrics::new(&registry).unwrap();
    metrics.interest_filters.with_label_values(&["node-1"]).set(1);
    exposed(&registry)
}

/// Without values, versions, and what the system says of the process.
fn names(text: &str) -> String {
    let ours = text.lines().filter(|line| !line.contains("process_"));
    let name = |line: &str| match line.rsplit_once(' ') {
        Some((name, _)) if !line.starts_with('#') => format!("{name}\n"),
        Some(_) | None => format!("{line}\n"),
    };
    let names: String = ours.map(name).collect();
    names.replace(env!("CARGO_PKG_VERSION"), "…")
}

#[track_caller]
fn check(file: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    let names = names(text);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &names).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    let hint = "run with UPDATE_GOLDEN=1 if that is meant";
    assert_eq!(names, golden, "{} differs; {hint}", file.display());
}

#[test]
fn the_metrics_are_those_of_the_golden_files() {
    check("metrics_broker.txt", &broker());
    check("metrics_bridge.txt", &bridge());
}

#[test]
fn every_metric_of_ours_has_a_help_text_and_the_prefix() {
    for text in [broker(), bridge()] {
        for help in names(&text).lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(name.starts_with("causeway_") && help.ends_with('.'), "{name}: {help}");
        }
    }
}

#[test]
fn a_forgotten_peer_is_no_longer_exposed() {
    let registry = Registry::new();
    let metrics = BrokerMetrics::new(&registry).unwrap();
    let (stays, goes) = ("node-2".into(), "node-3".into());
    metrics.peer(&stays).lost.inc();
    metrics.peer(&goes).lost.inc();
    metrics.forget_peer(&goes);
    let text = exposed(&registry);
    assert!(text.contains("causeway_probes_lost_total{peer=\"node-2\"} 1"));
    assert!(!text.contains("node-3"));
}

#[test]
fn promtool_accepts_both_expositions() {
    for text in [broker(), bridge()] {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool (Debian's package prometheus) is installed; tests/run does it");
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
