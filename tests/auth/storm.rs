//! Everybody comes back at once: what was right before costs nothing, what is wrong costs only its turn.

use std::time::{Duration, Instant};

use causeway_broker::auth::entry::{Entry, Kind};
use causeway_common::{packet::ConnectCode, qos::QoS};
use causeway_tests::{
    cluster::{Cluster, Service},
    wait::eventually,
};
use tokio::task::JoinSet;

use crate::stage::{Files, code, enter, named, replace};

const USERS: u32 = 20;
const GUESSES_IN_TURN: u32 = 100;

async fn node_with_users(files: &Files) -> Cluster {
    let line = |user: u32| {
        let entry = Entry::new(Kind::DEFAULT, format!("password {user}").as_bytes()).unwrap();
        format!("u{user}:{entry}\n")
    };
    replace(&files.passwords(), &(0..USERS).map(line).collect::<String>());
    let builder = Cluster::builder().nodes(1).bridges(0).set_nodes(&files.password_setting());
    builder
        .set_nodes("log.filter=warn")
        .set_nodes("connections.connect_timeout_secs=600")
        .start()
        .await
}

async fn checks(node: &Service, outcome: &str) -> f64 {
    node.metrics().await.sum_where("causeway_password_checks_total", outcome)
}

fn cpu_secs(node: &Service) -> f64 {
    // The process's own counter has whole ticks only, so it is asked of the system.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// Logins one after the other on each of a few tasks; all end well.
async fn logins(port: u16, count: u32) {
    let mut tasks = JoinSet::new();
    for lane in 0..LANES {
        tasks.spawn(async move {
            for number in (lane..count).step_by(LANES as usize) {
                let user = number % USERS;
                let (name, password) = (format!("u{user}"), format!("password {user}"));
                let connect = named(&format!("c{number}"), &name, Some(&password));
                enter(port, connect).await.disconnect().await.unwrap();
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn each_password_is_hashed_once_however_often_it_comes() {
    let files = Files::new();
    let cluster = node_with_users(&files).await;
    let node = cluster.node(1);
    let start = (Instant::now(), cpu_secs(node));
    for user in 0..USERS {
        let connect = named("first", &format!("u{user}"), Some(&format!("password {user}")));
        enter(node.mqtt_port(), connect).await;
    }
    let first = (start.0.elapsed(), cpu_secs(node) - start.1);
    let start = (Instant::now(), cpu_secs(node));
    logins(node.mqtt_port(), STORM).await;
    let storm = (start.0.elapsed(), cpu_secs(node) - start.1);
    println!(
        "{USERS} first logins: {:.2} s, {:.2} s of CPU; {STORM} again: {:.2} s, {:.2} s of CPU",
        first.0.as_secs_f64(),
        first.1,
        storm.0.as_secs_f64(),
        storm.1,
    );
    assert!((checks(node, "right").await - f64::from(USERS)).abs() < 0.1);
    assert!((checks(node, "remembered").await - f64::from(STORM)).abs() < 0.1);
    // Hashed each time, they would take a hundred times as long.
    let hashed = first.1 / f64::from(USERS) * f64::from(STORM);
    assert!(storm.1 < hashed / 2.0, "{} s of {hashed} s", storm.1);
}

#[tokio::test]
async fn wrong_passwords_wait_for_one_another_and_nobody_waits_for_them() {
    let files = Files::new();
    let cluster = node_with_users(&files).await;
    let node = cluster.node(1);
    let port = node.mqtt_port();
    let good = || named("good", "u1", Some("password 1"));
    let mut inside = enter(port, good()).await;
    let mut guesses = JoinSet::new();
    for number in 0..GUESSES {
        let user = if number % 2 == 0 { "u2".to_owned() } else { format!("nobody {number}") };
        let guess = named(&format!("g{number}"), &user, Some("guess"));
        guesses.spawn(async move { code(port, guess).await });
    }
    eventually("guesses are compared", async || checks(node, "wrong").await > 0.5).await;
    let start = Instant::now();
    inside.ping().await.unwrap();
    assert_eq!(code(port, good()).await, ConnectCode::Accepted);
    let waited = start.elapsed();
    let compared = checks(node, "wrong").await;
    assert!(
        compared < f64::from(GUESSES),
        "all {compared} were compared before one that was known"
    );
    while let Some(code) = guesses.join_next().await {
        assert_eq!(code.unwrap(), ConnectCode::BadUserNameOrPassword);
    }
    println!("during {GUESSES} guesses a known user was in after {waited:?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert!((checks(node, "wrong").await - f64::from(GUESSES)).abs() < 0.1);
}

/// The memory of a hash goes back to the system, whatever else is kept meanwhile: otherwise whoever guesses
/// could drive a node to its memory's bound.
#[tokio::test]
async fn wrong_passwords_leave_no_memory_behind() {
    let files = Files::new();
    let cluster = node_with_users(&files).await;
    let node = cluster.node(1);
    let port = node.mqtt_port();
    let before = node.process.memory_bytes();
    let mut inside = Vec::new();
    for number in 0..GUESSES_IN_TURN {
        let guess = named("guess", &format!("nobody {number}"), Some("guess"));
        assert_eq!(code(port, guess).await, ConnectCode::BadUserNameOrPassword);
        let (name, password) = ("u1", Some("password 1"));
        inside.push(enter(port, named(&format!("c{number}"), name, password)).await);
    }
    let growth = node.process.memory_bytes().saturating_sub(before) >> 20;
    println!("{GUESSES_IN_TURN} guesses in turn cost {growth} MiB that stay");
    assert!(growth < 64, "{growth} MiB");
}

/// What comparisons take for a moment is nobody's fault who is in: guesses are no shortage of memory.
#[tokio::test]
async fn guesses_take_no_memory_from_those_who_are_in() {
    let files = Files::new();
    // As mosquitto 2.1 has it: 46 MiB, most of what this node may use.
    let kind = Kind::Argon2id { memory_kib: 47_104, passes: 1, lanes: 1 };
    let entry = Entry::new(kind, b"password").unwrap();
    replace(&files.passwords(), &format!("u1:{entry}\n"));
    let cluster = Cluster::builder()
        .nodes(1)
        .bridges(0)
        .set_nodes(&files.password_setting())
        .set_nodes("limits.memory_bytes_max=67108864")
        .set_nodes("connections.connect_timeout_secs=600")
        .start()
        .await;
    let node = cluster.node(1);
    let port = node.mqtt_port();
    let mut inside = enter(port, named("inside", "u1", Some("password"))).await;
    let mut guesses = JoinSet::new();
    for number in 0..20 {
        let guess = named(&format!("g{number}"), "u1", Some("guess"));
        guesses.spawn(async move { code(port, guess).await });
    }
    while !guesses.is_empty() {
        while let Some(code) = guesses.try_join_next() {
            assert_eq!(code.unwrap(), ConnectCode::BadUserNameOrPassword);
        }
        inside.publish("t", "x", QoS::AtLeastOnce).await.unwrap();
        let metrics = node.metrics().await;
        assert!(metrics.sum("causeway_memory_strain") < 0.5, "memory is short");
    }
    let limited = node.metrics().await.sum_where("causeway_limited_total", "memory");
    assert!(limited < 0.5, "{limited} held up");
    assert!(checks(node, "wrong").await > 19.5, "each was compared");
}

/// Known and unknown users take as long: the times of both lie within each other's spread.
#[tokio::test]
async fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    let files = Files::new();
    let cluster = node_with_users(&files).await;
    let port = cluster.node(1).mqtt_port();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (user, times) in [("u1", &mut known), ("nobody", &mut unknown)] {
            let start = Instant::now();
            let answer = code(port, named("c", user, Some("guess"))).await;
            assert_eq!(answer, ConnectCode::BadUserNameOrPassword);
            times.push(start.elapsed());
        }
    }
    known.sort_unstable();
    unknown.sort_unstable();
    println!("known: {:?}, unknown: {:?} (medians)", known[ROUNDS / 2], unknown[ROUNDS / 2]);
    // Without the hash an answer takes a hundredth of that.
    assert!(unknown[ROUNDS / 2] > known[0] / 2, "{unknown:?} {known:?}");
}

const LANES: u32 = 16;
const STORM: u32 = 10_000;
const GUESSES: u32 = 100;
const ROUNDS: usize = 9;
