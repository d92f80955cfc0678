//! The directory in Redis: what people read in it, and what a server can do to it.

use std::{collections::BTreeMap, process::Command, time::Instant};

use super::*;

/// A command timeout short enough to run into.
const IMPATIENT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_client_row_can_be_read_with_redis_cli() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 1_732_000_000_000);
    let row = client_row("phone", "alice", &node);
    let epoch = directory.claim(&row).await.unwrap().epoch;

    let port = server.port().to_string();
    let output = Command::new("redis-cli")
        .args(["-p", &port, "HGETALL", "causeway:client:phone"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let since = (epoch.0 / 1_000_000).to_string();
    assert_eq!(
        lines,
        [
            "node",
            "node-1",
            "incarnation",
            "1732000000000",
            "epoch",
            &epoch.to_string(),
            "user",
            "alice",
            "since",
            &since,
            "address",
            "127.0.0.1:5555",
            "connected",
            "1",
            "durable",
            "1",
            "contests",
            "0",
        ]
    );

    server.command::<()>(&["DEL", "causeway:client:phone"]).await.unwrap();
    directory.restore(&row, epoch).await.unwrap();
    let restored: Vec<String> =
        server.command(&["HGETALL", "causeway:client:phone"]).await.unwrap();
    assert_eq!(restored, lines);
}

#[tokio::test]
async fn a_will_can_be_read_and_is_gone_when_its_session_is_parked() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 7);
    let row = client_row("phone", "alice", &node);
    let will = will_of(QoS::ExactlyOnce, b"\0\xff gone");
    let claimed = directory.claim(&ClientRow { will: Some(will), ..row }).await.unwrap();
    let key = "causeway:client:phone";
    let fields = ["HMGET", key, "will_topic", "will_qos", "will_retain"];
    let text: Vec<String> = server.command(&fields).await.unwrap();
    assert_eq!(text, ["last/words", "2", "1"]);
    let payload: Vec<u8> = server.command(&["HGET", key, "will_payload"]).await.unwrap();
    assert_eq!(payload, b"\0\xff gone");

    let phone = ClientId::from("phone");
    let parked = directory.park(&phone, &node, claimed.epoch, End::Abnormal).await.unwrap();
    let mut fields: Vec<String> = server.command(&["HKEYS", key]).await.unwrap();
    fields.retain(|field| field.contains("will") || field == "owed" || field == "held_until_us");
    fields.sort_unstable();
    assert_eq!(fields, ["held_until_us", "owed"]);
    directory.settle_wills(&node, &parked.unwrap()).await.unwrap();
    let left: BTreeMap<String, String> = server.command(&["HGETALL", key]).await.unwrap();
    let fields: Vec<&str> = left.keys().map(String::as_str).collect();
    let expected = [
        "address",
        "connected",
        "contests",
        "durable",
        "epoch",
        "incarnation",
        "node",
        "since",
        "user",
    ];
    assert_eq!(fields, expected);
    assert_eq!(left["connected"], "0");
}

#[tokio::test]
async fn a_will_comes_out_though_nothing_else_can_be_tidied_up() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 7);
    let (client_id, user) = (ClientId::from("phone"), UserName::from("alice"));
    let will = will_of(QoS::AtLeastOnce, b"gone");
    let row = ClientRow { will: Some(will.clone()), ..client_row("phone", "alice", &node) };
    let spoil = || async {
        server.command::<()>(&["SET", "causeway:user:alice", "foreign"]).await.unwrap();
    };
    let epoch = directory.claim(&row).await.unwrap().epoch;
    spoil().await;
    let released = directory.release(&client_id, &user, &node, epoch, End::Abnormal).await.unwrap();
    let released = released.unwrap();
    assert_eq!(released[0].will, will);
    directory.settle_wills(&node, &released).await.unwrap();
    assert_eq!(find(&directory, "phone").await, None);
    directory.release(&client_id, &user, &node, epoch, End::Abnormal).await.unwrap_err();

    server.command::<()>(&["DEL", "causeway:user:alice"]).await.unwrap();
    directory.claim(&row).await.unwrap();
    spoil().await;
    let taken = directory.take_wills(&node).await.unwrap();
    assert_eq!((&taken[0].client_id, &taken[0].will), (&client_id, &will));
    directory.settle_wills(&node, &taken).await.unwrap();
    assert_eq!(find(&directory, "phone").await, None);
}

/// A retained will.
fn will_of(qos: QoS, payload: &'static [u8]) -> Message {
    let topic = Topic::new("last/words").unwrap();
    Message { topic, payload: payload.into(), qos, retain: true }
}

