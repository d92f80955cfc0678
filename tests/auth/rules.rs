//! A node and mosquitto allow the same, by the same access file: what is published, delivered, found
//! retained, and said by a will.
//!
//! Where they differ, and why:
//!
//! * mosquitto grants every SUBSCRIBE. A node refuses (0x80) a filter under which its client may read
//!   nothing at all; this test holds that mosquitto delivers nothing under such a filter.
//! * a user name or client id with `/` in it makes a pattern allow nothing on a node; mosquitto takes it
//!   for several levels. None of these names has one.

use std::collections::BTreeSet;

use causeway_common::{
    message::Message,
    packet::{Connect, Packet, Publish, SubscribeCode, Subscription},
    qos::QoS,
    topic::{Filter, Topic},
};
use causeway_tests::{
    client::{RawClient, connect, will},
    cluster::Cluster,
    wait::eventually,
};

use crate::stage::{Files, Mosquitto, enter, heard, named};

const USERS: usize = 16;

const TOPICS: [&str; 18] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "a/c",
    "x/y",
    "/a",
    "a/",
    "user/u1/m",
    "user/u2/m",
    "user/m/u1",
    "user/u3/u3",
    "dev/c1",
    "dev/c2/x",
    "dev/c3",
    "deep/a/b/c/d",
    "A",
    "open",
];

const FILTERS: [&str; 18] = [
    "a",
    "a/b",
    "a/#",
    "a/+",
    "+/b",
    "#",
    "+",
    "+/+",
    "/#",
    "user/#",
    "user/+/u1",
    "dev/+",
    "x/y",
    "deep/#",
    "deep/+/b/#",
    "$SYS/#",
    "$SYS/broker/version",
    "nothing/here",
];

/// Numbers that repeat with the seed.
struct Dice(u64);

impl Dice {
    fn of(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.of(of.len())]
    }
}

/// A file with rules of every kind: for clients without a name, for each user, and patterns.
fn file(dice: &mut Dice) -> String {
    let rule = |dice: &mut Dice, count: usize| {
        let rules = (0..count).map(|_| {
            let access =
                dice.one(&["", "read ", "write ", "readwrite ", "read ", "write ", "deny "]);
            format!("topic {access}{}\n", dice.one(&FILTERS))
        });
        rules.collect::<String>()
    };
    let mut text = format!("# for nobody\n{}", rule(dice, 4));
    text.push_str("user root\ntopic readwrite #\n");
    for user in 0..USERS {
        let count = dice.of(5);
        text = text + &format!("\nuser u{user}\n") + &rule(dice, count);
    }
    // Once more: it is added to what stands above.
    text + "user u1\n"
        + &rule(dice, 2)
        + "pattern read user/%u/#\npattern write user/+/%u\npattern deny user/%u/%u\n\
            pattern readwrite dev/%c\npattern deny dev/c3\npattern read open\n"
}

fn connects() -> Vec<Connect> {
    let client_id = |number: usize| format!("c{}", number % 5);
    let users = (0..USERS).map(|user| named(&client_id(user), &format!("u{user}"), None));
    let odd = [named("c1", "nobody", None), named("c1", "u+", None), named("c#", "u1", None)];
    let nameless = [connect("c1"), connect("c3"), connect("u1"), connect("+")];
    users.chain(odd).chain(nameless).collect()
}

fn set(topics: &[String]) -> BTreeSet<String> {
    topics.iter().cloned().collect()
}

fn said(topic: &str, retain: bool) -> Packet {
    let topic = Topic::new(topic).unwrap();
    let message = Message { topic, payload: "x".into(), qos: QoS::AtMostOnce, retain };
    Packet::Publish(Publish { message, id: None, dup: false })
}

/// One of the two, and somebody who may everything on it.
struct Side {
    port: u16,
    root: RawClient,
}

impl Side {
    async fn new(port: u16) -> Self {
        let mut root = enter(port, named("root", "root", None)).await;
        root.subscribe("#", QoS::AtMostOnce).await.unwrap();
        Self { port, root }
    }

    /// Root says it, and has heard it: then everybody else has it too.
    async fn say_all(&mut self, retain: bool) {
        for topic in TOPICS {
            self.root.send(&said(topic, retain)).await.unwrap();
        }
        self.until("open", TOPICS.len()).await;
    }

    /// What root hears until it has heard a topic, which comes last; the topics in between.
    async fn until(&mut self, last: &str, count_min: usize) -> Vec<String> {
        let mut topics = Vec::new();
        eventually("root hears everything", async || {
            topics.extend(heard(&mut self.root).await);
            topics.len() >= count_min && topics.last().is_some_and(|topic| topic == last)
        })
        .await;
        topics
    }

    async fn end_mark(&mut self) -> BTreeSet<String> {
        self.root.send(&said("end/mark", false)).await.unwrap();
        let mut topics = self.until("end/mark", 1).await;
        topics.pop();
        set(&topics)
    }

