//! 4.7: topic names and filters.

use crate::{
    bytes::{QOS_0, QOS_1, packet, publish, suback, subscribe, unsubscribe},
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// A filter that is none closes the connection of whoever sends it.
async fn refused(filter: &str) {
    let port = port().await;
    for wrong in [subscribe(1, &[(filter, 0)]), unsubscribe(1, &[filter])] {
        let mut peer = Peer::login(port, &unique("filter")).await;
        peer.send(&wrong).await;
        peer.closed().await;
    }
}

/// Which of these topics a filter matches, as a subscriber sees it.
async fn check(filter: &str, topics: &[(&str, bool)]) {
    both_ways(async |way| {
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&way.topic(filter), 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for (topic, matches) in topics {
            let topic = way.topic(topic);
            alice.tells(QOS_1, &topic, filter).await;
            if *matches {
                bob.takes(QOS_1, &topic, filter).await;
            }
        }
        bob.pings().await;
    })
    .await;
}

/// [MQTT-4.7.1-2]
#[tokio::test]
async fn the_multi_level_wildcard_is_the_whole_last_level() {
    for filter in ["a/#/b", "a#", "a/b#", "##", "#/", "#/a", "a/#b", "+#"] {
        refused(filter).await;
    }
    let sports = [
        ("sport/tennis/player1", true),
        ("sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/score/wimbledon", true),
        ("sport/tennis/player1/", true),
        ("sport/tennis/player10", false),
        ("sport/tennis", false),
    ];
    check("sport/tennis/player1/#", &sports).await;
    check("#", &[("a", true), ("a/b", true), ("/", true)]).await;
}

/// [MQTT-4.7.1-3]
#[tokio::test]
async fn the_single_level_wildcard_is_a_whole_level() {
    for filter in ["a+", "+a", "a/+b", "++", "a/b+/c", "sport+"] {
        refused(filter).await;
    }
    let tennis = [("sport/tennis/player1", true), ("sport/tennis/player1/ranking", false)];
    check("sport/tennis/+", &tennis).await;
    check("sport/+", &[("sport", false), ("sport/", true), ("sport/a", true)]).await;
    check("+/+", &[("/finance", true), ("finance", false), ("/", true)]).await;
    check("/+", &[("/finance", true), ("a/finance", false)]).await;
    check("+/tennis/#", &[("sport/tennis", true), ("/tennis/x", true), ("tennis", false)]).await;
}

/// [MQTT-4.7.2-1]
#[tokio::test]
async fn a_filter_that_begins_with_a_wildcard_matches_no_topic_that_begins_with_a_dollar() {
    both_ways(async |way| {
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        let filters = ["#", "+/#", "+/broker/uptime", "+/broker/#"].map(|filter| (filter, 0));
        bob.send(&subscribe(1, &filters)).await;
        bob.awaits(&suback(1, &[0; 4])).await;
        // The node itself says something under `$SYS`, again and again.
        let mut asked = Peer::login(way.there, &way.id("asked")).await;
        asked.wants("$SYS/broker/uptime", 0).await;
        for _ in 0..3 {
            assert_eq!(asked.message().await.topic, "$SYS/broker/uptime");
        }
        let mark = way.topic("mark");
        Peer::login(way.here, &way.id("alice")).await.tells(QOS_1, &mark, "x").await;
        // Other tests' topics come too.
        loop {
            let topic = bob.message().await.topic;
            assert!(!topic.starts_with('$'), "{topic}");
            if topic == mark {
                break;
            }
        }
    })
    .await;
}

/// [MQTT-4.7.3-1]
#[tokio::test]
async fn an_empty_topic_or_filter_closes_the_connection() {
    refused("").await;
    let mut peer = Peer::login(port().await, &unique("empty")).await;
    peer.send(&publish(QOS_0, "", 0, "x")).await;
    peer.closed().await;
    check("/", &[("/", true)]).await;
    check(" ", &[(" ", true)]).await;
}

/// [MQTT-4.7.3-2]
#[tokio::test]
async fn u_0000_in_a_topic_or_filter_closes_the_connection() {
    refused("a\0b").await;
    let mut peer = Peer::login(port().await, &unique("null")).await;
    peer.send(&publish(QOS_0, "a\0b", 0, "x")).await;
    peer.closed().await;
}

/// [MQTT-4.7.3-3] The length has two bytes, so that no longer name can be said. Choice: a topic must
/// leave room for what links put before it, and have at most 200 levels.
#[tokio::test]
async fn the_longest_topics_are_served_and_longer_ones_close_the_connection() {
    both_ways(async |way| {
        let root = way.topic("");
        let topic = format!("{root}{}", "x".repeat(TOPIC_BYTES_MAX - root.len()));
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_1, &topic, "long").await;
        bob.takes(QOS_1, &topic, "long").await;
        for longer in [topic + "x", way.topic(&"x/".repeat(200))] {
            let mut peer = Peer::login(way.here, &way.id("carol")).await;
            peer.send(&publish(QOS_0, &longer, 0, "x")).await;
            peer.closed().await;
        }
        alice.pings().await;
    })
    .await;
}

/// As `docs/conformance.md` says.
const TOPIC_BYTES_MAX: usize = 65_397;

/// [MQTT-4.7.3-4]
#[tokio::test]
async fn names_are_compared_as_they_are() {
    check("ACCOUNTS", &[("Accounts", false), ("accounts", false), ("ACCOUNTS", true)]).await;
    check("a/b", &[("a//b", false), ("/a/b", false), ("a/b/", false), ("a/./b", false)]).await;
    check("é", &[("e\u{301}", false), ("é", true)]).await; // composed, and not
    check("a b", &[("ab", false), ("a  b", false), ("a%20b", false), ("a b", true)]).await;
    assert_ne!(packet(0x30, "é".as_bytes()), packet(0x30, "e\u{301}".as_bytes()));
}