#[tokio::test]
async fn a_home_can_be_read() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = NodeId::from("node-1");
    directory.note_home(&node, &[Filter::new("a/#").unwrap()], &[]).await.unwrap();
    let home: Vec<String> = server.command(&["SMEMBERS", "causeway:home:node-1"]).await.unwrap();
    assert_eq!(home, ["a/#"]);
    // What a person has put in, and is no filter, matches nothing.
    server.command::<()>(&["SADD", "causeway:home:node-1", "a#"]).await.unwrap();
    assert_eq!(directory.home(&node).await.unwrap(), [Filter::new("a/#").unwrap()]);
}

#[tokio::test]
async fn bridges_can_be_read() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let life = Incarnation(1_732_000_000_000);
    directory.note_bridge(&BridgeId::from("bridge-1"), life, LONG).await.unwrap();
    let rows: Vec<String> = server.command(&["HGETALL", "causeway:bridges"]).await.unwrap();
    let [name, row] = &rows[..] else { panic!("{rows:?}") };
    let (life, lease_until_us) = row.split_once(' ').unwrap();
    assert_eq!((name.as_str(), life), ("bridge-1", "1732000000000"));
    let lease_until_us: u128 = lease_until_us.parse().unwrap();
    let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    assert!(lease_until_us.abs_diff(since_1970) < 2 * LONG.as_micros(), "{row}");
}

#[tokio::test]
async fn a_node_row_can_be_read() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 7);
    join(&directory, &node, LONG).await;
    directory.renew(&node, LONG, 12).await.unwrap();
    let row: BTreeMap<String, String> =
        server.command(&["HGETALL", "causeway:node:node-1"]).await.unwrap();
    assert_eq!(row["incarnation"], "7");
    assert_eq!(row["link_address"], "10.0.0.7:2883");
    assert_eq!(row["client_address"], "10.0.0.7:1883");
    assert_eq!(row["connections"], "12");
    let time: (u64, u64) = server.command(&["TIME"]).await.unwrap();
    let left_us = row["lease_until_us"].parse::<u64>().unwrap() - time.0 * 1_000_000 - time.1;
    assert!(left_us <= 600_000_000, "{left_us}");
}

#[tokio::test]
async fn nothing_is_left_after_everybody_has_gone() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    join(&directory, &node_1, LONG).await;
    join(&directory, &node_2, LONG).await;
    let clean_row = |client_id, user, node| {
        let row = client_row(client_id, user, node);
        ClientRow { durable: false, ..row }
    };
    for client_id in ["stays", "moves", "changes"] {
        directory.claim(&clean_row(client_id, "alice", &node_1)).await.unwrap();
    }
    let taken = directory.claim(&clean_row("moves", "alice", &node_2)).await.unwrap();
    directory.claim(&clean_row("changes", "bob", &node_1)).await.unwrap();
    // The one that was taken over releases what it no longer owns, the other never does.
    let previous = taken.previous.unwrap().owner;
    let (client_id, user) = (ClientId::from("moves"), UserName::from("alice"));
    directory
        .release(&client_id, &user, &previous.member, previous.epoch, End::Abnormal)
        .await
        .unwrap();
    assert_eq!(clients_on(&directory, &node_1).await, ["changes", "stays"]);

    directory.leave(&node_1).await.unwrap();
    directory.sweep(&node_1, Duration::ZERO).await.unwrap();
    end_lease(&directory, &node_2).await;
    directory.sweep(&node_2, Duration::ZERO).await.unwrap();
    let keys: Vec<String> = server.command(&["KEYS", "*"]).await.unwrap();
    assert_eq!(keys, ["causeway:epoch"]);
}

#[tokio::test]
async fn the_trace_of_a_durable_session_expires_unless_a_row_takes_its_place() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 1);
    let row = client_row("alice", "alice", &node);
    let key = "causeway:client:alice";
    let clean = ClientRow { durable: false, ..row.clone() };
    directory.claim(&row).await.unwrap();
    let erased = directory.claim(&clean).await.unwrap().epoch;
    directory.release(&row.client_id, &row.user, &node, erased, End::Abnormal).await.unwrap();
    let left: BTreeMap<String, String> = server.command(&["HGETALL", key]).await.unwrap();
    let epoch = erased.0.to_string();
    let expected = [("epoch", &*epoch), ("erased", &*epoch), ("was_on", "node-1")];
    assert_eq!(left, expected.map(|(field, value)| (field.to_owned(), value.to_owned())).into());
    let seconds_left = async || server.command::<i64>(&["TTL", key]).await.unwrap();
    let kept = i64::try_from(TRACE_KEPT.as_secs()).unwrap();
    assert!((kept - 60..=kept).contains(&seconds_left().await));
    let epoch = directory.claim(&row).await.unwrap().epoch;
    assert_eq!(seconds_left().await, -1, "a row does not expire");
    directory.release(&row.client_id, &row.user, &node, epoch, End::Abnormal).await.unwrap();
    directory.restore(&row, epoch).await.unwrap();
    assert_eq!(seconds_left().await, -1, "nor does one that was written again");
}

