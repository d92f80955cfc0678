//! Revocation lists: what holds for a handshake in full holds for a resumed one, and a list that is not
//! the authority's own is not taken.

use std::{
    fs,
    process::{Command, Output},
};

use causeway_tests::{
    certificates::{Certificates, Dialer, is_resumed},
    client::connect,
    cluster::{Cluster, Service, program},
    wait::eventually,
};

#[tokio::test]
async fn a_wrong_list_changes_nothing_and_the_one_before_stays_in_force() {
    let (made, other) = (Certificates::default(), Certificates::default());
    let cluster = cluster(&made).await;
    let node = cluster.node(1);
    let alice = made.dialer("authority.pem", Some("client-alice"));
    alice.login(node.mqtts_port(), "alice").await.unwrap().disconnect().await.unwrap();
    made.again(&["--revoke", "client-alice"]);
    reloaded(node, "done", 1.0).await;
    assert!(!is_let_in(&alice, node).await, "she is revoked");

    // Of another authority; of one with the same name and another key; damaged in its last byte.
    let list = made.path("revoked.pem");
    let good = fs::read(&list).unwrap();
    fs::write(made.path("damaged.pem"), damaged(&good)).unwrap();
    for (count, wrong, why) in [
        (1.0, made.path("link-revoked.pem"), "its authority is another, CN=Causeway"),
        (2.0, other.path("revoked.pem"), "its signature is not by the key of CN=Causeway"),
        (3.0, made.path("damaged.pem"), "its signature is not by the key of CN=Causeway"),
    ] {
        fs::copy(&wrong, &list).unwrap();
        reloaded(node, "failed", count).await;
        let said = |line: &str| line.contains(&list) && line.contains(why);
        assert!(node.process.log().lines().any(said), "{why}\n{}", node.process.log());
        assert!(!is_let_in(&alice, node).await, "by her session, {why}");
        let again = made.dialer("authority.pem", Some("client-alice"));
        assert!(!is_let_in(&again, node).await, "in full, {why}");
        let bob = made.dialer("authority.pem", Some("client-bob"));
        assert!(is_let_in(&bob, node).await, "others as before, {why}");
    }
    let metrics = node.metrics().await;
    assert!(metrics.sum_where("causeway_tls_reloads_total", "result=\"done\"") < 1.5);
}

/// An authority without a list is not trusted, so one whose list is taken away is no longer.
#[tokio::test]
async fn a_client_whose_authority_has_lost_its_list_cannot_resume() {
    let (made, other) = (Certificates::default(), Certificates::default());
    let own = made.path("revoked.pem");
    let only_own = fs::read(&own).unwrap();
    // Two authorities of one name would not do.
    append(&other.path("link-authority.pem"), &made.path("authority.pem"));
    append(&other.path("link-revoked.pem"), &own);
    let cluster = cluster(&made).await;
    let node = cluster.node(1);
    fs::copy(made.path("authority.pem"), other.path("servers.pem")).unwrap();
    let alice = made.dialer("authority.pem", Some("client-alice"));
    let stranger = other.dialer("servers.pem", Some("link"));
    for resumed in [false, true] {
        for dialer in [&alice, &stranger] {
            let client = dialer.login(node.mqtts_port(), "").await.unwrap();
            assert_eq!(is_resumed(&client), resumed);
            client.disconnect().await.unwrap();
        }
    }
    fs::write(&own, only_own).unwrap();
    reloaded(node, "done", 1.0).await;
    assert!(!is_let_in(&stranger, node).await, "by its session");
    assert!(!is_let_in(&other.dialer("servers.pem", Some("link")), node).await, "in full");
    let label = "reason=\"revocation_unknown\"";
    let failures = node.metrics().await.sum_where("causeway_tls_handshakes_failed_total", label);
    assert!((1.9..2.1).contains(&failures), "{failures}");
    assert!(is_let_in(&alice, node).await, "others as before");
}

#[test]
fn a_wrong_list_is_a_wrong_configuration() {
    let (made, other) = (Certificates::default(), Certificates::default());
    let own = made.path("revoked.pem");
    let good = fs::read(&own).unwrap();
    for (wrong, why) in [
        (fs::read(made.path("link-revoked.pem")).unwrap(), "its authority is another"),
        (fs::read(other.path("revoked.pem")).unwrap(), "its signature is not by the key of"),
        (damaged(&good), "its signature is not by the key of"),
    ] {
        fs::write(&own, &wrong).unwrap();
        let doors = made.door_with_clients(0, "optional", "none");
        blames(&check("causeway-broker", &doors), "listener.0.revocation_lists", &own, why);
    }
    fs::write(&own, good).unwrap();
    append(&other.path("authority.pem"), &made.path("authority.pem"));
    append(&other.path("revoked.pem"), &own);
    let doors = made.door_with_clients(0, "optional", "none");
    let why = "another authority is named CN=Causeway";
    blames(&check("causeway-broker", &doors), "listener.0.revocation_lists", &own, why);

    let list = made.path("link-revoked.pem");
    fs::copy(other.path("link-revoked.pem"), &list).unwrap();
    for service in ["causeway-broker", "causeway-bridge"] {
        let why = "its signature is not by the key of";
        blames(&check(service, &made.links()), "link.revocation_lists", &list, why);
    }
}

async fn cluster(made: &Certificates) -> Cluster {
    let doors = made.door_with_clients(1, "required", "none");
    Cluster::builder().nodes(1).set_all_nodes(doors).start().await
}

/// Whether a login succeeds, with whatever session the dialer knows.
async fn is_let_in(dialer: &Dialer, node: &Service) -> bool {
    let Ok(mut client) = dialer.dial(node.mqtts_port()).await else {
        return false;
    };
    client.log_in(connect("")).await.is_ok()
}

/// Waits until the files of the only TLS listener were read anew so many times with a result.
async fn reloaded(node: &Service, result: &str, count: f64) {
    let label = format!("result=\"{result}\"");
    eventually(&format!("{count} reloads {result}"), async || {
        node.metrics().await.sum_where("causeway_tls_reloads_total", &label) >= count
    })
    .await;
}

fn append(from: &str, to: &str) {
    let both = [fs::read(to).unwrap(), fs::read(from).unwrap()].concat();
    fs::write(to, both).unwrap();
}

/// The same list with another signature.
fn damaged(pem: &[u8]) -> Vec<u8> {
    let end = pem.windows(4).rposition(|four| four == b"-END").unwrap();
    let mut damaged = pem.to_vec();
    let mut letters = damaged[..end].iter_mut().rev().filter(|one| one.is_ascii_alphanumeric());
    let letter = letters.nth(8).unwrap();
    *letter = if *letter == b'A' { b'B' } else { b'A' };
    damaged
}

fn check(service: &str, settings: &[String]) -> Output {
    let mut command = Command::new(program(service));
    command.arg("--check-config");
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.output().unwrap()
}

/// The configuration is refused, for a file that a key names.
fn blames(output: &Output, key: &str, file: &str, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in [&format!("`{key}`"), file, why] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
