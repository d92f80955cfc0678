//! What Prometheus is told: its own judgement of the files, and a Prometheus that is asked what it knows.

use std::{fs, process::Command};

use causeway_tests::{
    metrics::get,
    wait::{PATIENCE, comes_within},
};
use serde_json::Value;

use crate::root;

/// The values of a query at a running Prometheus, `;`-separated by `label`, in order; nothing while it does
/// not answer.
pub(crate) async fn known(port: u16, query: &str, label: &str) -> Option<String> {
    let path = format!("/api/v1/query?query={}", escaped(query));
    let (status, body) = get(port, &path).await?;
    let body: Value = serde_json::from_str(&body).ok()?;
    assert_eq!(status, 200, "{query}: {body}");
    let series = body["data"]["result"].as_array()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |series: &Value| {
        format!("{}={}", text(&series["metric"][label]), text(&series["value"][1]))
    };
    let mut all: Vec<_> = series.iter().map(one).collect();
    all.sort();
    Some(all.join(" "))
}

/// Waits until a query has these values.
pub(crate) async fn knows(port: u16, query: &str, label: &str, expected: &str) {
    let mut last = None;
    let is_known = comes_within(PATIENCE, async || {
        last = known(port, query, label).await;
        last.as_deref() == Some(expected)
    });
    assert!(is_known.await, "Prometheus knows {query} as {last:?}, not {expected}");
}

/// A text within a URL.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[test]
fn promtool_accepts_configuration_and_alerts() {
    let folder = root().join("deploy/prometheus");
    let mut command = Command::new("promtool");
    let output = command.args(["check", "config", "prometheus.yml"]).current_dir(folder).output();
    let output = output.expect("promtool is installed");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("rules found"), "{output:?}");
}

#[test]
fn alerts_ask_for_nothing_that_does_not_exist() {
    let alerts = fs::read_to_string(root().join("deploy/prometheus/alerts.yml")).unwrap();
    let golden = |name: &str| fs::read_to_string(root().join("tests/golden").join(name)).unwrap();
    let known = golden("metrics_broker.txt") + &golden("metrics_bridge.txt");
    let asked = alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked: Vec<_> = asked.filter(|word| word.starts_with("causeway_")).collect();
    assert!(asked.len() > 5);
    for name in asked {
        assert!(known.contains(&format!("# TYPE {name} ")), "{name}");
    }
}