#[tokio::test]
async fn a_client_is_entered_before_its_row_is_written_and_again_afterwards() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 1);
    let row = client_row("phone", "alice", &node);
    let epoch = directory.claim(&row).await.unwrap().epoch;
    let log = ["CONFIG", "SET", "slowlog-log-slower-than", "0"];
    server.command::<()>(&log).await.unwrap();
    directory.claim(&row).await.unwrap();
    directory.restore(&row, epoch).await.unwrap();

    let on = ["SADD", "causeway:on:node-1:1"];
    let user = ["SADD", "causeway:user:alice"];
    let written = ["EVALSHA", "causeway:client:phone"];
    let expected = [on, user, written, user];
    assert_eq!(slow_log(&server).await, [expected, expected].concat());
}

/// Commands and keys of what was entered and what scripts were run, in order.
async fn slow_log(server: &RedisServer) -> Vec<[String; 2]> {
    type Logged = (u64, u64, u64, Vec<String>, String, String);
    let logged: Vec<Logged> = server.command(&["SLOWLOG", "GET", "-1"]).await.unwrap();
    let commands = logged.into_iter().rev().map(|entry| entry.3);
    commands
        .filter_map(|words| match words[0].as_str() {
            "SADD" => Some([words[0].clone(), words[1].clone()]),
            "EVALSHA" => Some([words[0].clone(), words[3].clone()]),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_needless_entry_misleads_nobody() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 1);
    claim(&directory, "alice", &node).await;
    claim(&directory, "bob", &node).await;
    let entries = ["SADD", "causeway:user:alice", "bob", "nobody"];
    server.command::<()>(&entries).await.unwrap();
    assert_eq!(clients_of(&directory, "alice").await, ["alice"]);
    let entries = ["SADD", "causeway:nodes", "node-9"];
    server.command::<()>(&entries).await.unwrap();
    assert!(directory.nodes().await.unwrap().is_empty());
}

#[tokio::test]
async fn clusters_with_different_prefixes_do_not_meet() {
    let server = RedisServer::start().await.unwrap();
    let one = open(&server);
    let mut options = options(&server, LONG);
    options.prefix = "other".to_owned();
    let other = RedisDirectory::connect(options).unwrap();
    let node = member("node-1", 1);
    join(&one, &node, LONG).await;
    claim(&one, "alice", &node).await;
    assert!(other.nodes().await.unwrap().is_empty());
    assert_eq!(find(&other, "alice").await, None);
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 1);
    let row = client_row("alice", "alice", &node);
    let forget = || async { server.command::<()>(&["SCRIPT", "FLUSH"]).await.unwrap() };
    forget().await;
    join(&directory, &node, LONG).await;
    forget().await;
    let epoch = directory.claim(&row).await.unwrap().epoch;
    forget().await;
    assert_eq!(directory.restore(&row, epoch).await.unwrap(), Restored::default());
    forget().await;
    assert!(!is_lost(&directory, &node).await);
    forget().await;
    assert!(is_live(&directory, &node).await);
    forget().await;
    let (client_id, user) = (ClientId::from("alice"), UserName::from("alice"));
    assert!(
        directory.release(&client_id, &user, &node, epoch, End::Abnormal).await.unwrap().is_some()
    );
    let epoch = claim(&directory, "alice", &node).await;
    forget().await;
    assert!(directory.park(&client_id, &node, epoch, End::Abnormal).await.unwrap().is_some());
    forget().await;
    directory.leave(&node).await.unwrap();
    forget().await;
    let taken = directory.take_wills(&node).await.unwrap();
    forget().await;
    directory.settle_wills(&node, &taken).await.unwrap();
    forget().await;
    directory.sweep(&node, Duration::ZERO).await.unwrap();
    assert_eq!(find(&directory, "alice").await, None);
}

