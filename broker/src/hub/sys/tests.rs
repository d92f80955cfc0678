//! The topics of `$SYS` as a table, and when they are said.

use std::time::Duration;

use super::*;

/// A number of its own for each count.
fn snapshot() -> Snapshot {
    Snapshot {
        bytes_received: 101,
        bytes_sent: 102,
        packets_received: 103,
        packets_sent: 104,
        messages_received: 105,
        messages_sent: 106,
        messages_dropped: 107,
        payload_bytes_received: 108,
        payload_bytes_sent: 109,
        sockets: 110,
        connects: 111,
        clients_connected: 112,
        clients_disconnected: 113,
        clients_expired: 114,
        subscriptions: 115,
        retained: 116,
        stored_messages: 117,
        stored_bytes: 118,
        memory: Some(Memory { bytes: 119, bytes_max: 120 }),
    }
}

/// The topics of mosquitto 2.0.11, but for `shared_subscriptions/count`, of which there are none.
const COUNTS: [(&str, &str); 25] = [
    ("bytes/received", "101"),
    ("bytes/sent", "102"),
    ("clients/active", "112"),
    ("clients/connected", "112"),
    ("clients/disconnected", "113"),
    ("clients/expired", "114"),
    ("clients/inactive", "113"),
    ("clients/maximum", "112"),
    ("clients/total", "225"),
    ("heap/current", "119"),
    ("heap/maximum", "120"),
    ("messages/received", "103"),
    ("messages/sent", "104"),
    ("messages/stored", "117"),
    ("publish/bytes/received", "108"),
    ("publish/bytes/sent", "109"),
    ("publish/messages/dropped", "107"),
    ("publish/messages/received", "105"),
    ("publish/messages/sent", "106"),
    ("retained messages/count", "116"),
    ("store/messages/bytes", "118"),
    ("store/messages/count", "117"),
    ("subscriptions/count", "115"),
    ("uptime", "7 seconds"),
    ("version", concat!("causeway ", env!("CARGO_PKG_VERSION"))),
];

/// Each with what it grows by in a minute, in `busier`.
const LOADS: [(&str, u64); 9] = [
    ("bytes/received", 10),
    ("bytes/sent", 20),
    ("connections", 30),
    ("messages/received", 40),
    ("messages/sent", 50),
    ("publish/dropped", 60),
    ("publish/received", 70),
    ("publish/sent", 80),
    ("sockets", 90),
];

fn busier() -> Snapshot {
    let before = snapshot();
    Snapshot {
        bytes_received: before.bytes_received + 10,
        bytes_sent: before.bytes_sent + 20,
        connects: before.connects + 30,
        packets_received: before.packets_received + 40,
        packets_sent: before.packets_sent + 50,
        messages_dropped: before.messages_dropped + 60,
        messages_received: before.messages_received + 70,
        messages_sent: before.messages_sent + 80,
        sockets: before.sockets + 90,
        ..before
    }
}

fn said<'a>(messages: impl IntoIterator<Item = &'a Arc<Said>>) -> BTreeMap<String, String> {
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    let pair = |message: &Arc<Said>| {
        let name = message.topic.as_str().strip_prefix("$SYS/broker/").unwrap();
        (name.to_owned(), text(&message.payload))
    };
    messages.into_iter().map(pair).collect()
}

fn matching(tree: &SysTree, filter: &str) -> BTreeMap<String, String> {
    said(tree.matching(&Filter::new(filter).unwrap()))
}

fn started() -> (Instant, SysTree) {
    let start = Instant::now();
    (start, SysTree::new(start))
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_tick_says_all_topics_of_the_table() {
    let (start, mut tree) = started();
    assert_eq!(matching(&tree, "$SYS/#").len(), 0, "before it nothing is known");
    let first = said(&tree.tick(start + 7 * SECOND, &snapshot()));
    let loads = LOADS.iter().flat_map(|(stream, _)| {
        ["1min", "5min", "15min"].map(|window| (format!("load/{stream}/{window}"), "0.00".into()))
    });
    let counts = COUNTS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let expected: BTreeMap<_, _> = counts.into_iter().chain(loads).collect();
    assert_eq!(first, expected);
    assert_eq!(matching(&tree, "$SYS/#"), expected);
}

#[test]
fn later_only_what_changes_is_said() {
    let (start, mut tree) = started();
    tree.tick(start, &snapshot());
    let nothing = tree.tick(start, &snapshot());
    assert_eq!(said(&nothing), BTreeMap::new());
    let fewer = Snapshot { clients_connected: 2, ..snapshot() };
    let changed = said(&tree.tick(start + 10 * SECOND, &fewer));
    let names: Vec<_> = changed.iter().map(|(name, value)| format!("{name} {value}")).collect();
    assert_eq!(
        names,
        ["clients/active 2", "clients/connected 2", "clients/total 115", "uptime 10 seconds"],
        "the most there ever were is still 112"
    );
    assert_eq!(matching(&tree, "$SYS/broker/clients/maximum")["clients/maximum"], "112");
}

#[test]
fn each_load_follows_its_own_counter() {
    let (start, mut tree) = started();
    tree.tick(start, &snapshot());
    tree.tick(start + 60 * SECOND, &busier());
    let now = matching(&tree, "$SYS/broker/load/#");
    assert_eq!(now.len(), 27);
    for (stream, growth) in LOADS {
        let after_a_minute = 1.0 - (-1.0_f64).exp();
        let expected = f64::from(u32::try_from(growth).unwrap()) * after_a_minute;
        assert_eq!(now[&format!("load/{stream}/1min")], format!("{expected:.2}"), "{stream}");
    }
}

#[test]
fn a_subscription_gets_what_its_filter_matches() {
    let (start, mut tree) = started();
    tree.tick(start, &snapshot());
    for (filter, count) in [
        ("$SYS/#", 52),
        ("$SYS/broker/uptime", 1),
        ("$SYS/broker/+", 2),
        ("$SYS/broker/clients/+", 7),
        ("$SYS/broker/load/+/+/1min", 7),
        ("$SYS/broker/retained messages/count", 1),
        ("$SYS/+/heap/#", 2),
        ("$SYS", 0),
        ("$link/#", 0),
        ("#", 0),
        ("+/broker/uptime", 0),
        ("+/#", 0),
        ("user/#", 0),
    ] {
        assert_eq!(matching(&tree, filter).len(), count, "{filter}");
    }
}

#[test]
fn where_memory_is_unknown_its_topics_are_missing() {
    let (start, mut tree) = started();
    tree.tick(start, &Snapshot { memory: None, ..snapshot() });
    assert_eq!(matching(&tree, "$SYS/broker/heap/#"), BTreeMap::new());
    assert_eq!(matching(&tree, "$SYS/#").len(), 50);
}