    /// Which topics of all a client can write.
    async fn writes(&mut self, who: &Connect) -> BTreeSet<String> {
        let mut client = enter(self.port, who.clone()).await;
        for (qos, topic) in
            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].iter().cycle().zip(TOPICS)
        {
            client.publish(topic, "x", *qos).await.unwrap();
        }
        client.ping().await.unwrap();
        client.disconnect().await.unwrap();
        self.end_mark().await
    }

    /// Which topics of all reach a client that wants everything.
    async fn reads(&mut self, who: &Connect) -> BTreeSet<String> {
        let mut client = enter(self.port, who.clone()).await;
        client.subscribe("#", QoS::AtMostOnce).await.unwrap();
        heard(&mut client).await; // what is retained
        self.say_all(false).await;
        set(&heard(&mut client).await)
    }

    /// What is retained that a client finds under a filter, and whether it may hold that.
    async fn finds(&mut self, who: &Connect, filter: &str) -> (SubscribeCode, BTreeSet<String>) {
        let mut client = enter(self.port, who.clone()).await;
        let (id, wanted) = (client.next_id(), Filter::new(filter).unwrap());
        let subscriptions = vec![Subscription { filter: wanted, qos: QoS::AtMostOnce }];
        client.send(&Packet::Subscribe { id, subscriptions }).await.unwrap();
        // It may come before the answer.
        let mut found = BTreeSet::new();
        let code = loop {
            match client.packet().await.unwrap() {
                Packet::SubAck { codes, .. } => break codes[0],
                Packet::Publish(publish) => found.insert(publish.message.topic.to_string()),
                other => panic!("{other:?}"),
            };
        };
        found.extend(heard(&mut client).await);
        // What else they say there is not the same.
        found.retain(|topic| !topic.starts_with("$SYS") || topic == "$SYS/broker/version");
        (code, found)
    }

    /// Whether the will of a client is heard when another takes its place, under an id that no two
    /// have contended for before: who does is held back.
    async fn wills(&mut self, who: &Connect, number: usize, topic: &str) -> BTreeSet<String> {
        let who = Connect { client_id: format!("{}{number}", who.client_id), ..who.clone() };
        let with_will = Connect { will: Some(will(topic, "x", QoS::AtLeastOnce)), ..who.clone() };
        let _gone = enter(self.port, with_will).await;
        enter(self.port, who).await.disconnect().await.unwrap();
        self.end_mark().await
    }
}

#[tokio::test]
async fn a_node_allows_what_mosquitto_allows() {
    let mut compared = 0;
    for seed in 1..=6 {
        compared += compare(seed).await;
    }
    println!("{compared} rights compared with mosquitto's");
    assert!(compared > 7_000, "{compared}");
}

/// Returns how many rights were compared.
async fn compare(seed: u64) -> usize {
    let files = Files::new();
    files.write_acl(&file(&mut Dice(seed)));
    let mosquitto = Mosquitto::start(&files, true).await;
    let cluster = Cluster::builder()
        .nodes(1)
        .bridges(0)
        .set_nodes(&files.acl_setting())
        .set_nodes("inbox.auto_subscribe=false")
        .set_nodes("sys.sys_interval_secs=1")
        .start()
        .await;
    let mut theirs = Side::new(mosquitto.port).await;
    let mut ours = Side::new(cluster.node(1).mqtt_port()).await;
    let mut compared = 0;
    let mut denied: u32 = 0;
    for who in &connects() {
        let place = format!("seed {seed}, {who:?}");
        let expected = theirs.writes(who).await;
        assert_eq!(ours.writes(who).await, expected, "writes: {place}");
        denied += u32::try_from(TOPICS.len() - expected.len()).unwrap();
        assert_eq!(ours.reads(who).await, theirs.reads(who).await, "reads: {place}");
        for topic in ["b", "a/b", "user/u2/u1"] {
            compared += 1;
            let expected = theirs.wills(who, compared, topic).await;
            assert_eq!(ours.wills(who, compared, topic).await, expected, "will, {topic}: {place}");
        }
        compared += 2 * TOPICS.len();
    }
    for side in [&mut theirs, &mut ours] {
        side.say_all(true).await;
    }
    let mut refused = 0;
    for who in &connects() {
        for filter in FILTERS {
            let (granted, expected) = theirs.finds(who, filter).await;
            let (code, found) = ours.finds(who, filter).await;
            assert_eq!(found, expected, "seed {seed}, {who:?} finds under {filter}");
            assert_eq!(granted, SubscribeCode::Granted(QoS::AtMostOnce), "mosquitto refuses none");
            refused += usize::from(code == SubscribeCode::Failure);
            compared += 1;
        }
    }
    assert!(refused > 50 && denied > 100, "the rules say little: {refused}, {denied}");
    let metrics = cluster.node(1).metrics().await;
    let counted = metrics.sum_where("causeway_messages_dropped_total", "not_authorized");
    assert!(counted >= f64::from(denied), "{counted} of {denied} counted");
    assert!(metrics.sum("causeway_deliveries_denied_total") > 100.0);
    compared
}

#[test]
fn topics_and_filters_of_this_test_are_some() {
    for topic in TOPICS {
        assert!(Topic::new(topic).is_ok(), "{topic}");
    }
    for filter in FILTERS {
        assert!(Filter::new(filter).is_ok(), "{filter}");
    }
}