#[tokio::test]
async fn a_killed_server_is_noticed_at_once_and_used_again_when_it_is_back() {
    let mut server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 1);
    let before = join(&directory, &node, LONG).await;
    let first = claim(&directory, "alice", &node).await;
    server.kill().unwrap();

    let started = Instant::now();
    for _ in 0..100 {
        let error = directory.find(&ClientId::from("alice")).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Unreachable(_)), "{error}");
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "100 calls in vain took {took:?}");

    server.restart().await.unwrap();
    eventually("the directory answers", || async { directory.nodes().await.is_ok() }).await;
    let after = join(&directory, &node, LONG).await;
    assert_ne!(before, after);
    assert!(claim(&directory, "alice", &node).await > first);
}

#[tokio::test]
async fn a_server_may_come_later_than_its_clients() {
    let mut server = RedisServer::start().await.unwrap();
    server.kill().unwrap();
    let directory = open(&server);
    let error = directory.nodes().await.unwrap_err();
    assert!(matches!(error, DirectoryError::Unreachable(_)), "{error}");
    server.restart().await.unwrap();
    eventually("the directory answers", || async { directory.nodes().await.is_ok() }).await;
}

#[tokio::test]
async fn a_paused_server_costs_no_more_than_the_timeout() {
    let server = RedisServer::start().await.unwrap();
    let directory = RedisDirectory::connect(options(&server, IMPATIENT)).unwrap();
    let node = member("node-1", 1);
    eventually("the directory answers", || async { directory.nodes().await.is_ok() }).await;
    server.pause().unwrap();

    let started = Instant::now();
    let error = directory.claim(&client_row("alice", "alice", &node)).await.unwrap_err();
    let took = started.elapsed();
    assert!(matches!(error, DirectoryError::TimedOut), "{error}");
    assert!(took >= IMPATIENT, "{took:?}");
    assert!(took < IMPATIENT * 10, "{took:?}");
    // Once that is known, nobody waits any more.
    eventually("calls fail at once", || async {
        let started = Instant::now();
        let error = directory.nodes().await.unwrap_err();
        matches!(error, DirectoryError::Unreachable(_)) && started.elapsed() < IMPATIENT / 2
    })
    .await;

    server.resume().unwrap();
    eventually("the directory answers", || async { directory.nodes().await.is_ok() }).await;
    claim(&directory, "alice", &node).await;
}

#[tokio::test]
async fn a_connection_cut_by_the_server_costs_one_call_at_most() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    assert_eq!(find(&directory, "alice").await, None);
    server.command::<()>(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    let client_id = ClientId::from("alice");
    if directory.find(&client_id).await.is_err() {
        directory.find(&client_id).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_turned_read_only_is_left() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 1);
    claim(&directory, "alice", &node).await;
    let id_before = own_connection(&server).await;
    server.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    let error = directory.claim(&client_row("alice", "alice", &node)).await.unwrap_err();
    assert!(matches!(&error, DirectoryError::Refused(why) if why.contains("ReadOnly")), "{error}");
    eventually("there is another connection", || async {
        own_connection(&server).await > id_before
    })
    .await;
    server.command::<()>(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    claim(&directory, "alice", &node).await;
}

/// The greatest id among connections that are not the one that asks.
async fn own_connection(server: &RedisServer) -> u64 {
    let list: String = server.command(&["CLIENT", "LIST", "TYPE", "normal"]).await.unwrap();
    let others = list.lines().filter(|line| !line.contains("cmd=client|list"));
    let ids = others.filter_map(|line| line.strip_prefix("id=")?.split(' ').next()?.parse().ok());
    ids.max().unwrap_or(0)
}

#[tokio::test]
async fn a_foreign_key_is_an_answer_and_no_loss() {
    let server = RedisServer::start().await.unwrap();
    let directory = open(&server);
    let node = member("node-1", 1);
    server.command::<()>(&["SET", "causeway:client:alice", "x"]).await.unwrap();
    let error = directory.claim(&client_row("alice", "alice", &node)).await.unwrap_err();
    assert!(matches!(error, DirectoryError::Refused(_)), "{error}");
    claim(&directory, "bob", &node).await;
}

#[tokio::test]
async fn a_url_that_leads_nowhere_is_refused() {
    for url in ["", "127.0.0.1:6379", "http://127.0.0.1", "rediss://127.0.0.1", "redis://a:b:c"] {
        let options = RedisOptions {
            url: url.to_owned(),
            prefix: "causeway".to_owned(),
            command_timeout: LONG,
        };
        assert!(RedisDirectory::connect(options).is_err(), "{url:?}");
    }
}
